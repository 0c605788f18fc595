//! The server is stopped and started with mail in its queue.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    client::{assert_conserved, kinds},
    inbox::{ByRecipient, reply},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_delivered_after_an_orderly_restart() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|_: &str| reply(451, "4.3.2 Not now")));
    let mut ids = Vec::new();
    for number in 0..20 {
        let email = json!({
            "to": [format!("reader{number}@reader.test")], "subject": "s", "text": "t",
        });
        ids.push(app.api.accepted(&email).await);
    }
    for id in &ids {
        app.api.until(id, "was tried", |m| kinds(m).contains(&"deferred")).await;
    }
    app.stop().await;
    app.world.inbox.obey(mail::sink::AcceptAll);
    app.start_again().await;
    for id in &ids {
        let read = app.api.becomes(id, "delivered").await;
        assert_eq!(kinds(&read).iter().filter(|kind| **kind == "delivered").count(), 1, "{read}");
    }
    // Stopped in order, nothing was under way: each was sent exactly once.
    let mut sent: BTreeMap<String, u32> = BTreeMap::new();
    for received in app.world.inbox.taken() {
        *sent.entry(received.recipients[0].clone()).or_default() += 1;
    }
    assert_eq!(sent.len(), 20);
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    assert_eq!(stats["totals"]["delivered"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_message_keeps_its_time_over_a_restart() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    let at = soon(2_500);
    let email = json!({
        "to": ["ada@reader.test"], "subject": "s", "text": "t", "scheduledAt": at,
    });
    let sent = app.api.send(&email).await.expect(202);
    assert_eq!(sent["status"], "scheduled");
    let id = sent["messageId"].as_str().unwrap().to_owned();
    let read = app.api.message(&id).await;
    assert_eq!(
        (&read["message"]["status"], kinds(&read)),
        (&json!("scheduled"), vec!["accepted", "scheduled"])
    );
    app.stop().await;
    app.start_again().await;
    let read = app.api.becomes(&id, "delivered").await;
    let when = |value: &Value| value.as_str().unwrap().parse::<model::Timestamp>().unwrap();
    assert_eq!(when(&read["message"]["scheduledAt"]), when(&at));
    assert!(when(&read["message"]["sentAt"]) >= when(&at), "it went too early: {read}");
}

/// So many milliseconds from now.
fn soon(ms: u64) -> Value {
    use actors::Clock as _;
    let now = lumora::clock::SystemClock.now();
    json!(now.plus(std::time::Duration::from_millis(ms)).to_string())
}
