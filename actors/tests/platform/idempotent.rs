//! Idempotency keys against the simplest model of them: a table of what was asked for first.

use std::collections::{BTreeMap, HashMap};

use actors::{IdempotencyKey, Platform, SendError, SendRefusal, SendRequest, Sent};
use model::{MessageId, message::Refusal};

use crate::world::{Account, World, mailbox, request};

/// Histories, each by its seed.
const SEEDS: [u64; 3] = [1, 2, 3];
const ROUNDS: usize = 60;
/// The server is stopped and started anew after so many.
const LIFE: usize = 25;
const KEYS: u64 = 9;
/// Bodies: the last one is refused whatever its key.
const BODIES: u64 = 3;

/// The same numbers for the same seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// An app's key, and the body that is sent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    key: (usize, u64),
    body: u64,
}

impl Asked {
    fn is_refused(self) -> bool {
        self.body == BODIES - 1
    }

    fn request(self) -> SendRequest {
        let mut request = request(&["ada@receiver.example"]);
        request.subject = format!("body {}", self.body);
        if self.is_refused() {
            request.from = Some(mailbox("nobody@not-verified.example"));
        }
        request.idempotency_key = IdempotencyKey::parse(&format!("key {}", self.key.1));
        request
    }
}

/// What was asked for first by a key, and what came of it.
type Table = HashMap<(usize, u64), (u64, MessageId)>;

/// Asks for all at once.
async fn race(
    platform: &Platform,
    accounts: &[Account; 2],
    asked: &[Asked],
) -> Vec<(Asked, Result<Sent, SendError>)> {
    let asking = asked.iter().map(|asked| {
        let (platform, caller) = (platform.clone(), accounts[asked.key.0].caller);
        let (asked, request) = (*asked, asked.request());
        tokio::spawn(async move { (asked, platform.send(&caller, request).await) })
    });
    let mut answers = Vec::new();
    for asking in asking.collect::<Vec<_>>() {
        answers.push(asking.await.unwrap());
    }
    answers
}

/// Holds the answers for one key against what is known of it.
fn check(table: &mut Table, key: (usize, u64), answers: &[(Asked, Result<Sent, SendError>)]) {
    let fresh: Vec<_> = answers
        .iter()
        .filter_map(|(asked, answer)| Some((asked.body, answer.as_ref().ok()?)))
        .filter(|(_, sent)| !sent.idempotent_replay)
        .collect();
    let wanted = answers.iter().any(|(asked, _)| !asked.is_refused());
    if let std::collections::hash_map::Entry::Vacant(place) = table.entry(key) {
        assert_eq!(fresh.len(), usize::from(wanted), "{key:?} made other than one message");
        let Some((body, sent)) = fresh.first() else { return };
        place.insert((*body, sent.message));
    } else {
        assert!(fresh.is_empty(), "{key:?} made a second message");
    }
    let (body, message) = table[&key];
    for (asked, answer) in answers {
        match answer {
            Ok(sent) => assert_eq!((asked.body, sent.message), (body, message), "{asked:?}"),
            Err(SendError::Refused(SendRefusal::Message(Refusal::IdempotencyConflict))) => {
                assert_ne!(asked.body, body, "{asked:?} is no conflict");
            }
            Err(SendError::Refused(_)) => assert!(asked.is_refused(), "{asked:?}: {answer:?}"),
            Err(other) => panic!("{asked:?}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_whatever_order_and_over_restarts_a_key_is_the_one_request_that_came_first() {
    for seed in SEEDS {
        println!("seed {seed}");
        let mut random = Random(seed);
        let World { ground, mut running, account, .. } =
            World::with(|options| actors::PlatformOptions { deliver: false, ..options }).await;
        let other =
            Account::sending_from("mail.other.example", &ground, &running.platform, &running.read);
        let accounts = [account, other.await];
        let mut table = Table::new();
        for round in 1..=ROUNDS {
            let asked: Vec<Asked> = (0..=random.below(5))
                .map(|_| Asked {
                    key: (usize::from(random.below(2) == 1), random.below(KEYS)),
                    body: random.below(BODIES),
                })
                .collect();
            let mut by_key: BTreeMap<(usize, u64), Vec<_>> = BTreeMap::new();
            for answer in race(&running.platform, &accounts, &asked).await {
                by_key.entry(answer.0.key).or_default().push(answer);
            }
            for (key, answers) in by_key {
                check(&mut table, key, &answers);
            }
            if round % LIFE == 0 {
                running.stop().await;
                let options = actors::PlatformOptions { deliver: false, ..ground.options() };
                running = ground.platform(options).await;
            }
        }
        let recorded = ground.messages();
        assert_eq!(recorded.len(), table.len(), "seed {seed}: a message without an answer");
        assert!(table.values().all(|(_, message)| recorded.contains_key(message)));
        running.stop().await;
    }
}
