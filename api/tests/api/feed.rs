//! Events by number: pages, long polls, streams.

use std::time::Duration;

use actors::NewApiKey;
use api::ApiOptions;
use model::{By, tenant::Scope};
use poem::http::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use crate::{
    serving::{PATIENCE, Served, rest, until},
    world::{Answer, World, email, key, request},
};

fn seqs(answer: &Answer) -> Vec<u64> {
    let events = answer.json["data"].as_array().unwrap();
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

async fn three_messages(world: &World) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = world.accepted(&email()).await;
        world.until(&id, &["delivered"]).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn one_number_leads_through_all_events() {
    let world = World::start().await;
    let answer = world.get("/v1/events").await.expect(200);
    assert_eq!(
        answer.json,
        json!({ "data": [], "lastSeq": 0, "headSeq": 0, "hasMore": false, "epoch": "0" })
    );
    let ids = three_messages(&world).await;
    let (mut remembered, mut events) = (0, Vec::new());
    loop {
        let page = world.get(&format!("/v1/events?after={remembered}&limit=4")).await.expect(200);
        assert_eq!(page.json["headSeq"], 6);
        events.extend(page.json["data"].as_array().unwrap().iter().cloned());
        remembered = page.json["lastSeq"].as_u64().unwrap();
        if page.json["hasMore"] == false {
            break;
        }
    }
    assert_eq!(remembered, 6);
    // Each as the message itself tells it, with its number and the message's id.
    for (number, id) in ids.iter().enumerate() {
        let read = world.get(&format!("/v1/messages/{id}")).await.expect(200).json;
        for (place, told) in read["events"].as_array().unwrap().iter().enumerate() {
            let place = number * 2 + place;
            let mut expected = told.clone();
            expected["seq"] = json!(place + 1);
            expected["messageId"] = json!(id);
            assert_eq!(events[place], expected);
        }
    }
    let end = world.get("/v1/events?after=6").await.expect(200);
    assert_eq!(
        end.json,
        json!({ "data": [], "lastSeq": 6, "headSeq": 6, "hasMore": false, "epoch": "0" })
    );
}

#[tokio::test]
async fn what_is_no_number_of_the_feed_is_refused() {
    let world = World::start().await;
    three_messages(&world).await;
    for path in ["/v1/events", "/v1/events/stream"] {
        for bad in ["7", "-1", "x", "", "1.0", "+1", "9007199254740992", "99999999999999999999"] {
            let answer = world.get(&format!("{path}?after={bad}")).await.expect(422);
            assert_eq!(answer.fields(), ["after"], "{path} {bad}");
        }
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("waitSeconds=31", "waitSeconds"),
        ("waitSeconds=-1", "waitSeconds"),
    ] {
        let answer = world.get(&format!("/v1/events?{query}")).await.expect(422);
        assert_eq!(answer.fields(), [field]);
    }
    let request = request(Method::GET, "/v1/events/stream?after=1", &world.key);
    let answer = world.call(request.header("last-event-id", "seven").finish()).await.expect(422);
    assert_eq!(answer.fields(), ["Last-Event-ID"]);
}

#[tokio::test]
async fn nobody_elses_events_are_numbered_or_shown() {
    let world = World::start().await;
    three_messages(&world).await;
    let app = world.other_app().await;
    let neighbour = key(&world.platform, world.tenant, app, &Scope::ALL, 1_000).await;
    let (tenant, app) = world.other_tenant().await;
    let stranger = key(&world.platform, tenant, app, &Scope::ALL, 1_000).await;
    for key in [neighbour, stranger] {
        let ask = async |path| world.call(request(Method::GET, path, &key).finish()).await;
        let answer = ask("/v1/events").await.expect(200);
        assert_eq!((&answer.json["data"], &answer.json["headSeq"]), (&json!([]), &json!(0)));
        let stream = ask("/v1/events/stream").await.expect(200);
        assert!(!String::from_utf8_lossy(&stream.bytes).contains("data:"));
        // Another's number is none of theirs.
        assert_eq!(ask("/v1/events?after=1").await.expect(422).fields(), ["after"]);
    }
}

#[tokio::test]
async fn forgotten_content_is_absent_and_the_numbers_stay() {
    use eventlog::{EventLog as _, Hour};
    let world = World::start().await;
    three_messages(&world).await;
    let before = world.get("/v1/events").await.expect(200);
    assert_eq!(before.json["data"][1]["recipient"], "ada@reader.test");
    let later = crate::world::START.plus(Duration::from_hours(2));
    world.log.drop_content_before(Hour::of(later)).unwrap();
    let after = world.get("/v1/events").await.expect(200);
    assert_eq!(seqs(&before), seqs(&after));
    assert_eq!(after.json["data"][1]["recipient"], Value::Null);
    assert_eq!(after.json["data"][1]["id"], before.json["data"][1]["id"]);
    assert!(!String::from_utf8_lossy(&after.bytes).contains("ada@"));
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_next_event() {
    let world = World::start().await;
    let asked = world.get("/v1/events?waitSeconds=30");
    let email = email();
    let sent = world.accepted(&email);
    let (answer, id) = tokio::join!(asked, sent);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json["data"][0]["messageId"], id.as_str());
    assert_eq!(answer.json["data"][0]["seq"], 1);
}

fn stream_of(served: &Served, path: &str, headers: &str) -> String {
    served.head(&format!("GET {path}"), headers)
}

async fn connected(served: &Served, path: &str, headers: &str) -> TcpStream {
    let mut stream = served.connect().await;
    stream.write_all(stream_of(served, path, headers).as_bytes()).await.unwrap();
    stream
}

/// The numbers in a piece of a stream.
fn ids(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_stream_goes_on_from_the_number_that_it_is_given() {
    let served = Served::start(ApiOptions::default()).await;
    let mut stream = connected(&served, "/v1/events/stream", "").await;
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    served.world.accepted(&email()).await;
    let text = until(&mut stream, "id: 2\n").await;
    assert_eq!(ids(&text), [1, 2]);
    drop(stream);
    let id = served.world.accepted(&email()).await;
    served.world.until(&id, &["delivered"]).await;
    // The header counts before the parameter, as with browsers that connect again.
    let path = "/v1/events/stream?after=0";
    let mut stream = connected(&served, path, "last-event-id: 2\r\n").await;
    let text = until(&mut stream, "id: 4\n").await;
    assert_eq!(ids(&text), [3, 4]);
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    let page = served.world.get("/v1/events?after=2&limit=1").await.json;
    assert_eq!(event, page["data"][0]);
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let heartbeat = Duration::from_millis(5);
    let served = Served::start(ApiOptions { heartbeat, ..ApiOptions::default() }).await;
    let mut stream = connected(&served, "/v1/events/stream", "").await;
    let text = until(&mut stream, "\n:\n").await;
    assert!(ids(&text).is_empty(), "{text}");
}

#[tokio::test]
async fn a_key_that_is_taken_back_ends_its_streams_and_long_polls() {
    let served = Served::start(ApiOptions::default()).await;
    let world = &served.world;
    let new = NewApiKey::new("gone soon", &[Scope::EmailRead], 1_000);
    let made =
        world.platform.create_api_key(By::CommandLine, world.tenant, world.app, new).await.unwrap();
    let secret = made.secret.reveal();
    let ask = async |path: &str| {
        let mut stream = served.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: l\r\nx-api-key: {secret}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut stream = ask("/v1/events/stream").await;
    until(&mut stream, "\r\n\r\n").await;
    let mut poll = ask("/v1/events?waitSeconds=30").await;
    world.platform.revoke_api_key(By::CommandLine, world.tenant, world.app, made.id).await.unwrap();
    // The end of a chunked answer, not a broken one.
    until(&mut stream, "0\r\n\r\n").await;
    let answer = until(&mut poll, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // And an expired one.
    let expires_at = Some(crate::world::START.plus(Duration::from_mins(5)));
    let new = NewApiKey { expires_at, ..NewApiKey::new("old soon", &[Scope::EmailRead], 1_000) };
    let made =
        world.platform.create_api_key(By::CommandLine, world.tenant, world.app, new).await.unwrap();
    let mut stream = served.connect().await;
    let head = "GET /v1/events/stream HTTP/1.1\r\nhost: l\r\nx-api-key: ";
    let head = format!("{head}{}\r\n\r\n", made.secret.reveal());
    stream.write_all(head.as_bytes()).await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    world.clock.advance(Duration::from_mins(5));
    until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_stop_ends_streams_and_long_polls_in_order() {
    let mut served = Served::start(ApiOptions::default()).await;
    let mut stream = connected(&served, "/v1/events/stream", "").await;
    until(&mut stream, "\r\n\r\n").await;
    let mut poll = connected(&served, "/v1/events?waitSeconds=30", "").await;
    // It waits, or is answered at once: either way with what there is.
    tokio::task::yield_now().await;
    served.stop.take().unwrap().send(()).unwrap();
    let ended = rest(&mut stream).await;
    assert!(ended.ends_with("0\r\n\r\n"), "{ended}");
    let answer = rest(&mut poll).await;
    assert!(answer.is_empty() || answer.contains("\"data\":[]"), "{answer}");
    timeout(PATIENCE, &mut served.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn so_many_wait_and_no_more() {
    let options = ApiOptions { max_waiting: 2, max_waiting_per_key: 1, ..ApiOptions::default() };
    let served = Served::start(options).await;
    let world = &served.world;
    let mut first = connected(&served, "/v1/events/stream", "").await;
    until(&mut first, "\r\n\r\n").await;
    for path in ["/v1/events/stream", "/v1/events?waitSeconds=30"] {
        let mut second = connected(&served, path, "").await;
        let answer = until(&mut second, "}").await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("retry-after: 5"), "{answer}");
    }
    // Who does not wait needs no place.
    let mut plain = connected(&served, "/v1/events", "").await;
    assert!(until(&mut plain, "}").await.starts_with("HTTP/1.1 200 "));
    let mut others = Vec::new();
    for status in ["200", "503"] {
        let secret = world.key_with(&[Scope::EmailRead], 1_000).await;
        let mut other = served.connect().await;
        let head = "GET /v1/events/stream HTTP/1.1\r\nhost: l\r\nx-api-key: ";
        other.write_all(format!("{head}{secret}\r\n\r\n").as_bytes()).await.unwrap();
        let answer = until(&mut other, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        others.push(other);
    }
    // A place that is left is free.
    drop((first, others));
    let again = timeout(PATIENCE, async {
        loop {
            let mut stream = connected(&served, "/v1/events/stream", "").await;
            if until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 ") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    again.await.unwrap();
}
