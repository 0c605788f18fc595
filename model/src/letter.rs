//! Letters: mail that people write to the offices of a domain, such as `postmaster@`.
//!
//! Each letter is a stream of its own, named by what it says and where it came to: the same letter
//! again is the same stream. What it says, and who says it, is content.

use serde::{Deserialize, Serialize};

use crate::{
    address::DomainName,
    content::UnreadableContent,
    event::{KeyedHash, events},
    ids::{DomainId, TenantId},
    time::Timestamp,
};

/// Of a letter, more is not kept.
pub const MAX_LETTER_OCTETS: usize = 256 * 1024;

events! {
    /// An event of a letter.
    LetterEvent {
        /// It came.
        LetterReceived = "letter.received" v 1,
    }
}

/// Whom everybody may write to (RFC 5321, section 4.5.1; RFC 2142).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Office {
    /// `postmaster@`
    Postmaster,
    /// `abuse@`
    Abuse,
    /// `fbl@`: where feedback loops are subscribed for.
    Fbl,
}

impl Office {
    /// The office of a local part, in any case.
    pub fn of(local: &str) -> Option<Self> {
        let all = [Self::Postmaster, Self::Abuse, Self::Fbl];
        all.into_iter().find(|office| office.as_str().eq_ignore_ascii_case(local))
    }

    /// The local part: also the name in events and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postmaster => "postmaster",
            Self::Abuse => "abuse",
            Self::Fbl => "fbl",
        }
    }
}

/// See [`LetterEvent::LetterReceived`]. Its content lies beside it: head first, then the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterReceived {
    /// Whose it is; absent: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The sending domain that it is about; absent: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    /// The domain that it was addressed to.
    pub at: DomainName,
    /// The office that it was addressed to.
    pub office: Office,
    /// How long it was, in octets.
    pub octets: u64,
    /// Of all of its octets, keyed.
    pub hash: KeyedHash<16>,
    /// Whether only its first [`MAX_LETTER_OCTETS`] were kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What lists show of a letter. Content: it can be forgotten.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LetterHead {
    /// The field `From`, as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The field `Subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

// An address that is printed by mistake must not become a leak.
impl std::fmt::Debug for LetterHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LetterHead")
    }
}

impl LetterHead {
    /// The record's bytes: JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads [`LetterHead::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableContent> {
        serde_json::from_slice(bytes).map_err(|_| UnreadableContent)
    }
}

/// A letter folded from its events. [`Letter::default`] is one that never came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letter {
    received: Option<LetterReceived>,
}

impl Letter {
    /// Takes in what happened.
    pub fn evolve(&mut self, event: &LetterEvent) {
        let LetterEvent::LetterReceived(received) = event;
        self.received = Some(received.clone());
    }

    /// How it came, if it did.
    pub const fn received(&self) -> Option<&LetterReceived> {
        self.received.as_ref()
    }
}

/// The events that a letter's coming leads to: none, when it came before.
pub fn receive(letter: &Letter, received: LetterReceived) -> Vec<LetterEvent> {
    if letter.received.is_some() { Vec::new() } else { vec![received.into()] }
}

/// How much is kept of what strangers write, within an hour: so nobody fills the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ration {
    letters: u32,
    octets: u64,
}

impl Ration {
    /// For one domain.
    pub const OF_DOMAIN: Self = Self { letters: 20, octets: 1024 * 1024 };
    /// For all of them together.
    pub const OF_ALL: Self = Self { letters: 400, octets: 8 * 1024 * 1024 };
}

/// What was kept in the present hour, against a [`Ration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    hour: Timestamp,
    letters: u32,
    octets: u64,
}

impl Kept {
    const HOUR_MS: u64 = 3_600_000;

    /// Nothing so far.
    pub const NOTHING: Self = Self { hour: Timestamp::from_millis(0), letters: 0, octets: 0 };

    /// With one letter more at `now`; `None` when it is one too many.
    #[must_use]
    pub fn with(self, octets: u64, now: Timestamp, ration: Ration) -> Option<Self> {
        let hour = now.floor_to(Self::HOUR_MS);
        let before = if self.hour == hour { self } else { Self { hour, ..Self::NOTHING } };
        let kept = Self {
            hour,
            letters: before.letters.saturating_add(1),
            octets: before.octets.saturating_add(octets),
        };
        (kept.letters <= ration.letters && kept.octets <= ration.octets).then_some(kept)
    }

    /// Whether it says nothing about the hour of `now`.
    pub fn is_past(self, now: Timestamp) -> bool {
        self.hour != now.floor_to(Self::HOUR_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_comes_once() {
        let json = include_bytes!("../tests/golden/letter.received.json");
        let stream = crate::StreamId::Letter(crate::LetterId::from_bytes([8; 16]));
        let crate::Event::Letter(event) = crate::Event::decode(stream, json).unwrap() else {
            panic!("an event of a letter")
        };
        let LetterEvent::LetterReceived(received) = event.clone();
        let mut letter = Letter::default();
        assert_eq!(receive(&letter, received.clone()), std::slice::from_ref(&event));
        letter.evolve(&event);
        assert_eq!(receive(&letter, received), []);
    }

    #[test]
    fn so_much_is_kept_in_an_hour_and_the_next_one_begins_anew() {
        let at = |minutes: u64| Timestamp::from_millis(3_600_000 * 7 + minutes * 60_000);
        let ration = Ration { letters: 2, octets: 100 };
        let first = Kept::NOTHING.with(60, at(0), ration).unwrap();
        assert_eq!(first.with(41, at(1), ration), None);
        let second = first.with(40, at(59), ration).unwrap();
        assert_eq!(second.with(0, at(59), ration), None);
        assert!(!second.is_past(at(59)) && second.is_past(at(60)));
        assert!(second.with(100, at(60), ration).is_some());
        assert_eq!(Kept::NOTHING.with(101, at(0), ration), None);
    }

    #[test]
    fn offices_are_known_in_any_case() {
        assert_eq!(Office::of("PostMaster"), Some(Office::Postmaster));
        assert_eq!(Office::of("abuse"), Some(Office::Abuse));
        assert_eq!(Office::of("FBL"), Some(Office::Fbl));
        assert_eq!(Office::of("abuse2"), None);
    }
}
