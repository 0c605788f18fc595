//! Bad requests and what each is told.

use std::time::Duration;

use api::ApiOptions;
use futures_util::stream;
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};

use crate::world::{World, email, email_with, request};

const SEND: &str = "/v1/email/send";

fn post(world: &World, kind: Option<&str>, body: impl Into<Body>) -> Request {
    let request = request(Method::POST, SEND, &world.key);
    let request = match kind {
        Some(kind) => request.content_type(kind),
        None => request,
    };
    request.body(body)
}

fn compressed(mut request: Request) -> Request {
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    request
}

#[tokio::test]
async fn each_bad_body_has_its_error() {
    let options = ApiOptions { max_body_bytes: 100_000, ..ApiOptions::default() };
    let world = World::start_with(options, |parts| parts).await;
    let json = Some("application/json");
    let good = email().to_string();
    let large = "x".repeat(100_001);
    let cases: Vec<(Request, u16, &str)> = vec![
        (post(&world, json, ""), 400, "invalid_json"),
        (post(&world, json, "{"), 400, "invalid_json"),
        (post(&world, json, vec![0xff, 0xfe]), 400, "invalid_json"),
        (post(&world, json, format!("{good}{good}")), 400, "invalid_json"),
        (post(&world, None, good.clone()), 415, "unsupported_media_type"),
        (post(&world, Some("text/plain"), good.clone()), 415, "unsupported_media_type"),
        (
            post(&world, Some("application/json; charset=latin1"), good.clone()),
            415,
            "unsupported_media_type",
        ),
        (compressed(post(&world, json, good.clone())), 415, "unsupported_media_type"),
        (post(&world, json, large.clone()), 413, "payload_too_large"),
        (post(&world, json, "[]"), 422, "validation_failed"),
        (post(&world, json, "{}"), 422, "validation_failed"),
        (
            post(&world, json, email_with(json!({ "template": {} })).to_string()),
            422,
            "validation_failed",
        ),
        (
            post(
                &world,
                json,
                email_with(json!({ "from": { "email": "a@other.test" } })).to_string(),
            ),
            403,
            "sender_domain_not_verified",
        ),
        (
            post(
                &world,
                json,
                email_with(json!({ "from": { "email": "a@acme.test" } })).to_string(),
            ),
            403,
            "sender_domain_not_verified",
        ),
        (
            post(
                &world,
                json,
                email_with(json!({ "from": { "email": "a@sub.mail.acme.test" } })).to_string(),
            ),
            403,
            "sender_domain_not_verified",
        ),
        (
            post(&world, json, email_with(json!({ "from": null })).to_string()),
            422,
            "no_default_sender",
        ),
    ];
    for (request, status, error) in cases {
        let answer = world.call(request).await;
        assert_eq!((answer.status, answer.error()), (status, error), "{}", answer.json);
        assert!(answer.header("ratelimit-limit").is_some());
    }
    assert_eq!(world.get("/v1/emails/logs").await.json["data"], json!([]), "nothing is stored");
}

#[tokio::test]
async fn size_is_what_arrives_not_what_is_announced() {
    let options = ApiOptions { max_body_bytes: 1_000, ..ApiOptions::default() };
    let world = World::start_with(options, |parts| parts).await;
    let announced = request(Method::POST, SEND, &world.key)
        .content_type("application/json")
        .header("content-length", "5000000")
        .header("expect", "100-continue")
        .body(Body::from_bytes_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>()));
    let answer = world.call(announced).await.expect(413);
    assert_eq!(answer.error(), "payload_too_large");
    let chunks = (0..50).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100]));
    let chunked = Body::from_bytes_stream(stream::iter(chunks));
    let answer = world.call(post(&world, Some("application/json"), chunked)).await.expect(413);
    assert_eq!(answer.error(), "payload_too_large");
}

#[tokio::test]
async fn a_stranger_may_send_less_than_a_message_may_have() {
    let world = World::start().await;
    let long = "x".repeat(300_000);
    let login = json!({ "email": long, "password": "p" }).to_string();
    let login = Request::builder()
        .method(Method::POST)
        .uri_str("/portal/login")
        .content_type("application/json")
        .body(login);
    assert_eq!(world.call(login).await.expect(413).error(), "payload_too_large");
    world.send(&email_with(json!({ "text": long }))).await.expect(202);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let options = ApiOptions { body_idle: Duration::from_millis(20), ..ApiOptions::default() };
    let world = World::start_with(options, |parts| parts).await;
    let silent = Body::from_bytes_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = world.call(post(&world, Some("application/json"), silent)).await.expect(408);
    assert_eq!(answer.error(), "request_timeout");
    let broken = stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("reset"))]);
    let broken = Body::from_bytes_stream(broken);
    let answer = world.call(post(&world, Some("application/json"), broken)).await.expect(400);
    assert_eq!(answer.error(), "bad_request");
}

#[tokio::test]
async fn wrong_addresses_and_methods_are_named() {
    let world = World::start().await;
    for path in
        ["/nope", "/v1", "/v1/email/send/", "/v1/messages", "/v1/messages/a/b", "//", "/docs/x"]
    {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.error()), (404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, SEND, "POST"),
        (Method::DELETE, "/v1/messages/msg_1", "GET, HEAD"),
        (Method::PUT, "/v1/messages/msg_1/cancel", "POST"),
        (Method::POST, "/healthz", "GET, HEAD"),
        (Method::OPTIONS, "/v1/emails/logs", "GET, HEAD"),
        (Method::POST, "/docs", "GET, HEAD"),
    ] {
        let answer = world.call(request(method.clone(), path, &world.key).finish()).await;
        assert_eq!((answer.status, answer.error()), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    let head = world.call(request(Method::HEAD, "/v1/emails/logs", &world.key).finish()).await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));
}

#[tokio::test]
async fn every_bad_parameter_is_named_at_once() {
    let world = World::start().await;
    for (path, fields) in [
        (
            "/v1/emails/logs?limit=101&cursor=x&messageId=1&recipient=a@b&type=gone&tag=&from=1&to=now",
            vec!["limit", "cursor", "recipient", "messageId", "type", "tag", "from", "to"],
        ),
        ("/v1/emails/logs?limit=1&limit=2", vec!["limit"]),
        (
            "/v1/emails/stats?from=a&to=b&interval=week&groupBy=x",
            vec!["to", "from", "interval", "groupBy"],
        ),
        ("/v1/emails/stats?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", vec!["from"]),
        ("/v1/emails/logs?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", vec!["from"]),
        ("/v1/emails/stats?from=1990-01-01T00:00:00Z&interval=hour", vec!["from"]),
    ] {
        let answer = world.get(path).await.expect(422);
        let mut found = answer.fields();
        found.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(found, fields, "{path}");
    }
}

#[tokio::test]
async fn idempotency_keys_have_a_form() {
    let world = World::start().await;
    for bad in ["", "é", &"k".repeat(257)] {
        let answer = world.send_once(&email(), bad).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_idempotency_key"), "{bad}");
    }
    let twice = request(Method::POST, SEND, &world.key)
        .content_type("application/json")
        .header("idempotency-key", "a")
        .header("idempotency-key", "b")
        .body(Body::from_json(email()).unwrap());
    let answer = world.call(twice).await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_idempotency_key"));
    world.send_once(&email(), &"k".repeat(256)).await.expect(202);
    world.send_once(&email(), "order 1042 / first~").await.expect(202);
}

#[tokio::test]
async fn a_refusal_repeats_nothing_of_what_was_sent() {
    let world = World::start().await;
    let bad = email_with(json!({ "to": ["canary@@reader.test"], "subject": "canary\n" }));
    let answer = world.send(&bad).await.expect(422);
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("canary"));
    assert_eq!(answer.json.get("requestId"), None::<&Value>);
}
