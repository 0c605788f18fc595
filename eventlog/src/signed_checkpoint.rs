//! What the log held at a time, signed: a checkpoint as C2SP tlog-checkpoint writes it, in the form
//! of a C2SP signed-note.
//!
//! ```text
//! lumora/5d1c0e7b9a2f4c31
//! 4711
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//! chain 9f…                     (hash of the chain after event 4711, 64 hexadecimal digits)
//! time 2026-11-26T17:00:00.000Z
//!
//! — lumora/5d1c0e7b9a2f4c31 <base 64 of key id (4 bytes) and signature (64 bytes)>
//! ```
//!
//! The first line is the origin, which is the name of the key. The signature covers the text up to
//! and with the line feed before the empty line.

use std::{fmt, str::FromStr};

use model::Timestamp;

use crate::{
    event::ChainHash,
    merkle::TreeHash,
    note::{self, MAX_NOTE_BYTES, SIGNATURE_MARK},
    position::Position,
    vault::{InstanceKey, VerifierKey},
};

/// The log up to a position, in two hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// The last position that is covered; also the number of leaves.
    pub position: Position,
    /// The root of the tree.
    pub root: TreeHash,
    /// The chain's hash.
    pub chain: ChainHash,
}

/// A [`TreeHead`] that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    head: TreeHead,
    at: Timestamp,
    origin: Box<str>,
    signatures: Box<str>,
}

/// The text is not a checkpoint of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: {0}")]
pub struct InvalidCheckpoint(&'static str);

impl InvalidCheckpoint {
    pub(crate) const fn unreadable() -> Self {
        Self("it is too long, or no text")
    }
}

impl SignedCheckpoint {
    /// Signs.
    pub fn sign(key: &InstanceKey, head: TreeHead, at: Timestamp) -> Self {
        let origin = key.verifier().name();
        let signatures = note::signature(key, &text(origin, head, at)).into();
        Self { head, at, origin: origin.into(), signatures }
    }

    /// What it says of the log.
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// When it was signed, by the signer's clock.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether this key signed it, for the log that the key is named for.
    pub fn is_signed_by(&self, key: &VerifierKey) -> bool {
        let text = text(&self.origin, self.head, self.at);
        *self.origin == *key.name() && note::is_signed(&text, &self.signatures, key)
    }
}

fn text(origin: &str, head: TreeHead, at: Timestamp) -> String {
    let TreeHead { position, root, chain } = head;
    format!("{origin}\n{position}\n{root}\nchain {chain}\ntime {at}\n")
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", text(&self.origin, self.head, self.at), self.signatures)
    }
}

impl FromStr for SignedCheckpoint {
    type Err = InvalidCheckpoint;

    fn from_str(note: &str) -> Result<Self, InvalidCheckpoint> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(InvalidCheckpoint::unreadable());
        }
        let invalid = InvalidCheckpoint("it is not a text and its signatures");
        let (body, signatures) = note.split_once("\n\n").ok_or(invalid)?;
        let well_formed = signatures.ends_with('\n')
            && signatures.lines().all(|line| line.starts_with(SIGNATURE_MARK));
        if !well_formed {
            return Err(invalid);
        }
        let mut lines = body.split('\n');
        let mut line = || lines.next().ok_or(InvalidCheckpoint("a line is missing"));
        let origin = line()?;
        let position = line()?.parse().map_err(|_| InvalidCheckpoint("the size is no number"))?;
        let root =
            TreeHash::from_base64(line()?).ok_or(InvalidCheckpoint("the root is no hash"))?;
        let chain = line()?.strip_prefix("chain ").and_then(ChainHash::from_hex);
        let chain = chain.ok_or(InvalidCheckpoint("the chain's hash is none"))?;
        let at = line()?.strip_prefix("time ").and_then(|at| at.parse().ok());
        let at = at.ok_or(InvalidCheckpoint("the time is none"))?;
        let head = TreeHead { position: Position::new(position), root, chain };
        // Written in one way only, so that what was read is what was signed.
        if text(origin, head, at).strip_suffix('\n') != Some(body) {
            return Err(InvalidCheckpoint("it is not written as we write it"));
        }
        Ok(Self { head, at, origin: origin.into(), signatures: signatures.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(key: &InstanceKey) -> SignedCheckpoint {
        let head = TreeHead {
            position: Position::new(4711),
            root: TreeHash::of_leaf(b"x"),
            chain: ChainHash::from_bytes([3; 32]),
        };
        SignedCheckpoint::sign(key, head, Timestamp::from_millis(1_795_000_000_123))
    }

    #[test]
    fn it_reads_back_and_no_changed_byte_passes() {
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let signed = checkpoint(&key);
        let text = signed.to_string();
        assert_eq!(text.parse(), Ok(signed.clone()));
        assert!(signed.is_signed_by(key.verifier()));
        let other = InstanceKey::from_seed(&[8; 32]).unwrap();
        assert!(!signed.is_signed_by(other.verifier()));
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let read = changed.parse::<SignedCheckpoint>();
            assert!(!read.is_ok_and(|read| read.is_signed_by(key.verifier())), "{changed}");
            let cut = text.get(..place).unwrap_or_default().parse::<SignedCheckpoint>();
            assert!(cut.is_err(), "cut at {place}");
        }
    }

    #[test]
    fn a_witness_may_sign_beside_us() {
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let text = format!("{}\u{2014} witness.example/w AAAAAAA=\n", checkpoint(&key));
        let read: SignedCheckpoint = text.parse().unwrap();
        assert!(read.is_signed_by(key.verifier()));
        assert_eq!(read.to_string(), text);
    }
}
