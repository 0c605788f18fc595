//! How fast the log is folded, and how fast it answers then: `cargo run --release -p projections --example fold_rate [messages]`.
//!
//! Nine of ten messages are delivered at the first attempt, soon after; one is deferred and
//! delivered when everything else has been, so that its beginning has left the memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement, not a product"
)]

use std::{sync::Arc, time::Instant};

use eventlog::{Append, EventLog, MasterKey, MemoryLog, NewEvent, Purpose, Sealed, Vault, Version};
use model::{
    ApiKeyId, AppId, DomainId, EventId, MessageId, RecipientIndex, StreamId, TenantId, Timestamp,
    address::DomainName,
    content::RecipientKind,
    delivery::{EnhancedCode, Stage},
    event::{KeyedHash, SealedText},
    message::{
        Accepted, AcceptedRecipient, Attempt, Deferred, Delivered, MessageEvent, RecordedAnswer,
    },
};
use projections::{GroupBy, Interval, LogKind, LogQuery, ReadModels, StatsQuery};

const START: u64 = 1_795_474_000_000;

fn bytes<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [0; N];
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    bytes.iter_mut().zip(spread).for_each(|(byte, spread)| *byte = spread);
    bytes
}

fn accepted(number: u64) -> MessageEvent {
    let domain = format!("d{}.example", number % 50);
    Accepted {
        tenant: TenantId::from_bytes([1; 16]),
        app: AppId::from_bytes([2; 16]),
        key: ApiKeyId::from_bytes([3; 16]),
        domain: DomainId::from_bytes([4; 16]),
        from: DomainName::parse("mail.acme.example").unwrap(),
        recipients: vec![AcceptedRecipient {
            kind: RecipientKind::To,
            domain: DomainName::parse(&domain).unwrap(),
            hash: KeyedHash(bytes(number)),
        }],
        tags: Vec::new(),
        template: None,
        size: 2_000,
        expires_at: Timestamp::from_millis(START + 200_000_000),
        request: None,
    }
    .into()
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
    }
}

struct Filled {
    log: Arc<MemoryLog>,
    content: Vec<Sealed>,
    count: u64,
}

impl Filled {
    async fn append(&mut self, message: u64, version: u64, event: &MessageEvent) {
        self.count += 1;
        let at = Timestamp::from_millis(START + self.count);
        let content = if version == 0 { self.content.clone() } else { Vec::new() };
        let mut id = [0; 10];
        id.copy_from_slice(&bytes::<10>(message));
        let append = Append {
            stream: StreamId::Message(MessageId::new(Timestamp::from_millis(START + message), id)),
            expected: Version::new(version),
            at,
            events: vec![NewEvent { id: EventId::new(at, id), data: event.encode() }],
            content,
        };
        self.log.append(append).await.unwrap();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let messages = std::env::args().nth(1).map_or(100_000, |text| text.parse().unwrap());
    let vault = Vault::new(&MasterKey::from_bytes([7; 32]));
    let content = vec![vault.seal(Purpose::MessageHead, b"", b"content").unwrap(); 2];
    let mut filled = Filled { log: Arc::new(MemoryLog::new()), content, count: 0 };
    for message in 0..messages {
        filled.append(message, 0, &accepted(message)).await;
        // Some hundred messages are under way at a time.
        if let Some(earlier) = message.checked_sub(300) {
            let event = if earlier % 10 == 0 {
                let next_attempt_at = Timestamp::from_millis(START + 100_000_000);
                Deferred { attempt: attempt(1), next_attempt_at, outcome_unknown: false }.into()
            } else {
                Delivered { attempt: attempt(1) }.into()
            };
            filled.append(earlier, 1, &event).await;
        }
    }
    for message in (0..messages.saturating_sub(300)).step_by(10) {
        filled.append(message, 2, &Delivered { attempt: attempt(2) }.into()).await;
    }
    let dir = std::env::temp_dir().join(format!("fold-rate-{}", std::process::id()));
    let begun = Instant::now();
    let log = Arc::clone(&filled.log) as Arc<dyn EventLog>;
    let read = ReadModels::open(&dir, log, vault).unwrap();
    let took = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = filled.count as f64 / took;
    let disk_bytes = read.health().disk_bytes;
    println!("{} events in {took:.1} s: {rate:.0} events/s", filled.count);
    println!("{} bytes on the disk for each event", disk_bytes / filled.count.max(1));
    let app = AppId::from_bytes([2; 16]);
    let mut query = LogQuery { limit: 100, ..LogQuery::default() };
    tell("page of 100 rows of the logs", || {
        query.cursor = read.logs().page(app, &query).unwrap().next;
    });
    let mut query = LogQuery { limit: 100, kind: Some(LogKind::Deferred), ..LogQuery::default() };
    tell("page of a filter that keeps one row in twenty", || {
        query.cursor = read.logs().page(app, &query).unwrap().next;
    });
    let to = Timestamp::from_millis(START + 100_000_000);
    let from = Timestamp::from_millis(to.as_millis() - 30 * 24 * 3_600_000);
    let query =
        StatsQuery { from, to, interval: Interval::Hour, group_by: GroupBy::RecipientDomain };
    tell("30 days of statistics by recipient domain", || {
        let stats = read.stats().query(app, &query).unwrap();
        assert_eq!(stats.totals.accepted, messages);
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("peak memory, the log in memory included: {line}");
    }
    drop(read);
    std::fs::remove_dir_all(&dir).unwrap();
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
    println!("{what}: p50 {:.1?}, p99 {:.1?}", times[100], times[198]);
}
