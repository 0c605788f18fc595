//! The same request under the same key is carried out once, also across a restart and in a race.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_answered_as_the_first_was_also_after_a_restart() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    let email = json!({ "to": ["ada@reader.test"], "subject": "Once", "text": "Hello" });
    let first = app.api.send_once(&email, "order 4711").await.expect(202);
    assert_eq!(first["idempotentReplay"], false);
    let id = first["messageId"].as_str().unwrap().to_owned();
    let replayed = |again: &Value| {
        assert_eq!(again["messageId"], json!(id));
        assert_eq!(
            (&again["idempotentReplay"], &again["status"]),
            (&json!(true), &first["status"])
        );
    };
    replayed(&app.api.send_once(&email, "order 4711").await.expect(202));
    app.api.becomes(&id, "delivered").await;
    app.stop().await;
    app.start_again().await;
    replayed(&app.api.send_once(&email, "order 4711").await.expect(202));

    let other = json!({ "to": ["ada@reader.test"], "subject": "Twice", "text": "Hello" });
    let conflict = app.api.send_once(&other, "order 4711").await.expect(409);
    assert_eq!(conflict["error"], "idempotency_conflict");
    // Another key is another request.
    let second = app.api.send_once(&email, "order 4712").await.expect(202);
    assert_eq!(second["idempotentReplay"], false);
    app.api.becomes(second["messageId"].as_str().unwrap(), "delivered").await;
    assert_eq!(app.world.inbox.taken().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_requests_make_one_message() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let email = json!({ "to": ["ada@reader.test"], "subject": "Once", "text": "Hello" });
    let mut racing = JoinSet::new();
    for _ in 0..32 {
        let (api, email) = (app.api.clone(), email.clone());
        racing.spawn(async move { api.send_once(&email, "race").await.expect(202) });
    }
    let answers = racing.join_all().await;
    let id = answers[0]["messageId"].clone();
    assert!(answers.iter().all(|answer| answer["messageId"] == id), "{answers:?}");
    let made = answers.iter().filter(|answer| answer["idempotentReplay"] == false).count();
    assert_eq!(made, 1);
    app.api.becomes(id.as_str().unwrap(), "delivered").await;
    assert_eq!(app.world.inbox.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_does_not_use_the_key_up() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let bad = json!({ "to": ["ada@reader.test"], "subject": "", "text": "Hello" });
    app.api.send_once(&bad, "k").await.expect(422);
    let elsewhere = json!({
        "from": { "email": "a@elsewhere.test" },
        "to": ["ada@reader.test"], "subject": "s", "text": "Hello",
    });
    let refused = app.api.send_once(&elsewhere, "k").await.expect(403);
    assert_eq!(refused["error"], "sender_domain_not_verified");
    let good = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "Hello" });
    let sent = app.api.send_once(&good, "k").await.expect(202);
    assert_eq!(sent["idempotentReplay"], false);
}
