//! The log in memory: the same semantics, nothing durable, faults on demand. For tests of those
//! who build on the log.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
};

use model::StreamId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    content::{ContentLocation, Hour, Sealed},
    contract::{EventLog, Health, MAX_READ_BYTES, MAX_READ_EVENTS},
    error::{AppendError, Cause, CloseError, ContentError, ReadError},
    event::{Append, Appended, BoxFuture, ChainEnd, Recorded, check_all, only},
    merkle::{self, Frontier, Nodes, TreeHash},
    position::{Position, Version},
    signed_checkpoint::TreeHead,
};

/// What happens to an append, instead of its being written and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: it is written and answered. To let some pass before the next fault.
    Pass,
    /// The write fails before anything is durable: [`AppendError::NotWritten`].
    Lost,
    /// The disk is full: [`AppendError::NotWritten`] with [`Cause::StorageFull`].
    StorageFull,
    /// The outcome is lost and the events are there: [`AppendError::Unknown`].
    UnknownWritten,
    /// The outcome is lost and the events are not there: [`AppendError::Unknown`].
    UnknownLost,
    /// The disk fails: [`AppendError::Unknown`], and the log writes no more until
    /// [`MemoryLog::reopen`].
    SyncFailed,
    /// It is written, and the answer held back until [`MemoryLog::release_held`].
    Held,
}

/// A log that lives and dies with the process.
#[derive(Debug)]
pub struct MemoryLog {
    state: Mutex<State>,
    head: watch::Sender<Position>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Recorded>,
    streams: HashMap<StreamId, Vec<Position>>,
    content: HashMap<(Hour, u64), Sealed>,
    content_end: HashMap<Hour, u64>,
    faults: VecDeque<Fault>,
    failing_reads: VecDeque<bool>,
    unwritable: Option<Cause>,
    no_room: bool,
    health: Health,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            head: watch::Sender::new(Position::START),
            released: watch::Sender::new(0),
        }
    }

    /// The next appends meet these faults, in order; then all is well again. Appends that are
    /// invalid or in conflict use no fault up.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.extend(faults);
    }

    /// Of the next reads of streams those fail for which this says so, in order.
    pub fn inject_into_reads(&self, fails: impl IntoIterator<Item = bool>) {
        self.state.lock().failing_reads.extend(fails);
    }

    /// Lets the answers go that [`Fault::Held`] holds back.
    pub fn release_held(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    /// Whether [`EventLog::has_room`] says that there is space, from now on.
    pub fn have_room(&self, room: bool) {
        self.state.lock().no_room = !room;
    }

    /// Makes it writable again after [`Fault::SyncFailed`] or [`EventLog::close`].
    pub fn reopen(&self) {
        self.state.lock().unwritable = None;
    }

    fn append_now(&self, appends: Vec<Append>) -> Result<(Vec<Appended>, Fault), AppendError> {
        check_all(&appends).map_err(AppendError::Invalid)?;
        let mut state = self.state.lock();
        if let Some(cause) = &state.unwritable {
            return Err(AppendError::NotWritten(cause.clone()));
        }
        for append in &appends {
            let actual = state.version(append.stream);
            if actual != append.expected {
                state.health.conflicts += 1;
                return Err(AppendError::Conflict { actual });
            }
        }
        let fault = state.faults.pop_front().unwrap_or(Fault::Pass);
        let failed = match fault {
            Fault::Pass | Fault::Held => None,
            Fault::Lost => Some(AppendError::NotWritten(Cause::Io("injected fault".into()))),
            Fault::StorageFull => Some(AppendError::NotWritten(Cause::StorageFull)),
            Fault::UnknownWritten | Fault::UnknownLost => {
                Some(AppendError::Unknown(Cause::Io("injected fault".into())))
            }
            Fault::SyncFailed => {
                state.unwritable = Some(Cause::Unwritable("injected fault".into()));
                Some(AppendError::Unknown(Cause::Io("injected fault".into())))
            }
        };
        if matches!(fault, Fault::Pass | Fault::Held | Fault::UnknownWritten) {
            let appended: Vec<_> = appends.into_iter().map(|append| state.write(append)).collect();
            self.head.send_replace(state.end().position);
            if failed.is_none() {
                state.health.appends += 1;
                return Ok((appended, fault));
            }
        }
        state.health.failures += 1;
        Err(failed.unwrap_or(AppendError::Unknown(Cause::Closed)))
    }
}

impl State {
    fn version(&self, stream: StreamId) -> Version {
        Version::new(self.streams.get(&stream).map_or(0, |positions| positions.len() as u64))
    }

    fn end(&self) -> ChainEnd {
        self.events.last().map_or(ChainEnd::START, |last| ChainEnd {
            position: last.position,
            hash: last.hash,
            at: last.at,
        })
    }

    fn write(&mut self, append: Append) -> Appended {
        let mut end = self.end();
        let segment = append.segment(append.at.max(end.at));
        let mut locations = Vec::with_capacity(append.content.len());
        for sealed in &append.content {
            let next = self.content_end.entry(segment).or_default();
            let offset = *next;
            *next += u64::from(sealed.len());
            let (len, hash) = (sealed.len(), sealed.hash());
            locations.push(ContentLocation { segment, offset, len, hash });
            self.content.insert((segment, offset), sealed.clone());
        }
        let stream = append.stream;
        let (mut bytes, mut recorded) = (Vec::new(), Vec::new());
        let appended = end.record(append, locations.into(), &mut bytes, &mut recorded);
        self.health.events += recorded.len() as u64;
        self.streams.entry(stream).or_default().extend(recorded.iter().map(|e| e.position));
        self.events.append(&mut recorded);
        appended
    }
}

/// Takes events up to the bounds of one read.
pub(crate) fn bounded<'a>(
    events: impl Iterator<Item = &'a Recorded>,
    limit: usize,
) -> Vec<Recorded> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for event in events.take(limit.min(MAX_READ_EVENTS)) {
        bytes += event.encoded_len();
        if bytes > MAX_READ_BYTES && !taken.is_empty() {
            break;
        }
        taken.push(event.clone());
    }
    taken
}

fn index_after(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl EventLog for MemoryLog {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async { only(self.append_all(vec![append]).await) })
    }

    fn append_all(
        &self,
        appends: Vec<Append>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            let mut released = self.released.subscribe();
            let (appended, fault) = self.append_now(appends)?;
            if fault == Fault::Held && released.changed().await.is_err() {
                return Err(AppendError::Unknown(Cause::Closed));
            }
            Ok(appended)
        })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        let mut state = self.state.lock();
        if state.failing_reads.pop_front() == Some(true) {
            return Err(ReadError::Store("injected fault".into()));
        }
        let positions = state.streams.get(&stream).map(Vec::as_slice).unwrap_or_default();
        let positions = positions.get(index_after(after.get())..).unwrap_or_default();
        let events = positions.iter().filter_map(|at| state.events.get(index_after(at.get() - 1)));
        Ok(bounded(events, limit))
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let state = self.state.lock();
        let events = state.events.get(index_after(after.get())..).unwrap_or_default();
        Ok(bounded(events.iter(), limit))
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn read_content(&self, location: &ContentLocation) -> Result<Sealed, ContentError> {
        let state = self.state.lock();
        let found = state.content.get(&(location.segment, location.offset));
        match found {
            Some(sealed) if sealed.hash() == location.hash => Ok(sealed.clone()),
            Some(_) => Err(damaged(location, "another record lies there")),
            // What was erased is gone from the map, but its place was once given out.
            None if state.given_out(location) => Err(ContentError::Forgotten),
            None => Err(damaged(location, "nothing was ever written there")),
        }
    }

    fn erase(&self, location: &ContentLocation) -> Result<(), ContentError> {
        match self.read_content(location) {
            Ok(_) => {
                self.state.lock().content.remove(&(location.segment, location.offset));
                Ok(())
            }
            Err(ContentError::Forgotten) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn drop_content_before(&self, hour: Hour) -> Result<u64, ContentError> {
        let mut state = self.state.lock();
        let mut dropped: Vec<Hour> = state.content.keys().map(|(segment, _)| *segment).collect();
        dropped.sort_unstable();
        dropped.dedup();
        dropped.retain(|segment| *segment < hour);
        state.content.retain(|(segment, _), _| *segment >= hour);
        Ok(dropped.len() as u64)
    }

    fn tree_size(&self) -> Position {
        *self.head.borrow()
    }

    fn tree_head(&self, at: Position) -> Result<Option<TreeHead>, ReadError> {
        let state = self.state.lock();
        let end = match at.get().checked_sub(1) {
            None => ChainEnd::START,
            Some(index) => match state.events.get(index_after(index)) {
                None => return Ok(None),
                Some(event) => ChainEnd { position: at, hash: event.hash, at: event.at },
            },
        };
        let Ok(root) = merkle::root(&mut Leaves(&state.events), at.get());
        Ok(Some(TreeHead { position: at, root, chain: end.hash }))
    }

    fn inclusion(&self, position: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        let Some(leaf) = position.get().checked_sub(1) else { return Ok(Vec::new()) };
        let size = size.min(self.tree_size()).get();
        let Ok(proof) = merkle::inclusion(&mut Leaves(&self.state.lock().events), leaf, size);
        Ok(proof)
    }

    fn consistency(&self, before: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        let size = size.min(self.tree_size()).get();
        let state = self.state.lock();
        let Ok(proof) = merkle::consistency(&mut Leaves(&state.events), before.get(), size);
        Ok(proof)
    }

    fn health(&self) -> Health {
        let state = self.state.lock();
        let head = state.end().position;
        Health {
            writable: state.unwritable.is_none(),
            reason: state.unwritable.as_ref().map(|cause| cause.to_string().into()),
            head,
            sealed: head,
            ..state.health.clone()
        }
    }

    fn has_room(&self) -> bool {
        !self.state.lock().no_room
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>> {
        Box::pin(async move {
            self.state.lock().unwritable = Some(Cause::Closed);
            Ok(())
        })
    }
}

/// The tree over events in memory: every node is made from its leaves.
struct Leaves<'a>(&'a [Recorded]);

impl Nodes for Leaves<'_> {
    type Error = Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<TreeHash, Infallible> {
        let from = index_after(index << level);
        let mut part = Frontier::default();
        for event in self.0.iter().skip(from).take(index_after(1 << level)) {
            part.push(event.leaf(), |_, _, _| {});
        }
        Ok(part.root())
    }
}

impl State {
    fn given_out(&self, location: &ContentLocation) -> bool {
        self.content_end
            .get(&location.segment)
            .is_some_and(|end| location.offset + u64::from(location.len) <= *end)
    }
}

fn damaged(location: &ContentLocation, what: &'static str) -> ContentError {
    let (hour, offset) = (location.segment.get(), location.offset);
    ContentError::Damaged { hour, offset, what }
}
