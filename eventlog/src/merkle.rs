//! A Merkle tree over the events (RFC 6962, section 2.1), so that a short proof shows that an event
//! is in the log, and that a later log goes on from an earlier one.
//!
//! Leaf `n`, from 0, is the event at position `n + 1`, in its stored bytes ([`crate::Recorded`]).
//! Leaves hash as SHA-256 of a zero byte and those bytes, nodes as SHA-256 of a one byte and both
//! children.

mod frontier;
mod proof;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use self::proof::{verify_consistency, verify_inclusion};
pub(crate) use self::{
    frontier::Frontier,
    proof::{Nodes, consistency, inclusion, root},
};

/// First byte of what a leaf hashes.
pub(crate) const LEAF: u8 = 0;
/// First byte of what an inner node hashes.
const NODE: u8 = 1;

/// A hash of the tree: of a leaf, of a node, or of the root. Written in base 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash([u8; Self::LEN]);

impl TreeHash {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The root of the tree without leaves.
    pub fn of_nothing() -> Self {
        Self::of(&[])
    }

    /// The leaf of an event, from its stored bytes.
    pub fn of_leaf(event: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + event.len());
        bytes.push(LEAF);
        bytes.extend_from_slice(event);
        Self::of(&bytes)
    }

    /// The leaf of bytes that already begin with the mark of one.
    pub(crate) fn of_marked_leaf(bytes: &[u8]) -> Self {
        debug_assert_eq!(bytes.first(), Some(&LEAF), "a leaf begins with its mark");
        Self::of(bytes)
    }

    /// The node above two others.
    pub(crate) fn of_node(left: Self, right: Self) -> Self {
        let mut bytes = [NODE; 1 + 2 * Self::LEN];
        if let Some((_, children)) = bytes.split_first_mut() {
            let (first, second) = children.split_at_mut(Self::LEN);
            first.copy_from_slice(&left.0);
            second.copy_from_slice(&right.0);
        }
        Self::of(&bytes)
    }

    /// From text that it was written as.
    pub fn from_base64(text: &str) -> Option<Self> {
        // Longer text is not decoded at all.
        if text.len() != 44 {
            return None;
        }
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    fn of(bytes: &[u8]) -> Self {
        // SHA-256 has 32 bytes; a shorter one would match nothing.
        Self(digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default())
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
