//! What was pruned, signed: the stub that stands in the place of events.
//!
//! ```text
//! lumora log pruned 1
//! origin lumora/5d1c0e7b9a2f4c31
//! last 4711                          (the last position that may be in a gap)
//! at 2026-11-26T17:00:00.000Z        (when its event was recorded)
//! chain 9f…                          (hash of the chain there)
//! messages 1200
//! events 4500
//! gaps 3
//! stubs 0c…                          (BLAKE3 over all gaps)
//! carried 77…                        (BLAKE3 over what was carried of the events)
//! time 2026-12-30T09:00:00.000Z
//!
//! — lumora/5d1c0e7b9a2f4c31 <base 64 of key id (4 bytes) and signature (64 bytes)>
//! ```
//!
//! It is of all that was ever pruned, and each pruning replaces it. Without it, or where a gap is not
//! as it says, events are missing and not pruned.

use std::str::FromStr;

use model::Timestamp;

use crate::{
    event::ChainHash,
    gap::GapDigest,
    note::{self, MAX_NOTE_BYTES, SIGNATURE_MARK},
    position::Position,
    vault::{InstanceKey, VerifierKey},
};

const TITLE: &str = "lumora log pruned 1";

/// What was ever pruned of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// The last position that was looked at: no event after it was pruned.
    pub last: Position,
    /// When its event was recorded.
    pub at: Timestamp,
    /// The chain's hash there.
    pub chain: ChainHash,
    /// Messages that were pruned.
    pub messages: u64,
    /// Their events.
    pub events: u64,
    /// Runs of positions that they stood at.
    pub gaps: u64,
    /// BLAKE3 over what is kept of each run.
    pub stubs: [u8; 32],
    /// BLAKE3 over what was carried of the events for those who count them.
    pub carried: [u8; 32],
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// A [`Pruned`] with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedPruned {
    pub(crate) pruned: Pruned,
    origin: Box<str>,
    signatures: Box<str>,
}

/// The text is not what a pruning signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a statement of what was pruned")]
pub(crate) struct NotPruned;

impl Pruned {
    /// [`Pruned::stubs`] as 64 hexadecimal digits.
    pub fn stubs_hex(&self) -> String {
        blake3::Hash::from_bytes(self.stubs).to_string()
    }

    fn text(&self, origin: &str) -> String {
        let Self { last, at, chain, messages, events, gaps, .. } = self;
        let stubs = blake3::Hash::from_bytes(self.stubs);
        let carried = blake3::Hash::from_bytes(self.carried);
        format!(
            "{TITLE}\norigin {origin}\nlast {last}\nat {at}\nchain {chain}\nmessages {messages}\n\
             events {events}\ngaps {gaps}\nstubs {stubs}\ncarried {carried}\ntime {}\n",
            self.signed_at
        )
    }

    /// Whether these are the gaps that it is of.
    pub(crate) fn is_of(&self, gaps: &GapDigest) -> bool {
        self.gaps == gaps.gaps
            && self.events == gaps.events
            && self.stubs == *gaps.finish().as_bytes()
    }
}

impl SignedPruned {
    pub(crate) fn sign(key: &InstanceKey, pruned: Pruned) -> Self {
        let origin = key.verifier().name();
        let signatures = note::signature(key, &pruned.text(origin)).into();
        Self { pruned, origin: origin.into(), signatures }
    }

    pub(crate) fn is_signed_by(&self, key: &VerifierKey) -> bool {
        let text = self.pruned.text(&self.origin);
        *self.origin == *key.name() && note::is_signed(&text, &self.signatures, key)
    }

    /// The note.
    pub(crate) fn note(&self) -> String {
        format!("{}\n{}", self.pruned.text(&self.origin), self.signatures)
    }
}

impl FromStr for SignedPruned {
    type Err = NotPruned;

    fn from_str(note: &str) -> Result<Self, NotPruned> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NotPruned);
        }
        let (body, signatures) = note.split_once("\n\n").ok_or(NotPruned)?;
        let well_formed = signatures.ends_with('\n')
            && signatures.lines().all(|line| line.starts_with(SIGNATURE_MARK));
        let mut lines = body.split('\n');
        if !well_formed || lines.next() != Some(TITLE) {
            return Err(NotPruned);
        }
        let mut field = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(' ')).ok_or(NotPruned)
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| NotPruned);
        let hash = |text: &str| blake3::Hash::from_hex(text).map_err(|_| NotPruned);
        let time = |text: &str| text.parse::<Timestamp>().map_err(|_| NotPruned);
        let origin = field("origin")?;
        let pruned = Pruned {
            last: Position::new(number(field("last")?)?),
            at: time(field("at")?)?,
            chain: ChainHash::from_hex(field("chain")?).ok_or(NotPruned)?,
            messages: number(field("messages")?)?,
            events: number(field("events")?)?,
            gaps: number(field("gaps")?)?,
            stubs: *hash(field("stubs")?)?.as_bytes(),
            carried: *hash(field("carried")?)?.as_bytes(),
            signed_at: time(field("time")?)?,
        };
        // Written in one way only, so that what was read is what was signed.
        if pruned.text(origin).strip_suffix('\n') != Some(body) {
            return Err(NotPruned);
        }
        Ok(Self { pruned, origin: origin.into(), signatures: signatures.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_no_changed_byte_passes() {
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let pruned = Pruned {
            last: Position::new(4711),
            at: Timestamp::from_millis(1_795_000_000_123),
            chain: ChainHash::from_bytes([3; 32]),
            messages: 1200,
            events: 4500,
            gaps: 3,
            stubs: [4; 32],
            carried: [5; 32],
            signed_at: Timestamp::from_millis(1_799_000_000_456),
        };
        let signed = SignedPruned::sign(&key, pruned);
        let note = signed.note();
        assert_eq!(note.parse(), Ok(signed.clone()));
        assert!(signed.is_signed_by(key.verifier()));
        let other = InstanceKey::from_seed(&[8; 32]).unwrap();
        assert!(!signed.is_signed_by(other.verifier()));
        for place in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[place] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let read = changed.parse::<SignedPruned>();
            assert!(!read.is_ok_and(|read| read.is_signed_by(key.verifier())), "{changed}");
            let cut = note.get(..place).unwrap_or_default().parse::<SignedPruned>();
            assert!(cut.is_err(), "cut at {place}");
        }
    }
}
