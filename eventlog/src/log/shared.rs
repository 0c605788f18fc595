//! What the committer, the sealer and the readers share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::StreamId;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::{LogOptions, LogStats, open::Opened};
use crate::{
    content::{ContentSegments, Hour},
    contract::Health,
    engine,
    error::{Cause, OpenError, ReadError},
    event::Recorded,
    files,
    index::{Index, Sealing},
    journal::{self, JournalWriter},
    layout::{DirectoryLock, Layout},
    memory::bounded,
    merkle::{self, TreeHash},
    position::{Position, Version},
    signed_checkpoint::TreeHead,
    tail::Tail,
};

/// With more than this unsealed, in bytes, the committer waits for the sealer.
const MAX_TAIL_BYTES: usize = 64 * 1024 * 1024;
/// As many unsealed events make the committer wait for the sealer.
const MAX_TAIL_EVENTS: usize = 256 * 1024;
/// With less free space than this, in bytes, nothing is begun whose outcome must be recorded: the
/// journal grows by a mebibyte at a time, and others write to the disk, too.
const ROOM_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) options: LogOptions,
    pub(super) content: ContentSegments,
    pub(super) head: watch::Sender<Position>,
    /// Whether there is trouble.
    pub(super) stopped: watch::Sender<bool>,
    pub(super) counters: Counters,
    pub(super) wake: Wake,
    pub(super) sealing_waits_for_space: AtomicBool,
    /// What is sealed. Another takes its place when something is pruned: who reads holds on to one
    /// for as long as it reads.
    index: RwLock<Arc<Index>>,
    /// How often another took its place.
    pub(super) generation: AtomicU64,
    /// Held by the committer while it writes a group.
    pub(super) committing: Mutex<()>,
    /// Held by the sealer while it works. Taken after `committing`.
    pub(super) sealing: Mutex<Sealing>,
    /// Held by the one that prunes.
    pub(super) pruning: Mutex<()>,
    tail: RwLock<Tail>,
    room: (Mutex<()>, Condvar),
    trouble: Mutex<Option<Arc<str>>>,
    _lock: DirectoryLock,
}

/// Counts since the log was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) appends: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) journal_syncs: AtomicU64,
    pub(super) content_syncs: AtomicU64,
}

/// Wakes the sealer.
#[derive(Debug, Default)]
pub(super) struct Wake {
    state: Mutex<WakeState>,
    signal: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct WakeState {
    much: bool,
    stop: bool,
}

impl Wake {
    /// Much waits to be sealed.
    pub(super) fn much(&self) {
        self.state.lock().much = true;
        self.signal.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.signal.notify_one();
    }

    /// Waits for one of these or until the time is up; says whether to stop.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.much && !state.stop {
            self.signal.wait_for(&mut state, at_most);
        }
        state.much = false;
        state.stop
    }
}

impl Shared {
    pub(super) fn new(
        layout: Layout,
        options: LogOptions,
        lock: DirectoryLock,
        opened: Opened,
    ) -> Result<(Self, JournalWriter), OpenError> {
        let end = opened.sealing.end();
        let content = ContentSegments::open(&layout.content(), Hour::of(end.at))
            .map_err(|error| OpenError::io(layout.content(), error))?;
        let shared = Self {
            layout,
            options,
            content,
            head: watch::Sender::new(end.position),
            stopped: watch::Sender::new(false),
            counters: Counters::default(),
            wake: Wake::default(),
            sealing_waits_for_space: AtomicBool::new(false),
            index: RwLock::new(opened.index),
            generation: AtomicU64::new(0),
            committing: Mutex::new(()),
            sealing: Mutex::new(opened.sealing),
            pruning: Mutex::new(()),
            tail: RwLock::new(Tail::after(end.position)),
            room: (Mutex::new(()), Condvar::new()),
            trouble: Mutex::new(None),
            _lock: lock,
        };
        Ok((shared, opened.journal))
    }

    /// What is sealed, now.
    pub(super) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read())
    }

    /// Another index, which holds all that is sealed, takes the place of the one there is. Only
    /// while neither the committer nor the sealer works.
    pub(super) fn replace_index(&self, index: Arc<Index>) -> Arc<Index> {
        let before = std::mem::replace(&mut *self.index.write(), index);
        self.generation.fetch_add(1, Ordering::AcqRel);
        before
    }

    /// From now on nothing more is written; the first reason stands.
    pub(super) fn stop_writing(&self, reason: &str) {
        let mut trouble = self.trouble.lock();
        if trouble.is_none() {
            tracing::error!(reason, "the log stops writing");
            *trouble = Some(reason.into());
            self.stopped.send_replace(true);
        }
    }

    /// Why nothing more is written, if so.
    pub(super) fn trouble(&self) -> Option<Cause> {
        self.trouble.lock().clone().map(Cause::Unwritable)
    }

    pub(super) fn closed_cause(&self) -> Cause {
        self.trouble().unwrap_or(Cause::Closed)
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        files::free_bytes(self.layout.dir())
    }

    pub(super) fn has_room(&self) -> bool {
        self.free_bytes().is_none_or(|free| free >= ROOM_BYTES)
    }

    pub(super) fn content_must_wait(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.options.low_water_bytes)
    }

    pub(super) fn sealing_must_wait(&self) -> bool {
        let waits = self.free_bytes().is_some_and(|free| free < engine::FLOOR_BYTES);
        if self.sealing_waits_for_space.swap(waits, Ordering::AcqRel) != waits {
            tracing::warn!(waits, "sealing and the space on the disk");
        }
        waits
    }

    /// Waits until the tail takes more; or says why it does not.
    pub(super) fn wait_for_room(&self) -> Result<(), Cause> {
        loop {
            if let Some(cause) = self.trouble() {
                return Err(cause);
            }
            let full = {
                let tail = self.tail.read();
                tail.bytes() >= MAX_TAIL_BYTES || tail.len() >= MAX_TAIL_EVENTS
            };
            if !full {
                return Ok(());
            }
            if self.sealing_waits_for_space.load(Ordering::Acquire) {
                return Err(Cause::StorageFull);
            }
            self.wake.much();
            let mut guard = self.room.0.lock();
            self.room.1.wait_for(&mut guard, Duration::from_millis(50));
        }
    }

    /// Shows durable events to readers; says how many are unsealed.
    pub(super) fn publish(&self, events: Vec<Recorded>, head: Position) -> usize {
        let unsealed = {
            let mut tail = self.tail.write();
            tail.extend(events);
            tail.len()
        };
        self.head.send_replace(head);
        unsealed
    }

    /// The first unsealed events. Copies, so that the committer need not wait while they are
    /// compressed and indexed.
    pub(super) fn unsealed(&self, limit: usize) -> Vec<Recorded> {
        bounded(self.tail.read().events(), limit)
    }

    /// The first version of each message that is unsealed and not new.
    pub(super) fn unsealed_goings_on(&self) -> HashMap<StreamId, Version> {
        let tail = self.tail.read();
        let later = tail.events().filter(|event| {
            matches!(event.stream, StreamId::Message(_)) && event.version > Version::new(1)
        });
        let mut first = HashMap::new();
        for event in later {
            first.entry(event.stream).or_insert(event.version);
        }
        first.retain(|stream, version| tail.first_version(*stream) == Some(*version));
        first
    }

    /// Lets go of events that can be read from sled now.
    pub(super) fn sealed_through(&self, position: Position) {
        self.tail.write().drop_through(position);
        self.room.1.notify_all();
    }

    /// The version of a stream, from the tail and the index.
    pub(super) fn version(&self, stream: StreamId) -> Result<Version, ReadError> {
        // The tail first: what leaves it in between is already in the index.
        if let Some(version) = self.tail.read().last_version(stream) {
            return Ok(version);
        }
        Ok(self.index().version(stream)?)
    }

    pub(super) fn read_all(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        // The tail first, as above.
        if let Some(events) = self.tail.read().read_all(after, limit) {
            return Ok(events);
        }
        let events = self.index().read_all(after, limit)?;
        if events.is_empty() && limit > 0 {
            // sled forgets in silence; we do not.
            return Err(ReadError::Damaged {
                position: after.next(),
                what: "a sealed event is missing".into(),
            });
        }
        Ok(events)
    }

    pub(super) fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        // The tail first, as above.
        let (unsealed_from, unsealed) = {
            let tail = self.tail.read();
            (tail.first_version(stream), tail.read_stream(stream, after, limit))
        };
        let before = unsealed_from.unwrap_or(Version::new(u64::MAX));
        if after.next() >= before || limit == 0 {
            return Ok(unsealed);
        }
        let mut events = self.index().read_stream(stream, after, before, limit)?;
        let reached = events.last().map_or(after, |event| event.version);
        if unsealed_from == Some(reached.next()) {
            let left = limit.saturating_sub(events.len());
            events.extend(unsealed.into_iter().take(left));
        } else if unsealed_from.is_some() && events.is_empty() {
            let position = self.tail.read().before();
            let what = "a sealed event of the stream is missing".into();
            return Err(ReadError::Damaged { position, what });
        }
        Ok(events)
    }

    /// The last position that is sealed, and so in the tree.
    pub(super) fn sealed(&self) -> Position {
        self.tail.read().before()
    }

    pub(super) fn tree_head(&self, at: Position) -> Result<Option<TreeHead>, ReadError> {
        if at > self.sealed() {
            return Ok(None);
        }
        let index = self.index();
        let Some(end) = index.chain_at(at)? else { return Ok(None) };
        let root = merkle::root(&mut index.tree(), at.get())?;
        Ok(Some(TreeHead { position: at, root, chain: end.hash }))
    }

    pub(super) fn inclusion(
        &self,
        position: Position,
        size: Position,
    ) -> Result<Vec<TreeHash>, ReadError> {
        let Some(leaf) = position.get().checked_sub(1) else { return Ok(Vec::new()) };
        Ok(merkle::inclusion(&mut self.index().tree(), leaf, size.min(self.sealed()).get())?)
    }

    pub(super) fn consistency(
        &self,
        before: Position,
        size: Position,
    ) -> Result<Vec<TreeHash>, ReadError> {
        let size = size.min(self.sealed());
        Ok(merkle::consistency(&mut self.index().tree(), before.get(), size.get())?)
    }

    pub(super) fn health(&self) -> Health {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let trouble = self.trouble.lock().clone();
        let waits = self.sealing_waits_for_space.load(Ordering::Acquire);
        let (sealed, tail_bytes) = {
            let tail = self.tail.read();
            (tail.before(), tail.bytes() as u64)
        };
        Health {
            writable: trouble.is_none(),
            reason: trouble.or_else(|| waits.then(|| Cause::StorageFull.to_string().into())),
            head: *self.head.borrow(),
            sealed,
            appends: count(&self.counters.appends),
            events: count(&self.counters.events),
            conflicts: count(&self.counters.conflicts),
            failures: count(&self.counters.failures),
            journal_syncs: count(&self.counters.journal_syncs),
            content_syncs: count(&self.counters.content_syncs),
            journal_bytes: journal::disk_bytes(&self.layout.journal()),
            tail_bytes,
            disk_free_bytes: self.free_bytes(),
        }
    }

    pub(super) fn stats(&self) -> Result<LogStats, ReadError> {
        let store = |error: OpenError| ReadError::Store(error.to_string().into());
        let segments = journal::segments(&self.layout.journal()).map_err(store)?;
        let (blocks, indexed) = self.index().count()?;
        let hours = self.content.hours();
        let hours = hours.map_err(|error| ReadError::Store(error.to_string().into()))?;
        Ok(LogStats {
            head: *self.head.borrow(),
            sealed: self.tail.read().before(),
            journal_from: segments.first().and_then(|p| journal::first_of(p)).unwrap_or_default(),
            journal_segments: segments.len() as u64,
            journal_bytes: journal::disk_bytes(&self.layout.journal()),
            sled_bytes: files::disk_bytes(self.index().dir()),
            blocks,
            indexed,
            pruned: self.index().pruned()?.map_or(0, |signed| signed.pruned.events),
            content_segments: hours.len() as u64,
            content_bytes: files::disk_bytes(&self.layout.content()),
        })
    }
}
