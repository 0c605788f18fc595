//! Pruning: messages that ended long ago leave the log, and a signed stub stays.
//!
//! What is to stay is copied into new files of sled's beside the old ones, while the log is in use;
//! then, while nobody writes for a moment, these take the place of the old. sled's own files never
//! give space back, so nothing less would. One small file says which of them are in use: its
//! replacement is the one moment at which everything changes, and a crash before or after leaves
//! whole files and some to be deleted.

use std::{
    collections::HashMap,
    iter::Peekable,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use model::{StreamId, Timestamp};

use super::{Log, shared::Shared};
use crate::{
    block::Item,
    checkpoint_file::Checkpoints,
    content::{ContentSegments, Hour},
    engine,
    error::{ContentError, ReadError},
    event::{ChainEnd, ChainHash, Recorded},
    files,
    gap::{Gap, GapDigest},
    index::{Index, IndexError, Sealing},
    journal,
    position::{Position, Version},
    pruned::{Pruned, SignedPruned},
    vault::InstanceKey,
};

/// What is copied between two looks at the disk, and two pauses, in events.
const STEP: u64 = 4096;
/// With fewer events left to copy than this, nobody else writes until they are.
const NEAR: u64 = 2048;
/// Space that stays free on the disk while files are copied, in bytes, beside the low-water mark.
const MARGIN_BYTES: u64 = 2 * engine::FLOOR_BYTES;

/// Up to where a log can be pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prunable {
    /// The last position that can be looked at.
    pub last: Position,
    /// When its event was recorded.
    pub at: Timestamp,
    /// The chain's hash there.
    pub chain: ChainHash,
}

/// What is to be pruned, and what stays of it.
pub struct Pruning<'a> {
    /// Up to where, as [`Log::prunable`] said: a message with a later event stays.
    pub up_to: Prunable,
    /// Whether a message is over, by all its events. One that is not stays; one that is is pruned, and
    /// asked for once.
    pub is_over: &'a dyn Fn(&[Recorded]) -> bool,
    /// Rows to be carried for those who count what is pruned: table, key and value, the tables' and
    /// keys' names at most 255 and [`crate::MAX_KEY_BYTES`] long, values at most
    /// [`crate::MAX_VALUE_BYTES`]. They take the place of those that were carried before.
    pub carried: &'a mut dyn Iterator<Item = Result<CarriedRow, ReadError>>,
    /// Signs the stub.
    pub key: &'a InstanceKey,
    /// By the signer's clock.
    pub now: Timestamp,
    /// How long to rest after every few thousand events, so that others get on.
    pub rest: Duration,
}

/// A row to be carried: table, key, value.
pub type CarriedRow = (Box<str>, Box<[u8]>, Box<[u8]>);

/// Why nothing was pruned. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Another pruning is under way.
    #[error("something is being pruned already")]
    Busy,
    /// What stays needs more space than there is before the old files can be deleted.
    #[error("there is no space on the disk for what stays beside what there is")]
    NoSpace,
    /// A message that was to be pruned went on meanwhile. The next try finds it so.
    #[error("a message went on while it was being pruned")]
    WentOn,
    /// The log writes no more.
    #[error("the log writes no more")]
    Stopped,
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new files cannot be written.
    #[error("what stays cannot be written: {0}")]
    Write(Box<str>),
}

impl From<IndexError> for PruneError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Damaged { .. } => Self::Read(error.into()),
            other => Self::Write(other.to_string().into()),
        }
    }
}

fn write(error: &impl ToString) -> PruneError {
    PruneError::Write(error.to_string().into())
}

impl Log {
    /// Up to where the log can be pruned of what was recorded before a time; `None` when that is
    /// no further than it was. Only what was signed, what the journal no longer holds, and what is
    /// older than all content that is there.
    pub fn prunable(&self, before: Timestamp) -> Result<Option<Prunable>, ReadError> {
        let index = self.shared.index();
        let store = |error: &dyn std::fmt::Display| ReadError::Store(error.to_string().into());
        let segments =
            journal::segments(&self.shared.layout.journal()).map_err(|error| store(&error))?;
        let in_journal = segments.first().and_then(|path| journal::first_of(path));
        let signed = self.shared.layout.checkpoints();
        let signed = match Checkpoints::newest(&signed) {
            Ok(newest) => newest.map_or(Position::START, |newest| newest.head().position),
            Err(_) if !signed.exists() => Position::START,
            Err(error) => return Err(store(&error)),
        };
        let before_journal = in_journal.map_or(0, |first| first.get().saturating_sub(1));
        let hours = self.shared.content.hours().map_err(|error| store(&error))?;
        let oldest = hours.into_iter().filter(|hour| *hour != Hour::LASTING).min();
        let before = oldest.map_or(before, |hour| before.min(hour.begin()));
        // The last event stays: what follows goes on from it.
        let sealed = index.end()?.position.get().saturating_sub(1);
        let most = Position::new(before_journal.min(signed.get()).min(sealed));
        let known = index.pruned()?.map_or(Position::START, |known| known.pruned.last);
        let end = last_before(&index, known, most, before)?;
        Ok(end.filter(|end| end.position > known).map(|end| Prunable {
            last: end.position,
            at: end.at,
            chain: end.hash,
        }))
    }

    /// Prunes whole messages that are over, whose last event is not after that position, and whose
    /// content is forgotten. Blocks for as long as it takes to copy what stays; the log can be used
    /// meanwhile.
    ///
    /// # Errors
    /// Nothing was pruned, and nothing else was changed.
    pub fn prune(&self, pruning: Pruning<'_>) -> Result<Pruned, PruneError> {
        let shared = &*self.shared;
        let _alone = shared.pruning.try_lock().ok_or(PruneError::Busy)?;
        let generation = shared.layout.generation().map_err(|error| write(&error))? + 1;
        let dir = shared.layout.sled_of(generation);
        // What an earlier try could not remove is not to be gone on with.
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(write(&error));
            }
            _ => {}
        }
        let pruned =
            Copying::begin(shared, &dir, pruning).and_then(|copying| copying.run(generation));
        if pruned.as_ref().is_err_and(|error| !matches!(error, PruneError::Stopped))
            && let Err(error) = std::fs::remove_dir_all(&dir)
        {
            tracing::warn!(dir = %dir.display(), %error, "half made files are removed at the next start");
        }
        pruned
    }
}

/// The last place at or before `most` and before a time, after `known`.
fn last_before(
    index: &Index,
    known: Position,
    most: Position,
    before: Timestamp,
) -> Result<Option<ChainEnd>, ReadError> {
    let (mut low, mut high) = (known.get(), most.get());
    let mut found = None;
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let Some(block) = index.block_at(Position::new(middle))? else { return Ok(found) };
        let event = block.event(Position::new(middle));
        match event {
            Some(event) if event.at < before => {
                found = Some(ChainEnd { position: event.position, hash: event.hash, at: event.at });
                low = middle;
            }
            // Nothing was pruned after `known`, so there is one.
            _ => high = middle - 1,
        }
    }
    Ok(found)
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy)]
struct Fate {
    pruned: bool,
    last: Position,
}

struct Copying<'s, 'a> {
    shared: &'s Shared,
    old: Arc<Index>,
    /// What it held when it was begun. What comes later is looked at with more care: it may go on
    /// with what is pruned.
    held: Position,
    new: Sealing,
    pruning: Pruning<'a>,
    fates: HashMap<StreamId, Fate>,
    gap: Option<Gap>,
    gaps: GapDigest,
    messages: u64,
    before: Option<Pruned>,
}

impl<'s, 'a> Copying<'s, 'a> {
    fn begin(
        shared: &'s Shared,
        dir: &std::path::Path,
        pruning: Pruning<'a>,
    ) -> Result<Self, PruneError> {
        let old = shared.index();
        let before = old.pruned()?.map(|signed| signed.pruned);
        let held = old.end()?.position;
        let index = Index::open(dir).map_err(|error| write(&error))?;
        let new = Sealing::resume(Arc::new(index))?;
        let (fates, gap, gaps, messages) = (HashMap::new(), None, GapDigest::default(), 0);
        Ok(Self { shared, old, held, new, pruning, fates, gap, gaps, messages, before })
    }

    fn run(mut self, generation: u64) -> Result<Pruned, PruneError> {
        self.copy_all()?;
        self.flush_gap()?;
        let pruned = self.carry_and_sign()?;
        self.new.apply()?;
        self.catch_up()?;
        // The long part of making it durable, while others still write.
        self.new.index().sync()?;
        self.catch_up()?;
        self.take_over(generation)?;
        Ok(pruned)
    }

    /// Copies what there is now, but for what is pruned.
    fn copy_all(&mut self) -> Result<(), PruneError> {
        let path = self.shared.layout.checkpoints();
        let checkpoints = Checkpoints::open(&path).map_err(|error| write(&error))?;
        let mut signed =
            checkpoints.map(|read| read.map(|signed| signed.head().position)).peekable();
        let mut rested = Position::START;
        for block in self.old.blocks_from(Position::new(1)).map_err(PruneError::from)? {
            let block = block.map_err(PruneError::from)?;
            if self.reached() >= self.held {
                break;
            }
            for item in block.items() {
                // A block can be found twice, the second time as its longer self.
                if item.last() <= self.reached() || item.last() > self.held {
                    continue;
                }
                match item {
                    Item::Event(event) if self.is_pruned(event)? => {
                        let (position, hash, at) = (event.position, event.hash, event.at);
                        self.leave_out(Gap::of(ChainEnd { position, hash, at }, event.leaf()));
                    }
                    Item::Gap(gap) => self.leave_out(gap.clone()),
                    Item::Event(event) => {
                        self.flush_gap()?;
                        self.new.push(event)?;
                    }
                }
                if is_signed(&mut signed, item.last())? {
                    self.flush_gap()?;
                }
            }
            if self.reached().get().saturating_sub(rested.get()) >= STEP {
                rested = self.reached();
                self.rest()?;
            }
        }
        Ok(())
    }

    fn reached(&self) -> Position {
        self.gap.as_ref().map_or(self.new.end().position, Gap::last)
    }

    fn leave_out(&mut self, gap: Gap) {
        match &mut self.gap {
            Some(open) => open.extend(&gap),
            None => self.gap = Some(gap),
        }
    }

    fn flush_gap(&mut self) -> Result<(), PruneError> {
        if let Some(gap) = self.gap.take() {
            self.gaps.add(self.new.end().hash, &gap);
            self.new.push_gap(&gap)?;
        }
        Ok(())
    }

    fn is_pruned(&mut self, event: &Recorded) -> Result<bool, PruneError> {
        let up_to = self.pruning.up_to.last;
        if event.position > up_to || !matches!(event.stream, StreamId::Message(_)) {
            return Ok(false);
        }
        let fate = match self.fates.get(&event.stream) {
            Some(fate) => *fate,
            None => self.judge(event.stream)?,
        };
        if fate.last > event.position {
            self.fates.insert(event.stream, fate);
        } else {
            self.fates.remove(&event.stream);
        }
        self.messages += u64::from(fate.pruned && event.version == Version::new(1));
        Ok(fate.pruned)
    }

    /// Looks at all events of a message.
    fn judge(&self, stream: StreamId) -> Result<Fate, PruneError> {
        let mut events: Vec<Recorded> = Vec::new();
        let stays = |last| Ok(Fate { pruned: false, last });
        loop {
            let after = events.last().map_or(Version::NONE, |event| event.version);
            let end = Version::new(u64::MAX);
            let read = self.old.read_stream(stream, after, end, usize::MAX)?;
            let Some(last) = read.last() else { break };
            if last.position > self.pruning.up_to.last {
                return stays(last.position);
            }
            events.extend(read);
        }
        let Some(Recorded { position: last, version, .. }) = events.last() else {
            return stays(Position::START);
        };
        let last = *last;
        // It may have gone on a moment ago.
        if self.shared.version(stream)? != *version {
            return stays(last);
        }
        // What can still be read can still be asked for, and must be found to be erased.
        let forgotten = |location| {
            let content: &ContentSegments = &self.shared.content;
            matches!(content.read(location), Err(ContentError::Forgotten))
        };
        let locations = events.iter().flat_map(|event| event.content.iter());
        // Asked last: whoever says yes may count it.
        if !locations.into_iter().all(forgotten) || !(self.pruning.is_over)(&events) {
            return stays(last);
        }
        Ok(Fate { pruned: true, last })
    }

    fn rest(&self) -> Result<(), PruneError> {
        if self.shared.trouble().is_some() {
            return Err(PruneError::Stopped);
        }
        let least = MARGIN_BYTES.saturating_add(self.shared.options.low_water_bytes);
        if self.shared.free_bytes().is_some_and(|free| free < least) {
            return Err(PruneError::NoSpace);
        }
        if !self.pruning.rest.is_zero() {
            thread::sleep(self.pruning.rest);
        }
        Ok(())
    }

    fn carry_and_sign(&mut self) -> Result<Pruned, PruneError> {
        let index = Arc::clone(self.new.index());
        index.carry::<PruneError>(
            (&mut *self.pruning.carried).map(|row| row.map_err(PruneError::from)),
        )?;
        let Prunable { last, at, chain } = self.pruning.up_to;
        let pruned = Pruned {
            last,
            at,
            chain,
            messages: self.before.map_or(0, |before| before.messages) + self.messages,
            events: self.gaps.events,
            gaps: self.gaps.gaps,
            stubs: *self.gaps.finish().as_bytes(),
            carried: *index.carried_digest()?.as_bytes(),
            signed_at: self.pruning.now,
        };
        index.put_pruned(&SignedPruned::sign(self.pruning.key, pruned))?;
        Ok(pruned)
    }

    /// Copies what came meanwhile, until little is left.
    fn catch_up(&mut self) -> Result<(), PruneError> {
        while self.copy_next()? > NEAR {
            self.rest()?;
        }
        Ok(())
    }

    /// Copies the next events; says how many are left.
    fn copy_next(&mut self) -> Result<u64, PruneError> {
        let reached = self.new.end().position;
        let end = self.old.end()?.position;
        if reached < end {
            let mut moved: HashMap<StreamId, Version> = HashMap::new();
            for event in self.old.read_all(reached, usize::try_from(STEP).unwrap_or(usize::MAX))? {
                if moved.insert(event.stream, event.version).is_none() {
                    self.check_goes_on(event.stream, event.version)?;
                }
                self.new.push(&event)?;
            }
            // So that the next event of a stream finds the one before.
            self.new.apply()?;
        }
        Ok(end.get().saturating_sub(self.new.end().position.get()))
    }

    /// What was pruned must not go on: its later events would have no beginning.
    fn check_goes_on(&self, stream: StreamId, version: Version) -> Result<(), PruneError> {
        if !matches!(stream, StreamId::Message(_)) || version == Version::new(1) {
            return Ok(());
        }
        let known = self.new.index().version(stream)?;
        if known.next() == version { Ok(()) } else { Err(PruneError::WentOn) }
    }

    /// Nobody writes for a moment, and the new files take the place of the old.
    fn take_over(mut self, generation: u64) -> Result<(), PruneError> {
        let shared = self.shared;
        let _committing = shared.committing.lock();
        let mut sealing = shared.sealing.lock();
        while self.copy_next()? > 0 {}
        for (stream, version) in shared.unsealed_goings_on() {
            self.check_goes_on(stream, version)?;
        }
        if shared.trouble().is_some() {
            return Err(PruneError::Stopped);
        }
        self.new.index().sync()?;
        files::sync_directory(shared.layout.dir()).map_err(|error| write(&error))?;
        if let Err(error) = shared.layout.begin_generation(generation) {
            // Which files the next start finds in use, nobody can tell: both hold everything, as
            // long as nothing more is written to either.
            shared.stop_writing(&format!("pruning: {error}"));
            return Err(PruneError::Stopped);
        }
        let index = Arc::clone(self.new.index());
        *sealing = self.new;
        let old = shared.replace_index(index);
        drop(sealing);
        let dir = old.dir().to_owned();
        drop((old, self.old));
        // Who still reads from them keeps them until it is done.
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "old files are removed at the next start");
        }
        tracing::info!(
            generation = shared.generation.load(Ordering::Acquire),
            "the log was pruned"
        );
        Ok(())
    }
}

/// Whether a checkpoint was signed at a position; they come in order.
fn is_signed<E: std::fmt::Display>(
    signed: &mut Peekable<impl Iterator<Item = Result<Position, E>>>,
    position: Position,
) -> Result<bool, PruneError> {
    let mut met = false;
    while let Some(next) = signed.next_if(|next| next.as_ref().map_or(true, |at| *at <= position)) {
        let next = next.map_err(|error| write(&error))?;
        met |= next == position;
    }
    Ok(met)
}
