//! A thousand messages to fifty domains: all arrive, and every count agrees.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    app::TestApp,
    client::{Client, assert_conserved},
    eventually,
    world::World,
};

const MESSAGES: usize = 1_000;
const DOMAINS: usize = 50;
const CLIENTS: usize = 16;

fn domain(number: usize) -> String {
    format!("d{:02}.reader.test", number % DOMAINS)
}

async fn send(api: Client, first: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in (first..MESSAGES).step_by(CLIENTS) {
        let email = json!({
            "to": [format!("r{number}@{}", domain(number))],
            "subject": format!("Message {number}"),
            "text": "One of many.",
            "html": "<p>One of many.</p>",
            "tags": [if number % 2 == 0 { "even" } else { "odd" }],
        });
        ids.push(api.accepted(&email).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_to_fifty_domains_all_arrive() {
    let world = World::new().await;
    // Five mail servers, and for each domain a mail host of its own name.
    let mut inboxes = Vec::new();
    for last in 2..6 {
        inboxes.push(world.second_inbox(&format!("mx{last}.receiver.test"), last).await);
    }
    for number in 0..DOMAINS {
        let host = format!("mx.{}", domain(number));
        let last = u8::try_from(1 + number % 5).unwrap();
        world.dns.add_address(&host, World::address(last)).unwrap();
        world.dns.add_mx(&domain(number), 10, &host).unwrap();
    }
    let app = TestApp::start_in(world, |_| {}).await;

    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(send(app.api.clone(), client));
    }
    let ids: BTreeSet<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(ids.len(), MESSAGES);

    let stats = eventually("all have ended", async || {
        let path = "/v1/emails/stats?groupBy=recipientDomain&interval=hour";
        let stats = app.api.get(path).await.expect(200);
        assert_conserved(&stats);
        (stats["inFlight"] == 0).then_some(stats)
    })
    .await;
    let messages = MESSAGES as u64;
    assert_eq!(stats["totals"]["accepted"], messages);
    assert_eq!(stats["totals"]["delivered"], messages, "{}", stats["totals"]);
    let groups = stats["groups"].as_array().unwrap();
    assert_eq!(groups.len(), DOMAINS);
    for group in groups {
        assert_eq!(group["delivered"], messages / DOMAINS as u64, "{group}");
    }
    let series = stats["series"].as_array().unwrap().iter();
    assert_eq!(series.map(|hour| hour["delivered"].as_u64().unwrap()).sum::<u64>(), messages);

    // What the receivers took agrees with what is told of it.
    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    for inbox in inboxes.iter().chain([&app.world.inbox]) {
        for message in inbox.taken() {
            for recipient in message.recipients {
                *received.entry(recipient).or_default() += 1;
            }
        }
    }
    assert_eq!(received.len(), MESSAGES);
    assert!(received.values().all(|times| *times == 1), "something was sent twice");

    // Page by page, every event stands in the logs once, the newest first.
    let rows = app.api.all_logs("limit=100").await;
    assert_eq!(rows.len(), 2 * MESSAGES);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let events: BTreeSet<String> = rows.iter().map(|row| text(row, "id")).collect();
    assert_eq!(events.len(), rows.len());
    assert!(rows.is_sorted_by(|a, b| text(a, "occurredAt") >= text(b, "occurredAt")));
    let delivered = app.api.all_logs("limit=100&type=delivered").await;
    let delivered: BTreeSet<String> = delivered.iter().map(|row| text(row, "messageId")).collect();
    assert_eq!(delivered, ids);
    let odd = app.api.all_logs("limit=100&type=accepted&tag=odd").await;
    assert_eq!(odd.len(), MESSAGES / 2);
}
