//! The operator prints what receivers' domains are told of TLS.

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    process::{ended, run},
    world::{MAIL_HOST, OWN_HOST},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_of_a_day_are_printed() {
    let mut app = TestApp::start().await;
    for domain in ["one.test", "two.test"] {
        app.world.receives(domain);
    }
    let letter = json!({ "to": ["ada@one.test", "bea@one.test", "cy@two.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&letter).await;
    let read = app.api.ended(&id).await;
    let date = read["message"]["sentAt"].as_str().unwrap()[..10].to_owned();
    app.stop().await;
    let config = app.world.config_file("1s");
    let report = |arguments: &[&str]| ended(&run(&[&["tls-report"], arguments].concat(), &config));

    let (status, printed, errors) = report(&["--date", &date]);
    assert_eq!(status, 0, "{errors}");
    let reports: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = |domain: &str| {
        json!({
            "organization-name": OWN_HOST,
            "date-range": {
                "start-datetime": format!("{date}T00:00:00Z"),
                "end-datetime": format!("{date}T23:59:59Z"),
            },
            "contact-info": format!("postmaster@{OWN_HOST}"),
            "report-id": format!("{date}.{domain}@{OWN_HOST}"),
            "policies": [{
                "policy": { "policy-type": "no-policy-found", "policy-domain": domain },
                "summary": {
                    "total-successful-session-count": 0, "total-failure-session-count": 1,
                },
                "failure-details": [{
                    "result-type": "starttls-not-supported",
                    "sending-mta-ip": "127.0.0.1",
                    "receiving-mx-hostname": MAIL_HOST,
                    "receiving-ip": "127.0.0.1",
                    "failed-session-count": 1,
                }],
            }],
        })
    };
    assert_eq!(reports, [expected("one.test"), expected("two.test")]);
    let (status, only, _) = report(&["--date", &date, "--domain", "two.test"]);
    assert_eq!((status, only), (0, format!("{}\n", printed.lines().nth(1).unwrap())));
    let (status, nothing, errors) = report(&["--date", &date, "--domain", "three.test"]);
    assert!((status, &*nothing) == (1, "") && errors.contains("three.test"), "{errors}");
    assert_eq!(report(&["--date", "2000-01-01"]), (0, String::new(), String::new()));
    assert_eq!(report(&["--date", "yesterday"]).0, 2);

    // They follow from the log alone.
    std::fs::remove_dir_all(app.config.read_dir()).unwrap();
    assert_eq!(report(&["--date", &date]).1, printed);
}
