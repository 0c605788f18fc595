//! What can be named beside paths: cursors, filters, references in bodies, idempotency keys. Of
//! another app or tenant, each is what is not there. Derived from the document.

use model::{address::EmailAddress, pause::Who, tenant::Scope};
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};

use crate::{
    described::Document,
    world::{Answer, World, email, email_with, key, request},
};

/// Who asks.
enum As<'a> {
    Key(&'a str),
    Session(&'a str),
}

async fn ask(world: &World, who: &As<'_>, path: &str) -> Answer {
    let request = match who {
        As::Key(key) => request(Method::GET, path, key),
        As::Session(session) => {
            Request::builder().uri_str(path).header("cookie", format!("lumora_session={session}"))
        }
    };
    world.call(request.finish()).await
}

/// At least two rows for every list of the world's app.
async fn filled(world: &World) -> (String, String) {
    let tagged = email_with(json!({ "tags": ["canary"] }));
    let message = world.accepted(&tagged).await;
    world.until(&message, &["delivered"]).await;
    let mut template = String::new();
    for slug in ["canary-a", "canary-b"] {
        let body = json!({ "slug": slug, "name": "canary", "text": "canary" });
        let made = world.post("/v1/templates", &body).await.expect(201).json;
        made["id"].as_str().unwrap().clone_into(&mut template);
        let body = json!({ "email": format!("{slug}@reader.test") });
        world.post("/v1/suppressions", &body).await.expect(201);
    }
    for _ in 0..2 {
        let person = EmailAddress::parse("nobody@elsewhere.test").unwrap();
        world.platform.erase(world.tenant, &person, Who::Operator).await.unwrap();
    }
    (message, template)
}

/// A query with something of the owner's, and the same with something that nobody has.
fn queries(name: &str, world: &World, message: &str) -> Option<(String, &'static str)> {
    match name {
        // Bounds and forms: they name nothing.
        "limit" | "after" | "waitSeconds" | "from" | "to" | "interval" | "groupBy" | "type"
        | "version" | "cursor" | "at" | "epoch" => None,
        "messageId" => Some((message.to_owned(), "msg_01kb05yt7qe5tvnr4w8jhjkz2m")),
        "recipient" => Some(("ada@reader.test".to_owned(), "nobody@elsewhere.test")),
        "actor" => {
            let key = world.read.keys().of_app(world.app)[0].id;
            Some((key.to_string(), "key_01kb05yt7qe5tvnr4w8jhjkz2m"))
        }
        "tag" => Some(("canary".to_owned(), "never-used")),
        "stream" => Some((world.tenant.to_string(), "ten_01kb05yt7qe5tvnr4w8jhjkz2m")),
        other => panic!("a parameter that is not known here: {other}"),
    }
}

#[tokio::test]
async fn cursors_and_filters_reach_nothing_of_anothers() {
    let world = World::start().await;
    let (message, _) = filled(&world).await;
    let owner = world.session().await;
    let neighbour = world.other_app().await;
    let neighbour = key(&world.platform, world.tenant, neighbour, &Scope::ALL, 1_000).await;
    let (tenant, app) = world.other_tenant().await;
    let stranger = key(&world.platform, tenant, app, &Scope::ALL, 1_000).await;
    let eve = world.stranger().await;
    let (mut cursors, mut filters) = (0, 0);
    for (path, method, operation) in Document::new().operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let names = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let names: Vec<&str> = names.map(|p| p["name"].as_str().unwrap()).collect();
        if names.is_empty() || path.contains('{') {
            continue;
        }
        assert_eq!(method, Method::GET, "{path}");
        let session = operation["security"][0]["session"].is_array();
        let own = if session { As::Session(&owner) } else { As::Key(&world.key) };
        let others = if session {
            vec![As::Session(&eve)]
        } else {
            vec![As::Key(&neighbour), As::Key(&stranger)]
        };
        for other in &others {
            for name in &names {
                if *name == "cursor" {
                    let page = ask(&world, &own, &format!("{path}?limit=1")).await.expect(200);
                    let cursor = page.json["nextCursor"].as_str().expect(&path);
                    let answer = ask(&world, other, &format!("{path}?cursor={cursor}")).await;
                    let refused = answer.status == 422 && answer.fields() == ["cursor"];
                    assert!(refused || answer.json["data"] == json!([]), "{path}: {}", answer.json);
                    cursors += 1;
                } else if let Some((foreign, missing)) = queries(name, &world, &message) {
                    let mine = ask(&world, &own, &format!("{path}?{name}={foreign}")).await;
                    assert_ne!(mine.expect(200).json["data"], json!([]), "{path} {name}");
                    let of = async |value: &str| {
                        ask(&world, other, &format!("{path}?{name}={value}")).await.expect(200)
                    };
                    let (foreign, missing) = (of(&foreign).await, of(missing).await);
                    assert_eq!(foreign.json["data"], json!([]), "{path} {name}");
                    assert_eq!(foreign.bytes, missing.bytes, "{path} {name}");
                    filters += 1;
                }
            }
            if path == "/v1/emails/stats" {
                let sums = ask(&world, other, "/v1/emails/stats?groupBy=tag").await.expect(200);
                assert_eq!(sums.json["totals"]["accepted"], 0);
                assert_eq!(sums.json["groups"], json!([]));
            }
        }
    }
    assert_eq!((cursors, filters), (8, 8));
}

async fn send_with(world: &World, key: &str, email: &Value, once: &str) -> Answer {
    let request = request(Method::POST, "/v1/email/send", key)
        .content_type("application/json")
        .header("idempotency-key", once);
    world.call(request.body(Body::from_json(email).unwrap())).await
}

#[tokio::test]
async fn the_idempotency_key_of_another_app_is_another_one() {
    let world = World::start().await;
    let first = world.send_once(&email(), "order-1").await.expect(202).json;
    let neighbour = world.other_app().await;
    let neighbour = key(&world.platform, world.tenant, neighbour, &Scope::ALL, 100).await;
    for body in [email(), email_with(json!({ "subject": "Another" }))] {
        let answer = send_with(&world, &neighbour, &body, "order-1").await;
        // Its own second body is its own conflict, and tells nothing of the other's.
        if answer.status == 202 {
            assert_eq!(answer.json["idempotentReplay"], false);
            assert_ne!(answer.json["messageId"], first["messageId"]);
        } else {
            assert_eq!((answer.status, answer.error()), (409, "idempotency_conflict"));
            assert_eq!(body["subject"], "Another");
        }
    }
    // The same as without a key: of another tenant's use of it nothing shows.
    let (tenant, app) = world.other_tenant().await;
    let stranger = key(&world.platform, tenant, app, &Scope::ALL, 100).await;
    let refused = send_with(&world, &stranger, &email(), "order-1").await.expect(403);
    assert_eq!(refused.error(), "sender_domain_not_verified");
}

#[tokio::test]
async fn the_template_of_another_app_is_none() {
    let world = World::start().await;
    let (_, template) = filled(&world).await;
    let neighbour = world.other_app().await;
    let neighbour = key(&world.platform, world.tenant, neighbour, &Scope::ALL, 100).await;
    let send = async |key: &str, reference: Value| {
        let mut body = email_with(json!({ "template": reference }));
        body.as_object_mut().unwrap().remove("text");
        let request = request(Method::POST, "/v1/email/send", key);
        let request = request.content_type("application/json");
        world.call(request.body(Body::from_json(body).unwrap())).await
    };
    for (foreign, missing) in [
        (json!({ "id": template }), json!({ "id": "tpl_01kb05yt7qe5tvnr4w8jhjkz2m" })),
        (json!({ "slug": "canary-b" }), json!({ "slug": "never-used" })),
    ] {
        send(&world.key, foreign.clone()).await.expect(202);
        let foreign = send(&neighbour, foreign).await.expect(422);
        assert_eq!(foreign.error(), "template_not_found");
        assert_eq!(foreign.bytes, send(&neighbour, missing).await.expect(422).bytes);
    }
}

#[tokio::test]
async fn a_key_is_found_under_its_own_app_alone() {
    let world = World::start().await;
    let (owner, eve) = (world.session().await, world.stranger().await);
    let call = async |session: &str, method: Method, path: &str, body: Option<Value>| {
        let request = Request::builder().method(method).uri_str(path);
        let request = request.header("cookie", format!("lumora_session={session}"));
        world
            .call(match body {
                Some(body) => {
                    request.content_type("application/json").body(Body::from_json(body).unwrap())
                }
                None => request.finish(),
            })
            .await
    };
    let made = async |session: &str, path: &str, body: Value| {
        let made = call(session, Method::POST, path, Some(body)).await.expect(201).json;
        made["id"].as_str().unwrap().to_owned()
    };
    let scopes = json!({ "name": "k", "scopes": { "email:read": true } });
    let own_app = world.app.to_string();
    let own_key = made(&owner, &format!("/portal/apps/{own_app}/api-keys"), scopes.clone()).await;
    let other_app = made(&owner, "/portal/apps", json!({ "name": "Other" })).await;
    let eve_app = made(&eve, "/portal/apps", json!({ "name": "Eve's" })).await;
    let eve_key = made(&eve, &format!("/portal/apps/{eve_app}/api-keys"), scopes).await;
    let missing = "key_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned();
    for (session, app, key) in [
        (&owner, &own_app, &eve_key),
        (&owner, &other_app, &own_key),
        (&owner, &eve_app, &eve_key),
        (&eve, &own_app, &eve_key),
        (&eve, &eve_app, &own_key),
        (&eve, &eve_app, &missing),
    ] {
        let path = format!("/portal/apps/{app}/api-keys/{key}");
        let refused = call(session, Method::DELETE, &path, None).await.expect(404);
        assert_eq!(refused.error(), "not_found");
    }
    for (session, app) in [(&owner, &own_app), (&eve, &eve_app)] {
        let list = call(session, Method::GET, &format!("/portal/apps/{app}/api-keys"), None).await;
        let keys = list.expect(200).json["data"].clone();
        assert!(keys.as_array().unwrap().iter().all(|key| key["status"] == "active"), "{keys}");
    }
}
