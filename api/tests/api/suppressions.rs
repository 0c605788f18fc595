//! Whom an app does not write to.

use poem::http::Method;
use serde_json::{Value, json};

use crate::world::{Answer, World, email_with, request};

const LIST: &str = "/v1/suppressions";

async fn delete(world: &World, email: &str) -> Answer {
    world.call(request(Method::DELETE, &format!("{LIST}/{email}"), &world.key).finish()).await
}

async fn listed(world: &World) -> Vec<String> {
    let page = world.get(LIST).await.expect(200).json;
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["email"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_address_is_put_on_the_list_once_and_taken_off() {
    let world = World::start().await;
    let body = json!({ "email": "Ada+news@Reader.test", "reason": "complaint" });
    let added = world.post(LIST, &body).await.expect(201).json;
    assert_eq!(added["reason"], "complaint");
    let again = json!({ "email": "Ada+news@reader.TEST" });
    assert_eq!(world.post(LIST, &again).await.expect(200).json, added, "the first reason stays");
    assert_eq!(listed(&world).await.len(), 1);
    // Parts after a plus are another address, escaped or not.
    delete(&world, "Ada@reader.test").await.expect(404);
    delete(&world, "Ada%2Bnews@reader.test").await.expect(204);
    delete(&world, "Ada+news@reader.test").await.expect(404);
    assert_eq!(listed(&world).await, Vec::<String>::new());
    world.post(LIST, &again).await.expect(201);
    delete(&world, "Ada+news@reader.test").await.expect(204);
}

#[tokio::test]
async fn addresses_of_any_script_are_found_again() {
    let world = World::start().await;
    for (email, escaped) in [
        ("ada@bücher.test", "ada@b%C3%BCcher.test"),
        ("ada@bücher.test", "ada@xn--bcher-kva.test"),
        ("a%b@reader.test", "a%25b@reader.test"),
        ("a/b@reader.test", "a%2Fb@reader.test"),
        ("a?b#c@reader.test", "a%3Fb%23c%40reader.test"),
    ] {
        world.post(LIST, &json!({ "email": email })).await.expect(201);
        delete(&world, escaped).await.expect(204);
    }
}

#[tokio::test]
async fn the_list_comes_in_pages_newest_first() {
    let world = World::start().await;
    for number in 0..5 {
        let body = json!({ "email": format!("u{number}@reader.test") });
        world.post(LIST, &body).await.expect(201);
    }
    let mut emails = Vec::new();
    let mut path = format!("{LIST}?limit=2");
    loop {
        let page = world.get(&path).await.expect(200).json;
        let rows = page["data"].as_array().unwrap().iter();
        emails.extend(rows.map(|row| row["email"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("{LIST}?limit=2&cursor={cursor}");
        let body = json!({ "email": format!("new{}@reader.test", emails.len()) });
        world.post(LIST, &body).await.expect(201);
    }
    let expected: Vec<String> = (0..5).rev().map(|n| format!("u{n}@reader.test")).collect();
    assert_eq!(emails, expected);
}

#[tokio::test]
async fn a_suppressed_recipient_is_recorded_as_such() {
    let world = World::start().await;
    world.post(LIST, &json!({ "email": "ada+x@reader.test" })).await.expect(201);
    let to = json!({ "to": ["ada+x@reader.test", "bob@reader.test"] });
    let id = world.accepted(&email_with(to)).await;
    let read = world.until(&id, &["delivered", "partially_delivered"]).await;
    assert_eq!(read["recipients"][0]["status"], "suppressed");
    assert_eq!(read["recipients"][1]["status"], "delivered");
    let events = read["events"].as_array().unwrap().iter();
    let told: Vec<&Value> = events.filter(|event| event["type"] == "suppressed").collect();
    assert_eq!(told.len(), 1, "{read}");
    assert_eq!(told[0]["reason"], "recipient_suppressed");
    assert_eq!(told[0]["suppressionReason"], "manual");
    assert_eq!(told[0]["recipient"], "ada+x@reader.test");
    let stats = world.get("/v1/emails/stats").await.expect(200).json;
    assert_eq!(stats["totals"]["suppressed"], 1);
    let logs = world.get("/v1/emails/logs?type=suppressed").await.expect(200).json;
    assert_eq!(logs["data"][0]["messageId"], id.as_str());
}
