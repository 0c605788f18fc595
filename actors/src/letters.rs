//! Letters to offices: kept for whoever runs the domain that they came to.
//!
//! # Why
//! - **A letter's stream is named by what it says and where it came to.** A sender that got no
//!   answer and comes again finds it there, without a table.
//! - **Strangers have a ration of each hour.** Beyond it they are asked to come again later, which
//!   keeps what is honest and costs no disk. The count is of this process: a start begins anew.

use std::collections::HashMap;

use eventlog::{ContentError, HashPurpose, Purpose, Sealed, VaultError};
use mail::report::{Headline, headline};
use model::{
    By, Cause, DomainId, Event, LetterId, StreamId, Timestamp,
    address::DomainName,
    event::KeyedHash,
    letter::{
        self, Kept, Letter, LetterEvent, LetterHead, LetterReceived, MAX_LETTER_OCTETS, Office,
        Ration,
    },
};
use parking_lot::Mutex;
use projections::LetterView;

use crate::{
    Platform,
    gateway::first_half,
    inbound::NotTaken,
    node::Node,
    sourced::{Aggregate, CommitError, Draft, Sourced},
};

/// Domains whose present hour is remembered; those of past hours are let go of first.
const MOST_COUNTED: usize = 4_096;

impl Aggregate for Letter {
    type Event = LetterEvent;

    fn own(event: Event) -> Option<LetterEvent> {
        match event {
            Event::Letter(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &LetterEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &LetterEvent, _at: Timestamp) {
        Self::evolve(self, event);
    }
}

/// What was kept of strangers' letters in the present hour.
pub(crate) struct Rations(Mutex<Counted>);

struct Counted {
    all: Kept,
    of: HashMap<Option<DomainId>, Kept>,
}

impl Rations {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Counted { all: Kept::NOTHING, of: HashMap::new() }))
    }

    /// Counts a letter, if there is room for it.
    fn take(&self, domain: Option<DomainId>, octets: u64, now: Timestamp) -> bool {
        let mut counted = self.0.lock();
        if counted.of.len() >= MOST_COUNTED && !counted.of.contains_key(&domain) {
            counted.of.retain(|_, kept| !kept.is_past(now));
            if counted.of.len() >= MOST_COUNTED {
                return false;
            }
        }
        let before = counted.of.get(&domain).copied().unwrap_or(Kept::NOTHING);
        let of = before.with(octets, now, Ration::OF_DOMAIN);
        let (Some(of), Some(all)) = (of, counted.all.with(octets, now, Ration::OF_ALL)) else {
            return false;
        };
        counted.of.insert(domain, of);
        counted.all = all;
        true
    }
}

/// Where a letter came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desk {
    pub(crate) office: Office,
    /// The sending domain; `None`: the operator's own name.
    pub(crate) domain: Option<DomainId>,
}

/// A letter, read and sealed.
struct Written {
    id: LetterId,
    received: LetterReceived,
    sealed: Vec<Sealed>,
}

fn write(node: &Node, desk: &Desk, octets: &[u8]) -> Result<Option<Written>, VaultError> {
    let view = desk.domain.and_then(|domain| node.read.policies().domain(domain));
    let at = match (&view, &node.options.inbound) {
        (Some(view), _) => DomainName::parse(&mail::records::return_path_domain(&view.name)).ok(),
        (None, Some(inbound)) => Some(inbound.hostname.clone()),
        (None, None) => None,
    };
    let Some(at) = at else { return Ok(None) };
    let hash = node.vault.keyed_hash(HashPurpose::Letter, octets);
    let place = [at.as_str().as_bytes(), b"\0", desk.office.as_str().as_bytes()].concat();
    let named = node.vault.keyed_hash(HashPurpose::Letter, &[&hash[..], &place].concat());
    let id = LetterId::from_bytes(first_half(named));
    let received = LetterReceived {
        tenant: view.as_ref().map(|view| view.tenant),
        domain: view.as_ref().map(|view| view.id),
        at,
        office: desk.office,
        octets: octets.len() as u64,
        hash: KeyedHash(first_half(hash)),
        cut: octets.len() > MAX_LETTER_OCTETS,
    };
    let Headline { from, subject } = headline(octets);
    let head = LetterHead { from, subject }.to_bytes();
    let kept = octets.get(..MAX_LETTER_OCTETS).unwrap_or(octets);
    let seal = |plain| node.vault.seal(Purpose::Letter, id.as_bytes(), plain);
    Ok(Some(Written { id, received, sealed: vec![seal(&head)?, seal(kept)?] }))
}

/// Keeps a letter: it is durable by then. Whether it is new.
pub(crate) async fn keep(
    platform: &Platform,
    desk: Desk,
    octets: std::sync::Arc<[u8]>,
) -> Result<bool, NotTaken> {
    let node = platform.node();
    let writing = {
        let node = std::sync::Arc::clone(node);
        let octets = std::sync::Arc::clone(&octets);
        node.blocking.run(move || write(&node, &desk, &octets))
    };
    let written = writing.await.ok_or(NotTaken::Now)?.map_err(|error| {
        tracing::error!(%error, "a letter could not be sealed");
        NotTaken::Now
    })?;
    // The domain was given up a moment ago.
    let Some(Written { id, received, sealed }) = written else { return Ok(false) };
    let stream = StreamId::Letter(id);
    let mut letter = Sourced::<Letter>::load(&node.journal, stream).await.map_err(|error| {
        tracing::error!(%stream, %error, "the record could not be read");
        NotTaken::Now
    })?;
    let (domain, now) = (received.domain, node.now().max(letter.at()));
    let kept = sealed.iter().map(|record| record.as_bytes().len() as u64).sum();
    let events = letter::receive(letter.state(), received);
    if events.is_empty() {
        return Ok(false);
    }
    if !node.rations.take(domain, kept, now) {
        return Err(NotTaken::Full);
    }
    let draft =
        Draft::new(events, sealed, now, |_| By::Letter.into()).map_err(|_| NotTaken::Now)?;
    match letter.commit(&node.journal, now, &draft).await {
        Ok(()) => Ok(true),
        // The same letter, over another connection.
        Err(CommitError::Conflict) => Ok(false),
        Err(error) => {
            tracing::warn!(%stream, %error, "a letter was not recorded");
            Err(NotTaken::Now)
        }
    }
}

impl Platform {
    /// What lists show of a letter; `None` once it was forgotten, or when it cannot be read. Blocks
    /// on the disk.
    pub fn letter_head(&self, letter: &LetterView) -> Option<LetterHead> {
        LetterHead::from_bytes(&self.open_letter(letter, 0)?).ok()
    }

    /// A letter as it came, at most its first [`MAX_LETTER_OCTETS`]; `None` once it was forgotten,
    /// or when it cannot be read. Blocks on the disk.
    pub fn letter_source(&self, letter: &LetterView) -> Option<Vec<u8>> {
        self.open_letter(letter, 1)
    }

    fn open_letter(&self, letter: &LetterView, record: usize) -> Option<Vec<u8>> {
        let node = self.node();
        let sealed = match node.journal.log().read_content(letter.content.get(record)?) {
            Ok(sealed) => sealed,
            Err(ContentError::Forgotten) => return None,
            Err(error) => {
                tracing::error!(letter = %letter.id, %error, "content cannot be read");
                return None;
            }
        };
        let opened = node.vault.open(Purpose::Letter, letter.id.as_bytes(), &sealed);
        opened
            .inspect_err(|error| {
                tracing::error!(letter = %letter.id, %error, "content cannot be opened");
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_does_not_use_up_what_another_may_keep() {
        let rations = Rations::new();
        let now = Timestamp::from_millis(1);
        let one = Some(DomainId::from_bytes([1; 16]));
        let kept = (0..100).filter(|_| rations.take(one, 10, now)).count();
        assert_eq!(kept, 20);
        assert!(rations.take(None, 10, now));
        assert!(!rations.take(None, 1024 * 1024, now), "more than an hour's octets");
        let all = (0..=u8::MAX)
            .filter(|id| rations.take(Some(DomainId::from_bytes([*id; 16])), 512 * 1024, now))
            .count();
        assert!(all < 16, "all together are bounded, too: {all}");
        assert!(rations.take(one, 10, Timestamp::from_millis(3_600_000)), "the next hour");
    }
}
