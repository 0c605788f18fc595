//! What is sealed: blocks and the stream index, in sled.
//!
//! One tree holds it all, so that blocks, index entries and the checkpoint that covers them go in
//! one batch: `b` + first position → block, `s` + stream + version → position, `t` + level + place →
//! node of the tree, `c` → the end of the chain. Numbers in keys are big-endian, to sort as they
//! count. In a log of which something was pruned also `p` → what that was, signed, and `r` + table +
//! key → rows that were carried for those who count what was pruned.

mod carried;
mod tree;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use model::{StreamId, Timestamp};
use parking_lot::Mutex;

use crate::{
    block::{Block, Item, MAX_BLOCK_EVENTS, OpenBlock},
    contract::{MAX_READ_BYTES, MAX_READ_EVENTS},
    engine::{self, EngineError},
    error::ReadError,
    event::{ChainEnd, ChainHash, Malformed, Recorded, take, take_u64},
    files,
    gap::Gap,
    merkle::{Frontier, LEAF, TreeHash},
    position::{Position, Version},
    pruned::SignedPruned,
};

pub(crate) use self::tree::STORED_LEVEL;

const BLOCK: u8 = b'b';
const STREAM: u8 = b's';
const CHECKPOINT: [u8; 1] = *b"c";
/// Most index entries of one batch: sled takes 64 to 512 at its best and stalls on far more.
pub(crate) const BATCH_ENTRIES: usize = 512;
/// Most bytes of events of one batch, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// Decoded blocks that are kept: streams that are woken together often share theirs.
const CACHED_BLOCKS: usize = 32;

/// The sealed part of the log.
#[derive(Debug)]
pub(crate) struct Index {
    db: sled::Db,
    dir: PathBuf,
    cache: Mutex<VecDeque<Arc<Block>>>,
}

/// Why the index cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("damaged at position {position}: {what}")]
    Damaged { position: Position, what: &'static str },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl IndexError {
    /// Whether nothing is wrong but that a file could not be opened for want of descriptors, or had
    /// no space.
    pub(crate) fn is_shortage(&self) -> bool {
        matches!(self, Self::Io(error) if files::is_shortage(error))
    }
}

impl From<IndexError> for ReadError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Damaged { position, what } => Self::Damaged { position, what: what.into() },
            other => Self::Store(other.to_string().into()),
        }
    }
}

fn block_key(first: Position) -> [u8; 9] {
    let mut key = [BLOCK; 9];
    if let Some(number) = key.last_chunk_mut::<8>() {
        *number = first.get().to_be_bytes();
    }
    key
}

fn stream_key(stream: StreamId, version: Version) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + StreamId::LEN + 8);
    key.push(STREAM);
    key.extend_from_slice(&stream.to_bytes());
    key.extend_from_slice(&version.get().to_be_bytes());
    key
}

/// An entry of the stream index: the stream, as bytes, its version, and where that event lies.
pub(crate) type Name = ([u8; StreamId::LEN], Version, Position);

fn name(key: &[u8], value: &[u8]) -> Option<Name> {
    let stream = key.get(1..=StreamId::LEN)?.try_into().ok()?;
    let version = key.get(1 + StreamId::LEN..)?.try_into().ok()?;
    let position = value.try_into().ok()?;
    Some((
        stream,
        Version::new(u64::from_be_bytes(version)),
        Position::new(u64::from_be_bytes(position)),
    ))
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk::<8>().map(|number| u64::from_be_bytes(*number))
}

impl Index {
    pub(crate) fn open(dir: &Path) -> Result<Self, EngineError> {
        let db = engine::open(dir)?;
        Ok(Self { db, dir: dir.to_owned(), cache: Mutex::default() })
    }

    /// Where its files lie.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The end of the chain in what is sealed.
    pub(crate) fn end(&self) -> Result<ChainEnd, IndexError> {
        let Some(value) = engine::guarded(|| self.db.get(CHECKPOINT))? else {
            return Ok(ChainEnd::START);
        };
        let mut bytes = value.as_ref();
        let read = |bytes: &mut &[u8]| -> Result<ChainEnd, Malformed> {
            Ok(ChainEnd {
                position: Position::new(take_u64(bytes)?),
                hash: ChainHash::from_bytes(take(bytes)?),
                at: Timestamp::from_millis(take_u64(bytes)?),
            })
        };
        read(&mut bytes)
            .map_err(|Malformed(what)| IndexError::Damaged { position: Position::START, what })
    }

    /// The block in which a position lies; `None` when nothing so late is sealed.
    pub(crate) fn block_at(&self, position: Position) -> Result<Option<Arc<Block>>, IndexError> {
        let holds =
            |block: &Block| block.before.position < position && position <= block.end().position;
        if let Some(block) = self.cache.lock().iter().find(|block| holds(block)) {
            return Ok(Some(Arc::clone(block)));
        }
        let range = block_key(Position::START)..=block_key(position);
        let found = engine::guarded(|| self.db.range(range).next_back().transpose())?;
        let Some((key, value)) = found else { return Ok(None) };
        let first = Position::new(number(&key).unwrap_or_default());
        let block = Block::read(first, &value)
            .map_err(|Malformed(what)| IndexError::Damaged { position: first, what })?;
        if !holds(&block) {
            return Ok(None);
        }
        let block = Arc::new(block);
        let mut cache = self.cache.lock();
        // A block that was still open when it was cached is replaced by its longer self.
        cache.retain(|cached| cached.before.position != block.before.position);
        if cache.len() >= CACHED_BLOCKS {
            cache.pop_front();
        }
        cache.push_back(Arc::clone(&block));
        Ok(Some(block))
    }

    /// The blocks from the one in which a position lies, to read through them; they do not push
    /// others out of the cache.
    pub(crate) fn blocks_from(
        &self,
        position: Position,
    ) -> Result<impl Iterator<Item = Result<Block, IndexError>> + use<>, IndexError> {
        let first = block_key(Position::START)..=block_key(position);
        let first = engine::guarded(|| self.db.range(first).next_back().transpose())?;
        let from = first.map_or(block_key(position).as_slice().into(), |(key, _)| key);
        let mut rows = self.db.range(from..sled::IVec::from(&[BLOCK + 1]));
        Ok(std::iter::from_fn(move || {
            let row = engine::guarded(|| rows.next().transpose()).map_err(IndexError::from);
            row.transpose().map(|row| {
                let (key, value) = row?;
                let first = Position::new(number(&key).unwrap_or_default());
                Block::read(first, &value)
                    .map_err(|Malformed(what)| IndexError::Damaged { position: first, what })
            })
        }))
    }

    /// Sealed events after a position, within the bounds of one read.
    pub(crate) fn read_all(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, IndexError> {
        let limit = limit.min(MAX_READ_EVENTS);
        if limit <= MAX_BLOCK_EVENTS {
            return self.read_few(after, limit);
        }
        let mut page = Page::after(after, limit);
        for block in self.blocks_from(after.next())? {
            let block = block?;
            match page.joins(&block)? {
                Joint::Sound => {}
                // The block before was still open when it was read: the next read finds its
                // longer self.
                Joint::Gap => break,
            }
            let end = block.end();
            if !page.take(block.events.into_iter(), end) {
                break;
            }
        }
        Ok(page.events)
    }

    /// The same for few events, which others want, too: from the cache.
    fn read_few(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, IndexError> {
        let mut page = Page::after(after, limit);
        while let Some(block) = self.block_at(page.next)? {
            if matches!(page.joins(&block)?, Joint::Gap)
                || !page.take(block.events.iter().cloned(), block.end())
            {
                break;
            }
        }
        Ok(page.events)
    }

    /// Sealed events of a stream in `(after, before)`, within the bounds of one read.
    pub(crate) fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        before: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, IndexError> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        if after.next() >= before {
            return Ok(events);
        }
        let range = stream_key(stream, after.next())..stream_key(stream, before);
        let mut entries = self.db.range(range);
        let mut version = after;
        while events.len() < limit.min(MAX_READ_EVENTS) {
            let Some((key, value)) = engine::guarded(|| entries.next().transpose())? else { break };
            let position = Position::new(number(&value).unwrap_or_default());
            version = version.next();
            let damaged = |what| IndexError::Damaged { position, what };
            if number(&key) != Some(version.get()) {
                return Err(damaged("the stream index has a gap"));
            }
            let event = self.event_at(position)?.ok_or(damaged("an indexed event is missing"))?;
            if event.stream != stream || event.version != version {
                return Err(damaged("the stream index names another event"));
            }
            bytes += event.encoded_len();
            if bytes > MAX_READ_BYTES && !events.is_empty() {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    fn event_at(&self, position: Position) -> Result<Option<Recorded>, IndexError> {
        let Some(block) = self.block_at(position)? else { return Ok(None) };
        Ok(block.event(position).cloned())
    }

    /// The gap in which a position lies, if it does.
    pub(crate) fn gap_at(&self, position: Position) -> Result<Option<Gap>, IndexError> {
        Ok(self.block_at(position)?.and_then(|block| block.gap(position).cloned()))
    }

    /// The version of a stream in what is sealed.
    pub(crate) fn version(&self, stream: StreamId) -> Result<Version, IndexError> {
        let range = stream_key(stream, Version::NONE)..=stream_key(stream, Version::new(u64::MAX));
        let last = engine::guarded(|| self.db.range(range).next_back().transpose())?;
        Ok(Version::new(last.and_then(|(key, _)| number(&key)).unwrap_or_default()))
    }

    /// Where the index says that an event lies.
    pub(crate) fn position_of(
        &self,
        stream: StreamId,
        version: Version,
    ) -> Result<Option<Position>, IndexError> {
        let value = engine::guarded(|| self.db.get(stream_key(stream, version)))?;
        Ok(value.and_then(|value| number(&value)).map(Position::new))
    }

    /// All that the stream index names, in its own order.
    pub(crate) fn names(&self) -> impl Iterator<Item = Result<Name, IndexError>> + use<> {
        let mut entries = self.db.scan_prefix([STREAM]);
        std::iter::from_fn(move || {
            let entry = engine::guarded(|| entries.next().transpose()).map_err(IndexError::from);
            entry.transpose().map(|entry| {
                let (key, value) = entry?;
                name(&key, &value).ok_or(IndexError::Damaged {
                    position: Position::START,
                    what: "the stream index has an entry that is none",
                })
            })
        })
    }

    /// How many blocks and index entries there are. Reads all keys.
    pub(crate) fn count(&self) -> Result<(u64, u64), IndexError> {
        let count = |prefix: u8| -> Result<u64, EngineError> {
            let mut keys = self.db.scan_prefix([prefix]).keys();
            let mut found = 0;
            while engine::guarded(|| keys.next().transpose())?.is_some() {
                found += 1;
            }
            Ok(found)
        };
        Ok((count(BLOCK)?, count(STREAM)?))
    }

    /// Makes durable what was sealed.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        engine::guarded(|| self.db.flush())?;
        Ok(engine::sync(&self.dir)?)
    }
}

/// How a block stands to the one before it.
enum Joint {
    /// It goes on where that ends, or is its longer self.
    Sound,
    /// There are events between the two.
    Gap,
}

/// Events that one read has found so far.
struct Page {
    events: Vec<Recorded>,
    limit: usize,
    bytes: usize,
    next: Position,
    reached: Option<ChainEnd>,
}

impl Page {
    fn after(after: Position, limit: usize) -> Self {
        Self { events: Vec::new(), limit, bytes: 0, next: after.next(), reached: None }
    }

    fn joins(&self, block: &Block) -> Result<Joint, IndexError> {
        if block.end().position < self.next || block.before.position >= self.next {
            return Ok(Joint::Gap);
        }
        // The block before may have been read while it was still open, and be shorter than it is
        // now: then this one is its longer self.
        if self.reached.is_some_and(|end| block.end_at(end.position) != Some(end)) {
            return Err(IndexError::Damaged {
                position: self.next,
                what: "the chain does not hold between two blocks",
            });
        }
        Ok(Joint::Sound)
    }

    /// Takes the events of a block that ends at `end`; `false` once there are enough.
    fn take(&mut self, events: impl Iterator<Item = Recorded>, end: ChainEnd) -> bool {
        for event in events.filter(|event| event.position >= self.next) {
            self.bytes += event.encoded_len();
            let full = self.bytes > MAX_READ_BYTES && !self.events.is_empty();
            if self.events.len() >= self.limit || full {
                return false;
            }
            self.events.push(event);
        }
        self.reached = Some(end);
        self.next = end.position.next();
        self.events.len() < self.limit
    }
}

/// Moves events into the index, in order.
#[derive(Debug)]
pub(crate) struct Sealing {
    index: Arc<Index>,
    open: OpenBlock,
    tree: Frontier,
    batch: sled::Batch,
    entries: usize,
    bytes: usize,
    encoded: Vec<u8>,
}

impl Sealing {
    /// Goes on after what is sealed; a last block that is not full is filled up.
    pub(crate) fn resume(index: Arc<Index>) -> Result<Self, IndexError> {
        let end = index.end()?;
        let open = match end.position {
            Position::START => OpenBlock::after(end),
            position => {
                let damaged = |what| IndexError::Damaged { position, what };
                let block =
                    index.block_at(position)?.ok_or(damaged("the last block is missing"))?;
                if block.end() != end {
                    return Err(damaged("the last block is not the one of the checkpoint"));
                }
                OpenBlock::reopen(&block)
            }
        };
        index.mend_tree(end.position.get())?;
        let tree = index.tree().frontier(end.position.get())?;
        Ok(Self {
            index,
            open,
            tree,
            batch: sled::Batch::default(),
            entries: 0,
            bytes: 0,
            encoded: Vec::new(),
        })
    }

    /// The end of the chain with what was pushed.
    pub(crate) fn end(&self) -> ChainEnd {
        self.open.end()
    }

    /// Adds the event that follows. What does not continue the chain is not sealed, wherever it
    /// comes from.
    pub(crate) fn push(&mut self, event: &Recorded) -> Result<(), IndexError> {
        let end = self.open.end();
        // The bytes that the tree hashes; behind their mark, those that the chain hashes.
        self.encoded.clear();
        self.encoded.push(LEAF);
        event.encode(&mut self.encoded);
        let linked = end.hash.link(self.encoded.get(1..).unwrap_or_default());
        if event.position != end.position.next() || event.hash != linked {
            return Err(IndexError::Damaged {
                position: event.position,
                what: "the chain does not hold",
            });
        }
        if !self.open.takes(event) {
            self.next_block()?;
        }
        self.open.push(event);
        let position = event.position.get().to_be_bytes();
        self.batch.insert(stream_key(event.stream, event.version), position.as_slice());
        self.entries += 1;
        self.tree.push(TreeHash::of_marked_leaf(&self.encoded), |level, index, hash| {
            if level >= STORED_LEVEL {
                self.batch.insert(&tree::node_key(level, index), hash.as_bytes());
                self.entries += 1;
            }
        });
        self.bytes += self.encoded.len();
        self.apply_when_full()
    }

    /// Adds the gap that follows.
    pub(crate) fn push_gap(&mut self, gap: &Gap) -> Result<(), IndexError> {
        let damaged = |what| IndexError::Damaged { position: gap.first, what };
        if gap.first != self.open.end().position.next() {
            return Err(damaged("the chain does not hold"));
        }
        if !self.open.takes_gap(gap) {
            self.next_block()?;
        }
        self.open.push_gap(gap.clone());
        self.entries += 1;
        self.bytes += gap.encoded_len();
        for node in gap.nodes() {
            let fits = self.tree.push_node(node.level, node.hash, |level, index, hash| {
                if level >= STORED_LEVEL {
                    self.batch.insert(&tree::node_key(level, index), hash.as_bytes());
                    self.entries += 1;
                }
            });
            if !fits {
                return Err(damaged("a gap's nodes do not fit the tree"));
            }
        }
        self.apply_when_full()
    }

    /// Adds what follows.
    pub(crate) fn push_item(&mut self, item: &Item<'_>) -> Result<(), IndexError> {
        match item {
            Item::Event(event) => self.push(event),
            Item::Gap(gap) => self.push_gap(gap),
        }
    }

    /// What it writes to.
    pub(crate) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    fn next_block(&mut self) -> Result<(), IndexError> {
        self.put_block()?;
        self.open = OpenBlock::after(self.open.end());
        Ok(())
    }

    fn apply_when_full(&mut self) -> Result<(), IndexError> {
        if self.entries >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES {
            self.apply()
        } else {
            Ok(())
        }
    }

    /// Puts what was pushed into sled, blocks, index and checkpoint together. From then on it can
    /// be read there; it is not yet durable.
    pub(crate) fn apply(&mut self) -> Result<(), IndexError> {
        if self.entries == 0 {
            return Ok(());
        }
        self.put_block()?;
        let end = self.open.end();
        let mut checkpoint = Vec::with_capacity(48);
        checkpoint.extend_from_slice(&end.position.get().to_le_bytes());
        checkpoint.extend_from_slice(end.hash.as_bytes());
        checkpoint.extend_from_slice(&end.at.as_millis().to_le_bytes());
        self.batch.insert(&CHECKPOINT, checkpoint);
        let batch = std::mem::take(&mut self.batch);
        (self.entries, self.bytes) = (0, 0);
        engine::guarded(|| self.index.db.apply_batch(batch))?;
        Ok(())
    }

    fn put_block(&mut self) -> Result<(), IndexError> {
        if !self.open.is_empty() {
            let bytes = self.open.bytes()?;
            self.batch.insert(&block_key(self.open.first()), bytes);
        }
        Ok(())
    }
}
