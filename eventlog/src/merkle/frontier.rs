//! The right edge of a growing tree: all that is needed to add a leaf and to tell the root.

use super::TreeHash;

/// The roots of the full subtrees that a tree is made of, the largest first: as many as its size
/// has binary ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frontier {
    size: u64,
    pub(super) peaks: Vec<TreeHash>,
}

impl Frontier {
    /// The edge of a tree of `size` leaves; `None` when these are not as many peaks as it has.
    pub(crate) fn of(size: u64, peaks: Vec<TreeHash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves the tree has.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. `completed` is told every node that is full with it: its level (0 for the leaf
    /// itself), its place among the nodes of that level, and its hash.
    pub(crate) fn push(&mut self, leaf: TreeHash, completed: impl FnMut(u8, u64, TreeHash)) {
        self.push_node(0, leaf, completed);
    }

    /// Adds a full subtree of `1 << level` leaves; `false`, and nothing is done, where none of that
    /// size can begin.
    pub(crate) fn push_node(
        &mut self,
        level: u8,
        node: TreeHash,
        mut completed: impl FnMut(u8, u64, TreeHash),
    ) -> bool {
        let leaves = 1_u64.checked_shl(level.into()).unwrap_or(0);
        if leaves == 0 || !self.size.is_multiple_of(leaves) {
            return false;
        }
        let mut hash = node;
        let (mut level, mut index) = (level, self.size >> level);
        completed(level, index, hash);
        while index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = TreeHash::of_node(left, hash);
            level += 1;
            index >>= 1;
            completed(level, index, hash);
        }
        self.peaks.push(hash);
        self.size += leaves;
        true
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> TreeHash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return TreeHash::of_nothing() };
        peaks.fold(last, |right, left| TreeHash::of_node(left, right))
    }
}
