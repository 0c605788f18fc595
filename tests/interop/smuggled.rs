//! What looks like the end of a message to a careless server is text and nothing else.

use serde_json::json;

use crate::{
    judges::{self, Copies},
    platform::support::app::TestApp,
    servers::without,
    shapes::SIGNERS,
    stage,
};

/// Ends of a message that some servers believe, beside the only one that there is (RFC 5321,
/// section 4.1.1.4).
const ENDS: [&str; 8] =
    ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\n.\r", "\r\n.\r\n"];

/// Sends a second message inside each of the first ones; gives how many there are to arrive.
async fn send_all(app: &TestApp, domain: &str) -> usize {
    let mut ids = Vec::new();
    for end in ENDS {
        let inside = format!(
            "one{end}MAIL FROM:<evil@sender.test>\r\nRCPT TO:<victim@{domain}>\r\nDATA\r\n\
             Subject: smuggled\r\n\r\ntwo{end}QUIT\r\n"
        );
        for email in [
            json!({ "to": [format!("text@{domain}")], "subject": "first", "text": inside }),
            json!({ "to": [format!("both@{domain}")], "subject": "first", "text": inside,
                    "html": format!("<p>{inside}</p>") }),
        ] {
            ids.push(app.api.accepted(&email).await);
        }
    }
    for id in &ids {
        app.api.becomes(id, "delivered").await;
    }
    ids.len()
}

/// That all are first ones, each with the words of the second as its own text.
fn assert_first_ones(app: &TestApp, files: &[String]) {
    for copy in judges::read(app.world.dns.address(), &Copies::of(files)) {
        assert_eq!(copy["subject"], "first", "{copy}");
        assert_eq!(copy["signers"], json!(SIGNERS), "{copy}");
        let text = copy["text"].as_str().unwrap();
        assert!(text.contains("Subject: smuggled") && text.contains("QUIT"), "{copy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn no_second_message_comes_out_of_the_first_at_postfix() {
    let app = stage::start(|_| {}).await;
    let postfix = stage::postfix(&app, "postfix.test", 2, &[]);
    let count = send_all(&app, "postfix.test").await;
    let files = stage::all_delivered("Postfix", count, || postfix.delivered()).await;
    assert_first_ones(&app, &files);
    assert!(!postfix.log().contains("victim@"), "{}", postfix.log());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn no_second_message_comes_out_of_the_first_at_exim_and_opensmtpd() {
    let app = stage::start(|_| {}).await;
    if !without("exim") {
        let exim = stage::exim(&app, "exim.test", 3);
        let count = send_all(&app, "exim.test").await;
        let files = stage::all_delivered("Exim", count, || exim.delivered()).await;
        assert_first_ones(&app, &files);
        assert!(!exim.log().contains("victim@"), "{}", exim.log());
    }
    if !without("opensmtpd") {
        let opensmtpd = stage::opensmtpd(&app, "opensmtpd.test", 4);
        let count = send_all(&app, "opensmtpd.test").await;
        let files = stage::all_delivered("OpenSMTPD", count, || opensmtpd.delivered()).await;
        assert_first_ones(&app, &files);
    }
}
