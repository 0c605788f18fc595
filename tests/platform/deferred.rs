//! A greylisting receiver says 451 first and takes the message at the next attempt.

use std::sync::atomic::{AtomicU32, Ordering};

use mail::sink::Action;
use serde_json::json;

use crate::support::{
    app::TestApp,
    client::{assert_conserved, kinds},
    inbox::{ByRecipient, reply},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deferred_is_tried_again_and_delivered() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let asked = AtomicU32::new(0);
    app.world.inbox.obey(ByRecipient(move |_: &str| {
        if asked.fetch_add(1, Ordering::Relaxed) < 2 {
            return reply(451, "4.7.1 Greylisted, come back later");
        }
        Action::Accept
    }));
    let email = json!({ "to": ["ada@reader.test"], "subject": "Again", "text": "Hello" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;

    assert_eq!(kinds(&read), ["accepted", "deferred", "deferred", "delivered"]);
    let events = read["events"].as_array().unwrap();
    for (event, attempt) in events[1..].iter().zip(1..) {
        assert_eq!(event["attempt"], attempt, "{event}");
        assert_eq!(event["recipient"], "ada@reader.test");
    }
    for event in &events[1..3] {
        let smtp = &event["smtp"];
        assert_eq!((&smtp["code"], &smtp["enhancedCode"]), (&json!(451), &json!("4.7.1")));
        assert_eq!(smtp["message"], "Greylisted, come back later");
        assert!(event["nextAttemptAt"].as_str().unwrap() > event["occurredAt"].as_str().unwrap());
    }
    let recipient = &read["recipients"][0];
    assert_eq!((&recipient["status"], &recipient["attempts"]), (&json!("delivered"), &json!(3)));
    assert!(recipient.get("nextAttemptAt").is_none());
    assert_eq!(recipient["lastResponse"]["code"], 250);
    assert_eq!(app.world.inbox.taken().len(), 1);

    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    // A recipient that was deferred twice counts once.
    assert_eq!(
        (&stats["totals"]["deferred"], &stats["totals"]["delivered"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_message_says_so_and_when() {
    let app = TestApp::start_in(crate::support::world::World::new().await, |config| {
        let hour = lumora::config::Span(std::time::Duration::from_hours(1));
        config.delivery.retry_schedule = Some(lumora::config::OneOrMany(vec![hour]));
    })
    .await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|_: &str| reply(452, "4.2.2 Mailbox full")));
    let email = json!({ "to": ["ada@reader.test"], "subject": "Full", "text": "Hello" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "sending").await;
    let recipient = &read["recipients"][0];
    assert_eq!((&recipient["status"], &recipient["attempts"]), (&json!("deferred"), &json!(1)));
    assert_eq!(recipient["lastResponse"]["enhancedCode"], "4.2.2");
    let deferred = &read["events"][1];
    assert_eq!(recipient["nextAttemptAt"], deferred["nextAttemptAt"]);
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    assert_eq!((&stats["inFlight"], &stats["totals"]["deferred"]), (&json!(1), &json!(1)));
}
