//! The tree over what is sealed: nodes of level 7 and above are stored, those below are made again
//! from the events.
//!
//! # Why
//! A hash does not compress, and a node for each event would be a third of what the event itself
//! takes. A node for every 128 events, and those above, cost half a byte an event; a proof reads
//! one block or two more.

use super::{BATCH_ENTRIES, Index, IndexError};
use crate::{
    block::Item,
    engine,
    event::ChainEnd,
    gap::{Cover, Node},
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
            for node in self.nodes_of(chunk)? {
                frontier.push_node(node.level, node.hash, |level, index, hash| {
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

    /// What is known of the tree over 128 events, fewer at the end of what is sealed: leaves, and
    /// nodes where events were pruned. A gap that covers more than these is left out.
    fn nodes_of(&self, chunk: u64) -> Result<Vec<Node>, IndexError> {
        let (from, to) = (chunk * CHUNK, (chunk + 1) * CHUNK);
        let mut nodes = Vec::with_capacity(CHUNK_LEN);
        let mut encoded = Vec::new();
        let mut next = Position::new(from + 1);
        while next.get() <= to {
            let Some(block) = self.block_at(next)? else { break };
            for item in block.items() {
                match item {
                    Item::Event(event) if event.position >= next && event.position.get() <= to => {
                        encoded.clear();
                        encoded.push(LEAF);
                        event.encode(&mut encoded);
                        let leaf = TreeHash::of_marked_leaf(&encoded);
                        nodes.push(Node::leaf(event.position, leaf));
                    }
                    Item::Gap(gap) if gap.last() >= next && gap.first.get() <= to => {
                        let within = |node: &&Node| {
                            let (first, end) = node.span();
                            first >= next.get() - 1 && end <= to
                        };
                        nodes.extend(gap.nodes().iter().filter(within));
                    }
                    Item::Event(_) | Item::Gap(_) => {}
                }
            }
            next = block.end().position.next();
        }
        Ok(nodes)
    }
}

fn missing(level: u8, index: u64) -> IndexError {
    IndexError::Damaged { position: last_of(level, index), what: "a node of the tree is missing" }
}

/// The tree over what is sealed. Remembers what it read last.
pub(crate) struct Tree<'a> {
    index: &'a Index,
    chunk: Option<(u64, Vec<Node>)>,
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
        let nodes = match self.chunk.take() {
            Some((known, nodes)) if known == chunk => nodes,
            _ => self.index.nodes_of(chunk)?,
        };
        let mut cover = Cover::default();
        let within = |node: &&Node| {
            let (from, to) = node.span();
            first <= from && to <= first + (1 << level)
        };
        nodes.iter().filter(within).for_each(|node| cover.push(*node));
        self.chunk = Some((chunk, nodes));
        match cover.nodes() {
            [node] if (node.level, node.index) == (level, index) => Ok(node.hash),
            _ => Err(missing(level, index)),
        }
    }
}
