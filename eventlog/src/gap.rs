//! Gaps: positions whose events were pruned, and what stays of them so that the rest still verifies.
//!
//! A gap keeps the chain's hash behind its last event, and the nodes of the tree over its events:
//! the fewest full subtrees that cover them. So the chain goes on behind it, and the tree over the
//! whole log has the root that it had. It ends where a checkpoint was signed, so that each signed
//! checkpoint can still be met, and proofs between any two of them be made.

use crate::{
    event::{ChainEnd, ChainHash, Malformed, take, take_u64},
    merkle::TreeHash,
    position::Position,
};
use model::Timestamp;

/// Most nodes that cover a gap: two for each level of a tree.
const MAX_NODES: usize = 128;

/// A full subtree: `1 << level` leaves from `index << level` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) hash: TreeHash,
}

impl Node {
    /// The leaf of the event at a position.
    pub(crate) fn leaf(position: Position, hash: TreeHash) -> Self {
        Self { level: 0, index: position.get().saturating_sub(1), hash }
    }

    /// The first leaf, from 0, and the one behind the last.
    pub(crate) fn span(&self) -> (u64, u64) {
        let first = self.index << self.level;
        (first, first + (1 << self.level))
    }
}

/// Full subtrees that stand side by side: neighbours that are the halves of one become that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cover(Vec<Node>);

impl Cover {
    pub(crate) fn push(&mut self, mut node: Node) {
        while let Some(left) = self.0.pop_if(|left| {
            left.level == node.level && left.index & 1 == 0 && left.index + 1 == node.index
        }) {
            let hash = TreeHash::of_node(left.hash, node.hash);
            node = Node { level: node.level + 1, index: left.index >> 1, hash };
        }
        self.0.push(node);
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.0
    }
}

/// The fewest full subtrees that cover the leaves from `from` up to and without `to`: their levels
/// and places.
fn covering(mut from: u64, to: u64) -> impl Iterator<Item = (u8, u64)> {
    std::iter::from_fn(move || {
        let left = to.checked_sub(from).filter(|left| *left > 0)?;
        let level = from.trailing_zeros().min(left.ilog2());
        let index = from >> level;
        from += 1 << level;
        Some((u8::try_from(level).unwrap_or(u8::MAX), index))
    })
}

/// Consecutive positions whose events were pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first of them.
    pub(crate) first: Position,
    /// The chain's end behind the last of them.
    pub(crate) end: ChainEnd,
    cover: Cover,
}

impl Gap {
    /// A gap of one event.
    pub(crate) fn of(end: ChainEnd, leaf: TreeHash) -> Self {
        let mut cover = Cover::default();
        cover.push(Node::leaf(end.position, leaf));
        Self { first: end.position, end, cover }
    }

    /// Takes in the gap that follows.
    pub(crate) fn extend(&mut self, next: &Self) {
        next.cover.nodes().iter().for_each(|node| self.cover.push(*node));
        self.end = next.end;
    }

    /// The last of its positions.
    pub(crate) const fn last(&self) -> Position {
        self.end.position
    }

    /// How many events it stands for.
    pub(crate) const fn events(&self) -> u64 {
        (self.end.position.get() + 1).saturating_sub(self.first.get())
    }

    /// Whether a position is one of its.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.first <= position && position <= self.end.position
    }

    /// The nodes over its events.
    pub(crate) fn nodes(&self) -> &[Node] {
        self.cover.nodes()
    }

    /// Bytes that [`Gap::encode`] writes.
    pub(crate) fn encoded_len(&self) -> usize {
        8 + 8 + 32 + TreeHash::LEN * self.nodes().len()
    }

    /// Last position 8, time of the last event 8, chain hash behind it 32, the nodes' hashes. How
    /// many there are, and where each stands, follows from the positions.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.end.position.get().to_le_bytes());
        out.extend_from_slice(&self.end.at.as_millis().to_le_bytes());
        out.extend_from_slice(self.end.hash.as_bytes());
        for node in self.nodes() {
            out.extend_from_slice(node.hash.as_bytes());
        }
    }

    /// Reads the gap that goes on after `before` from the front of `bytes`.
    pub(crate) fn decode(before: ChainEnd, bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let first = before.position.next();
        let position = Position::new(take_u64(bytes)?);
        let at = Timestamp::from_millis(take_u64(bytes)?);
        let hash = ChainHash::from_bytes(take(bytes)?);
        if position < first || position.get() == u64::MAX {
            return Err(Malformed("a gap that ends before it begins"));
        }
        if at < before.at || at > Timestamp::MAX {
            return Err(Malformed("its times go backwards"));
        }
        let mut cover = Cover::default();
        let from = first.get().saturating_sub(1);
        for (level, index) in covering(from, position.get()).take(MAX_NODES) {
            cover.push(Node { level, index, hash: TreeHash::from_bytes(take(bytes)?) });
        }
        Ok(Self { first, end: ChainEnd { position, hash, at }, cover })
    }
}

/// A hash over gaps, in their order: all that is kept of each, and where it begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct GapDigest {
    hasher: blake3::Hasher,
    pub(crate) gaps: u64,
    pub(crate) events: u64,
    bytes: Vec<u8>,
}

impl GapDigest {
    /// Takes in the next gap, which goes on after the chain hash `before`.
    pub(crate) fn add(&mut self, before: ChainHash, gap: &Gap) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&gap.first.get().to_le_bytes());
        self.bytes.extend_from_slice(before.as_bytes());
        gap.encode(&mut self.bytes);
        self.hasher.update(&self.bytes);
        self.gaps += 1;
        self.events += gap.events();
    }

    pub(crate) fn finish(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u64) -> TreeHash {
        TreeHash::of_leaf(&number.to_le_bytes())
    }

    fn end(position: u64) -> ChainEnd {
        let hash = ChainHash::from_bytes([u8::try_from(position).unwrap(); 32]);
        ChainEnd { position: Position::new(position), hash, at: Timestamp::from_millis(position) }
    }

    fn gap(first: u64, last: u64) -> Gap {
        let mut gap = Gap::of(end(first), leaf(first));
        for position in first + 1..=last {
            gap.extend(&Gap::of(end(position), leaf(position)));
        }
        gap
    }

    #[test]
    fn however_a_gap_grew_it_is_covered_by_the_fewest_nodes_and_reads_back() {
        for first in 1..40 {
            for last in first..70 {
                let whole = gap(first, last);
                let places: Vec<_> =
                    whole.nodes().iter().map(|node| (node.level, node.index)).collect();
                assert_eq!(places, covering(first - 1, last).collect::<Vec<_>>());
                let middle = first.midpoint(last);
                if middle < last {
                    let mut grown = gap(first, middle);
                    grown.extend(&gap(middle + 1, last));
                    assert_eq!(grown, whole);
                }
                let mut bytes = Vec::new();
                whole.encode(&mut bytes);
                assert_eq!(bytes.len(), whole.encoded_len());
                let before = ChainEnd { position: Position::new(first - 1), ..end(first) };
                assert_eq!(Gap::decode(before, &mut bytes.as_slice()).unwrap(), whole);
                for cut in 0..bytes.len() {
                    assert!(Gap::decode(before, &mut &bytes[..cut]).is_err());
                }
            }
        }
    }

    #[test]
    fn the_digest_covers_every_byte_of_a_gap_and_where_it_stands() {
        let digest = |before: ChainHash, gap: &Gap| {
            let mut digest = GapDigest::default();
            digest.add(before, gap);
            digest.finish()
        };
        let one = gap(5, 9);
        let known = digest(end(4).hash, &one);
        assert_ne!(digest(end(3).hash, &one), known);
        let mut bytes = Vec::new();
        one.encode(&mut bytes);
        let before = ChainEnd { at: Timestamp::from_millis(0), ..end(4) };
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            if let Ok(changed) = Gap::decode(before, &mut changed.as_slice()) {
                assert_ne!(digest(end(4).hash, &changed), known, "byte {place}");
            }
        }
    }
}
