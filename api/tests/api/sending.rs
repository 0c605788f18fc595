//! Sending, repeating, taking back.

use eventlog::Fault;
use serde_json::{Value, json};

use crate::world::{World, email, email_with};

#[tokio::test]
async fn a_send_is_accepted_and_named() {
    let world = World::start().await;
    let answer = world.send(&email()).await.expect(202);
    assert!(answer.json["messageId"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(answer.json["status"], "queued");
    assert_eq!(answer.json["idempotentReplay"], false);
    let later = json!({ "scheduledAt": "2025-11-27T12:00:00Z" });
    assert_eq!(world.send(&email_with(later)).await.expect(202).json["status"], "scheduled");
}

#[tokio::test]
async fn a_repeated_send_is_sent_once() {
    let world = World::start().await;
    let bad = world.send_once(&email_with(json!({ "to": [] })), "k").await;
    assert_eq!(bad.status, 422, "a refused request does not use the key up");
    let first = world.send_once(&email(), "k").await.expect(202);
    let again = world.send_once(&email(), "k").await.expect(202);
    assert_eq!(first.json["messageId"], again.json["messageId"]);
    assert_eq!(again.json["idempotentReplay"], true);
    let other = world.send_once(&email_with(json!({ "subject": "Other" })), "k").await;
    assert_eq!((other.status, other.error()), (409, "idempotency_conflict"));
}

#[tokio::test]
async fn large_files_go_through() {
    let world = World::start().await;
    let content = "QUJD".repeat(200_000);
    let files = json!({ "attachments": [{ "filename": "a.bin", "content": content }] });
    let id = world.accepted(&email_with(files)).await;
    let message = world.until(&id, &["delivered"]).await;
    assert!(message["message"]["sizeBytes"].as_u64().unwrap() > 600_000);
}

#[tokio::test]
async fn a_scheduled_message_is_taken_back_once() {
    let world = World::start().await;
    let id = world.accepted(&email_with(json!({ "scheduledAt": "2025-11-27T12:00:00Z" }))).await;
    let path = format!("/v1/messages/{id}/cancel");
    let canceled = world.post(&path, &Value::Null).await.expect(200).json;
    assert_eq!(canceled["message"]["status"], "canceled");
    assert_eq!(canceled["recipients"][0]["status"], "canceled");
    assert_eq!(canceled, world.get(&format!("/v1/messages/{id}")).await.json);
    let again = world.post(&path, &Value::Null).await;
    assert_eq!((again.status, again.error()), (409, "not_cancelable"));
}

#[tokio::test]
async fn faults_of_the_log_say_what_to_do() {
    let world = World::start().await;
    for fault in [Fault::Lost, Fault::StorageFull] {
        world.log.inner.inject([fault]);
        let answer = world.send(&email()).await;
        assert_eq!((answer.status, answer.error()), (503, "unavailable"), "{fault:?}");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    }
    world.send(&email()).await.expect(202);
}
