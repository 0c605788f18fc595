//! A block: up to 128 events, compressed together.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format |
//! | 2 | number of events |
//! | 4 | length of the encoded events |
//! | 8 | time of the event before |
//! | 32 | chain hash before the first |
//! | 32 | chain hash after the last |
//! | … | the encoded events, zstd |
//!
//! The events' own hashes are not kept: they are made again from the first one, which also proves
//! the block. 32 bytes that do not compress would be a third of an event.

use bytes::Bytes;
use model::Timestamp;

use crate::{
    compression::{compress, decompress},
    event::{ChainEnd, ChainHash, Malformed, Recorded, take, take_u32, take_u64},
    position::Position,
};

pub(crate) const FORMAT: u8 = 1;
/// Most events of a block.
pub(crate) const MAX_BLOCK_EVENTS: usize = 128;
/// Most bytes of encoded events in a block.
pub(crate) const MAX_BLOCK_BYTES: usize = 64 * 1024;

/// A block that still takes events.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    before: ChainEnd,
    end: ChainEnd,
    raw: Vec<u8>,
    count: u16,
}

impl OpenBlock {
    /// An empty block after `before`.
    pub(crate) fn after(before: ChainEnd) -> Self {
        Self { before, end: before, raw: Vec::new(), count: 0 }
    }

    /// The block with these events, to be gone on with.
    pub(crate) fn reopen(before: ChainEnd, events: &[Recorded]) -> Self {
        let mut block = Self::after(before);
        for event in events {
            block.push(event);
        }
        block
    }

    pub(crate) fn end(&self) -> ChainEnd {
        self.end
    }

    pub(crate) fn first(&self) -> Position {
        self.before.position.next()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether one more event fits.
    pub(crate) fn takes(&self, event: &Recorded) -> bool {
        usize::from(self.count) < MAX_BLOCK_EVENTS
            && (self.is_empty() || self.raw.len() + event.encoded_len() <= MAX_BLOCK_BYTES)
    }

    /// Adds the event that follows.
    pub(crate) fn push(&mut self, event: &Recorded) {
        event.encode(&mut self.raw);
        self.count += 1;
        self.end = ChainEnd { position: event.position, hash: event.hash, at: event.at };
    }

    /// The block's bytes.
    pub(crate) fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let compressed = compress(&self.raw)?;
        let mut bytes = Vec::with_capacity(79 + compressed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.raw.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.before.at.as_millis().to_le_bytes());
        bytes.extend_from_slice(self.before.hash.as_bytes());
        bytes.extend_from_slice(self.end.hash.as_bytes());
        bytes.extend_from_slice(&compressed);
        Ok(bytes)
    }
}

/// A block read back, its chain checked.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) before: ChainEnd,
    pub(crate) events: Vec<Recorded>,
}

impl Block {
    /// Reads the block that begins at `first`.
    pub(crate) fn read(first: Position, mut bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        let [format] = take::<1>(bytes)?;
        if format != FORMAT {
            return Err(Malformed("a block of unknown format"));
        }
        let count = usize::from(u16::from_le_bytes(take(bytes)?));
        let raw_len = usize::try_from(take_u32(bytes)?).unwrap_or(usize::MAX);
        if count == 0 || count > MAX_BLOCK_EVENTS || raw_len > MAX_BLOCK_BYTES {
            return Err(Malformed("a block of impossible size"));
        }
        let before = ChainEnd {
            position: Position::new(first.get().saturating_sub(1)),
            at: Timestamp::from_millis(take_u64(bytes)?),
            hash: ChainHash::from_bytes(take(bytes)?),
        };
        let hash = ChainHash::from_bytes(take(bytes)?);
        let raw = decompress(bytes, raw_len).map(Bytes::from);
        let raw = raw.map_err(|_| Malformed("a block that does not decompress"))?;
        let mut left = raw.as_ref();
        let mut end = before;
        let mut events = Vec::with_capacity(count);
        while !left.is_empty() {
            events.push(end.read(&mut left, |data| raw.slice_ref(data))?);
        }
        if events.len() != count || end.hash != hash {
            return Err(Malformed("the chain does not hold within a block"));
        }
        Ok(Self { before, events })
    }

    /// The chain's end at a position of the block, or right before it.
    pub(crate) fn end_at(&self, position: Position) -> Option<ChainEnd> {
        if position == self.before.position {
            return Some(self.before);
        }
        let event = self.event(position)?;
        Some(ChainEnd { position, hash: event.hash, at: event.at })
    }

    /// The event at a position of the block.
    pub(crate) fn event(&self, position: Position) -> Option<&Recorded> {
        let place = position.get().checked_sub(self.before.position.get() + 1)?;
        self.events.get(usize::try_from(place).ok()?)
    }

    pub(crate) fn end(&self) -> ChainEnd {
        self.events.last().map_or(self.before, |last| ChainEnd {
            position: last.position,
            hash: last.hash,
            at: last.at,
        })
    }
}
