//! Erasures: a person is forgotten in all that a tenant has.
//!
//! Each erasure is a stream of its own. That somebody is to be forgotten is an event first; what
//! concerns them is named by further events before anything of it is overwritten; the last one says
//! that it is done. So a crash in between loses nothing, and what was erased for whom stays on
//! record, without saying who it was.

use serde::{Deserialize, Serialize};

use crate::{
    event::{RecipientHash, events},
    ids::{LetterId, MessageId, TenantId},
    pause::Who,
};

/// Most messages and letters that one [`PersonFound`] names: it must fit into an event.
pub const MAX_FOUND: usize = 500;

events! {
    /// An event of an erasure.
    ErasureEvent {
        /// Somebody is to be forgotten.
        PersonErasureRequested = "person.erasure_requested" v 1,
        /// These messages and letters are about them.
        PersonFound = "person.found" v 1,
        /// All content about them is overwritten.
        PersonErased = "person.erased" v 1,
    }
}

/// See [`ErasureEvent::PersonErasureRequested`]. The address lies beside it as content, until the
/// erasure is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonErasureRequested {
    /// In whose data.
    pub tenant: TenantId,
    /// Who is forgotten.
    pub person: RecipientHash,
    /// Who wants it.
    pub by: Who,
}

/// See [`ErasureEvent::PersonFound`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PersonFound {
    /// Messages to them, from them, or that name their address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageId>,
    /// Letters that name their address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<LetterId>,
    /// Whether everything that was there when the erasure was requested has been looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// See [`ErasureEvent::PersonErased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonErased {
    /// In whose data.
    pub tenant: TenantId,
    /// Who is forgotten.
    pub person: RecipientHash,
    /// Who wanted it.
    pub by: Who,
    /// Messages whose content is overwritten.
    pub messages: u64,
    /// Letters whose content is overwritten.
    pub letters: u64,
    /// Suppression lists that know them by a keyed hash alone from now on.
    pub suppressions: u64,
    /// Sealed records that were overwritten, or were gone already.
    pub records: u64,
}

/// An erasure folded from its events. [`Erasure::default`] is one that nobody requested.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erasure {
    requested: Option<PersonErasureRequested>,
    messages: Vec<MessageId>,
    letters: Vec<LetterId>,
    looked: bool,
    erased: Option<PersonErased>,
}

impl Erasure {
    /// Takes in what happened.
    pub fn evolve(&mut self, event: &ErasureEvent) {
        match event {
            ErasureEvent::PersonErasureRequested(requested) => {
                self.requested = Some(requested.clone());
            }
            ErasureEvent::PersonFound(found) => {
                self.messages.extend(&found.messages);
                self.letters.extend(&found.letters);
                self.looked |= found.all;
            }
            ErasureEvent::PersonErased(erased) => self.erased = Some(erased.clone()),
        }
    }

    /// What was requested, if anything was.
    pub const fn requested(&self) -> Option<&PersonErasureRequested> {
        self.requested.as_ref()
    }

    /// The messages that were found so far.
    pub fn messages(&self) -> &[MessageId] {
        &self.messages
    }

    /// The letters that were found so far.
    pub fn letters(&self) -> &[LetterId] {
        &self.letters
    }

    /// Whether everything has been looked at.
    pub const fn has_looked(&self) -> bool {
        self.looked
    }

    /// What was done, once it is.
    pub const fn erased(&self) -> Option<&PersonErased> {
        self.erased.as_ref()
    }
}

/// What was overwritten besides messages and letters, which the erasure knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overwritten {
    /// Suppression lists.
    pub suppressions: u64,
    /// Sealed records of all kinds.
    pub records: u64,
}

/// What somebody wants of an erasure.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin it.
    Request(PersonErasureRequested),
    /// Note what was found.
    Find(PersonFound),
    /// Note that it is done.
    Finish(Overwritten),
}

/// The events that `command` leads to: none, when it was carried out before or is not its turn.
pub fn decide(erasure: &Erasure, command: &Command) -> Vec<ErasureEvent> {
    let Some(requested) = &erasure.requested else {
        return match command {
            Command::Request(requested) => vec![requested.clone().into()],
            Command::Find(_) | Command::Finish(_) => Vec::new(),
        };
    };
    match command {
        Command::Request(_) => Vec::new(),
        Command::Find(_) if erasure.looked => Vec::new(),
        Command::Find(found) => vec![found.clone().into()],
        Command::Finish(_) if !erasure.looked || erasure.erased.is_some() => Vec::new(),
        Command::Finish(Overwritten { suppressions, records }) => {
            let PersonErasureRequested { tenant, person, by } = *requested;
            let erased = PersonErased {
                tenant,
                person,
                by,
                messages: erasure.messages.len() as u64,
                letters: erasure.letters.len() as u64,
                suppressions: *suppressions,
                records: *records,
            };
            vec![erased.into()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErasureId, Event, StreamId, event::KeyedHash};

    const STREAM: StreamId = StreamId::Erasure(ErasureId::from_bytes([9; 16]));

    fn requested() -> PersonErasureRequested {
        PersonErasureRequested {
            tenant: TenantId::from_bytes([1; 16]),
            person: KeyedHash([2; 16]),
            by: Who::Operator,
        }
    }

    fn found(messages: usize, all: bool) -> PersonFound {
        let message = MessageId::from_bytes([255; 16]);
        let letter = LetterId::from_bytes([255; 16]);
        PersonFound { messages: vec![message; messages], letters: vec![letter], all }
    }

    fn encoded(event: &ErasureEvent) -> Box<[u8]> {
        event.encode(&crate::By::Operator.into())
    }

    fn given(events: &[ErasureEvent]) -> Erasure {
        let mut erasure = Erasure::default();
        for event in events {
            let Event::Erasure(read) = Event::decode(STREAM, &encoded(event)).unwrap() else {
                panic!("an erasure's event")
            };
            assert_eq!(&read, event);
            erasure.evolve(&read);
        }
        erasure
    }

    #[test]
    fn it_is_requested_then_looked_for_then_done_each_once() {
        let request = Command::Request(requested());
        let finish = Command::Finish(Overwritten { suppressions: 1, records: 5 });
        let some = Command::Find(found(2, false));
        let all = Command::Find(found(1, true));
        assert_eq!(decide(&given(&[]), &some), []);
        assert_eq!(decide(&given(&[]), &finish), []);
        let mut log = decide(&given(&[]), &request);
        assert_eq!(log, [requested().into()]);
        assert_eq!(decide(&given(&log), &request), []);
        log.extend(decide(&given(&log), &some));
        assert_eq!(decide(&given(&log), &finish), [], "not all was looked at");
        log.extend(decide(&given(&log), &all));
        assert_eq!(decide(&given(&log), &some), [], "all was looked at");
        log.extend(decide(&given(&log), &finish));
        let erasure = given(&log);
        let erased = erasure.erased().unwrap();
        let counts = (erased.messages, erased.letters, erased.suppressions, erased.records);
        assert_eq!(counts, (3, 2, 1, 5));
        assert_eq!(decide(&erasure, &finish), []);
    }

    #[test]
    fn as_many_as_are_named_at_once_fit_into_an_event() {
        let event: ErasureEvent = PersonFound {
            letters: vec![LetterId::from_bytes([255; 16]); MAX_FOUND / 2],
            ..found(MAX_FOUND / 2, true)
        }
        .into();
        assert!(encoded(&event).len() < crate::event::MAX_EVENT_OCTETS);
        let event: ErasureEvent = found(MAX_FOUND, true).into();
        assert!(encoded(&event).len() < crate::event::MAX_EVENT_OCTETS);
    }
}
