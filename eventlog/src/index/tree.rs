//! The tree over what is sealed: nodes of level 7 and above are stored, those below are made again
//! from the events.
//!
//! # Why
//! A hash does not compress, and a node for each event would be a third of what the event itself
//! takes. A node for every 128 events, and those above, cost half a byte an event; a proof reads
//! one block or two more.

use super::{BATCH_ENTRIES, Index, IndexError};
use crate::{
    engine,
    event::ChainEnd,
    merkle::{Frontier, LEAF, Nodes, TreeHash},
    position::Position,
};

const NODE: u8 = b't';
/// The lowest level that is stored: nodes over 128 events.
pub(crate) const STORED_LEVEL: u8 = 7;
const CHUNK: u64 = 1 << STORED_LEVEL;
const CHUNK_LEN: usize = 1 << STORED_LEVEL;

pub(super) fn node_key(level: u8, index: u64) -> [u8; 10] {
    let mut key = [NODE; 10];
    let [_, stored_level, number @ ..] = &mut key;
    *stored_level = level;
    number.copy_from_slice(&index.to_be_bytes());
    key
}

/// The last position that a node covers.
const fn last_of(level: u8, index: u64) -> Position {
    Position::new(index.saturating_add(1) << level)
}

impl Index {
    /// A node as it was stored; `None` when it was not.
    pub(crate) fn stored_node(
        &self,
        level: u8,
        index: u64,
    ) -> Result<Option<TreeHash>, IndexError> {
        let value = engine::guarded(|| self.db.get(node_key(level, index)))?;
        Ok(value.and_then(|value| value.as_ref().try_into().ok()).map(TreeHash::from_bytes))
    }

    /// The tree over what is sealed.
    pub(crate) fn tree(&self) -> Tree<'_> {
        Tree { index: self, chunk: None }
    }

    /// Whether the tree over the events up to `sealed` is stored: not before a log that was sealed
    /// without one is opened.
    pub(crate) fn has_tree(&self, sealed: Position) -> Result<bool, IndexError> {
        match (sealed.get() / CHUNK).checked_sub(1) {
            None => Ok(true),
            Some(last) => Ok(self.stored_node(STORED_LEVEL, last)?.is_some()),
        }
    }

    /// The chain's end at a sealed position.
    pub(crate) fn chain_at(&self, position: Position) -> Result<Option<ChainEnd>, IndexError> {
        if position == Position::START {
            return Ok(Some(ChainEnd::START));
        }
        Ok(self.block_at(position)?.and_then(|block| block.end_at(position)))
    }

    /// Makes the nodes that are missing because the events were sealed before there was a tree.
    pub(super) fn mend_tree(&self, size: u64) -> Result<(), IndexError> {
        if self.has_tree(Position::new(size))? {
            return Ok(());
        }
        let chunks = size / CHUNK;
        let stored = node_key(STORED_LEVEL, 0)..node_key(STORED_LEVEL, u64::MAX);
        let stored = engine::guarded(|| self.db.range(stored).next_back().transpose())?;
        let made = stored.and_then(|(key, _)| super::number(&key)).map_or(0, |last| last + 1);
        tracing::info!(from = made * CHUNK, to = chunks * CHUNK, "the tree of the log is made");
        let mut frontier = self.tree().frontier(made * CHUNK)?;
        let (mut batch, mut entries) = (sled::Batch::default(), 0);
        for chunk in made..chunks {
            for leaf in self.leaves(chunk)? {
                frontier.push(leaf, |level, index, hash| {
                    if level >= STORED_LEVEL {
                        batch.insert(&node_key(level, index), hash.as_bytes());
                        entries += 1;
                    }
                });
            }
            if frontier.size() != (chunk + 1) * CHUNK {
                return Err(missing(STORED_LEVEL, chunk));
            }
            if entries >= BATCH_ENTRIES || chunk + 1 == chunks {
                let full = std::mem::take(&mut batch);
                entries = 0;
                engine::guarded(|| self.db.apply_batch(full))?;
            }
        }
        Ok(())
    }

    /// The leaves of 128 events, fewer at the end of what is sealed.
    fn leaves(&self, chunk: u64) -> Result<Vec<TreeHash>, IndexError> {
        let mut leaves = Vec::with_capacity(CHUNK_LEN);
        let mut after = Position::new(chunk * CHUNK);
        let mut encoded = Vec::new();
        while leaves.len() < CHUNK_LEN {
            let events = self.read_all(after, CHUNK_LEN - leaves.len())?;
            let Some(last) = events.last() else { break };
            after = last.position;
            for event in &events {
                encoded.clear();
                encoded.push(LEAF);
                event.encode(&mut encoded);
                leaves.push(TreeHash::of_marked_leaf(&encoded));
            }
        }
        Ok(leaves)
    }
}

fn missing(level: u8, index: u64) -> IndexError {
    IndexError::Damaged { position: last_of(level, index), what: "a node of the tree is missing" }
}

/// The tree over what is sealed. Remembers the last leaves that it made.
pub(crate) struct Tree<'a> {
    index: &'a Index,
    chunk: Option<(u64, Vec<TreeHash>)>,
}

impl Tree<'_> {
    /// The right edge of the tree over the first `size` events.
    pub(crate) fn frontier(&mut self, size: u64) -> Result<Frontier, IndexError> {
        let mut peaks = Vec::new();
        let mut from = 0;
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            peaks.push(self.node(level, from >> level)?);
            from += 1 << level;
        }
        Frontier::of(size, peaks).ok_or_else(|| missing(0, size))
    }
}

impl Nodes for Tree<'_> {
    type Error = IndexError;

    fn node(&mut self, level: u8, index: u64) -> Result<TreeHash, IndexError> {
        if level >= STORED_LEVEL {
            return self.index.stored_node(level, index)?.ok_or_else(|| missing(level, index));
        }
        let first = index << level;
        let chunk = first / CHUNK;
        let leaves = match self.chunk.take() {
            Some((known, leaves)) if known == chunk => leaves,
            _ => self.index.leaves(chunk)?,
        };
        let from = (first % CHUNK) as usize;
        let part = leaves.get(from..from + (1 << level)).ok_or_else(|| missing(level, index));
        let mut frontier = Frontier::default();
        part?.iter().for_each(|leaf| frontier.push(*leaf, |_, _, _| {}));
        self.chunk = Some((chunk, leaves));
        Ok(frontier.root())
    }
}
