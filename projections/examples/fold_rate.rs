//! How fast a log on the disk is verified and folded, and how fast the read models answer then:
//! `cargo run --release -p projections --example fold_rate [messages] [tenants] [directory]`.
//!
//! Messages come evenly over 30 days. Nine of ten are delivered at the first attempt, soon after;
//! one is deferred and delivered when everything else has been. A directory that holds a log
//! already is measured as it is. CPU is that of this process, all threads: on a machine that others
//! use it says more than the clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measurement, not a product"
)]

use std::{path::Path, sync::Arc, time::Instant};

use eventlog::{
    Append, EventLog, Log, LogOptions, MasterKey, NewEvent, Purpose, Sealed, Vault, Version,
};
use model::{
    After, ApiKeyId, AppId, By, Cause, DomainId, EventId, MessageId, RecipientIndex, StreamId,
    TenantId, Timestamp,
    address::DomainName,
    content::RecipientKind,
    delivery::{EnhancedCode, Stage},
    event::{KeyedHash, SealedText},
    message::{
        Accepted, AcceptedRecipient, Attempt, Deferred, Delivered, MessageEvent, RecordedAnswer,
    },
};
use projections::{AuditQuery, GroupBy, Interval, LogKind, LogQuery, ReadModels, StatsQuery};
use tokio::task::JoinSet;

const START: u64 = 1_795_474_000_000;
const MONTH_MS: u64 = 30 * 24 * 3_600_000;
/// Messages that are appended together.
const GROUP: u64 = 100;
/// Groups under way at a time.
const AT_ONCE: u64 = 8;

fn bytes<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [0; N];
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    bytes.iter_mut().zip(spread).for_each(|(byte, spread)| *byte = spread);
    bytes
}

#[derive(Clone, Copy)]
struct Size {
    messages: u64,
    tenants: u64,
}

impl Size {
    fn at(self, message: u64) -> Timestamp {
        Timestamp::from_millis(START + MONTH_MS / self.messages.max(1) * message)
    }

    fn id(self, message: u64) -> MessageId {
        MessageId::new(self.at(message), bytes(message))
    }

    fn accepted(self, message: u64) -> MessageEvent {
        let domain = format!("d{}.example", message % 50);
        Accepted {
            tenant: TenantId::from_bytes(bytes(message % self.tenants)),
            app: app(message % self.tenants),
            key: ApiKeyId::from_bytes([3; 16]),
            domain: DomainId::from_bytes([4; 16]),
            from: DomainName::parse("mail.acme.example").unwrap(),
            recipients: vec![AcceptedRecipient {
                kind: RecipientKind::To,
                domain: DomainName::parse(&domain).unwrap(),
                hash: KeyedHash(bytes(message)),
            }],
            tags: Vec::new(),
            template: None,
            tls: model::delivery::TlsDemand::Opportunistic,
            bulk: false,
            size: 2_000,
            expires_at: self.at(message + 1),
            request: None,
        }
        .into()
    }
}

fn app(tenant: u64) -> AppId {
    AppId::from_bytes(bytes(tenant + 1))
}

fn attempt(number: u16) -> Attempt {
    Attempt {
        recipient: RecipientIndex(0),
        attempt: number,
        stage: Stage::EndOfData,
        answer: RecordedAnswer::Reply {
            code: 250,
            enhanced: EnhancedCode::parse("2.0.0"),
            text: SealedText("AQAx8JmzVYc1Wk0v5J3mQ2l0c2VhbGVk".repeat(3).into()),
        },
        peer: None,
        sent: None,
    }
}

/// Appends what happened to each of these messages, a group at a time.
async fn append(
    log: &Arc<Log>,
    size: Size,
    version: u64,
    at: u64,
    messages: impl Iterator<Item = u64>,
    content: &[Sealed],
) {
    let mut appends = Vec::new();
    for message in messages {
        let event = match version {
            0 => size.accepted(message),
            1 if message % 10 == 0 => Deferred {
                attempt: attempt(1),
                next_attempt_at: size.at(size.messages + 1),
                trouble: None,
                outcome_unknown: false,
            }
            .into(),
            _ => Delivered { attempt: attempt(u16::try_from(version).unwrap()) }.into(),
        };
        let cause = match &event {
            MessageEvent::Accepted(accepted) => By::Key(accepted.key).into(),
            _ => Cause { by: By::Attempt, after: Some(After::Own(version)) },
        };
        appends.push(Append {
            stream: StreamId::Message(size.id(message)),
            expected: Version::new(version),
            at: size.at(at),
            events: vec![NewEvent {
                id: EventId::new(size.at(at), bytes(message * 3 + version)),
                data: event.encode(&cause),
            }],
            content: if version == 0 { content.to_vec() } else { Vec::new() },
        });
    }
    if !appends.is_empty() {
        log.append_all(appends).await.unwrap();
    }
}

async fn fill(log: &Arc<Log>, size: Size, content: &[Sealed]) {
    let Size { messages, .. } = size;
    let step = GROUP * AT_ONCE;
    let mut begin = 0;
    while begin < messages + step {
        let mut groups = JoinSet::new();
        for group in 0..AT_ONCE {
            let (log, content) = (Arc::clone(log), content.to_vec());
            let first = begin + group * GROUP;
            groups.spawn(async move {
                let new = first.min(messages)..(first + GROUP).min(messages);
                append(&log, size, 0, first.min(messages), new, &content).await;
                // What was accepted in the step before.
                if let Some(first) = first.checked_sub(step) {
                    let old = first.min(messages)..(first + GROUP).min(messages);
                    append(&log, size, 1, (first + step).min(messages), old, &[]).await;
                }
            });
        }
        groups.join_all().await;
        begin += step;
    }
    let deferred: Vec<u64> = (0..messages).step_by(10).collect();
    for group in deferred.chunks(usize::try_from(GROUP).unwrap()) {
        append(log, size, 2, messages, group.iter().copied(), &[]).await;
    }
}

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Does something with every event and tells how fast.
fn rate<T>(what: &str, events: u64, work: impl FnOnce() -> T) -> T {
    let (begun, used) = (Instant::now(), cpu());
    let done = work();
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu() - used);
    let events = events as f64;
    println!(
        "{what:28} {:9.0} events/s  {took:7.2} s  {:6.2} us of CPU an event",
        events / took,
        used * 1e6 / events
    );
    done
}

/// Prints the median and the slowest but one of 200 answers.
fn tell(what: &str, mut ask: impl FnMut()) {
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            ask();
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("{what:44} p50 {:>8.1?}  p99 {:>8.1?}", times[100], times[198]);
}

fn ask(read: &ReadModels, size: Size) {
    let mut query = LogQuery { limit: 100, ..LogQuery::default() };
    tell("100 rows of the logs", || {
        query.cursor = read.logs().page(app(0), &query).unwrap().next;
    });
    let mut query = LogQuery { limit: 100, kind: Some(LogKind::Deferred), ..LogQuery::default() };
    tell("100 rows of which one in twenty-one fits", || {
        query.cursor = read.logs().page(app(0), &query).unwrap().next;
    });
    let mut number = 0;
    tell("all rows of a recipient", || {
        number = (number + 7_919 * size.tenants) % size.messages;
        let recipient = Some(KeyedHash(bytes(number)));
        let query = LogQuery { limit: 100, recipient, ..LogQuery::default() };
        assert!(read.logs().page(app(number % size.tenants), &query).unwrap().rows.len() >= 2);
    });
    tell("a message", || {
        number = (number + 7_919) % size.messages;
        assert!(read.messages().get(size.id(number)).unwrap().is_some());
    });
    let mut query = AuditQuery { limit: 100, ..AuditQuery::default() };
    tell("100 rows of the audit", || {
        query.cursor = read.audit().page(TenantId::from_bytes(bytes(0)), &query).unwrap().next;
    });
    let (from, to) = (Timestamp::from_millis(START), size.at(size.messages + 1));
    for (what, group_by) in [
        ("30 days of statistics", GroupBy::None),
        ("30 days of statistics by recipient domain", GroupBy::RecipientDomain),
    ] {
        let query = StatsQuery { from, to, interval: Interval::Hour, group_by };
        tell(what, || {
            let stats = read.stats().query(app(0), &query).unwrap();
            assert_eq!(stats.totals.accepted, size.messages.div_ceil(size.tenants));
        });
    }
}

fn measure(dir: &Path, log: &Arc<dyn EventLog>, vault: &Vault, size: Size) {
    let events = log.head().borrow().get();
    let read_dir = dir.join("read");
    let open = || ReadModels::open(&read_dir, Arc::clone(log), vault.clone()).unwrap();
    let read = rate("all read models", events, open);
    println!("{} bytes of them on the disk for each event", read.health().disk_bytes / events);
    ask(&read, size);
    drop(read);
    for name in ReadModels::names() {
        let log = Arc::clone(log);
        rate(name, events, || {
            ReadModels::rebuild(&read_dir, log, vault.clone(), Some(name), &mut |_| {}).unwrap()
        });
    }
    std::fs::remove_dir_all(&read_dir).unwrap();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |or| arguments.next().map_or(or, |text| text.parse().unwrap());
    let size = Size { messages: number(100_000), tenants: number(1) };
    let given = arguments.next().map(std::path::PathBuf::from);
    let dir = given
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("fold-rate-{}", std::process::id())));
    let vault = Vault::new(&MasterKey::from_bytes([7; 32]));
    let log_dir = dir.join("log");
    if !log_dir.exists() {
        let begun = Instant::now();
        let log = Arc::new(Log::open(&log_dir, LogOptions::default()).unwrap());
        let content = vec![vault.seal(Purpose::MessageHead, b"", b"content").unwrap(); 2];
        fill(&log, size, &content).await;
        log.close().await.unwrap();
        println!("{} events written in {:.0?}", log.head().borrow().get(), begun.elapsed());
    }
    tokio::task::spawn_blocking(move || {
        let log: Arc<dyn EventLog> = Arc::new(Log::open(&log_dir, LogOptions::default()).unwrap());
        let events = log.head().borrow().get();
        drop(log);
        rate("verify", events, || eventlog::verify(&log_dir, &mut |_, _| {}).unwrap());
        let log: Arc<dyn EventLog> = Arc::new(Log::open(&log_dir, LogOptions::default()).unwrap());
        measure(&dir, &log, &vault, size);
        drop(log);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
            println!("peak memory: {line}");
        }
        if given.is_none() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
    })
    .await
    .unwrap();
}
