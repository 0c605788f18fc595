//! A message is sent, delivered and read back, in exactly the documented shapes.

use std::net::Ipv4Addr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    client::{assert_conserved, kinds},
    world::{MAIL_HOST, OWN_HOST, World},
};

/// Takes a time out of an answer, so that the rest can be compared whole.
fn take_time(value: &mut Value) -> String {
    let time = value.as_str().unwrap().to_owned();
    assert!(time.ends_with('Z') && time.len() >= 20 && &time[10..11] == "T", "{time}");
    *value = json!("TIME");
    time
}

fn take_id(value: &mut Value, prefix: &str) -> String {
    let id = value.as_str().unwrap().to_owned();
    assert!(id.starts_with(prefix) && id.len() == prefix.len() + 26, "{id}");
    *value = json!("ID");
    id
}

/// What the receiver said, as every answer shows it.
fn said(mut extra: Value) -> Value {
    let reply =
        json!({ "code": 250, "enhancedCode": "2.0.0", "message": "taken as 0-1", "mx": MAIL_HOST });
    let fields = extra.as_object_mut().unwrap();
    fields.extend(reply.as_object().unwrap().clone());
    extra
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_accepted_delivered_and_read_back() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let email = json!({
        "to": ["Ada Lovelace <ada@reader.test>"],
        "subject": "Your invoice 1042",
        "text": "Thank you, Ada.\n",
        "tags": ["invoice"],
        "metadata": { "orderId": "1042" },
    });

    let answer = app.api.send(&email).await;
    let mut sent = answer.expect(202);
    let id = take_id(&mut sent["messageId"], "msg_");
    assert_eq!(sent, json!({ "messageId": "ID", "status": "queued", "idempotentReplay": false }));
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.header("ratelimit-limit"), "1000000");
    for header in ["ratelimit-remaining", "ratelimit-reset"] {
        assert!(answer.header(header).parse::<u64>().is_ok(), "{answer:?}");
    }

    let mut read = app.api.ended(&id).await;
    assert_measured(&app.api.get("/metrics").await.text);
    let created = take_time(&mut read["message"]["createdAt"]);
    let sent_at = take_time(&mut read["message"]["sentAt"]);
    assert!(created <= sent_at, "{created} {sent_at}");
    let size = read["message"]["sizeBytes"].take();
    assert!(size.as_u64().unwrap() > 0, "{size}");
    let accepted_id = take_id(&mut read["events"][0]["id"], "evt_");
    let delivered_id = take_id(&mut read["events"][1]["id"], "evt_");
    assert_ne!(accepted_id, delivered_id);
    assert_eq!(take_time(&mut read["events"][0]["occurredAt"]), created);
    assert_eq!(take_time(&mut read["events"][1]["occurredAt"]), sent_at);
    let accepted = json!({ "id": "ID", "type": "accepted", "occurredAt": "TIME" });
    let delivered = json!({
        "id": "ID", "type": "delivered", "occurredAt": "TIME",
        "recipient": "ada@reader.test", "recipientIndex": 0, "attempt": 1,
        "smtp": said(json!({ "ip": "127.0.0.1", "way": "direct", "sourceIp": "127.0.0.1" })),
    });
    assert_eq!(
        read,
        json!({
            "message": {
                "id": id, "status": "delivered", "subject": "Your invoice 1042",
                "from": { "email": "billing@sender.test", "name": "Acme Billing" },
                "createdAt": "TIME", "sentAt": "TIME", "tags": ["invoice"],
                "metadata": { "orderId": "1042" }, "sizeBytes": null,
            },
            "recipients": [{
                "email": "ada@reader.test", "kind": "to", "status": "delivered", "attempts": 1,
                "lastResponse": said(json!({})),
            }],
            "events": [accepted, delivered],
        })
    );

    let mut logs = app.api.get("/v1/emails/logs").await.expect(200);
    let rows = logs["data"].as_array_mut().unwrap();
    for row in rows.iter_mut() {
        take_id(&mut row["id"], "evt_");
        take_time(&mut row["occurredAt"]);
    }
    let row = |mut event: Value| {
        event["messageId"] = json!(id);
        event["subject"] = json!("Your invoice 1042");
        event
    };
    assert_eq!(logs, json!({ "data": [row(delivered), row(accepted)], "hasMore": false }));

    assert_counted(&app).await;
    assert_received(&app, &id);
}

/// That the figures tell of it, and name no more than they may.
fn assert_measured(metrics: &str) {
    let counted = metrics.lines().any(|line| {
        line.starts_with("lumora_receiver_outcomes_total{")
            && line.contains("receiver=\"other\"")
            && line.contains("outcome=\"delivered\"")
            && !line.ends_with(" 0")
    });
    assert!(counted, "{metrics}");
    // A mail host without a rule has no label of its own, for there are as many as domains; only
    // the busiest few are named.
    let named = metrics.lines().filter(|line| line.contains(MAIL_HOST));
    assert!(named.clone().all(|line| line.starts_with("lumora_site_connections_")), "{metrics}");
    let opened = format!("lumora_site_connections_opened_total{{site=\"{MAIL_HOST}\"}} 1");
    assert!(named.clone().any(|line| line == opened), "{metrics}");
    for count in [
        "lumora_smtp_connect_duration_seconds_bucket{le=\"+Inf\"}",
        "lumora_smtp_transaction_duration_seconds_bucket{le=\"600\"}",
        "lumora_attempts_total{outcome=\"delivered\",stage=\"end_of_data\"}",
        "lumora_smtp_connections_total{receiver=\"other\"}",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(count));
        assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{count}\n{metrics}");
    }
}

/// That the statistics tell of one delivered message.
async fn assert_counted(app: &TestApp) {
    let mut stats = app.api.get("/v1/emails/stats?groupBy=tag&interval=day").await.expect(200);
    assert_conserved(&stats);
    take_time(&mut stats["from"]);
    take_time(&mut stats["to"]);
    let latency = stats["latency"].take();
    for name in ["p50Ms", "p95Ms", "p99Ms"] {
        assert!(latency[name].is_u64(), "{latency}");
    }
    let counts = json!({
        "accepted": 1, "delivered": 1, "deferred": 0, "bounced": 0, "failed": 0,
        "suppressed": 0, "complained": 0, "canceled": 0,
    });
    let mut group = counts.clone();
    group["key"] = json!("invoice");
    assert_eq!(stats["totals"], counts);
    assert_eq!(
        stats["rates"],
        json!({ "deliveryRate": 1.0, "bounceRate": 0.0, "complaintRate": 0.0 })
    );
    assert_eq!((&stats["inFlight"], &stats["groups"]), (&json!(0), &json!([group])));
    let of_series = |name: &str| -> u64 {
        stats["series"].as_array().unwrap().iter().map(|day| day[name].as_u64().unwrap()).sum()
    };
    assert_eq!((of_series("accepted"), of_series("delivered")), (1, 1));
}

/// That the message came as it was sent, signed.
fn assert_received(app: &TestApp, id: &str) {
    let (received, letter) = app.world.inbox.only();
    assert_eq!(received.recipients, ["ada@reader.test"]);
    assert_eq!(received.helo, OWN_HOST);
    assert_eq!(received.from.ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(letter.field("from"), "Acme Billing <billing@sender.test>");
    assert_eq!(letter.field("to"), "Ada Lovelace <ada@reader.test>");
    assert_eq!(letter.field("subject"), "Your invoice 1042");
    assert_eq!(letter.field("message-id"), format!("<{id}@sender.test>"));
    assert_eq!(letter.field("mime-version"), "1.0");
    assert!(!letter.field("date").is_empty());
    assert_eq!(letter.body.trim_end(), "Thank you, Ada.");
    let signature = letter.signature();
    assert_eq!(signature["d"], "sender.test");
    assert_eq!((&*signature["a"], &*signature["c"]), ("rsa-sha256", "relaxed/relaxed"));
    let signed: Vec<String> = signature["h"].split(':').map(str::to_ascii_lowercase).collect();
    let twice = signed.iter().filter(|name| *name == "from").count();
    assert_eq!(twice, 2, "From is signed once more than it stands: {signed:?}");
    for name in ["to", "subject", "date", "message-id", "mime-version"] {
        assert!(signed.iter().any(|known| known == name), "{name} is not signed");
    }
    assert_eq!(STANDARD.decode(&signature["bh"]).unwrap().len(), 32);
    assert_eq!(STANDARD.decode(&signature["b"]).unwrap().len(), 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn html_files_and_international_texts_arrive() {
    let app = TestApp::start().await;
    for domain in ["reader.test", "other.test", "xn--bcher-kva.test"] {
        app.world.receives(domain);
    }
    let pixel: Vec<u8> = (0..=255).collect();
    let id = app
        .api
        .accepted(&json!({
            "from": { "email": "news@sender.test", "name": "Ärztehaus „Mitte“" },
            "to": ["\"Doe, Jane\" <jane@reader.test>", "kim@bücher.test"],
            "cc": ["Łukasz <l@other.test>"],
            "bcc": ["archive@other.test"],
            "replyTo": ["help@sender.test"],
            "subject": "Grüße – 你好 👋 and a subject long enough to be folded over several lines",
            "html": "<p>Hej <img src=\"cid:logo\"></p>",
            "text": "Hej\n.\n..\nFrom here\n\n\n",
            "attachments": [
                { "filename": "räkning.pdf", "content": STANDARD.encode(&pixel), "contentType": "application/pdf" },
                { "filename": "logo.png", "content": STANDARD.encode(&pixel), "contentType": "image/png", "contentId": "logo" },
            ],
            "headers": { "X-Campaign": "höst" },
        }))
        .await;
    let read = app.api.ended(&id).await;
    assert_eq!(read["message"]["status"], "delivered", "{read}");
    let shown: Vec<(&str, &str)> = read["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["kind"].as_str().unwrap(), r["email"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            ("to", "jane@reader.test"),
            ("to", "kim@xn--bcher-kva.test"),
            ("cc", "l@other.test"),
            ("bcc", "archive@other.test"),
        ]
    );
    assert_eq!(kinds(&read).iter().filter(|kind| **kind == "delivered").count(), 4);

    // One mail host stands behind the three domains: one transaction for all of them.
    let (received, letter) = app.world.inbox.only();
    assert_eq!(received.recipients.len(), 4);
    assert!(letter.all("bcc").is_empty());
    let whole = String::from_utf8(received.data).unwrap();
    assert!(!whole.contains("archive@other.test"), "a bcc recipient stands in the message");
    assert!(letter.field("subject").starts_with("=?utf-8?"), "{}", letter.field("subject"));
    assert!(letter.field("x-campaign").starts_with("=?utf-8?"));
    assert_eq!(letter.field("reply-to"), "<help@sender.test>");
    assert!(letter.field("to").contains("\"Doe, Jane\" <jane@reader.test>"));
    assert!(letter.field("content-type").starts_with("multipart/mixed"));
    for part in ["multipart/alternative", "multipart/related", "application/pdf", "image/png"] {
        assert!(letter.body.contains(part), "{part} is missing");
    }
    assert!(letter.body.contains("<logo>"));
    let base64: String = letter.body.split("\r\n").collect();
    assert_eq!(base64.matches(&STANDARD.encode(&pixel)).count(), 2, "both files, byte for byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_of_the_same_domain_gets_nothing_when_the_first_takes_it() {
    let world = World::new().await;
    let second = world.second_inbox("mx2.receiver.test", 2).await;
    world.receives("reader.test");
    world.dns.add_mx("reader.test", 20, "mx2.receiver.test").unwrap();
    let app = TestApp::start_in(world, |_| {}).await;
    let email = json!({ "to": ["a@reader.test"], "subject": "s", "text": "t" });
    for _ in 0..3 {
        let id = app.api.accepted(&email).await;
        app.api.becomes(&id, "delivered").await;
    }
    assert_eq!((app.world.inbox.taken().len(), second.taken().len()), (3, 0));
}
