//! The server is killed with mail in its queue and requests under way, several times over.

use std::collections::{BTreeMap, BTreeSet};

use mail::sink::{Action, Asked, MessageAction, Policy, Received};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    client::{Client, assert_conserved, kinds},
    inbox::reply,
    process::{run, serve, sign_up},
    world::World,
};

const ROUNDS: usize = 3;
const SENDERS: usize = 8;
/// Answers after which a round is ended, in the middle of the requests that follow.
const ANSWERS: usize = 60;

/// Takes some, defers most, and leaves some in the middle of a transaction: by the recipient's
/// number, so that each run does the same.
struct Unsteady;

fn number(recipient: &str) -> usize {
    recipient.trim_start_matches('r').split('@').next().unwrap().parse().unwrap()
}

impl Policy for Unsteady {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        match number(asked.recipient) % 5 {
            0 | 1 => Action::Accept,
            _ => reply(451, "4.3.2 Not now"),
        }
    }

    fn message(&self, message: &Received) -> MessageAction {
        match number(&message.recipients[0]) % 5 {
            0 => MessageAction::Accept,
            _ => MessageAction::Stall,
        }
    }
}

/// Sends until the server goes away; what was answered with 202, by number.
async fn send_until_gone(
    api: Client,
    numbers: Vec<usize>,
    told: tokio::sync::mpsc::Sender<(usize, String)>,
) {
    for number in numbers {
        let edit = |request: reqwest::RequestBuilder| {
            request.header("idempotency-key", format!("key {number}")).json(&email(number))
        };
        let Some(answer) = api.try_request("POST", "/v1/email/send", edit).await else { return };
        let id = answer.expect(202)["messageId"].as_str().unwrap().to_owned();
        if told.send((number, id)).await.is_err() {
            return;
        }
    }
}

fn email(number: usize) -> Value {
    json!({
        "to": [format!("r{number}@reader.test")],
        "subject": format!("Number {number}"),
        "text": "Not to be lost.",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_accepted_is_lost_when_the_server_is_killed() {
    let world = World::new().await;
    world.receives("reader.test");
    let config = world.config_file("1s");
    let secret = sign_up(&world, &config);
    world.inbox.obey(Unsteady);

    let mut accepted: BTreeMap<usize, String> = BTreeMap::new();
    let mut tried = 0;
    for round in 0..ROUNDS {
        let (server, url) = serve(&config, &[]);
        let api = Client::new(&url, Some(&secret));
        let (told, mut answers) = tokio::sync::mpsc::channel(SENDERS);
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let numbers = (0..1_000).map(|n| tried + n * SENDERS + sender).collect();
            senders.spawn(send_until_gone(api.clone(), numbers, told.clone()));
        }
        drop(told);
        for _ in 0..ANSWERS + round {
            let (number, id) = answers.recv().await.unwrap();
            accepted.insert(number, id);
        }
        server.crash();
        // Answers that were under way count as well: who got one believes it.
        while let Some((number, id)) = answers.recv().await {
            accepted.insert(number, id);
        }
        senders.join_all().await;
        tried = accepted.keys().max().unwrap() + 2 * SENDERS;
    }

    world.inbox.obey(mail::sink::AcceptAll);
    let (server, url) = serve(&config, &[]);
    let api = Client::new(&url, Some(&secret));
    let mut ids = BTreeSet::new();
    for (number, id) in &accepted {
        let read = api.becomes(id, "delivered").await;
        assert_eq!(read["recipients"][0]["email"], format!("r{number}@reader.test"));
        assert_eq!(kinds(&read).iter().filter(|kind| **kind == "delivered").count(), 1, "{read}");
        ids.insert(id.clone());
    }
    assert_eq!(ids.len(), accepted.len(), "an id was given twice");

    // The same request again is the same message, whether its answer was seen or not.
    for (number, id) in accepted.iter().step_by(7) {
        let again = api.send_once(&email(*number), &format!("key {number}")).await.expect(202);
        assert_eq!((&again["messageId"], &again["idempotentReplay"]), (&json!(id), &json!(true)));
    }

    // At least once at the receiver, exactly once in the record.
    let received: BTreeSet<String> =
        world.inbox.taken().iter().map(|received| received.recipients[0].clone()).collect();
    for number in accepted.keys() {
        assert!(received.contains(&format!("r{number}@reader.test")), "{number} never arrived");
    }
    let stats = crate::support::eventually("all have ended", async || {
        let stats = api.get("/v1/emails/stats").await.expect(200);
        assert_conserved(&stats);
        (stats["inFlight"] == 0).then_some(stats)
    })
    .await;
    let delivered = stats["totals"]["delivered"].as_u64().unwrap();
    assert!(delivered >= accepted.len() as u64, "{stats}");
    assert_eq!(stats["totals"]["accepted"], delivered, "{stats}");
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait().await.success());
    let verified = run(&["log", "verify"], &config);
    assert!(verified.status.success(), "{verified:?}");
    println!("{} accepted over {ROUNDS} kills, {delivered} delivered", accepted.len());
}
