//! What holds for every answer, and the pages that need no key.

use std::sync::Arc;

use api::{ApiOptions, ApiParts};
use eventlog::{Append, EventLog as _, Fault, NewEvent, Version};
use model::{EventId, MessageId, StreamId};
use poem::{Request, http::Method};
use serde_json::Value;

use crate::world::{START, World, email, request};

fn get(path: &str) -> Request {
    Request::builder().uri_str(path).finish()
}

#[tokio::test]
async fn request_ids_are_taken_over_or_made() {
    let world = World::start().await;
    let with = |id: &str| Request::builder().uri_str("/nope").header("x-request-id", id).finish();
    assert_eq!(world.call(with("mine-1")).await.header("x-request-id"), Some("mine-1"));
    let made = world.call(with("<not mine>")).await;
    assert!(made.header("x-request-id").unwrap().starts_with("req_"));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_its_words() {
    let world = World::start_with(ApiOptions::default(), |parts| ApiParts {
        metrics: Arc::new(|| panic!("canary")),
        ..parts
    })
    .await;
    // Not in the document: no operation means to do this.
    let endpoint = api::app(world.parts.clone());
    let response = poem::Endpoint::get_response(&endpoint, get("/metrics")).await;
    assert_eq!(response.status().as_u16(), 500);
    let id = response.header("x-request-id").unwrap().to_owned();
    let text = response.into_body().into_string().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (body["error"].as_str(), body["requestId"].as_str()),
        (Some("internal_error"), Some(&*id))
    );
    assert!(!text.contains("canary"));
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_key() {
    let world = World::start().await;
    assert_eq!(world.call(get("/healthz")).await.expect(200).json["status"], "ok");
    assert_eq!(world.call(get("/readyz")).await.expect(200).json["status"], "ready");
    let metrics = world.call(get("/metrics")).await.expect(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    assert_eq!(metrics.bytes, b"lumora_up 1\n");
}

#[tokio::test]
async fn a_server_that_cannot_write_is_not_ready() {
    let world = World::start().await;
    world.log.inner.inject([Fault::SyncFailed]);
    let sent = world.send(&email()).await;
    assert!(sent.status >= 500, "{}", sent.json);
    let answer = world.call(get("/readyz")).await.expect(503);
    assert_eq!(answer.error(), "not_ready");
    world.call(get("/healthz")).await.expect(200);
}

#[tokio::test]
async fn a_server_whose_read_models_have_stopped_is_not_ready() {
    let world = World::start().await;
    let data: &[u8] = br#"{"type":"message.teleported","v":1}"#;
    let append = Append {
        stream: StreamId::Message(MessageId::from_bytes([7; 16])),
        expected: Version::NONE,
        at: START,
        events: vec![NewEvent { id: EventId::from_bytes([7; 16]), data: data.into() }],
        content: Vec::new(),
    };
    world.log.append(append).await.unwrap();
    let answer = world.call(get("/readyz")).await.expect(503);
    assert_eq!(answer.error(), "not_ready");
    assert!(answer.json["message"].as_str().unwrap().contains("stopped"), "{}", answer.json);
    world.call(get("/healthz")).await.expect(200);
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready() {
    let world = World::start().await;
    world.platform.stop(std::time::Duration::from_secs(5)).await;
    assert_eq!(world.call(get("/readyz")).await.expect(503).error(), "not_ready");
    let sent = world.send(&email()).await;
    assert_eq!(sent.status, 503);
    assert!(sent.header("retry-after").is_some());
}

#[tokio::test]
async fn the_pages_work_without_the_outside() {
    let world = World::start().await;
    let root = world.call(get("/")).await.expect(302);
    assert_eq!(root.header("location"), Some("/docs"));
    let page = world.call(get("/docs")).await.expect(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("http"));
    let text = String::from_utf8(page.bytes).unwrap();
    for part in text.split('"').filter(|part| part.starts_with("/docs/")) {
        let file = world.call(get(part)).await.expect(200);
        assert!(!file.bytes.is_empty(), "{part}");
        let kind = file.header("content-type").unwrap();
        assert!(kind == "text/css" || kind == "text/javascript", "{part} is {kind}");
    }
    let document = world.call(get("/openapi.json")).await.expect(200);
    assert_eq!(document.json, api::document());
    assert_eq!(document.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn answers_to_a_key_are_not_kept() {
    let world = World::start().await;
    let request = request(Method::GET, "/v1/emails/logs", &world.key).finish();
    assert_eq!(world.call(request).await.expect(200).header("cache-control"), Some("no-store"));
}
