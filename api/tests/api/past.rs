//! What was at a time, by `?at=`.

use std::time::Duration;

use actors::Clock as _;
use model::Timestamp;
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};

use crate::world::{Answer, World, email_with, request};

const HOUR: Duration = Duration::from_hours(1);

async fn portal(
    world: &World,
    session: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let request = Request::builder().method(method).uri_str(path);
    let request = request.header("cookie", format!("lumora_session={session}"));
    let request = match body {
        Some(body) => {
            request.content_type("application/json").body(Body::from_json(&body).unwrap())
        }
        None => request.finish(),
    };
    world.call(request).await
}

fn kinds(read: &Value) -> Vec<&str> {
    let events = read["events"].as_array().unwrap().iter();
    events.map(|event| event["type"].as_str().unwrap()).collect()
}

/// Some time passes; the time before and the time after.
fn pass(world: &World) -> (Timestamp, Timestamp) {
    let before = world.clock.now();
    world.clock.advance(HOUR);
    (before, world.clock.now())
}

#[tokio::test]
async fn a_message_is_shown_as_it_stood() {
    let world = World::start().await;
    let (early, _) = pass(&world);
    let at = world.clock.now().plus(Duration::from_hours(24)).to_string();
    let id = world.accepted(&email_with(json!({ "scheduledAt": at }))).await;
    let (then, _) = pass(&world);
    let path = format!("/v1/messages/{id}");
    let canceled = world.post(&format!("{path}/cancel"), &json!({})).await.expect(200).json;
    assert_eq!(canceled["message"]["status"], "canceled");

    let seen = async |at: Timestamp| world.get(&format!("{path}?at={at}")).await;
    let past = seen(then).await.expect(200).json;
    assert_eq!(past["message"]["status"], "scheduled");
    assert_eq!(past["recipients"][0]["status"], "queued");
    assert_eq!(kinds(&past), ["accepted", "scheduled"]);
    let now = seen(world.clock.now()).await.expect(200).json;
    assert_eq!((kinds(&now), &now["message"]), (kinds(&canceled), &canceled["message"]));
    assert_eq!(seen(early).await.expect(404).error(), "not_found");
    for wrong in [world.clock.now().plus(HOUR).to_string(), "yesterday".into(), String::new()] {
        let refused = world.get(&format!("{path}?at={wrong}")).await.expect(422);
        assert_eq!(refused.fields(), ["at"], "{wrong}");
    }
}

#[tokio::test]
async fn an_app_and_its_keys_are_shown_as_they_were() {
    let world = World::start().await;
    let live = world.session().await;
    let ask = async |method, path: &str, body| portal(&world, &live, method, path, body).await;
    pass(&world);
    let new = json!({ "name": "First" });
    let app = ask(Method::POST, "/portal/apps", Some(new)).await.expect(201).json;
    let app = format!("/portal/apps/{}", app["id"].as_str().unwrap());
    let keys = format!("{app}/api-keys");
    let (made, _) = pass(&world);
    let new = json!({ "name": "k", "rateLimitPerMinute": 60, "scopes": { "email:send": true } });
    let key = ask(Method::POST, &keys, Some(new)).await.expect(201).json;
    let (with_key, _) = pass(&world);
    ask(Method::PATCH, &app, Some(json!({ "name": "Second" }))).await.expect(200);
    let gone = format!("{keys}/{}", key["id"].as_str().unwrap());
    ask(Method::DELETE, &gone, None).await.expect(204);

    let get =
        async |path: &str, at: Timestamp| ask(Method::GET, &format!("{path}?at={at}"), None).await;
    let now = world.clock.now();
    assert_eq!(get(&app, made).await.expect(200).json["name"], "First");
    assert_eq!(get(&app, now).await.expect(200).json["name"], "Second");
    assert_eq!(get(&keys, made).await.expect(200).json["data"], json!([]));
    let status = |list: &Value| list["data"][0]["status"].clone();
    assert_eq!(status(&get(&keys, with_key).await.expect(200).json), "active");
    let present = ask(Method::GET, &keys, None).await.expect(200).json;
    assert_eq!(get(&keys, now).await.expect(200).json, present);
    assert_eq!(status(&present), "revoked");

    let before = made.minus(HOUR).minus(HOUR);
    let stranger = world.stranger().await;
    for path in [&app, &keys] {
        get(path, before).await.expect(404);
        let ahead = get(path, now.plus(HOUR)).await.expect(422);
        assert_eq!(ahead.fields(), ["at"]);
        let path = format!("{path}?at={now}");
        portal(&world, &stranger, Method::GET, &path, None).await.expect(404);
    }
}

#[tokio::test]
async fn a_domain_is_shown_as_it_was_also_when_it_is_gone() {
    let world = World::start().await;
    let live = world.session().await;
    let ask = async |method, path: &str, body| portal(&world, &live, method, path, body).await;
    let (before, _) = pass(&world);
    let new = json!({ "domain": "past.example" });
    let added = ask(Method::POST, "/portal/domains", Some(new)).await.expect(201).json;
    let path = format!("/portal/domains/{}", added["id"].as_str().unwrap());
    let (then, _) = pass(&world);
    ask(Method::POST, &format!("{path}/pause"), Some(json!({}))).await.expect(200);
    let (paused, _) = pass(&world);
    assert!(ask(Method::DELETE, &path, None).await.status < 300);

    let get = async |at: Timestamp| ask(Method::GET, &format!("{path}?at={at}"), None).await;
    let past = get(then).await.expect(200).json;
    assert_eq!((&past["domain"], &past["records"]), (&added["domain"], &added["records"]));
    assert_eq!((past["paused"].is_object(), &past["status"]), (false, &json!("pending")));
    assert!(get(paused).await.expect(200).json["paused"].is_object());
    get(before).await.expect(404);
    get(world.clock.now()).await.expect(404);
    assert_eq!(get(world.clock.now().plus(HOUR)).await.expect(422).fields(), ["at"]);
    let stranger = world.stranger().await;
    let path = format!("{path}?at={then}");
    portal(&world, &stranger, Method::GET, &path, None).await.expect(404);
}

#[tokio::test]
async fn templates_are_shown_as_they_were_also_when_they_are_gone() {
    let world = World::start().await;
    let (before, _) = pass(&world);
    let new = |name: &str, text: &str| json!({ "slug": "hi", "name": name, "text": text });
    let first = world.post("/v1/templates", &new("First", "one")).await.expect(201).json;
    let id = first["id"].as_str().unwrap().to_owned();
    let (written, _) = pass(&world);
    let change = json!({ "name": "Second", "text": "two" });
    let change = request(Method::PATCH, "/v1/templates/hi", &world.key)
        .content_type("application/json")
        .body(change.to_string());
    world.call(change).await.expect(200);
    let (changed, _) = pass(&world);
    let gone = request(Method::DELETE, "/v1/templates/hi", &world.key).finish();
    world.call(gone).await.expect(204);
    let (deleted, _) = pass(&world);
    world.post("/v1/templates", &new("Third", "three")).await.expect(201);
    let now = world.clock.now();

    let one =
        async |name: &str, at: Timestamp| world.get(&format!("/v1/templates/{name}?at={at}")).await;
    for name in ["hi", &id] {
        one(name, before).await.expect(404);
        let seen = one(name, written).await.expect(200).json;
        assert_eq!(
            (&seen["name"], &seen["text"], &seen["version"]),
            (&json!("First"), &json!("one"), &json!(1))
        );
        let seen = one(name, changed).await.expect(200).json;
        assert_eq!(
            (&seen["name"], &seen["text"], &seen["version"]),
            (&json!("Second"), &json!("two"), &json!(2))
        );
        one(name, deleted).await.expect(404);
    }
    assert_eq!(one("hi", now).await.expect(200).json["name"], "Third");
    one(&id, now).await.expect(404);
    // A version that was not there yet.
    world.get(&format!("/v1/templates/hi?version=2&at={written}")).await.expect(404);
    world.get(&format!("/v1/templates/hi?version=1&at={changed}")).await.expect(200);

    let list = async |query: &str| world.get(&format!("/v1/templates?{query}")).await;
    let names = |list: &Value| -> Vec<String> {
        let rows = list["data"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    for (at, expected) in
        [(before, vec![]), (written, vec!["First"]), (changed, vec!["Second"]), (deleted, vec![])]
    {
        let seen = list(&format!("at={at}")).await.expect(200).json;
        assert_eq!(names(&seen), expected, "{at}");
    }
    let seen = list(&format!("at={now}")).await.expect(200).json;
    assert_eq!(seen["data"], list("").await.expect(200).json["data"]);
    assert_eq!(list(&format!("at={}", now.plus(HOUR))).await.expect(422).fields(), ["at"]);
}

#[tokio::test]
async fn a_suppression_list_is_shown_as_it_was() {
    let world = World::start().await;
    let (before, _) = pass(&world);
    let add = async |name: &str, reason: &str| {
        let new = json!({ "email": format!("{name}@reader.test"), "reason": reason });
        let added = world.post("/v1/suppressions", &new).await;
        assert!(added.status == 201 || added.status == 200, "{}", added.json);
    };
    let remove = async |name: &str| {
        let path = format!("/v1/suppressions/{name}@reader.test");
        world.call(request(Method::DELETE, &path, &world.key).finish()).await.expect(204);
    };
    let list = async |query: &str| world.get(&format!("/v1/suppressions?{query}")).await;
    let names = |list: &Value| -> Vec<String> {
        let rows = list["data"].as_array().unwrap().iter();
        rows.map(|row| row["email"].as_str().unwrap().split('@').next().unwrap().to_owned())
            .collect()
    };
    // What the list showed at each time, as it showed it then.
    let mut shown = vec![(before, list("").await.expect(200).json)];
    let steps: [(&str, bool); 7] = [
        ("ada", true),
        ("bob", true),
        ("ada", false),
        ("cat", true),
        ("ada", true),
        ("bob", false),
        ("cat", false),
    ];
    for (name, listed) in steps {
        if listed {
            add(name, "manual").await;
        } else {
            remove(name).await;
        }
        let seen = list("").await.expect(200).json;
        shown.push((pass(&world).0, seen));
    }
    assert_eq!(names(&shown[5].1), ["ada", "cat", "bob"]);
    for (at, seen) in &shown {
        let past = list(&format!("at={at}")).await.expect(200).json;
        assert_eq!(past["data"], seen["data"], "{at}");
        // The same in pages of one.
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("limit=1&at={at}{cursor}")).await.expect(200).json;
            paged.extend(names(&page));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, names(seen), "{at}");
    }
    let ahead = world.clock.now().plus(HOUR);
    assert_eq!(list(&format!("at={ahead}")).await.expect(422).fields(), ["at"]);
}

#[tokio::test]
async fn statistics_are_shown_as_they_were() {
    let world = World::start().await;
    let mut ids = Vec::new();
    let stats = async |query: &str| {
        world.get(&format!("/v1/emails/stats?interval=hour&groupBy=recipientDomain{query}")).await
    };
    let first = stats("").await.expect(200).json;
    let mut shown = vec![(pass(&world).0, first)];
    for round in 0..4 {
        let later = world.clock.now().plus(Duration::from_hours(24)).to_string();
        ids.push(world.accepted(&email_with(json!({ "scheduledAt": later }))).await);
        let sent = world
            .accepted(&email_with(json!({ "to": ["ada@reader.test", "nobody@reader.test"] })))
            .await;
        world.until(&sent, &["partially_delivered"]).await;
        if round == 2 {
            let path = format!("/v1/messages/{}/cancel", ids[0]);
            world.post(&path, &json!({})).await.expect(200);
        }
        let seen = stats("").await.expect(200).json;
        shown.push((pass(&world).0, seen));
    }
    assert_eq!(shown[4].1["totals"]["canceled"], 1);
    for (at, seen) in &shown {
        assert_eq!(stats(&format!("&at={at}")).await.expect(200).json, *seen, "{at}");
    }
    let ahead = world.clock.now().plus(HOUR);
    assert_eq!(stats(&format!("&at={ahead}")).await.expect(422).fields(), ["at"]);
}
