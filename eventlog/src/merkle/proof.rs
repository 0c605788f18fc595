//! Proofs: made from a tree's nodes, checked with nothing but hashes (RFC 6962, section 2.1).

use super::TreeHash;

/// Where the nodes of full subtrees are found.
pub(crate) trait Nodes {
    /// Why one cannot be had.
    type Error;

    /// The node at `index` among those of `level`: the root over the leaves from
    /// `index << level` on, `1 << level` of them.
    fn node(&mut self, level: u8, index: u64) -> Result<TreeHash, Self::Error>;
}

/// The largest power of two below `size`; at least 1.
const fn split(size: u64) -> u64 {
    match size.checked_sub(1) {
        None | Some(0) => 1,
        Some(below) => 1 << below.ilog2(),
    }
}

/// The root over the leaves `from..to`. `from` is a place where a subtree of that size can begin,
/// which holds for every part that the functions below ask for.
fn range<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<TreeHash, N::Error> {
    let (mut from, mut lefts) = (from, Vec::new());
    let mut hash = loop {
        let size = to - from;
        if size.is_power_of_two() {
            let level = size.ilog2();
            break nodes.node(u8::try_from(level).unwrap_or(u8::MAX), from >> level)?;
        }
        let left = split(size);
        let level = left.ilog2();
        lefts.push(nodes.node(u8::try_from(level).unwrap_or(u8::MAX), from >> level)?);
        from += left;
    };
    for left in lefts.into_iter().rev() {
        hash = TreeHash::of_node(left, hash);
    }
    Ok(hash)
}

/// The root of the tree over the first `size` leaves.
pub(crate) fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<TreeHash, N::Error> {
    if size == 0 { Ok(TreeHash::of_nothing()) } else { range(nodes, 0, size) }
}

/// The proof that leaf `index` is in the tree over the first `size` leaves: `PATH(index, D[size])`,
/// the hash next to the leaf first. Empty when there is no such leaf.
pub(crate) fn inclusion<N: Nodes>(
    nodes: &mut N,
    index: u64,
    size: u64,
) -> Result<Vec<TreeHash>, N::Error> {
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    while index < size && to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree over the first `size` leaves goes on from that over the first `before`:
/// `PROOF(before, D[size])`. Empty when both are the same or `before` is 0 or more than `size`.
pub(crate) fn consistency<N: Nodes>(
    nodes: &mut N,
    before: u64,
    size: u64,
) -> Result<Vec<TreeHash>, N::Error> {
    let mut path = Vec::new();
    if before == 0 || before >= size {
        return Ok(path);
    }
    let (mut from, mut to) = (0, size);
    // Whether the part that is left is, so far, the whole earlier tree: its root is known then.
    let mut whole = true;
    while to != before {
        let middle = from + split(to - from);
        if before <= middle {
            path.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range(nodes, from, middle)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range(nodes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `proof` shows that `leaf` is leaf `index`, from 0, of the tree with `size` leaves and
/// this `root`.
pub fn verify_inclusion(
    leaf: TreeHash,
    index: u64,
    size: u64,
    proof: &[TreeHash],
    root: TreeHash,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = leaf;
    for step in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = TreeHash::of_node(*step, hash);
            // The last node of a level without a partner stands for itself one level up.
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = TreeHash::of_node(hash, *step);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree of `size` leaves and `root` begins with the whole tree of
/// `before` leaves and `root_before`.
pub fn verify_consistency(
    before: u64,
    root_before: TreeHash,
    size: u64,
    root: TreeHash,
    proof: &[TreeHash],
) -> bool {
    if before == 0 || before >= size {
        let nothing = before == 0 && root_before == TreeHash::of_nothing();
        return proof.is_empty() && (nothing || (before == size && root_before == root));
    }
    let (mut place, mut last) = (before - 1, size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let mut steps = proof.iter().copied();
    let first = if before.is_power_of_two() { Some(root_before) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut old, mut new) = (first, first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old = TreeHash::of_node(step, old);
            new = TreeHash::of_node(step, new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = TreeHash::of_node(new, step);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old == root_before && new == root
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "trees of a few leaves")]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::merkle::Frontier;

    /// The definitions of RFC 6962 as they stand there, over the leaves themselves.
    struct Naive(Vec<TreeHash>);

    impl Naive {
        fn with(size: u64) -> Self {
            Self((0..size).map(|n| TreeHash::of_leaf(&n.to_le_bytes())).collect())
        }

        fn mth(leaves: &[TreeHash]) -> TreeHash {
            match leaves {
                [] => TreeHash::of_nothing(),
                [leaf] => *leaf,
                _ => {
                    let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                    TreeHash::of_node(Self::mth(left), Self::mth(right))
                }
            }
        }
    }

    impl Nodes for Naive {
        type Error = Infallible;

        fn node(&mut self, level: u8, index: u64) -> Result<TreeHash, Infallible> {
            let from = (index << level) as usize;
            Ok(Self::mth(&self.0[from..from + (1 << level)]))
        }
    }

    /// Test vectors of the certificate transparency project: eight leaves and their roots.
    #[test]
    fn roots_are_those_that_others_compute() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let hex = |hash: TreeHash| {
            let digits = |text: String, byte: &u8| format!("{text}{byte:02x}");
            hash.as_bytes().iter().fold(String::new(), digits)
        };
        let mut frontier = Frontier::default();
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(frontier.root()), nothing);
        let mut roots = Vec::new();
        for leaf in leaves {
            frontier.push(TreeHash::of_leaf(leaf), |_, _, _| {});
            roots.push(hex(frontier.root()));
        }
        assert_eq!(roots[0], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(roots[1], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(roots[7], "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn the_edge_tells_the_root_and_every_full_node() {
        let mut naive = Naive::with(70);
        let mut frontier = Frontier::default();
        for size in 0..70_u64 {
            assert_eq!(frontier.root(), Naive::mth(&naive.0[..size as usize]), "size {size}");
            assert_eq!(root(&mut naive, size), Ok(frontier.root()));
            let again = Frontier::of(size, frontier.peaks.clone()).unwrap();
            assert_eq!(again, frontier);
            assert_eq!(Frontier::of(size + 1, frontier.peaks.clone()).is_some(), {
                (size + 1).count_ones() == size.count_ones()
            });
            let leaf = naive.0[size as usize];
            let mut full = Vec::new();
            frontier.push(leaf, |level, index, hash| full.push((level, index, hash)));
            for (level, index, hash) in full {
                assert_eq!(naive.node(level, index), Ok(hash));
            }
        }
    }

    #[test]
    fn every_leaf_is_proved_and_no_other() {
        for size in 1..=33_u64 {
            let mut naive = Naive::with(size);
            let root = root(&mut naive, size).unwrap();
            for index in 0..size {
                let leaf = naive.0[index as usize];
                let proof = inclusion(&mut naive, index, size).unwrap();
                assert!(proof.len() <= 6);
                assert!(verify_inclusion(leaf, index, size, &proof, root), "{index} of {size}");
                for wrong in (0..size + 2).filter(|wrong| *wrong != index) {
                    assert!(!verify_inclusion(leaf, wrong, size, &proof, root));
                }
                let other = TreeHash::of_leaf(b"other");
                assert!(!verify_inclusion(other, index, size, &proof, root));
                let mut longer = proof.clone();
                longer.push(other);
                assert!(!verify_inclusion(leaf, index, size, &longer, root));
                for place in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[place] = other;
                    assert!(!verify_inclusion(leaf, index, size, &changed, root));
                    assert!(!verify_inclusion(leaf, index, size, &proof[..place], root));
                }
            }
        }
    }

    #[test]
    fn a_longer_tree_is_proved_to_go_on_from_each_shorter_one() {
        let mut naive = Naive::with(34);
        let other = TreeHash::of_leaf(b"other");
        for size in 0..=33_u64 {
            let root_after = root(&mut naive, size).unwrap();
            for before in 0..=size {
                let root_before = root(&mut naive, before).unwrap();
                let proof = consistency(&mut naive, before, size).unwrap();
                let holds = |before, earlier, later, proof: &[TreeHash]| {
                    verify_consistency(before, earlier, size, later, proof)
                };
                assert!(holds(before, root_before, root_after, &proof), "{before} of {size}");
                if before == 0 {
                    continue;
                }
                assert!(!holds(before, other, root_after, &proof));
                assert!(!holds(before, root_before, other, &proof));
                assert!(!holds(before + 1, root_before, root_after, &proof));
                for place in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[place] = other;
                    assert!(!holds(before, root_before, root_after, &changed));
                    assert!(!holds(before, root_before, root_after, &proof[..place]));
                }
            }
        }
    }
}
