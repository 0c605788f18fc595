//! What a person or a key does is an event, and so is what did not succeed, and what was looked at.

use std::time::Duration;

use api::ApiOptions;
use eventlog::{EventLog as _, Fault, Position, Recorded};
use model::Cause;
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};

use crate::{
    objects::{Objects, body},
    standing::{get, letter, own_domain},
    world::{Answer, EMAIL, PASSWORD, World, email, email_with, request},
};

/// Operations that leave no event, and why. Whoever adds an operation that is no GET either records
/// it or says here why not.
const WITHOUT_EVENT: [(&str, &str); 1] =
    [("previewTemplate", "renders what the caller sends, and keeps nothing")];

fn after(world: &World, position: Position) -> Vec<Recorded> {
    world.log.read_all(position, 1_000).unwrap()
}

fn head(world: &World) -> Position {
    *world.log.head().borrow()
}

/// Who or what the events after a position came of.
fn causes(world: &World, position: Position) -> Vec<String> {
    let causes = after(world, position);
    let told = causes.iter().map(|recorded| Cause::read(&recorded.data).unwrap().unwrap());
    told.map(|cause| cause.by.to_string()).collect()
}

fn of_kind(world: &World, kind: &str) -> Vec<Value> {
    let all = after(world, Position::START).into_iter();
    let read = all.map(|recorded| serde_json::from_slice::<Value>(&recorded.data).unwrap());
    read.filter(|event| event["type"] == kind).collect()
}

/// Waits until there are so many events of a type: some are recorded beside the answer.
async fn becomes(world: &World, kind: &str, count: usize) -> Vec<Value> {
    for _ in 0..500 {
        let found = of_kind(world, kind);
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {count} {kind}: {:?}", of_kind(world, kind));
}

/// What an operation is asked on and with, so that it succeeds.
async fn good(world: &World, operation: &str, path: String, body: Value) -> (String, Value) {
    let pause = |path: &str| path.replace("/resume", "/pause");
    let session = world.session().await;
    match operation {
        "login" => (path, json!({ "email": EMAIL, "password": PASSWORD })),
        "changePassword" => {
            (path, json!({ "currentPassword": PASSWORD, "newPassword": "seven-lamps-under-ice" }))
        }
        "sendEmail" => (path, email()),
        "sendBatch" => (path, json!([email()])),
        "cancelMessage" => {
            let later = email_with(json!({ "scheduledAt": "2025-11-27T12:00:00Z" }));
            (format!("/v1/messages/{}/cancel", world.accepted(&later).await), body)
        }
        "rotateDkim" => (format!("/portal/domains/{}/dkim/rotate", own_domain(world)), body),
        "resumeDelivery" | "resumeDomain" => {
            let request = Request::builder().method(Method::POST).uri_str(pause(&path));
            let request = request.header("cookie", format!("lumora_session={session}"));
            let request = request.content_type("application/json").body("{}");
            world.call(request).await.expect(200);
            (path, body)
        }
        "createTemplate" => {
            (path, json!({ "slug": "another", "name": "Another", "text": "Hello" }))
        }
        _ => (path, body),
    }
}

#[tokio::test]
async fn every_operation_that_changes_something_leaves_an_event_of_who_did_it() {
    let options = ApiOptions { registration_open: true, ..ApiOptions::default() };
    let world = World::start_with(options, |parts| parts).await;
    let document = api::document();
    let operations = crate::described::Document::new().operations();
    let mut changing: Vec<_> =
        operations.into_iter().filter(|(_, method, _)| *method != Method::GET).collect();
    // What ends everybody's sessions comes last.
    changing.sort_by_key(|(path, ..)| path == "/portal/password");
    let (mut walked, mut without) = (0, Vec::new());
    for (template, method, operation) in changing {
        let id = operation["operationId"].as_str().unwrap();
        let objects = Objects::again(&world).await;
        let body = body(&operation, &document).unwrap_or(Value::Null);
        let (path, body) = good(&world, id, objects.path(&template), body).await;
        let scheme = operation["security"][0].as_object();
        let by_key = scheme.is_some_and(|scheme| scheme.contains_key("apiKey"));
        let request = if by_key {
            request(method, &path, &world.key)
        } else {
            let session = world.session().await;
            let request = Request::builder().method(method).uri_str(&path);
            request.header("cookie", format!("lumora_session={session}"))
        };
        let before = head(&world);
        let request = match body {
            Value::Null => request.finish(),
            body => request.content_type("application/json").body(Body::from_json(&body).unwrap()),
        };
        let answer = world.call(request).await;
        assert!((200..300).contains(&answer.status), "{id}: {} {}", answer.status, answer.json);
        let causes = causes(&world, before);
        let prefix = match (by_key, id) {
            (true, _) => "key_",
            (false, "register") => "registration",
            (false, _) => "usr_",
        };
        if causes.iter().any(|by| by.starts_with(prefix)) {
            walked += 1;
        } else {
            without.push(id.to_owned());
        }
    }
    assert_eq!(without, WITHOUT_EVENT.map(|(id, _)| id.to_owned()), "of {walked}");
    assert!(walked > 20, "{walked}");
}

async fn login(world: &World, email: &str, password: &str) -> Answer {
    let pair = json!({ "email": email, "password": password });
    let request = Request::builder().method(Method::POST).uri_str("/portal/login");
    world.call(request.content_type("application/json").body(pair.to_string())).await
}

#[tokio::test]
async fn refused_sign_ins_are_told_once_an_hour_and_counted_by_what_follows() {
    let world = World::start().await;
    for _ in 0..4 {
        assert_eq!(login(&world, EMAIL, "wrong-wrong-wrong").await.status, 401);
        assert_eq!(login(&world, "nobody@acme.test", "wrong-wrong-wrong").await.status, 401);
    }
    let told = becomes(&world, "user.password_refused", 1).await;
    assert_eq!(
        (told.len(), &told[0]["cause"], &told[0]["others"]),
        (1, &json!("visitor"), &json!(null))
    );
    assert_eq!(told[0]["tenant"], world.tenant.to_string());
    assert_eq!(becomes(&world, "instance.sign_in_refused", 1).await.len(), 1);
    // Who gets in after that learns of the others, once.
    let session = world.session().await;
    let started = becomes(&world, "user.session_started", 1).await;
    assert_eq!(started[0]["refused"], 3);
    assert_eq!(of_kind(&world, "user.password_refused").len(), 1);
    // An hour later the next one is told, and how many of nobody's there were.
    assert_eq!(login(&world, EMAIL, "wrong-wrong-wrong").await.status, 401);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(login(&world, EMAIL, "wrong-wrong-wrong").await.status, 401);
    assert_eq!(login(&world, "x", "wrong-wrong-wrong").await.status, 401);
    assert_eq!(becomes(&world, "user.password_refused", 2).await[1]["others"], 1);
    assert_eq!(becomes(&world, "instance.sign_in_refused", 2).await[1]["others"], 3);
    // The tenant finds its own in the audit, and nobody's is no tenant's.
    let rows = |kind: &str| format!("/portal/audit/events?actor=visitor&type={kind}");
    let audit = get(&world, &session, &rows("user.password_refused")).await.expect(200).json;
    assert_eq!(audit["data"].as_array().unwrap().len(), 2);
    let audit = get(&world, &session, &rows("instance.sign_in_refused")).await.expect(200).json;
    assert_eq!(audit["data"], json!([]));
    for recorded in after(&world, Position::START) {
        let text = String::from_utf8(recorded.data.to_vec()).unwrap();
        assert!(!text.contains("nobody@") && !text.contains(EMAIL), "{text}");
    }
}

#[tokio::test]
async fn a_refused_sign_in_that_cannot_be_recorded_is_told_by_the_next_one() {
    let world = World::start().await;
    world.log.inner.inject([Fault::StorageFull]);
    assert_eq!(login(&world, EMAIL, "wrong-wrong-wrong").await.status, 401);
    // It is recorded beside the answer, and given back once that has failed: another is told then,
    // and no sooner than in a minute.
    for _ in 0..4 {
        world.clock.advance(Duration::from_mins(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !of_kind(&world, "user.password_refused").is_empty() {
            break;
        }
        assert_eq!(login(&world, EMAIL, "wrong-wrong-wrong").await.status, 401);
    }
    let told = becomes(&world, "user.password_refused", 1).await;
    assert!(told[0]["others"].as_u64() >= Some(1), "{told:?}");
}

#[tokio::test]
async fn what_people_wrote_is_shown_once_it_is_on_record_that_it_was() {
    let world = World::start().await;
    let owner = world.session().await;
    let domain = own_domain(&world);
    let id = letter(&world, domain, 1).await;
    let list = format!("/portal/domains/{domain}/letters");
    let one = format!("{list}/{id}");
    // While nothing can be recorded, nothing is shown; what shows no content goes on.
    for path in [&list, &one] {
        world.log.inner.inject([Fault::StorageFull]);
        let refused = get(&world, &owner, path).await;
        assert_eq!((refused.status, refused.error()), (503, "unavailable"), "{path}");
        assert!(refused.header("retry-after").is_some());
        assert!(!String::from_utf8_lossy(&refused.bytes).contains("ada@"));
    }
    world.log.inner.inject([Fault::StorageFull]);
    get(&world, &owner, "/portal/domains").await.expect(200);
    get(&world, &owner, "/portal/audit/events").await.expect(200);
    assert_eq!(of_kind(&world, "content.read"), [json!(null); 0]);
    assert_eq!(get(&world, &owner, &one).await.status, 503, "the fault was still to come");

    let before = head(&world);
    for path in [&list, &one, &one, &list] {
        get(&world, &owner, path).await.expect(200);
    }
    let read = of_kind(&world, "content.read");
    let told = |event: &Value| [event["shown"].clone(), event["of"].clone()];
    let expected = [
        [json!("letter_list"), json!(domain.to_string())],
        [json!("letter"), json!(id.to_string())],
    ];
    assert_eq!(read.iter().map(told).collect::<Vec<_>>(), expected);
    let by = causes(&world, before);
    assert!(by.iter().all(|by| by.starts_with("usr_")), "{by:?}");
    world.clock.advance(Duration::from_hours(1));
    // Who looks many times at once looks once.
    let looks = || get(&world, &owner, &one);
    let looks = tokio::join!(looks(), looks(), looks());
    for look in [looks.0, looks.1, looks.2] {
        look.expect(200);
    }
    let path = format!("/portal/audit/events?type=content.read&actor={}", by[0]);
    let audit = get(&world, &owner, &path).await.expect(200).json;
    let audit: Vec<_> =
        audit["data"].as_array().unwrap().iter().map(|row| told(&row["data"])).collect();
    assert_eq!(audit, [&expected[1], &expected[1], &expected[0]].map(Clone::clone));
    // A letter whose content is gone shows nothing, and is no look.
    let objects = Objects::of(&world).await;
    let forgotten = objects.path("/portal/domains/{domainId}/letters/{letterId}");
    get(&world, &owner, &forgotten).await.expect(200);
    assert_eq!(of_kind(&world, "content.read").len(), 3);
}
