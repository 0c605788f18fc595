//! What servers take and cannot deliver comes back as their own reports, and ends the recipient
//! whom it is about.

use serde_json::{Value, json};

use crate::{
    platform::support::{
        app::TestApp,
        client::kinds,
        inbox::{ByRecipient, reply},
    },
    servers::{dovecot::Dovecot, without},
    stage,
};

/// Sends to one who is there and one who is not; waits for the report about the second.
async fn comes_back(app: &TestApp, good: &str, bad: &str, log: impl Fn() -> String) -> Value {
    let email = json!({ "to": [good, bad], "subject": "Hello", "text": "Hello\n" });
    let alone = json!({ "to": [bad], "subject": "Hello", "text": "Hello\n" });
    // The first names the recipient by its words alone, the second by its token.
    let (both, alone) = (app.api.accepted(&email).await, app.api.accepted(&alone).await);
    let bounced =
        app.api.until(&alone, "comes back", |read| read["message"]["status"] == "bounced");
    let read = bounced.await;
    println!("{bad}: {}", read["events"][2]["smtp"]["message"]);
    assert_eq!(kinds(&read), ["accepted", "delivered", "bounced"], "{}", log());
    let partly = |read: &Value| read["message"]["status"] == "partially_delivered";
    let read = app.api.until(&both, "comes back in part", partly).await;
    let status = |n: usize| read["recipients"][n]["status"].as_str().unwrap();
    assert_eq!((status(0), status(1)), ("delivered", "bounced"), "{read}\n{}", log());
    read["events"].as_array().unwrap().last().unwrap().clone()
}

async fn listed(app: &TestApp) -> Vec<String> {
    let page = app.api.get("/v1/suppressions").await.expect(200);
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["email"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn postfix_reports_what_dovecot_refuses() {
    let app = stage::start(|_| {}).await;
    let dovecot = Dovecot::start(&["box".to_owned()]);
    let postfix = stage::postfix(&app, "dovecot.test", 5, &[dovecot.transport()]);
    let gone = comes_back(&app, "box@dovecot.test", "gone@dovecot.test", || postfix.log()).await;
    assert_eq!(gone["reason"], "recipient", "{gone}");
    assert_eq!(gone["smtp"]["enhancedCode"], "5.1.1", "{gone}");
    assert_eq!(listed(&app).await, ["gone@dovecot.test"]);
    let full = comes_back(&app, "box@dovecot.test", "full@dovecot.test", || postfix.log()).await;
    assert_eq!(full["reason"], "mailbox_full", "{full}");
    assert_eq!(full["smtp"]["enhancedCode"], "5.2.2", "{full}");
    assert_eq!(listed(&app).await, ["gone@dovecot.test"], "who is full is not gone");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn postfix_reports_what_opensmtpd_behind_it_refuses() {
    if without("opensmtpd") {
        return;
    }
    let app = stage::start(|_| {}).await;
    let opensmtpd = stage::opensmtpd(&app, "opensmtpd.test", 4);
    let port = app.world.inbox.port();
    let relay = [
        "relay_domains = strict.opensmtpd.test, opensmtpd.test".to_owned(),
        format!("relay_transport = smtp:[127.0.0.4]:{port}"),
        "smtp_tls_security_level = none".to_owned(),
    ];
    let postfix = stage::postfix(&app, "relay.test", 2, &relay);
    // Their mail goes through Postfix, which does not know who is there.
    app.world.dns.add_mx("strict.opensmtpd.test", 10, "mx.relay.test").unwrap();
    app.world.dns.remove("opensmtpd.test").unwrap();
    app.world.dns.add_mx("opensmtpd.test", 10, "mx.relay.test").unwrap();
    let (good, bad) = ("ada@opensmtpd.test", "ada@strict.opensmtpd.test");
    let gone = comes_back(&app, good, bad, || postfix.log()).await;
    assert_eq!(gone["reason"], "recipient", "{gone}");
    assert_eq!(listed(&app).await, [bad]);
    stage::all_delivered("OpenSMTPD", 1, || opensmtpd.delivered()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn what_exim_and_opensmtpd_tell_people_alone_is_understood() {
    let app = stage::start(|_| {}).await;
    let mut expected = Vec::new();
    if !without("exim") {
        let exim = stage::exim(&app, "exim.test", 3);
        let gone = comes_back(&app, "ada@exim.test", "gone@exim.test", || exim.log()).await;
        assert_eq!(gone["reason"], "recipient", "{gone}");
        assert_eq!(gone["smtp"]["message"], "Unrouteable address", "{gone}");
        expected.push("gone@exim.test");
    }
    if !without("opensmtpd") {
        app.world.inbox.obey(ByRecipient(|_: &str| reply(550, "5.1.1 no such user here")));
        let opensmtpd = stage::opensmtpd(&app, "opensmtpd.test", 4);
        app.world.dns.add_mx("relayed.opensmtpd.test", 10, "mx.opensmtpd.test").unwrap();
        let (good, bad) = ("ada@opensmtpd.test", "gone@relayed.opensmtpd.test");
        let gone = comes_back(&app, good, bad, || opensmtpd.log()).await;
        assert_eq!(gone["reason"], "recipient", "{gone}");
        assert_eq!(gone["smtp"]["enhancedCode"], "5.1.1", "{gone}");
        expected.push(bad);
    }
    let mut listed = listed(&app).await;
    listed.sort();
    assert_eq!(listed, expected);
}
