//! The platform is dropped in the middle of everything, again and again, on the same log.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{IdempotencyKey, PlatformOptions, SendRequest};
use eventlog::{EventLog, Fault, Log, LogOptions, MemoryLog, OpenError};
use mail::sink::{Action, Asked, MessageAction, Policy, Received, SinkReply};
use model::{MessageId, message::RecipientStatus};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::world::{Account, Ground, PATIENCE, request, until};

/// A random number generator that a seed starts (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// A receiver that refuses, defers, closes and falls silent at random, until it is told to be good.
struct Moody {
    dice: Mutex<Dice>,
    good: Mutex<bool>,
    copies: Mutex<HashMap<String, u32>>,
}

impl Moody {
    fn new(seed: u64) -> Arc<Self> {
        let (dice, good) = (Mutex::new(Dice(seed)), Mutex::new(false));
        Arc::new(Self { dice, good, copies: Mutex::default() })
    }

    fn throw(&self) -> u64 {
        if *self.good.lock().unwrap() { 99 } else { self.dice.lock().unwrap().below(100) }
    }

    fn count(&self, message: &Received) {
        let text = String::from_utf8_lossy(&message.data).into_owned();
        let line = text.lines().find(|line| line.starts_with("Message-ID: <")).unwrap();
        let id = line.trim_start_matches("Message-ID: <").split('@').next().unwrap();
        *self.copies.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }
}

impl Policy for Moody {
    fn connection(&self, _from: std::net::SocketAddr) -> Action {
        match self.throw() {
            0..3 => Action::Reply(SinkReply::new(421, "4.3.2 too busy")),
            3..5 => Action::Disconnect,
            _ => Action::Accept,
        }
    }

    fn recipient(&self, _asked: Asked<'_>) -> Action {
        match self.throw() {
            0..8 => Action::Reply(SinkReply::new(451, "4.7.1 later")),
            8..12 => Action::Reply(SinkReply::new(550, "5.1.1 nobody")),
            12..15 => Action::Disconnect,
            _ => Action::Accept,
        }
    }

    fn message(&self, message: &Received) -> MessageAction {
        match self.throw() {
            0..3 => MessageAction::Disconnect,
            3..6 => {
                self.count(message);
                MessageAction::AcceptAndDisconnect
            }
            6..9 => MessageAction::Reply(SinkReply::new(452, "4.2.2 full")),
            _ => {
                self.count(message);
                MessageAction::Accept
            }
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Sends for a while on a runtime of its own, then lets that runtime go in the middle of it.
fn life(
    outside: &Runtime,
    ground: &Ground,
    account: Account,
    dice: &mut Dice,
    answered: &Arc<Mutex<HashSet<MessageId>>>,
) {
    let inside = runtime();
    let options = PlatformOptions {
        per_destination: 4,
        lane_depth: 20,
        max_live_messages: 60,
        ..ground.options()
    };
    let running = inside.block_on(ground.platform(options));
    for sender in 0..4 {
        let (platform, answered) = (running.platform.clone(), Arc::clone(answered));
        let (caller, first) = (account.caller, dice.below(1_000_000));
        inside.spawn(async move {
            for number in 0.. {
                let to = [
                    format!("u{number}@a.example"),
                    format!("v{number}@b.example"),
                    format!("w{number}@a.example"),
                ];
                let to: Vec<&str> = to.iter().map(String::as_str).collect();
                let keyed = number % 2 == 0;
                let key = format!("{sender}/{first}/{number}");
                let wanted = SendRequest {
                    idempotency_key: keyed.then(|| IdempotencyKey::parse(&key).unwrap()),
                    ..request(&to[..1 + number % 3])
                };
                match platform.send(&caller, wanted).await {
                    Ok(sent) => assert!(answered.lock().unwrap().insert(sent.message)),
                    // Too much, or the log failed: later.
                    Err(_) => tokio::time::sleep(Duration::from_millis(3)).await,
                }
                tokio::task::yield_now().await;
            }
        });
    }
    // Counted in messages, not in time: a busy machine makes a life longer, not emptier.
    let enough = answered.lock().unwrap().len() + 10 + usize::try_from(dice.below(40)).unwrap();
    let a_little = Duration::from_micros(dice.below(20_000));
    outside.block_on(async {
        until("some were taken over", || answered.lock().unwrap().len() >= enough).await;
        tokio::time::sleep(a_little).await;
    });
    // Every task ends where it stands, as it would when the process is killed.
    inside.shutdown_background();
    running.read.stop();
    if dice.below(4) == 0 {
        std::fs::remove_dir_all(ground.dir.path().join("read")).unwrap();
    }
}

/// Lives `rounds` times on logs that `reopen` gives, and checks the record at the end.
fn storm(
    name: &str,
    rounds: usize,
    mut reopen: impl FnMut(Option<Arc<dyn EventLog>>, &mut Dice) -> Arc<dyn EventLog>,
) {
    let seed = std::env::var("LUMORA_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    println!("{name}: LUMORA_SEED={seed}");
    let mut dice = Dice(seed);
    let outside = runtime();
    let log = reopen(None, &mut dice);
    let moody = Moody::new(dice.below(u64::MAX) | 1);
    let (mut ground, _sinks) = outside.block_on(async {
        let ground = Ground::on(log, TempDir::new().unwrap()).await;
        let (one, mut first) = ground.receiver(2, moody.clone()).await;
        let (two, mut second) = ground.receiver(3, moody.clone()).await;
        tokio::spawn(async move { while first.recv().await.is_some() {} });
        tokio::spawn(async move { while second.recv().await.is_some() {} });
        ground.mail_goes_to("a.example", 2);
        ground.mail_goes_to("b.example", 3);
        (ground, (one, two))
    });
    let account = outside.block_on(async {
        let running = ground.platform(ground.options()).await;
        let account = Account::create(&ground, &running.platform, &running.read).await;
        running.stop().await;
        account
    });
    let answered = Arc::new(Mutex::new(HashSet::new()));
    for _ in 0..rounds {
        life(&outside, &ground, account, &mut dice, &answered);
        let log = std::mem::replace(&mut ground.log, Arc::new(MemoryLog::new()));
        ground.log = reopen(Some(log), &mut dice);
    }
    *moody.good.lock().unwrap() = true;
    outside.block_on(async {
        let running = ground.platform(ground.options()).await;
        let ended = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let messages = ground.messages();
                if messages.values().all(|message| message.open().next().is_none()) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, ended).await.is_ok();
        let messages = ground.messages();
        let open = messages.values().filter(|message| message.open().next().is_some()).count();
        assert!(in_time, "{open} of {} messages never ended", messages.len());
        running.stop().await;
    });
    check(&ground, &moody, &answered.lock().unwrap());
}

fn check(ground: &Ground, moody: &Moody, answered: &HashSet<MessageId>) {
    let messages = ground.messages();
    assert!(answered.len() > 50, "only {} messages were taken over", answered.len());
    let lost: Vec<_> = answered.iter().filter(|id| !messages.contains_key(id)).collect();
    assert!(lost.is_empty(), "answered and not in the record: {lost:?}");
    let copies = moody.copies.lock().unwrap();
    for (id, message) in &messages {
        let delivered = |status| status == RecipientStatus::Delivered;
        if message.recipients().iter().any(|recipient| delivered(recipient.status)) {
            assert!(copies.contains_key(&id.to_string()), "{id} was recorded and never received");
        }
    }
    println!("{} messages, {} answered, {} received", messages.len(), answered.len(), copies.len());
}

#[test]
fn every_message_ends_once_however_often_the_platform_is_dropped() {
    storm("memory", 25, |log, _| log.unwrap_or_else(|| Arc::new(MemoryLog::new())));
}

#[test]
fn every_message_ends_once_though_the_log_fails_as_well() {
    let memory = Arc::new(MemoryLog::new());
    storm("memory with faults", 25, |_, dice| {
        if dice.below(2) == 0 && memory.health().events > 0 {
            memory.inject((0..40).map(|_| match dice.below(12) {
                0 => Fault::Lost,
                1 => Fault::UnknownLost,
                2 => Fault::UnknownWritten,
                _ => Fault::Pass,
            }));
        }
        memory.clone()
    });
}

#[test]
fn every_message_ends_once_on_the_log_on_disk() {
    let dir = TempDir::new().unwrap();
    let path: PathBuf = dir.path().join("log");
    storm("disk", 6, move |log, _| {
        if let Some(log) = log {
            runtime().block_on(log.close()).unwrap();
        }
        // What was on the threads of the runtime that was let go may hold the log a little longer.
        let begun = std::time::Instant::now();
        loop {
            match Log::open(&path, LogOptions::default()) {
                Ok(log) => return Arc::new(log),
                Err(OpenError::Locked { .. }) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}
