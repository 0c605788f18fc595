//! Apps, keys and passwords over HTTP: what bounds a key, and from when on.

use std::time::Duration;

use actors::{NewApiKey, Password};
use model::tenant::Scope;
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::world::{Answer, EMAIL, PASSWORD, World, email_with, request};

async fn portal(
    world: &World,
    session: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri_str(path);
    if !session.is_empty() {
        request = request.header("cookie", format!("lumora_session={session}"));
    }
    let request = match body {
        Some(body) => {
            request.content_type("application/json").body(Body::from_json(&body).unwrap())
        }
        None => request.finish(),
    };
    world.call(request).await
}

/// Makes a key of the world's app in the portal; its id and its secret.
async fn new_key(world: &World, session: &str, body: Value) -> (String, String) {
    let path = format!("/portal/apps/{}/api-keys", world.app);
    let made = portal(world, session, Method::POST, &path, Some(body)).await.expect(201).json;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

async fn listed(world: &World, session: &str, id: &str) -> Value {
    let path = format!("/portal/apps/{}/api-keys", world.app);
    let list = portal(world, session, Method::GET, &path, None).await.expect(200).json;
    let keys = list["data"].as_array().unwrap();
    keys.iter().find(|key| key["id"] == id).expect("not in the list").clone()
}

async fn read_with(world: &World, key: &str) -> Answer {
    world.call(request(Method::GET, "/v1/emails/logs", key).finish()).await
}

async fn send_with(world: &World, key: &str, email: &Value) -> Answer {
    let request = request(Method::POST, "/v1/email/send", key).content_type("application/json");
    world.call(request.body(Body::from_json(email).unwrap())).await
}

#[tokio::test]
async fn a_bad_key_is_not_told_how_bad_it_is() {
    let world = World::start().await;
    let session = world.session().await;
    let path = format!("/portal/apps/{}/api-keys", world.app);
    let body = json!({ "name": "k", "rateLimitPerMinute": 60, "scopes": { "email:read": true } });
    let (id, revoked) = new_key(&world, &session, body).await;
    read_with(&world, &revoked).await.expect(200);
    let gone = format!("{path}/{id}");
    portal(&world, &session, Method::DELETE, &gone, None).await.expect(204);
    let (shown, rest) = world.key.split_at(12);
    let mut answers = Vec::new();
    for bad in [
        revoked,
        format!("lum_sk_{}", "A".repeat(40)),
        // What lists show of a good key, with another rest; and all of it but one character.
        format!("{shown}{}", "B".repeat(rest.len())),
        world.key[..world.key.len() - 1].to_owned(),
        format!("{}x", world.key),
        world.key.to_ascii_uppercase(),
        "nothing like a key".to_owned(),
    ] {
        let answer = read_with(&world, &bad).await.expect(401);
        let mut headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id")
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        answers.push((headers, answer.bytes));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_key_that_is_taken_back_opens_nothing_from_then_on() {
    let world = World::start().await;
    let session = world.session().await;
    let body = json!({ "name": "one", "scopes": { "email:read": true } });
    let (id, secret) = new_key(&world, &session, body).await;
    let key = listed(&world, &session, &id).await;
    assert_eq!((&key["status"], &key["lastUsedAt"]), (&json!("active"), &Value::Null));
    assert_eq!(key["prefix"], secret[..12]);
    assert!(!key.to_string().contains(&secret[12..]), "{key}");

    read_with(&world, &secret).await.expect(200);
    let used = listed(&world, &session, &id).await;
    assert!(used["lastUsedAt"].is_string(), "{used}");

    let path = format!("/portal/apps/{}/api-keys/{id}", world.app);
    portal(&world, &session, Method::DELETE, &path, None).await.expect(204);
    read_with(&world, &secret).await.expect(401);
    assert_eq!(listed(&world, &session, &id).await["status"], "revoked");
}

#[tokio::test]
async fn a_key_ends_by_itself_at_its_time() {
    let world = World::start().await;
    let session = world.session().await;
    // The test clock starts at noon of this day.
    let body = json!({
        "name": "short",
        "scopes": { "email:read": true },
        "expiresAt": "2025-11-26T13:00:00Z",
    });
    let (id, secret) = new_key(&world, &session, body).await;
    world.clock.advance(Duration::from_mins(59));
    read_with(&world, &secret).await.expect(200);
    world.clock.advance(Duration::from_mins(2));
    read_with(&world, &secret).await.expect(401);
    assert_eq!(listed(&world, &session, &id).await["status"], "expired");
}

#[tokio::test]
async fn a_key_never_exceeds_its_app() {
    let world = World::start().await;
    let session = world.session().await;
    let both = json!({ "email:send": true, "email:read": true });
    let (_, secret) = new_key(&world, &session, json!({ "name": "both", "scopes": both })).await;
    send_with(&world, &secret, &email_with(json!({}))).await.expect(202);

    let app = format!("/portal/apps/{}", world.app);
    let reading = json!({ "permissions": { "email:read": true } });
    portal(&world, &session, Method::PATCH, &app, Some(reading)).await.expect(200);
    let refused = send_with(&world, &secret, &email_with(json!({}))).await.expect(403);
    assert_eq!(refused.error(), "insufficient_scope");
    read_with(&world, &secret).await.expect(200);
    let nothing = json!({ "permissions": {} });
    let refused = portal(&world, &session, Method::PATCH, &app, Some(nothing)).await.expect(422);
    assert_eq!(refused.fields(), ["permissions"]);
    let body = json!({ "name": "more", "scopes": both });
    let path = format!("{app}/api-keys");
    let refused = portal(&world, &session, Method::POST, &path, Some(body)).await.expect(422);
    assert_eq!(refused.fields(), ["scopes"]);

    // What the app gets back, its keys that were made with it have again.
    let all = json!({ "permissions": both });
    portal(&world, &session, Method::PATCH, &app, Some(all)).await.expect(200);
    send_with(&world, &secret, &email_with(json!({}))).await.expect(202);
}

#[tokio::test]
async fn a_key_sends_as_its_domains_alone() {
    let world = World::start().await;
    let session = world.session().await;
    let body = |domain: &str| {
        json!({
            "name": "bound", "scopes": { "email:send": true }, "allowedDomains": [domain],
        })
    };
    let (_, own) = new_key(&world, &session, body("MAIL.acme.test")).await;
    let (_, other) = new_key(&world, &session, body("acme.test")).await;
    send_with(&world, &own, &email_with(json!({}))).await.expect(202);
    let refused = send_with(&world, &other, &email_with(json!({}))).await.expect(403);
    assert_eq!(refused.error(), "sender_domain_not_allowed");
}

#[tokio::test]
async fn a_key_works_from_its_networks_alone() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving =
        tokio::spawn(api::serve(listener, world.parts.clone(), std::future::pending::<()>()));
    for (network, status) in [
        ("127.0.0.0/8", "200 OK"),
        ("127.0.0.1", "200 OK"),
        ("127.0.0.2/32", "401 Unauthorized"),
        ("2001:db8::/32", "401 Unauthorized"),
    ] {
        let bound = NewApiKey {
            allowed_addresses: vec![
                network.parse().unwrap_or_else(|_| format!("{network}/32").parse().unwrap()),
            ],
            ..NewApiKey::new("bound", &[Scope::EmailRead], 100)
        };
        let made = world
            .platform
            .create_api_key(model::By::CommandLine, world.tenant, world.app, bound)
            .await
            .unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        // What a header says of where it comes from is nobody's word but the caller's.
        let head = format!(
            "GET /v1/emails/logs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             x-forwarded-for: 127.0.0.2\r\nx-api-key: {}\r\n\r\n",
            made.secret.reveal(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{network}: {answer}");
    }
    serving.abort();
}

#[tokio::test]
async fn another_password_ends_every_other_session() {
    let world = World::start().await;
    let (kept, other) = (world.session().await, world.session().await);
    let new = "another-long-password-71";
    let change = |current: &str| json!({ "currentPassword": current, "newPassword": new });
    let path = "/portal/password";
    let wrong = portal(&world, &kept, Method::POST, path, Some(change("not-it-at-all-42"))).await;
    assert_eq!(wrong.expect(401).error(), "invalid_credentials");
    let common = json!({ "currentPassword": PASSWORD, "newPassword": "password123" });
    let common = portal(&world, &kept, Method::POST, path, Some(common)).await.expect(422);
    assert_eq!(common.fields(), ["newPassword"]);
    portal(&world, &other, Method::GET, "/portal/me", None).await.expect(200);

    let changed = portal(&world, &kept, Method::POST, path, Some(change(PASSWORD))).await;
    assert!((200..300).contains(&changed.status), "{}", changed.status);
    portal(&world, &kept, Method::GET, "/portal/me", None).await.expect(200);
    portal(&world, &other, Method::GET, "/portal/me", None).await.expect(401);
    let login = |password: &str| Some(json!({ "email": EMAIL, "password": password }));
    portal(&world, "", Method::POST, "/portal/login", login(PASSWORD)).await.expect(401);
    world.clock.advance(Duration::from_mins(5));
    portal(&world, "", Method::POST, "/portal/login", login(new)).await.expect(200);
}

#[tokio::test]
async fn of_registrations_that_race_for_one_address_one_is_made() {
    let world = World::start_with(
        api::ApiOptions { registration_open: true, ..api::ApiOptions::default() },
        |parts| parts,
    )
    .await;
    let register = |name: &str| {
        let body = json!({
            "tenantName": name, "email": "Race@Racers.test", "password": "long-enough-words-93",
        });
        portal(&world, "", Method::POST, "/portal/register", Some(body))
    };
    let (a, b, c) = (register("A"), register("B"), register("C"));
    let (a, b, c) = tokio::join!(a, b, c);
    let mut statuses = [a.status, b.status, c.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409]);
    // The one that was made can be entered.
    let password = Password::new("long-enough-words-93");
    let here = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    world.platform.sign_in("race@racers.test", password, here, None).await.unwrap();
}
