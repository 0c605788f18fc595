//! Who may do what, derived from the document: a new operation is tested the day it appears.

use actors::NewApiKey;
use std::time::Duration;

use model::tenant::Scope;
use poem::{Body, Request, RequestBuilder, http::Method};
use serde_json::Value;

use crate::{
    described::Document,
    objects::{self, Objects},
    world::{Answer, START, World, key, request},
};

/// What an operation asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// An API key with this scope.
    Key(Scope),
    /// Somebody signed in to the portal.
    Session,
}

/// Every operation, and what it asks for. Said here once more on purpose: an operation that loses
/// its lock by mistake loses it in the document too.
const KNOWN: [(&str, Needs); 52] = [
    ("sendEmail", Needs::Key(Scope::EmailSend)),
    ("sendBatch", Needs::Key(Scope::EmailSend)),
    ("cancelMessage", Needs::Key(Scope::EmailSend)),
    ("getMessage", Needs::Key(Scope::EmailRead)),
    ("getMessageEvidence", Needs::Key(Scope::EmailRead)),
    ("listLogs", Needs::Key(Scope::EmailRead)),
    ("getStats", Needs::Key(Scope::EmailRead)),
    ("listEvents", Needs::Key(Scope::EmailRead)),
    ("streamEvents", Needs::Key(Scope::EmailRead)),
    ("createTemplate", Needs::Key(Scope::TemplateWrite)),
    ("listTemplates", Needs::Key(Scope::TemplateRead)),
    ("getTemplate", Needs::Key(Scope::TemplateRead)),
    ("updateTemplate", Needs::Key(Scope::TemplateWrite)),
    ("deleteTemplate", Needs::Key(Scope::TemplateWrite)),
    ("previewTemplate", Needs::Key(Scope::TemplateRead)),
    ("listSuppressions", Needs::Key(Scope::SuppressionRead)),
    ("addSuppression", Needs::Key(Scope::SuppressionWrite)),
    ("removeSuppression", Needs::Key(Scope::SuppressionWrite)),
    ("register", Needs::Nothing),
    ("login", Needs::Nothing),
    ("logout", Needs::Session),
    ("getMe", Needs::Session),
    ("changePassword", Needs::Session),
    ("createApp", Needs::Session),
    ("listApps", Needs::Session),
    ("getApp", Needs::Session),
    ("updateApp", Needs::Session),
    ("createApiKey", Needs::Session),
    ("listApiKeys", Needs::Session),
    ("revokeApiKey", Needs::Session),
    ("addDomain", Needs::Session),
    ("listDomains", Needs::Session),
    ("getDomain", Needs::Session),
    ("getCompliance", Needs::Session),
    ("listLetters", Needs::Session),
    ("getLetter", Needs::Session),
    ("listAlerts", Needs::Session),
    ("removeDomain", Needs::Session),
    ("verifyDomain", Needs::Session),
    ("rotateDkim", Needs::Session),
    ("getDelivery", Needs::Session),
    ("pauseDelivery", Needs::Session),
    ("resumeDelivery", Needs::Session),
    ("pauseDomain", Needs::Session),
    ("resumeDomain", Needs::Session),
    ("createErasure", Needs::Session),
    ("listErasures", Needs::Session),
    ("getErasure", Needs::Session),
    ("listAuditEvents", Needs::Session),
    ("healthz", Needs::Nothing),
    ("readyz", Needs::Nothing),
    ("metrics", Needs::Nothing),
];

/// An operation of the document.
struct Operation {
    id: String,
    path: String,
    method: Method,
    needs: Needs,
    /// A body that it takes.
    body: Option<Value>,
}

/// Every operation. One that is not known here fails.
fn operations() -> Vec<Operation> {
    let document = api::document();
    let all = Document::new().operations().into_iter();
    let all: Vec<_> = all
        .map(|(path, method, operation)| {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let known = KNOWN.iter().find(|(known, _)| *known == id);
            let (_, needs) = known.unwrap_or_else(|| panic!("who may call {id}?"));
            let body = objects::body(&operation, &document);
            let described = match operation["security"].as_array().map(Vec::as_slice) {
                None => Needs::Nothing,
                Some([first, second]) if first["apiKey"] == second["bearer"] => {
                    let scope = operation["x-required-scope"].as_str().unwrap();
                    Needs::Key(Scope::parse(scope).unwrap())
                }
                Some([only]) if only["session"].is_array() => Needs::Session,
                Some(other) => panic!("a way to sign in that is not known here: {other:?}"),
            };
            assert_eq!(described, *needs, "{id}");
            Operation { id, path, method, needs: *needs, body }
        })
        .collect();
    assert_eq!(all.len(), KNOWN.len());
    all
}

/// The operations that need a key, and their scopes.
fn with_key() -> impl Iterator<Item = (Operation, Scope)> {
    operations().into_iter().filter_map(|operation| match operation.needs {
        Needs::Key(scope) => Some((operation, scope)),
        Needs::Nothing | Needs::Session => None,
    })
}

/// The operations of the portal that need a session.
fn with_session() -> impl Iterator<Item = Operation> {
    operations().into_iter().filter(|operation| operation.needs == Needs::Session)
}

async fn call_as(world: &World, session: &str, operation: &Operation, path: &str) -> Answer {
    let builder = Request::builder().method(operation.method.clone()).uri_str(path);
    let builder = builder.header("cookie", format!("lumora_session={session}"));
    world.call(finished(operation, builder)).await
}

fn finished(operation: &Operation, builder: RequestBuilder) -> Request {
    match &operation.body {
        Some(body) => builder.content_type("application/json").body(Body::from_json(body).unwrap()),
        None => builder.finish(),
    }
}

async fn call(world: &World, key: &str, method: &Method, path: &str) -> Answer {
    world.call(request(method.clone(), path, key).finish()).await
}

async fn call_with(world: &World, key: &str, operation: &Operation, path: &str) -> Answer {
    let builder = request(operation.method.clone(), path, key);
    world.call(finished(operation, builder)).await
}

#[tokio::test]
async fn no_operation_without_a_good_key() {
    let world = World::start().await;
    let objects = Objects::of(&world).await;
    let revoked = world
        .platform
        .create_api_key(
            model::By::CommandLine,
            world.tenant,
            world.app,
            NewApiKey::new("gone", &Scope::ALL, 100),
        )
        .await
        .unwrap();
    world
        .platform
        .revoke_api_key(model::By::CommandLine, world.tenant, world.app, revoked.id)
        .await
        .unwrap();
    let soon = START.plus(Duration::from_secs(1));
    let expired = world
        .platform
        .create_api_key(
            model::By::CommandLine,
            world.tenant,
            world.app,
            NewApiKey { expires_at: Some(soon), ..NewApiKey::new("old", &Scope::ALL, 100) },
        )
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(1));
    let unknown = format!("lum_sk_{}", "A".repeat(43));
    // Whoever is signed in to the portal has no key for that.
    let live = world.session().await;
    for (operation, _) in with_key() {
        let path = objects.path(&operation.path);
        let bare = || Request::builder().method(operation.method.clone()).uri_str(&path);
        let session = bare().header("cookie", format!("lumora_session={live}"));
        let bearer = bare().header("authorization", format!("Bearer {live}"));
        let mut answers = Vec::new();
        for request in [bare(), session, bearer] {
            answers.push(world.call(finished(&operation, request)).await);
        }
        let (revoked, expired) = (revoked.secret.reveal(), expired.secret.reveal());
        for secret in [revoked, expired, &unknown, &live, "lum_sk_", "x"] {
            answers.push(call_with(&world, secret, &operation, &path).await);
        }
        for answer in answers {
            let id = &operation.id;
            assert_eq!((answer.status, answer.error()), (401, "unauthorized"), "{id}");
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
    for (operation, needed) in with_key() {
        // Anew each time: some operations take away what the next would name.
        let objects = Objects::again(&world).await;
        let path = objects.path(&operation.path);
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| *scope != needed).collect();
        let key = world.key_with(&others, 100).await;
        let answer = call_with(&world, &key, &operation, &path).await;
        let id = &operation.id;
        assert_eq!((answer.status, answer.error()), (403, "insufficient_scope"), "{id}");
        assert_eq!(answer.header("ratelimit-limit"), Some("100"));
        let key = world.key_with(&[needed], 100).await;
        let answer = call_with(&world, &key, &operation, &path).await;
        assert!(![401, 403, 404].contains(&answer.status), "{id}: {}", answer.json);
    }
}

#[tokio::test]
async fn what_is_anothers_answers_as_what_is_not_there() {
    let world = World::start().await;
    let objects = Objects::of(&world).await;
    let app = world.other_app().await;
    let neighbour = key(&world.platform, world.tenant, app, &Scope::ALL, 1_000).await;
    let (tenant, app) = world.other_tenant().await;
    let stranger = key(&world.platform, tenant, app, &Scope::ALL, 1_000).await;
    let named: Vec<_> = with_key().filter(|(operation, _)| operation.path.contains('{')).collect();
    assert!(named.len() >= 2);
    for (operation, _) in named {
        let id = &operation.id;
        for key in [&neighbour, &stranger] {
            let foreign = call_with(&world, key, &operation, &objects.path(&operation.path)).await;
            let missing = objects::missing(&operation.path);
            let missing = call_with(&world, key, &operation, &missing).await;
            assert_eq!((foreign.status, foreign.error()), (404, "not_found"), "{id}");
            assert_eq!(foreign.bytes, missing.bytes, "{id}");
        }
    }
}

#[tokio::test]
async fn no_portal_operation_without_a_session() {
    let world = World::start().await;
    let objects = Objects::of(&world).await;
    let over = world.session().await;
    world.platform.sign_out(&over).await.unwrap();
    let unknown = format!("ses_{}", "A".repeat(43));
    for operation in with_session() {
        let path = objects.path(&operation.path);
        let bare = || Request::builder().method(operation.method.clone()).uri_str(&path);
        let bearer = bare().header("authorization", format!("Bearer {}", world.key));
        let answers = [
            world.call(finished(&operation, bare())).await,
            world.call(finished(&operation, bearer)).await,
            call_with(&world, &world.key, &operation, &path).await,
            call_as(&world, &unknown, &operation, &path).await,
            call_as(&world, &over, &operation, &path).await,
            call_as(&world, &world.key, &operation, &path).await,
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.error()), (401, "unauthorized"), "{}", operation.id);
        }
    }
}

#[tokio::test]
async fn what_is_another_tenants_answers_as_what_is_not_there() {
    let world = World::start().await;
    let objects = Objects::of(&world).await;
    let stranger = world.stranger().await;
    let named: Vec<_> = with_session().filter(|operation| operation.path.contains('{')).collect();
    assert!(named.len() >= 8);
    for operation in named {
        let id = &operation.id;
        let foreign = call_as(&world, &stranger, &operation, &objects.path(&operation.path)).await;
        let missing = objects::missing(&operation.path);
        let missing = call_as(&world, &stranger, &operation, &missing).await;
        assert_eq!((foreign.status, foreign.error()), (404, "not_found"), "{id}");
        assert_eq!(foreign.bytes, missing.bytes, "{id}");
    }
}

#[tokio::test]
async fn who_is_signed_in_may_do_all_of_the_portal() {
    let world = World::start().await;
    for operation in with_session() {
        let objects = Objects::again(&world).await;
        // Anew each time: one of them signs out.
        let session = world.session().await;
        let answer = call_as(&world, &session, &operation, &objects.path(&operation.path)).await;
        let id = &operation.id;
        // The example's current password is not this one's.
        let expected = if id == "changePassword" { 401 } else { answer.status };
        assert_eq!(answer.status, expected, "{id}");
        assert!(![403, 404].contains(&answer.status), "{id}: {}", answer.json);
        assert!(answer.status != 401 || id == "changePassword", "{id}: {}", answer.json);
    }
}

#[tokio::test]
async fn another_sites_page_changes_nothing() {
    let world = World::start().await;
    let objects = Objects::of(&world).await;
    let session = world.session().await;
    let changing = operations().into_iter().filter(|operation| {
        operation.path.starts_with("/portal/") && operation.method != Method::GET
    });
    for operation in changing {
        let path = objects.path(&operation.path);
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.test"),
            ("origin", "null"),
        ] {
            let builder = Request::builder().method(operation.method.clone()).uri_str(&path);
            let builder = builder.header("cookie", format!("lumora_session={session}"));
            let answer = world.call(finished(&operation, builder.header(name, value))).await;
            let told = (answer.status, answer.error());
            assert_eq!(told, (403, "cross_site_request"), "{} {name}: {value}", operation.id);
        }
    }
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

#[tokio::test]
async fn a_rate_is_told_where_no_operation_answers_too() {
    let world = World::start().await;
    let key = world.key_with(&[Scope::EmailRead], 2).await;
    for (method, path, status, left) in [
        (Method::GET, "/v1/nope", 404, "1"),
        (Method::DELETE, "/v1/emails/logs", 405, "0"),
        (Method::OPTIONS, "/v1/emails/logs", 429, "0"),
        (Method::GET, "/v1/nope", 429, "0"),
    ] {
        let answer = call(&world, &key, &method, path).await.expect(status);
        assert_eq!(answer.header("ratelimit-remaining"), Some(left), "{method} {path}");
        assert_eq!(answer.header("retry-after").is_some(), status == 429, "{method} {path}");
    }
    // A stranger is told nothing of anybody's rate.
    let stranger = Request::builder().uri_str("/v1/nope").finish();
    assert_eq!(world.call(stranger).await.expect(404).header("ratelimit-limit"), None);
}
