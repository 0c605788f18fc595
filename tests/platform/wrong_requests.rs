//! Wrong requests: each gets its exact error, and nothing is stored.

use model::tenant::Scope;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    client::{Answer, Client},
    world::World,
};

const MAX_BODY_BYTES: usize = 64 * 1024;

async fn app() -> TestApp {
    let world = World::new().await;
    world.receives("reader.test");
    TestApp::start_in(world, |config| config.http.max_body_bytes = MAX_BODY_BYTES).await
}

/// That an answer is this error, about these fields.
fn assert_error(answer: &Answer, status: u16, code: &str, fields: &[&str]) {
    let body = answer.expect(status);
    assert_eq!(body["error"], code, "{body}");
    let details = body["details"].as_array();
    let named: Vec<&str> =
        details.into_iter().flatten().map(|detail| detail["field"].as_str().unwrap()).collect();
    assert_eq!(named, fields, "{body}");
    assert!(!answer.header("x-request-id").is_empty());
}

fn email(edit: &[(&str, Value)]) -> Value {
    let mut email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    for (name, value) in edit {
        email[*name] = value.clone();
    }
    email
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_is_named_and_nothing_is_stored() {
    let app = app().await;
    let head = *app.node().core().log.head().borrow();
    let far = actors::Clock::now(&lumora::clock::SystemClock)
        .plus(std::time::Duration::from_hours(24 * 31))
        .to_string();
    let many: Vec<String> = (0..51).map(|n| format!("r{n}@reader.test")).collect();
    let cases = [
        (json!({}), &["to", "subject", "html", "text"][..]),
        (json!([]), &["body"]),
        (email(&[("to", json!([]))]), &["to"]),
        (email(&[("to", json!("ada@reader.test"))]), &["to"]),
        (
            email(&[("to", json!(["ada@reader.test", "nobody", "b@[127.0.0.1]", "c@host"]))]),
            &["to[1]", "to[2]", "to[3]"],
        ),
        (email(&[("to", json!(many))]), &["to"]),
        (email(&[("cc", json!([7]))]), &["cc[0]"]),
        (email(&[("subject", json!("a\r\nBcc: x@reader.test"))]), &["subject"]),
        (email(&[("subject", json!(1))]), &["subject"]),
        (email(&[("from", json!({ "email": "a@sender.test", "name": "a\nb" }))]), &["from.name"]),
        (email(&[("headers", json!({ "DKIM-Signature": "x" }))]), &["headers.DKIM-Signature"]),
        (email(&[("headers", json!({ "X-A": "a\r\nb" }))]), &["headers.X-A"]),
        (
            email(&[("attachments", json!([{ "filename": "a", "content": "%%%" }]))]),
            &["attachments[0].content"],
        ),
        (email(&[("scheduledAt", json!(far))]), &["scheduledAt"]),
        (email(&[("scheduledAt", json!("tomorrow"))]), &["scheduledAt"]),
        (email(&[("colour", json!("red"))]), &["colour"]),
        (
            email(&[("template", json!({ "version": 0 }))]),
            &["template.id", "template.slug", "template.version", "text"],
        ),
    ];
    for (body, fields) in &cases {
        assert_error(&app.api.send(body).await, 422, "validation_failed", fields);
    }
    let garbled = json!({ "to": ["ada@reader.test"], "template": { "id": "x" } });
    assert_error(&app.api.send(&garbled).await, 422, "template_not_found", &["template"]);
    let elsewhere = email(&[("from", json!({ "email": "a@elsewhere.test" }))]);
    assert_error(&app.api.send(&elsewhere).await, 403, "sender_domain_not_verified", &[]);
    let below = email(&[("from", json!({ "email": "a@sub.sender.test" }))]);
    assert_error(&app.api.send(&below).await, 403, "sender_domain_not_verified", &[]);
    for key in ["", &"k".repeat(257)] {
        let answer = app.api.send_once(&email(&[]), key).await;
        assert_error(&answer, 400, "invalid_idempotency_key", &[]);
    }
    for query in ["limit=0", "limit=101", "limit=x"] {
        let answer = app.api.get(&format!("/v1/emails/logs?{query}")).await;
        assert_error(&answer, 422, "validation_failed", &["limit"]);
    }
    assert_eq!(*app.node().core().log.head().borrow(), head, "something was stored");
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_eq!(stats["totals"]["accepted"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_for_us_is_refused_in_the_same_form() {
    let app = app().await;
    let post = async |content_type: &'static str, body: Vec<u8>| {
        let edit = |request: reqwest::RequestBuilder| {
            request.header("content-type", content_type).body(body)
        };
        app.api.request("POST", "/v1/email/send", edit).await
    };
    let json = "application/json";
    assert_error(&post(json, b"{\"to\":".to_vec()).await, 400, "invalid_json", &[]);
    assert_error(&post(json, Vec::new()).await, 400, "invalid_json", &[]);
    let plain = email(&[]).to_string().into_bytes();
    assert_error(&post("text/plain", plain).await, 415, "unsupported_media_type", &[]);
    let large = email(&[("text", json!("x".repeat(MAX_BODY_BYTES)))]).to_string().into_bytes();
    assert_error(&post(json, large).await, 413, "payload_too_large", &[]);

    assert_error(&app.api.get("/v1/nothing").await, 404, "not_found", &[]);
    assert_error(&app.api.get("/v1/email/send").await, 405, "method_not_allowed", &[]);
    for id in ["msg_00000000000000000000000000", "msg_", "nonsense"] {
        let answer = app.api.get(&format!("/v1/messages/{id}")).await;
        assert_error(&answer, 404, "not_found", &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_what_they_are_for_and_nothing_else() {
    let app = app().await;
    let core = app.node().core();
    let unauthorized = |answer: &Answer| {
        assert_error(answer, 401, "unauthorized", &[]);
        assert!(!answer.header("www-authenticate").is_empty());
    };
    let strange = format!("lum_sk_{}", "a".repeat(app.secret.len() - 7));
    for secret in [None, Some("nonsense"), Some(strange.as_str()), Some("")] {
        unauthorized(&app.api.with_secret(secret).send(&email(&[])).await);
    }
    let bearer = |secret: &str| {
        let secret = format!("Bearer {secret}");
        move |request: reqwest::RequestBuilder| request.header("authorization", secret)
    };
    let open = app.api.with_secret(None);
    open.request("GET", "/v1/emails/logs", bearer(&app.secret)).await.expect(200);
    unauthorized(&open.request("GET", "/v1/emails/logs", bearer(&strange)).await);

    let reader = app.api.with_secret(Some(&app.key(&[Scope::EmailRead], 1_000).await));
    reader.get("/v1/emails/logs").await.expect(200);
    assert_error(&reader.send(&email(&[])).await, 403, "insufficient_scope", &[]);

    let slow = app.api.with_secret(Some(&app.key(&[Scope::EmailRead], 2).await));
    let mut last = slow.get("/v1/emails/logs").await;
    for _ in 0..10 {
        if last.status != 200 {
            break;
        }
        last = slow.get("/v1/emails/logs").await;
    }
    assert_error(&last, 429, "rate_limited", &[]);
    assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(last.header("ratelimit-limit"), "2");

    // Another tenant, without a default sender, sees nothing of the first one's.
    let id = app.api.accepted(&email(&[])).await;
    let user = model::address::EmailAddress::parse("other@other.test").unwrap();
    let tenant =
        core.platform.create_tenant(model::By::CommandLine, "Other", user, None).await.unwrap();
    let other = core
        .platform
        .create_app(model::By::CommandLine, tenant, actors::NewApp::new("Other"))
        .await
        .unwrap();
    let key = actors::NewApiKey::new("k", &Scope::ALL, 1_000);
    let key = core.platform.create_api_key(model::By::CommandLine, tenant, other, key);
    let key = key.await.unwrap();
    let stranger = app.api.with_secret(Some(key.secret.reveal()));
    assert_error(&stranger.send(&email(&[])).await, 422, "no_default_sender", &[]);
    let mine = email(&[("from", json!({ "email": "billing@sender.test" }))]);
    assert_error(&stranger.send(&mine).await, 403, "sender_domain_not_verified", &[]);
    let theirs = stranger.get(&format!("/v1/messages/{id}")).await;
    let unknown = stranger.get("/v1/messages/msg_00000000000000000000000000").await;
    assert_error(&theirs, 404, "not_found", &[]);
    assert_eq!(theirs.text, unknown.text);
    assert!(stranger.all_logs(&format!("messageId={id}")).await.is_empty());

    core.platform.revoke_api_key(model::By::CommandLine, tenant, other, key.id).await.unwrap();
    unauthorized(&stranger.get("/v1/emails/logs").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_pages_need_no_key() {
    let app = app().await;
    let open = Client::with_secret(&app.api, None);
    assert_eq!(open.get("/healthz").await.expect(200)["status"], "ok");
    assert_eq!(open.get("/readyz").await.expect(200)["status"], "ready");
    let metrics = open.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.contains("lumora_"), "{}", metrics.text);
    let document = open.get("/openapi.json").await.expect(200);
    assert!(document["paths"]["/v1/email/send"]["post"].is_object());
    let docs = open.get("/docs").await;
    assert_eq!(docs.status, 200);
    assert!(docs.text.to_lowercase().contains("swagger"), "{}", docs.text);
    assert!(!docs.text.contains("https://"), "the page would load from outside");
}
