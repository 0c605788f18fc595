//! The log: in memory, slow, failing, and cut off in the middle by crashes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use eventlog::{
    Append, AppendError, Appended, BoxFuture, Cause, CloseError, ContentError, ContentLocation,
    EventLog, Health, Hour, MemoryLog, Position, ReadError, Recorded, Sealed, TreeHash, TreeHead,
    Version,
};
use futures_util::FutureExt;
use model::StreamId;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{dice::Dice, end::EndOfLife};

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Written and answered.
    Written,
    /// Written and answered after so long that others give up.
    Delayed,
    /// Not written, and said so.
    Lost,
    /// Not written, for the disk is full.
    StorageFull,
    /// Written; the answer says that nobody knows.
    UnknownWritten,
    /// Not written; the answer says that nobody knows.
    UnknownLost,
    /// The sync failed: nothing is written any more in this life, and only the next one shows
    /// whether this was.
    SyncFailed,
}

/// What is shared by the handles.
struct Inner {
    memory: MemoryLog,
    dice: Dice,
    state: Mutex<State>,
    end: EndOfLife,
}

#[derive(Default)]
struct State {
    life: u32,
    calm: bool,
    begun: Option<Instant>,
    /// When the disk is full in this life, in seconds from its beginning.
    full: Option<(u64, u64)>,
    unwritable: bool,
    /// Appends whose sync failed.
    in_doubt: Vec<Vec<Append>>,
    /// Appends under way, by stream.
    under_way: HashMap<StreamId, u32>,
    /// Streams of which an append was answered with "unknown".
    unknown: HashSet<StreamId>,
    tries: HashMap<(StreamId, Version), u64>,
    reads: HashMap<StreamId, u64>,
    content_reads: u64,
    durable: u64,
    fates: BTreeMap<Fate, u64>,
    violations: Vec<String>,
}

/// The log as a platform has it.
#[derive(Clone)]
pub struct SimLog {
    inner: Arc<Inner>,
    /// Whether reads fail now and then.
    reads_fail: bool,
}

impl SimLog {
    /// A log that holds what `before` holds.
    pub fn new(dice: Dice, end: EndOfLife, before: &[Recorded]) -> Self {
        let memory = MemoryLog::new();
        for recorded in before {
            let append = Append {
                stream: recorded.stream,
                expected: Version::new(recorded.version.get() - 1),
                at: recorded.at,
                events: vec![eventlog::NewEvent {
                    id: recorded.id,
                    data: recorded.data.to_vec().into(),
                }],
                content: Vec::new(),
            };
            memory.append(append).now_or_never().unwrap().unwrap();
        }
        let state = Mutex::new(State { calm: true, ..State::default() });
        Self { inner: Arc::new(Inner { memory, dice, state, end }), reads_fail: true }
    }

    /// The same log with reads that never fail: what the read models follow stops for good at the
    /// first failure, for an operator to look at.
    pub fn with_good_reads(&self) -> Self {
        Self { reads_fail: false, ..self.clone() }
    }

    /// Opens it for the next life. What was in doubt turns out to be there or not.
    pub fn reopen(&self, life: u32, calm: bool) {
        let mut state = self.inner.state.lock().unwrap();
        for appends in std::mem::take(&mut state.in_doubt) {
            let about = appends[0].stream.to_bytes();
            if self.inner.dice.ask("in doubt", &[&about]).in_thousand(500) {
                self.inner.memory.append_all(appends).now_or_never().unwrap().unwrap();
            }
        }
        let mut roll = self.inner.dice.ask("full", &[&life.to_le_bytes()]);
        state.full = (!calm && roll.in_thousand(300)).then(|| {
            let from = roll.below(300);
            (from, from + roll.within(1, 120))
        });
        (state.life, state.calm) = (life, calm);
        state.begun = None;
        state.unwritable = false;
        state.durable = 0;
        state.under_way.clear();
    }

    /// Whether it writes no more in this life.
    pub fn is_unwritable(&self) -> bool {
        self.inner.state.lock().unwrap().unwritable
    }

    pub fn fates(&self) -> BTreeMap<Fate, u64> {
        self.inner.state.lock().unwrap().fates.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.state.lock().unwrap().violations.clone()
    }

    /// What it holds after a position.
    pub fn events_after(&self, position: Position) -> Vec<Recorded> {
        let mut all: Vec<Recorded> = Vec::new();
        loop {
            let after = all.last().map_or(position, |last| last.position);
            let page = self.inner.memory.read_all(after, usize::MAX).unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }
}

impl Inner {
    /// How an append fares, and how long before and after it is durable.
    fn fate(&self, state: &mut State, appends: &[Append]) -> (Fate, Duration, Duration) {
        let begun = *state.begun.get_or_insert_with(Instant::now);
        let first = &appends[0];
        let tries = state.tries.entry((first.stream, first.expected)).or_default();
        *tries += 1;
        let about = [
            &state.life.to_le_bytes()[..],
            &first.stream.to_bytes(),
            &first.expected.get().to_le_bytes(),
            &tries.to_le_bytes(),
        ];
        let mut roll = self.dice.ask("append", &about);
        let (before, after) = (roll.within(1, 6), roll.below(4));
        let ms = Duration::from_millis;
        if state.calm {
            return (Fate::Written, ms(before), ms(after));
        }
        let second = begun.elapsed().as_secs();
        let is_full = state.full.is_some_and(|(from, until)| (from..until).contains(&second));
        let has_content = appends.iter().any(|append| !append.content.is_empty());
        if is_full && (has_content || roll.in_thousand(500)) {
            return (Fate::StorageFull, ms(before), ms(after));
        }
        let fate = match roll.below(1_000) {
            0..30 => Fate::Lost,
            30..50 => Fate::UnknownWritten,
            50..70 => Fate::UnknownLost,
            70..100 => Fate::Delayed,
            100..102 => Fate::SyncFailed,
            _ => Fate::Written,
        };
        match fate {
            Fate::Delayed => (fate, ms(roll.below(30_000)), ms(roll.below(30_000))),
            _ => (fate, ms(before), ms(after)),
        }
    }

    fn begin(&self, appends: &[Append]) -> (Fate, Duration, Duration) {
        let mut state = self.state.lock().unwrap();
        let fate = self.fate(&mut state, appends);
        for append in appends {
            let under_way = state.under_way.entry(append.stream).or_default();
            *under_way += 1;
            if *under_way > 1 {
                let stream = append.stream;
                state.violations.push(format!("two owners write to {stream} at once"));
            }
        }
        fate
    }

    /// Whether somebody has written beyond what an append expects.
    fn is_overtaken(&self, append: &Append) -> bool {
        !self.memory.read_stream(append.stream, append.expected, 1).unwrap().is_empty()
    }

    fn write(&self, fate: Fate, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
        let mut state = self.state.lock().unwrap();
        if state.unwritable {
            return Err(AppendError::NotWritten(Cause::Unwritable("a sync failed".into())));
        }
        // A conflict is found before anything can go wrong.
        let overtaken = appends.iter().any(|append| self.is_overtaken(append));
        let fate = if overtaken { Fate::Written } else { fate };
        *state.fates.entry(fate).or_default() += 1;
        let unknown = || AppendError::Unknown(Cause::Io("injected".into()));
        let streams: Vec<StreamId> = appends.iter().map(|append| append.stream).collect();
        let expected = appends[0].expected;
        match fate {
            Fate::Lost => return Err(AppendError::NotWritten(Cause::Io("injected".into()))),
            Fate::StorageFull => return Err(AppendError::NotWritten(Cause::StorageFull)),
            Fate::UnknownLost | Fate::UnknownWritten => state.unknown.extend(&streams),
            Fate::SyncFailed => {
                state.unknown.extend(&streams);
                state.unwritable = true;
                state.in_doubt.push(appends);
                self.end.log_failed();
                return Err(unknown());
            }
            Fate::Written | Fate::Delayed => {}
        }
        if fate == Fate::UnknownLost {
            return Err(unknown());
        }
        let written = self.memory.append_all(appends).now_or_never().unwrap();
        if let Err(AppendError::Conflict { actual }) = &written
            && matches!(streams[0], StreamId::Message(_))
            && expected != Version::NONE
            && !state.unknown.contains(&streams[0])
        {
            let stream = streams[0];
            state.violations.push(format!("{stream} at {actual} was written to by another"));
        }
        let written = written?;
        state.durable += 1;
        self.end.appended(state.durable);
        if fate == Fate::UnknownWritten { Err(unknown()) } else { Ok(written) }
    }

    fn ended(&self, streams: &[StreamId]) {
        let mut state = self.state.lock().unwrap();
        for stream in streams {
            if let Some(count) = state.under_way.get_mut(stream) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Whether this read of something of a stream fails.
    fn read_fails(&self, about: StreamId) -> bool {
        let mut state = self.state.lock().unwrap();
        let reads = state.reads.entry(about).or_default();
        *reads += 1;
        let about = [&about.to_bytes()[..], &reads.to_le_bytes()];
        let calm = state.calm;
        !calm && self.dice.ask("read", &about).in_thousand(10)
    }

    /// The same of content.
    fn content_fails(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.content_reads += 1;
        // Not by where it lies: sealed records are not always of the same length.
        let about = [&state.content_reads.to_le_bytes()[..]];
        !state.calm && self.dice.ask("content", &about).in_thousand(20)
    }
}

impl EventLog for SimLog {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async {
            self.append_all(vec![append]).await.map(|mut appended| appended.remove(0))
        })
    }

    fn append_all(
        &self,
        appends: Vec<Append>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let (fate, before, after) = inner.begin(&appends);
            // It goes on though whoever asked leaves; only the end of the life ends it.
            tokio::spawn(async move {
                let streams: Vec<StreamId> = appends.iter().map(|append| append.stream).collect();
                tokio::time::sleep(before).await;
                let written = inner.write(fate, appends);
                tokio::time::sleep(after).await;
                inner.ended(&streams);
                answer.send(written).ok();
            });
            answered.await.unwrap_or(Err(AppendError::Unknown(Cause::Closed)))
        })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        if self.reads_fail && self.inner.read_fails(stream) {
            return Err(ReadError::Store("injected".into()));
        }
        self.inner.memory.read_stream(stream, after, limit)
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.inner.memory.read_all(after, limit)
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.inner.memory.head()
    }

    fn read_content(&self, location: &ContentLocation) -> Result<Sealed, ContentError> {
        if self.reads_fail && self.inner.content_fails() {
            return Err(ContentError::Io(std::io::Error::other("injected")));
        }
        self.inner.memory.read_content(location)
    }

    fn erase(&self, location: &ContentLocation) -> Result<(), ContentError> {
        self.inner.memory.erase(location)
    }

    fn drop_content_before(&self, hour: Hour) -> Result<u64, ContentError> {
        self.inner.memory.drop_content_before(hour)
    }

    fn tree_size(&self) -> Position {
        self.inner.memory.tree_size()
    }

    fn tree_head(&self, at: Position) -> Result<Option<TreeHead>, ReadError> {
        self.inner.memory.tree_head(at)
    }

    fn inclusion(&self, position: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        self.inner.memory.inclusion(position, size)
    }

    fn consistency(&self, before: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        self.inner.memory.consistency(before, size)
    }

    fn health(&self) -> Health {
        self.inner.memory.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>> {
        Box::pin(async { Ok(()) })
    }
}
