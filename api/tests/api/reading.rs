//! Reading back what was sent.

use std::sync::atomic::Ordering;

use model::MessageId;
use serde_json::{Value, json};

use crate::world::{SENDER, World, email, email_with};

fn kinds(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_delivered_message_tells_everything() {
    let world = World::start().await;
    let id = world
        .accepted(&email_with(json!({
            "cc": ["c@reader.test"],
            "tags": ["welcome"],
            "metadata": { "order": "1042" },
        })))
        .await;
    let read = world.until(&id, &["delivered"]).await;
    let message = &read["message"];
    assert_eq!(message["id"], id.as_str());
    assert_eq!(message["subject"], "Hello");
    assert_eq!(message["from"], json!({ "email": SENDER, "name": "Acme" }));
    assert_eq!(message["tags"], json!(["welcome"]));
    assert_eq!(message["metadata"], json!({ "order": "1042" }));
    assert!(message["sentAt"].is_string());
    assert_eq!(read["recipients"][0]["email"], "ada@reader.test");
    assert_eq!(read["recipients"][1]["kind"], "cc");
    let response = &read["recipients"][0]["lastResponse"];
    assert_eq!(response["code"], 250);
    assert_eq!(response["mx"], "mx.reader.test");
    assert!(!response["message"].as_str().unwrap().is_empty());
    assert_eq!(kinds(&read["events"]), ["accepted", "delivered", "delivered"]);
    let event = &read["events"][1];
    assert_eq!((&event["recipient"], &event["attempt"]), (&json!("ada@reader.test"), &json!(1)));
    assert_eq!(event["smtp"]["ip"], "127.0.0.1");
    assert_eq!(read["events"][0].get("recipient"), None);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_servers_words() {
    let world = World::start().await;
    let to = json!({ "to": ["nobody@reader.test", "ada@reader.test"] });
    let id = world.accepted(&email_with(to)).await;
    let read = world.until(&id, &["partially_delivered"]).await;
    let refused = &read["recipients"][0];
    assert_eq!(refused["status"], "bounced");
    assert_eq!(refused["lastResponse"]["code"], 550);
    assert_eq!(refused["lastResponse"]["enhancedCode"], "5.1.1");
    let words = refused["lastResponse"]["message"].as_str().unwrap();
    assert!(words.contains("<nobody@reader.test>: no such user"), "{words}");
    let bounce = world.get(&format!("/v1/emails/logs?messageId={id}&type=bounced")).await.json;
    assert_eq!(bounce["data"][0]["reason"], "recipient");
}

#[tokio::test]
async fn a_fault_without_a_reply_is_told_in_ours() {
    let world = World::start().await;
    let id = world.accepted(&email_with(json!({ "to": ["ada@nowhere.test"] }))).await;
    let read = world.until(&id, &["bounced"]).await;
    let response = &read["recipients"][0]["lastResponse"];
    assert_eq!(response.get("code"), None);
    assert_eq!(response["enhancedCode"], "5.1.2");
    assert_eq!(response["message"], "the recipient's domain does not exist");
}

#[tokio::test]
async fn a_deferred_recipient_says_when_it_is_tried_next() {
    let world = World::start().await;
    let id = world.accepted(&email_with(json!({ "to": ["later@reader.test"] }))).await;
    let read = world.until(&id, &["sending"]).await;
    let recipient = &read["recipients"][0];
    assert_eq!(recipient["status"], "deferred");
    assert!(recipient["nextAttemptAt"].is_string());
    assert_eq!(read["events"][1]["nextAttemptAt"], recipient["nextAttemptAt"]);
    let stats = world.get("/v1/emails/stats").await.json;
    assert_eq!((&stats["inFlight"], &stats["totals"]["deferred"]), (&json!(1), &json!(1)));
    assert_eq!(stats["latency"]["p50Ms"], Value::Null);
}

#[tokio::test]
async fn without_its_content_a_message_keeps_all_else() {
    let world = World::start().await;
    let to = json!({ "to": ["nobody@reader.test"], "metadata": { "a": "b" }, "tags": ["t"] });
    let id = world.accepted(&email_with(to)).await;
    let before = world.until(&id, &["bounced"]).await;
    let message: MessageId = id.parse().unwrap();
    let view = world.read.messages().get(message).unwrap().unwrap();
    eventlog::EventLog::erase(world.log.as_ref(), &view.head).unwrap();
    let after = world.get(&format!("/v1/messages/{id}")).await.expect(200).json;
    let mut expected = before.clone();
    for path in [
        "/message/subject",
        "/message/from",
        "/message/metadata",
        "/recipients/0/email",
        "/recipients/0/lastResponse/message",
        "/events/1/recipient",
        "/events/1/smtp/message",
    ] {
        let value = expected.pointer_mut(path).unwrap_or_else(|| panic!("{path} in {before}"));
        assert!(!value.is_null(), "{path}");
        *value = Value::Null;
    }
    assert_eq!(after, expected);
    let logs = world.get("/v1/emails/logs").await.expect(200).json;
    assert_eq!(logs["data"][0]["subject"], Value::Null);
    assert_eq!(logs["data"][0]["recipient"], Value::Null);
    // Who knows the address still finds what happened to it.
    let found = world.get("/v1/emails/logs?recipient=NOBODY@reader.test").await.json;
    assert_eq!(kinds(&found["data"]), ["bounced", "accepted"]);
}

#[tokio::test]
async fn a_page_opens_each_message_once() {
    let world = World::start().await;
    let to: Vec<String> = (0..25).map(|number| format!("u{number}@reader.test")).collect();
    for _ in 0..2 {
        let id = world.accepted(&email_with(json!({ "to": to }))).await;
        world.until(&id, &["delivered"]).await;
    }
    let before = world.log.content_reads.load(Ordering::Relaxed);
    let page = world.get("/v1/emails/logs?limit=50").await.expect(200).json;
    assert_eq!(page["data"].as_array().unwrap().len(), 50);
    assert_eq!(world.log.content_reads.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test]
async fn pages_follow_one_another_while_events_come() {
    let world = World::start().await;
    for _ in 0..3 {
        let id = world.accepted(&email()).await;
        world.until(&id, &["delivered"]).await;
    }
    let all = world.get("/v1/emails/logs").await.expect(200).json;
    assert_eq!((&all["hasMore"], all.get("nextCursor")), (&json!(false), None));
    let mut paged = Vec::new();
    let mut path = "/v1/emails/logs?limit=2".to_owned();
    loop {
        let page = world.get(&path).await.expect(200).json;
        paged.extend(page["data"].as_array().unwrap().clone());
        // New events change no page that follows.
        world.accepted(&email()).await;
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        assert_eq!(page["hasMore"], true);
        path = format!("/v1/emails/logs?limit=2&cursor={cursor}");
    }
    assert_eq!(Value::Array(paged), all["data"]);
}

#[tokio::test]
async fn filters_hold_together() {
    let world = World::start().await;
    let first = world.accepted(&email_with(json!({ "tags": ["a", "ä b"] }))).await;
    let second = world.accepted(&email_with(json!({ "to": ["nobody@reader.test"] }))).await;
    world.until(&first, &["delivered"]).await;
    world.until(&second, &["bounced"]).await;
    for (query, expected) in [
        ("tag=a", vec!["delivered", "accepted"]),
        ("tag=%C3%A4%20b&type=delivered", vec!["delivered"]),
        ("recipient=ada@reader.test", vec!["delivered", "accepted"]),
        ("recipient=nobody@reader.test&type=bounced", vec!["bounced"]),
        ("type=complained", vec![]),
        ("type=bounced&tag=a", vec![]),
        ("to=2025-11-26T12:00:00Z", vec![]),
        ("from=2025-11-26T12:00:00Z&tag=a&type=accepted", vec!["accepted"]),
    ] {
        let page = world.get(&format!("/v1/emails/logs?{query}")).await.expect(200).json;
        assert_eq!(kinds(&page["data"]), expected, "{query}");
    }
    let path = format!("/v1/emails/logs?messageId={second}");
    let page = world.get(&path).await.expect(200).json;
    assert!(page["data"].as_array().unwrap().iter().all(|row| row["messageId"] == second.as_str()));
}

#[tokio::test]
async fn statistics_add_up() {
    let world = World::start().await;
    for to in [json!(["ada@reader.test", "nobody@reader.test"]), json!(["later@reader.test"])] {
        let id = world.accepted(&email_with(json!({ "to": to, "tags": ["a", "b"] }))).await;
        world.until(&id, &["partially_delivered", "sending"]).await;
    }
    let id = world.accepted(&email_with(json!({ "scheduledAt": "2025-11-27T12:00:00Z" }))).await;
    world.post(&format!("/v1/messages/{id}/cancel"), &Value::Null).await.expect(200);
    let stats = world.get("/v1/emails/stats?interval=hour&groupBy=tag").await.expect(200).json;
    let counts = json!({
        "accepted": 4, "delivered": 1, "deferred": 1, "bounced": 1, "failed": 0, "suppressed": 0,
        "complained": 0, "canceled": 1,
    });
    assert_eq!(stats["totals"], counts);
    let classes = json!({
        "recipient": 1, "mailboxFull": 0, "policy": 0, "reputation": 0, "content": 0,
        "infrastructure": 0, "unknown": 0,
    });
    assert_eq!(stats["bounceClasses"], classes);
    assert_eq!(stats["inFlight"], 1);
    assert_eq!(
        stats["rates"],
        json!({ "deliveryRate": 0.25, "bounceRate": 0.25, "complaintRate": 0.0 })
    );
    assert_eq!(stats["latency"]["p99Ms"], 0, "the clock stands still");
    let series = stats["series"].as_array().unwrap();
    assert_eq!(series.len(), 30 * 24);
    let last = series.last().unwrap();
    assert_eq!(
        (&last["start"], &last["accepted"]),
        (&json!("2025-11-26T12:00:00.000Z"), &json!(4))
    );
    let groups = stats["groups"].as_array().unwrap();
    let keys: Vec<_> = groups.iter().map(|group| (&group["key"], &group["accepted"])).collect();
    assert_eq!(keys, [(&json!("a"), &json!(3)), (&json!("b"), &json!(3))]);
    for (by, key) in [("domain", "mail.acme.test"), ("recipientDomain", "reader.test")] {
        let stats = world.get(&format!("/v1/emails/stats?groupBy={by}")).await.expect(200).json;
        assert_eq!(stats["groups"][0]["key"], key);
    }
    let none = world.get("/v1/emails/stats?groupBy=template").await.expect(200).json;
    assert_eq!(none["groups"], json!([]));
}
