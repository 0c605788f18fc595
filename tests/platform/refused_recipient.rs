//! One recipient is refused, the other one gets the message all the same.

use mail::sink::Action;
use serde_json::json;

use crate::support::{
    app::TestApp,
    client::assert_conserved,
    inbox::{ByRecipient, reply},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_does_not_keep_the_message_from_the_others() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|recipient: &str| {
        if recipient.starts_with("nobody") {
            return reply(550, "5.1.1 No such user");
        }
        Action::Accept
    }));
    let email = json!({
        "to": ["nobody@reader.test", "ada@reader.test"], "subject": "Both", "text": "Hello",
    });
    let id = app.api.accepted(&email).await;
    let read = app.api.ended(&id).await;
    assert_eq!(read["message"]["status"], "partially_delivered");
    let of = |index: usize| read["recipients"][index]["status"].as_str().unwrap();
    assert_eq!((of(0), of(1)), ("bounced", "delivered"));
    let response = &read["recipients"][0]["lastResponse"];
    assert_eq!((&response["code"], &response["enhancedCode"]), (&json!(550), &json!("5.1.1")));
    assert_eq!(response["message"], "No such user");
    let bounced = read["events"].as_array().unwrap().iter();
    let bounced: Vec<_> = bounced.filter(|event| event["type"] == "bounced").collect();
    assert_eq!(bounced.len(), 1);
    assert_eq!(
        (&bounced[0]["reason"], &bounced[0]["recipientIndex"]),
        (&json!("recipient"), &json!(0))
    );

    // One transaction, in which only the accepted recipient stands.
    let (received, _) = app.world.inbox.only();
    assert_eq!(received.recipients, ["ada@reader.test"]);

    let found = app.api.all_logs("recipient=nobody@reader.test").await;
    assert!(found.iter().any(|row| row["type"] == "bounced"), "{found:?}");
    assert!(found.iter().all(|row| row["type"] != "delivered"), "{found:?}");
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    let total = |name: &str| stats["totals"][name].as_u64().unwrap();
    assert_eq!((total("accepted"), total("delivered"), total("bounced")), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_refused_nothing_is_sent() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|_: &str| reply(550, "5.1.1 No such user")));
    let email = json!({ "to": ["a@reader.test", "b@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.ended(&id).await;
    assert_eq!(read["message"]["status"], "bounced");
    assert!(read["message"].get("sentAt").is_none());
    assert!(app.world.inbox.taken().is_empty());
}
