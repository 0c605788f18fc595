//! Signing in and out over HTTP: what the cookie is like, how long it holds, and what guessing costs.

use std::time::Duration;

use api::ApiOptions;
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};

use crate::world::{Answer, EMAIL, PASSWORD, World};

/// Asks with these cookies.
async fn ask(
    world: &World,
    method: Method,
    path: &str,
    cookie: &str,
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri_str(path);
    if !cookie.is_empty() {
        request = request.header("cookie", format!("lumora_session={cookie}"));
    }
    world
        .call(match body {
            Some(body) => {
                request.content_type("application/json").body(Body::from_json(&body).unwrap())
            }
            None => request.finish(),
        })
        .await
}

async fn login(world: &World, cookie: &str, email: &str, password: &str) -> Answer {
    let pair = json!({ "email": email, "password": password });
    ask(world, Method::POST, "/portal/login", cookie, Some(pair)).await
}

async fn me(world: &World, cookie: &str) -> u16 {
    ask(world, Method::GET, "/portal/me", cookie, None).await.status
}

/// The value and the attributes of the cookie that an answer sets.
fn cookie(answer: &Answer) -> (String, Vec<String>) {
    let set = answer.header("set-cookie").expect("no cookie");
    let mut parts = set.split("; ").map(str::to_owned);
    let (name, value) = parts.next().unwrap().split_once('=').map(own).unwrap();
    assert_eq!(name, "lumora_session");
    let mut attributes: Vec<String> = parts.collect();
    attributes.sort();
    (value, attributes)
}

fn own((left, right): (&str, &str)) -> (String, String) {
    (left.to_owned(), right.to_owned())
}

#[tokio::test]
async fn the_cookie_is_for_this_site_alone_and_another_at_each_login() {
    let world = World::start().await;
    let first = login(&world, "", EMAIL, PASSWORD).await.expect(200);
    let (first, attributes) = cookie(&first);
    assert_eq!(attributes, ["HttpOnly", "Max-Age=604800", "Path=/", "SameSite=Strict"]);
    let (second, _) = cookie(&login(&world, &first, EMAIL, PASSWORD).await.expect(200));
    assert_ne!(first, second);
    assert_eq!(me(&world, &second).await, 200);
    assert_eq!(me(&world, &first).await, 401, "a cookie that was known before the login is dead");

    let out = ask(&world, Method::POST, "/portal/logout", &second, None).await.expect(200);
    let (emptied, attributes) = cookie(&out);
    assert_eq!(emptied, "");
    assert!(attributes.contains(&"Max-Age=0".to_owned()), "{attributes:?}");
    assert_eq!(me(&world, &second).await, 401);
}

#[tokio::test]
async fn a_cookie_that_somebody_else_chose_never_becomes_a_session() {
    let world = World::start().await;
    let chosen = format!("ses_{}", "A".repeat(43));
    let (given, _) = cookie(&login(&world, &chosen, EMAIL, PASSWORD).await.expect(200));
    assert_ne!(given, chosen);
    assert_eq!(me(&world, &chosen).await, 401);
    // Nor does somebody else's session, put into a browser before its owner signs in there.
    let planted = world.stranger().await;
    assert_eq!(me(&world, &planted).await, 200);
    let (given, _) = cookie(&login(&world, &planted, EMAIL, PASSWORD).await.expect(200));
    assert_ne!(given, planted);
    let whose = ask(&world, Method::GET, "/portal/me", &given, None).await.expect(200);
    assert_eq!(whose.json["user"]["email"], EMAIL, "{}", whose.json);
    // A stolen one is worth nothing once its owner has signed out.
    ask(&world, Method::POST, "/portal/logout", &given, None).await.expect(200);
    for path in ["/portal/me", "/portal/apps", "/portal/domains", "/portal/audit/events"] {
        ask(&world, Method::GET, path, &given, None).await.expect(401);
    }
}

#[tokio::test]
async fn a_login_costs_one_password_hash_whoever_is_meant() {
    let world = World::start().await;
    let unset = "unset@acme.test".parse().unwrap();
    world.platform.create_tenant(model::By::CommandLine, "Unset", unset, None).await.unwrap();
    let mut bodies = Vec::new();
    for (who, email, password, status) in [
        ("known, another password", EMAIL, "paper-otter-violin-42-elms", 401),
        ("unknown", "nobody@acme.test", PASSWORD, 401),
        ("known, without a password", "unset@acme.test", PASSWORD, 401),
        ("no address", "nobody", PASSWORD, 401),
        ("the right one", EMAIL, PASSWORD, 200),
    ] {
        let before = world.platform.passwords_hashed();
        let answer = login(&world, "", email, password).await.expect(status);
        assert_eq!(world.platform.passwords_hashed() - before, 1, "{who}");
        if status == 401 {
            bodies.push(answer.bytes);
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "refusals differ");
}

#[tokio::test]
async fn the_cookie_travels_encrypted_alone_where_the_public_address_is() {
    let options =
        ApiOptions { public_url: "https://mail.acme.test".into(), ..ApiOptions::default() };
    let world = World::start_with(options, |parts| parts).await;
    let (_, attributes) = cookie(&login(&world, "", EMAIL, PASSWORD).await.expect(200));
    assert!(attributes.contains(&"Secure".to_owned()), "{attributes:?}");
}

#[tokio::test]
async fn an_idle_session_ends_after_twelve_hours() {
    let world = World::start().await;
    let session = world.session().await;
    let almost = Duration::from_hours(12) - Duration::from_mins(1);
    world.clock.advance(almost);
    assert_eq!(me(&world, &session).await, 200);
    // That it was used counts.
    world.clock.advance(almost);
    assert_eq!(me(&world, &session).await, 200);
    world.clock.advance(Duration::from_hours(12) + Duration::from_mins(1));
    assert_eq!(me(&world, &session).await, 401);
}

#[tokio::test]
async fn a_session_in_use_ends_after_a_week() {
    let world = World::start().await;
    let session = world.session().await;
    let mut hours = 0;
    while hours < 7 * 24 - 6 {
        world.clock.advance(Duration::from_hours(6));
        hours += 6;
        assert_eq!(me(&world, &session).await, 200, "after {hours} h");
    }
    world.clock.advance(Duration::from_hours(6) + Duration::from_secs(1));
    assert_eq!(me(&world, &session).await, 401);
}

#[tokio::test]
async fn guessing_is_slowed_down_and_unknown_users_answer_alike() {
    let world = World::start().await;
    let wrong = "some-other-words-42-here";
    let known = login(&world, "", EMAIL, wrong).await.expect(401);
    let unknown = login(&world, "", "nobody@acme.test", wrong).await.expect(401);
    assert_eq!(known.error(), "invalid_credentials");
    assert_eq!(known.bytes, unknown.bytes);
    for _ in 0..4 {
        login(&world, "", EMAIL, wrong).await.expect(401);
    }
    let slowed = login(&world, "", EMAIL, PASSWORD).await.expect(429);
    assert_eq!(slowed.error(), "rate_limited");
    let wait: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    for _ in 0..4 {
        login(&world, "", "nobody@acme.test", wrong).await.expect(401);
    }
    let unknown = login(&world, "", "nobody@acme.test", wrong).await.expect(429);
    assert_eq!(unknown.bytes, slowed.bytes, "who is not there waits as well");
    assert_eq!(unknown.header("retry-after"), slowed.header("retry-after"));
    // Nobody is locked out: the right password is taken when the wait is over.
    world.clock.advance(Duration::from_secs(wait));
    login(&world, "", EMAIL, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn nobody_registers_where_registration_is_closed() {
    let world = World::start_with(ApiOptions::default(), |parts| parts).await;
    let body = json!({ "tenantName": "Eve", "email": "eve@eve.test", "password": PASSWORD });
    let answer = ask(&world, Method::POST, "/portal/register", "", Some(body)).await.expect(403);
    assert_eq!(answer.error(), "registration_closed");
    assert!(answer.header("set-cookie").is_none());
}
