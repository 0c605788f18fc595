//! Who may do what, derived from the document: a new operation is tested the day it appears.

use std::time::Duration;

use model::tenant::Scope;
use poem::{Body, Request, RequestBuilder, http::Method};
use serde_json::Value;

use crate::{
    described::Document,
    world::{Answer, START, World, email, key, request},
};

/// Every operation that needs a key, with the scope it needs.
fn guarded() -> Vec<(String, Method, Scope)> {
    let operations = Document::new().operations().into_iter();
    let guarded: Vec<_> = operations
        .filter(|(_, _, operation)| operation["security"].is_array())
        .map(|(path, method, operation)| {
            let scope = operation["x-required-scope"].as_str().unwrap();
            (path, method, Scope::parse(scope).unwrap())
        })
        .collect();
    assert!(guarded.len() >= 5);
    guarded
}

fn with_body(builder: RequestBuilder, method: &Method, body: &Value) -> Request {
    if method == Method::POST {
        builder.content_type("application/json").body(Body::from_json(body).unwrap())
    } else {
        builder.finish()
    }
}

async fn call(world: &World, key: &str, method: &Method, path: &str) -> Answer {
    world.call(with_body(request(method.clone(), path, key), method, &email())).await
}

#[tokio::test]
async fn no_operation_without_a_good_key() {
    let world = World::start().await;
    let id = world.accepted(&email()).await;
    let revoked = world
        .platform
        .create_api_key(world.tenant, world.app, "gone", &Scope::ALL, 100, None)
        .await
        .unwrap();
    world.platform.revoke_api_key(world.tenant, world.app, revoked.id).await.unwrap();
    let soon = START.plus(Duration::from_secs(1));
    let expired = world
        .platform
        .create_api_key(world.tenant, world.app, "old", &Scope::ALL, 100, Some(soon))
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(1));
    let unknown = format!("lum_sk_{}", "A".repeat(43));
    for (path, method, _) in guarded() {
        let path = path.replace("{messageId}", &id);
        let bare = Request::builder().method(method.clone()).uri_str(&path);
        let answer = world.call(with_body(bare, &method, &email())).await;
        let mut answers = vec![answer];
        for secret in [revoked.secret.reveal(), expired.secret.reveal(), &unknown, "lum_sk_", "x"] {
            answers.push(call(&world, secret, &method, &path).await);
        }
        for answer in answers {
            assert_eq!((answer.status, answer.error()), (401, "unauthorized"), "{method} {path}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            assert_eq!(answer.header("ratelimit-limit"), None);
        }
    }
}

#[tokio::test]
async fn a_key_comes_in_either_header() {
    let world = World::start().await;
    let bearer = Request::builder()
        .uri_str("/v1/emails/logs")
        .header("authorization", format!("Bearer {}", world.key));
    world.call(bearer.finish()).await.expect(200);
    world.get("/v1/emails/logs").await.expect(200);
}

#[tokio::test]
async fn no_operation_without_its_scope() {
    let world = World::start().await;
    let id = world.accepted(&email()).await;
    for (path, method, needed) in guarded() {
        let path = path.replace("{messageId}", &id);
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| *scope != needed).collect();
        let key = world.key_with(&others, 100).await;
        let answer = call(&world, &key, &method, &path).await;
        assert_eq!((answer.status, answer.error()), (403, "insufficient_scope"), "{path}");
        assert_eq!(answer.header("ratelimit-limit"), Some("100"));
        let key = world.key_with(&[needed], 100).await;
        let answer = call(&world, &key, &method, &path).await;
        assert_ne!(answer.error(), "insufficient_scope", "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_anothers_answers_as_what_is_not_there() {
    let world = World::start().await;
    let id = world.accepted(&email()).await;
    let unknown = "msg_01kb05yt7qe5tvnr4w8jhjkz2m";
    let app = world.other_app().await;
    let neighbour = key(&world.platform, world.tenant, app, &Scope::ALL, 100).await;
    let (tenant, app) = world.other_tenant().await;
    let stranger = key(&world.platform, tenant, app, &Scope::ALL, 100).await;
    let with_ids: Vec<_> =
        guarded().into_iter().filter(|(path, ..)| path.contains("{messageId}")).collect();
    assert_eq!(with_ids.len(), 2);
    for (path, method, _) in with_ids {
        for key in [&neighbour, &stranger] {
            let foreign = call(&world, key, &method, &path.replace("{messageId}", &id)).await;
            let missing = call(&world, key, &method, &path.replace("{messageId}", unknown)).await;
            assert_eq!((foreign.status, foreign.error()), (404, "not_found"), "{method} {path}");
            assert_eq!(foreign.bytes, missing.bytes);
        }
        for nonsense in ["x", "msg_", "%00", "..", "app_01kb05yt7qe5tvnr4w8jhjkz2m"] {
            let answer =
                call(&world, &stranger, &method, &path.replace("{messageId}", nonsense)).await;
            assert_eq!((answer.status, answer.error()), (404, "not_found"), "{nonsense}");
        }
    }
}

#[tokio::test]
async fn filters_and_cursors_reach_no_other_app() {
    let world = World::start().await;
    let id = world.accepted(&email()).await;
    world.until(&id, &["delivered"]).await;
    let page = world.get("/v1/emails/logs?limit=1").await.expect(200);
    let cursor = page.json["nextCursor"].as_str().unwrap();
    let (tenant, app) = world.other_tenant().await;
    let stranger = key(&world.platform, tenant, app, &Scope::ALL, 100).await;
    for filter in [String::new(), format!("messageId={id}"), "recipient=ada@reader.test".into()] {
        let path = format!("/v1/emails/logs?{filter}");
        let answer = call(&world, &stranger, &Method::GET, &path).await.expect(200);
        assert_eq!(answer.json["data"], Value::Array(Vec::new()));
    }
    let path = format!("/v1/emails/logs?cursor={cursor}");
    let answer = call(&world, &stranger, &Method::GET, &path).await.expect(422);
    assert_eq!(answer.fields(), ["cursor"]);
    let stats = call(&world, &stranger, &Method::GET, "/v1/emails/stats").await.expect(200);
    assert_eq!(stats.json["totals"]["accepted"], 0);
}

#[tokio::test]
async fn a_rate_is_told_and_kept() {
    let world = World::start().await;
    let key = world.key_with(&[Scope::EmailRead], 2).await;
    let answer = call(&world, &key, &Method::GET, "/v1/emails/logs").await.expect(200);
    assert_eq!(answer.header("ratelimit-limit"), Some("2"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("1"));
    let answer = call(&world, &key, &Method::GET, "/v1/emails/logs?limit=0").await.expect(422);
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
    let answer = call(&world, &key, &Method::GET, "/v1/emails/logs").await.expect(429);
    assert_eq!(answer.error(), "rate_limited");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    world.clock.advance(Duration::from_secs(wait));
    call(&world, &key, &Method::GET, "/v1/emails/logs").await.expect(200);
}
