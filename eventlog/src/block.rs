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
//! A block of format 2 has gaps among its events. Before these, and compressed with them, stand the
//! number of gaps (2 bytes), the length of what follows of them (4 bytes), and each gap behind the
//! number of events that precede it in the block (2 bytes). It need not have events at all.
//!
//! The events' own hashes are not kept: they are made again from the first one, which also proves
//! the block. 32 bytes that do not compress would be a third of an event.

use bytes::Bytes;
use model::Timestamp;

use crate::{
    compression::{compress, decompress},
    event::{ChainEnd, ChainHash, Malformed, Recorded, take, take_u32, take_u64},
    gap::Gap,
    position::Position,
};

pub(crate) const FORMAT: u8 = 1;
const FORMAT_WITH_GAPS: u8 = 2;
/// Most events of a block.
pub(crate) const MAX_BLOCK_EVENTS: usize = 128;
/// Most bytes of encoded events in a block, its gaps included.
pub(crate) const MAX_BLOCK_BYTES: usize = 64 * 1024;
/// Most gaps of a block.
const MAX_BLOCK_GAPS: usize = 128;
/// Their number and their length.
const GAPS_HEADER: usize = 2 + 4;

/// A block that still takes events.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    before: ChainEnd,
    end: ChainEnd,
    raw: Vec<u8>,
    count: u16,
    /// Each behind so many events.
    gaps: Vec<(u16, Gap)>,
    gap_bytes: usize,
}

/// What a block holds, in its order.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// An event.
    Event(&'a Recorded),
    /// Where some were.
    Gap(&'a Gap),
}

impl OpenBlock {
    /// An empty block after `before`.
    pub(crate) fn after(before: ChainEnd) -> Self {
        let gaps = Vec::new();
        Self { before, end: before, raw: Vec::new(), count: 0, gaps, gap_bytes: 0 }
    }

    /// A sealed block, to be gone on with.
    pub(crate) fn reopen(sealed: &Block) -> Self {
        let mut block = Self::after(sealed.before);
        for item in sealed.items() {
            match item {
                Item::Event(event) => block.push(event),
                Item::Gap(gap) => block.push_gap(gap.clone()),
            }
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
        self.count == 0 && self.gaps.is_empty()
    }

    fn raw_len(&self) -> usize {
        self.raw.len() + self.gap_bytes
    }

    /// Whether one more event fits.
    pub(crate) fn takes(&self, event: &Recorded) -> bool {
        usize::from(self.count) < MAX_BLOCK_EVENTS
            && (self.is_empty() || self.raw_len() + event.encoded_len() <= MAX_BLOCK_BYTES)
    }

    /// Whether one more gap fits.
    pub(crate) fn takes_gap(&self, gap: &Gap) -> bool {
        self.gaps.len() < MAX_BLOCK_GAPS
            && self.raw_len() + GAPS_HEADER + 2 + gap.encoded_len() <= MAX_BLOCK_BYTES
    }

    /// Adds the event that follows.
    pub(crate) fn push(&mut self, event: &Recorded) {
        event.encode(&mut self.raw);
        self.count += 1;
        self.end = ChainEnd { position: event.position, hash: event.hash, at: event.at };
    }

    /// Adds the gap that follows.
    pub(crate) fn push_gap(&mut self, gap: Gap) {
        // The first one brings the number of gaps and their length with it.
        let first = if self.gaps.is_empty() { GAPS_HEADER } else { 0 };
        self.gap_bytes += first + 2 + gap.encoded_len();
        self.end = gap.end;
        self.gaps.push((self.count, gap));
    }

    /// The block's bytes.
    pub(crate) fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let with_gaps;
        let (format, raw) = if self.gaps.is_empty() {
            (FORMAT, self.raw.as_slice())
        } else {
            let mut raw = Vec::with_capacity(self.raw_len());
            let count = u16::try_from(self.gaps.len()).unwrap_or(u16::MAX);
            raw.extend_from_slice(&count.to_le_bytes());
            let len = self.gap_bytes.saturating_sub(GAPS_HEADER);
            raw.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
            for (place, gap) in &self.gaps {
                raw.extend_from_slice(&place.to_le_bytes());
                gap.encode(&mut raw);
            }
            raw.extend_from_slice(&self.raw);
            with_gaps = raw;
            (FORMAT_WITH_GAPS, with_gaps.as_slice())
        };
        let compressed = compress(raw)?;
        let mut bytes = Vec::with_capacity(79 + compressed.len());
        bytes.push(format);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.before.at.as_millis().to_le_bytes());
        bytes.extend_from_slice(self.before.hash.as_bytes());
        bytes.extend_from_slice(self.end.hash.as_bytes());
        bytes.extend_from_slice(&compressed);
        Ok(bytes)
    }
}

impl Item<'_> {
    /// The last of its positions.
    pub(crate) const fn last(&self) -> Position {
        match self {
            Self::Event(event) => event.position,
            Self::Gap(gap) => gap.last(),
        }
    }
}

/// A block read back, its chain checked.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) before: ChainEnd,
    pub(crate) events: Vec<Recorded>,
    /// Each behind so many events.
    gaps: Vec<(usize, Gap)>,
    end: ChainEnd,
}

impl Block {
    /// Reads the block that begins at `first`.
    pub(crate) fn read(first: Position, mut bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        let [format] = take::<1>(bytes)?;
        if !matches!(format, FORMAT | FORMAT_WITH_GAPS) {
            return Err(Malformed("a block of unknown format"));
        }
        let count = usize::from(u16::from_le_bytes(take(bytes)?));
        let raw_len = usize::try_from(take_u32(bytes)?).unwrap_or(usize::MAX);
        let empty = count == 0 && format == FORMAT;
        if empty || count > MAX_BLOCK_EVENTS || raw_len > MAX_BLOCK_BYTES {
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
        let mut block =
            Self { before, events: Vec::with_capacity(count), gaps: Vec::new(), end: before };
        if format == FORMAT {
            block.read_events(&raw, raw.as_ref())?;
        } else {
            block.read_with_gaps(&raw, count)?;
        }
        if block.events.len() != count || block.end.hash != hash {
            return Err(Malformed("the chain does not hold within a block"));
        }
        Ok(block)
    }

    fn read_events(&mut self, raw: &Bytes, mut left: &[u8]) -> Result<(), Malformed> {
        while !left.is_empty() {
            self.events.push(self.end.read(&mut left, |data| raw.slice_ref(data))?);
        }
        Ok(())
    }

    fn read_with_gaps(&mut self, raw: &Bytes, count: usize) -> Result<(), Malformed> {
        const MISFIT: Malformed = Malformed("a block whose gaps do not fit its events");
        let mut left = raw.as_ref();
        let gaps = u16::from_le_bytes(take(&mut left)?);
        let len = usize::try_from(take_u32(&mut left)?).unwrap_or(usize::MAX);
        let (mut places, mut left) = left.split_at_checked(len).ok_or(MISFIT)?;
        for _ in 0..gaps {
            let place = usize::from(u16::from_le_bytes(take(&mut places)?));
            if place > count {
                return Err(MISFIT);
            }
            while self.events.len() < place {
                self.events.push(self.end.read(&mut left, |data| raw.slice_ref(data))?);
            }
            let gap = Gap::decode(self.end, &mut places)?;
            self.end = gap.end;
            self.gaps.push((self.events.len(), gap));
        }
        if !places.is_empty() {
            return Err(MISFIT);
        }
        self.read_events(raw, left)
    }

    /// What it holds, in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let mut gaps = self.gaps.iter().peekable();
        let mut events = self.events.iter().enumerate().peekable();
        std::iter::from_fn(move || {
            let next = events.peek().map_or(self.events.len(), |(number, _)| *number);
            if let Some((_, gap)) = gaps.next_if(|(place, _)| *place <= next) {
                return Some(Item::Gap(gap));
            }
            events.next().map(|(_, event)| Item::Event(event))
        })
    }

    /// The gap in which a position lies.
    pub(crate) fn gap(&self, position: Position) -> Option<&Gap> {
        self.gaps.iter().map(|(_, gap)| gap).find(|gap| gap.holds(position))
    }

    /// The chain's end at a position of the block, or right before it.
    pub(crate) fn end_at(&self, position: Position) -> Option<ChainEnd> {
        if position == self.before.position {
            return Some(self.before);
        }
        if let Some(gap) = self.gap(position) {
            return (gap.last() == position).then_some(gap.end);
        }
        let event = self.event(position)?;
        Some(ChainEnd { position, hash: event.hash, at: event.at })
    }

    /// The event at a position of the block.
    pub(crate) fn event(&self, position: Position) -> Option<&Recorded> {
        if !self.gaps.is_empty() {
            let place = self.events.binary_search_by_key(&position, |event| event.position).ok()?;
            return self.events.get(place);
        }
        let place = position.get().checked_sub(self.before.position.get() + 1)?;
        self.events.get(usize::try_from(place).ok()?)
    }

    pub(crate) const fn end(&self) -> ChainEnd {
        self.end
    }
}
