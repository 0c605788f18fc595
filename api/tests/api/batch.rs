//! Several emails in one request.

use poem::{Body, http::Method};
use serde_json::{Value, json};

use crate::world::{Answer, World, email, email_with, request};

const BATCH: &str = "/v1/email/batch";

async fn once(world: &World, batch: &Value, key: &str) -> Answer {
    let request = request(Method::POST, BATCH, &world.key).content_type("application/json");
    world.call(request.header("idempotency-key", key).body(Body::from_json(batch).unwrap())).await
}

async fn accepted(world: &World) -> usize {
    let logs = world.get("/v1/emails/logs?type=accepted&limit=100").await.expect(200).json;
    logs["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_hundred_emails_go_out_in_their_order() {
    let world = World::start().await;
    let subject = |number: usize| email_with(json!({ "subject": format!("Number {number}") }));
    let batch: Value = (0..100).map(subject).collect();
    let answer = world.post(BATCH, &batch).await.expect(202).json;
    let sent = answer["data"].as_array().unwrap();
    assert_eq!(sent.len(), 100);
    for (number, sent) in sent.iter().enumerate() {
        assert_eq!(sent["idempotentReplay"], false);
        let id = sent["messageId"].as_str().unwrap();
        let message = world.until(id, &["delivered"]).await;
        assert_eq!(message["message"]["subject"], format!("Number {number}"));
    }
}

#[tokio::test]
async fn one_that_is_refused_holds_back_all() {
    let world = World::start().await;
    let strange = json!({ "from": { "email": "a@other.test" } });
    for (bad, status, error, field) in [
        (json!({ "to": ["nobody"] }), 422, "validation_failed", "[3].to[0]"),
        (
            json!({ "template": { "slug": "x" }, "text": null }),
            422,
            "template_not_found",
            "[3].template",
        ),
        (strange, 403, "sender_domain_not_verified", "[3].from"),
        (json!({ "from": null }), 422, "no_default_sender", "[3].from"),
        (json!({ "unheardOf": 1 }), 422, "validation_failed", "[3].unheardOf"),
    ] {
        let batch = json!([email(), email(), email(), email_with(bad)]);
        let answer = once(&world, &batch, "k").await;
        assert_eq!((answer.status, answer.error()), (status, error), "{}", answer.json);
        assert_eq!(answer.fields(), [field]);
    }
    assert_eq!(accepted(&world).await, 0);
    // A refused batch does not use the key up.
    once(&world, &json!([email()]), "k").await.expect(202);
}

#[tokio::test]
async fn batches_have_one_to_a_hundred_emails() {
    let world = World::start().await;
    let many: Value = (0..101).map(|_| email()).collect();
    for (batch, field) in
        [(json!([]), "body"), (many, "body"), (email(), "body"), (json!([email(), 1]), "[1]")]
    {
        let answer = world.post(BATCH, &batch).await.expect(422);
        assert_eq!((answer.error(), answer.fields()), ("validation_failed", vec![field]));
    }
}

#[tokio::test]
async fn a_repeated_batch_is_sent_once() {
    let world = World::start().await;
    let batch = json!([email(), email_with(json!({ "subject": "Second" }))]);
    let first = once(&world, &batch, "k").await.expect(202).json;
    let again = once(&world, &batch, "k").await.expect(202).json;
    for place in 0..2 {
        assert_eq!(first["data"][place]["messageId"], again["data"][place]["messageId"]);
        assert_eq!(again["data"][place]["idempotentReplay"], true);
    }
    let other = once(&world, &json!([email(), email()]), "k").await;
    assert_eq!((other.status, other.error()), (409, "idempotency_conflict"));
    assert_eq!(accepted(&world).await, 2);
}
