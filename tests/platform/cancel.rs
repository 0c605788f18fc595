//! A scheduled message is taken back.

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    client::{assert_conserved, kinds},
    inbox::{ByRecipient, reply},
};

async fn cancel(app: &TestApp, id: &str) -> crate::support::client::Answer {
    app.api.request("POST", &format!("/v1/messages/{id}/cancel"), |request| request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_message_can_be_taken_back_once() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let now = actors::Clock::now(&lumora::clock::SystemClock);
    let at = now.plus(std::time::Duration::from_hours(1)).to_string();
    let email = json!({
        "to": ["ada@reader.test", "bob@reader.test"], "subject": "Later", "text": "t",
        "scheduledAt": at,
    });
    let sent = app.api.send(&email).await.expect(202);
    assert_eq!(sent["status"], "scheduled");
    let id = sent["messageId"].as_str().unwrap();
    let canceled = cancel(&app, id).await.expect(200);
    assert_eq!(canceled["message"]["status"], "canceled", "{canceled}");
    assert_eq!(canceled["message"]["id"], json!(id));
    let read = app.api.message(id).await;
    assert_eq!(canceled, read);
    assert_eq!(kinds(&read), ["accepted", "scheduled", "canceled", "canceled"]);
    let recipients = read["recipients"].as_array().unwrap();
    assert!(recipients.iter().all(|r| r["status"] == "canceled" && r["attempts"] == 0));

    let again = cancel(&app, id).await.expect(409);
    assert_eq!(again["error"], "not_cancelable");
    let unknown = cancel(&app, "msg_00000000000000000000000000").await.expect(404);
    assert_eq!(unknown["error"], "not_found");
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    assert_eq!(stats["totals"]["canceled"], 2);
    assert_eq!(app.world.inbox.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_retry_can_be_taken_back_and_what_has_ended_cannot() {
    let app = TestApp::start_in(crate::support::world::World::new().await, |config| {
        let hour = lumora::config::Span(std::time::Duration::from_hours(1));
        config.delivery.retry_schedule = Some(lumora::config::OneOrMany(vec![hour]));
    })
    .await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|_: &str| reply(452, "4.3.1 Full")));
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.until(&id, "was tried", |m| kinds(m).contains(&"deferred")).await;
    let canceled: Value = cancel(&app, &id).await.expect(200);
    assert_eq!(kinds(&canceled), ["accepted", "deferred", "canceled"]);

    app.world.inbox.obey(mail::sink::AcceptAll);
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "delivered").await;
    assert_eq!(cancel(&app, &id).await.expect(409)["error"], "not_cancelable");
}
