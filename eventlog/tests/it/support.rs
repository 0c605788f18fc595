//! What the tests share: streams, appends, a log in a directory of its own.

use std::{path::Path, time::Duration};

use eventlog::{
    Append, EventLog, KeepJournal, Log, LogOptions, MasterKey, NewEvent, Position, Purpose,
    Recorded, Sealed, Vault, Version,
};
use model::{EventId, MessageId, StreamId, Timestamp};

pub(crate) const NOON: u64 = 1_795_435_200_000;

pub(crate) fn stream(number: u64) -> StreamId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    StreamId::Message(MessageId::from_bytes(bytes))
}

pub(crate) fn event(number: u64) -> NewEvent {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    let data = format!("{{\"type\":\"test.happened\",\"v\":1,\"number\":{number}}}");
    NewEvent { id: EventId::from_bytes(bytes), data: data.into_bytes().into() }
}

pub(crate) fn append(to: u64, expected: u64, events: impl IntoIterator<Item = u64>) -> Append {
    Append {
        stream: stream(to),
        expected: Version::new(expected),
        at: Timestamp::from_millis(NOON),
        events: events.into_iter().map(event).collect(),
        content: Vec::new(),
    }
}

pub(crate) fn sealed(text: &str) -> Sealed {
    vault().seal(Purpose::MessageBody, b"test", text.as_bytes()).unwrap()
}

pub(crate) fn vault() -> Vault {
    Vault::new(&MasterKey::from_bytes([42; 32]))
}

/// No ballast and no low-water mark, whatever the machine has free; small journal segments, so
/// that there are several; the whole journal kept.
pub(crate) fn options() -> LogOptions {
    LogOptions {
        keep_journal: KeepJournal::Forever,
        segment_bytes: 32 * 1024,
        low_water_bytes: 0,
        ballast_bytes: 0,
    }
}

pub(crate) fn open(dir: &Path) -> Log {
    Log::open(dir, options()).unwrap()
}

/// Everything in the log, read page by page.
pub(crate) fn everything(log: &dyn EventLog) -> Vec<Recorded> {
    eventlog::export(log, Position::START).map(Result::unwrap).collect()
}

/// Gapless positions, gapless versions in every stream, times that never go backwards.
pub(crate) fn assert_in_order(events: &[Recorded]) {
    let mut versions = std::collections::HashMap::<_, u64>::new();
    let mut at = Timestamp::from_millis(0);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.position.get(), index as u64 + 1);
        let version = versions.entry(event.stream).or_default();
        *version += 1;
        assert_eq!(event.version.get(), *version);
        assert!(event.at >= at);
        at = event.at;
    }
}

/// Polls until something holds; fails after a minute.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Fills a log with `count` events in appends of three to streams that grow, and closes it.
pub(crate) fn fill(dir: &Path, count: u64) {
    let log = open(dir);
    block_on(async {
        for number in 0..count / 3 {
            let (to, expected) = (number % 50, number / 50 * 3);
            let mut append = append(to, expected, number * 3..number * 3 + 3);
            if number % 40 == 0 {
                append.content = vec![sealed(&format!("content of {number}"))];
            }
            log.append(append).await.unwrap();
        }
        log.close().await.unwrap();
    });
}
