//! Going through all that a tenant had when an erasure was requested.

use eventlog::{ContentError, EventLog, Position, Purpose, ReadError, Recorded, Vault};
use model::{
    Event, LetterId, MessageId, StreamId, TenantId,
    content::{Body, Head},
    erasure::MAX_FOUND,
    event::RecipientHash,
    letter::{LetterEvent, LetterHead},
    message::{Accepted, MessageEvent},
};

use super::mentions::Needle;

/// Events that are read at once.
const PAGE: usize = 1_000;

/// A search, and how far it has come.
pub(crate) struct Search {
    pub(crate) tenant: TenantId,
    pub(crate) person: RecipientHash,
    /// Absent once the address was forgotten: then the hash alone tells.
    pub(crate) needle: Option<Needle>,
    pub(crate) after: Position,
    pub(crate) until: Position,
}

/// Who and what was found since the last time.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) messages: Vec<MessageId>,
    pub(crate) letters: Vec<LetterId>,
    /// Whether the search is over.
    pub(crate) over: bool,
}

impl Search {
    /// Goes on until as much is found as one event names, or to the end. Blocks.
    pub(crate) fn go_on(&mut self, log: &dyn EventLog, vault: &Vault) -> Result<Found, ReadError> {
        let mut found = Found::default();
        while self.after < self.until {
            for recorded in log.read_all(self.after, PAGE)? {
                if recorded.position > self.until {
                    self.after = self.until;
                    break;
                }
                self.after = recorded.position;
                self.look_at(log, vault, &recorded, &mut found);
                if found.messages.len() + found.letters.len() >= MAX_FOUND {
                    return Ok(found);
                }
            }
        }
        found.over = true;
        Ok(found)
    }

    fn look_at(&self, log: &dyn EventLog, vault: &Vault, recorded: &Recorded, found: &mut Found) {
        // Only what has content can say something; of most events that is known without decoding.
        if recorded.content.is_empty() {
            return;
        }
        match (recorded.stream, Event::decode(recorded.stream, &recorded.data)) {
            (StreamId::Message(id), Ok(Event::Message(MessageEvent::Accepted(accepted))))
                if accepted.tenant == self.tenant
                    && self.concerns_message(log, vault, id, recorded, &accepted) =>
            {
                found.messages.push(id);
            }
            (StreamId::Letter(id), Ok(Event::Letter(LetterEvent::LetterReceived(received))))
                if received.tenant == Some(self.tenant)
                    && self.concerns_letter(log, vault, id, recorded) =>
            {
                found.letters.push(id);
            }
            _ => {}
        }
    }

    fn concerns_message(
        &self,
        log: &dyn EventLog,
        vault: &Vault,
        id: MessageId,
        recorded: &Recorded,
        accepted: &Accepted,
    ) -> bool {
        let owner = id.as_bytes();
        let head = open(log, vault, recorded, (0, Purpose::MessageHead, owner));
        let body = open(log, vault, recorded, (1, Purpose::MessageBody, owner));
        let addressed = accepted.recipients.iter().any(|recipient| recipient.hash == self.person);
        if let (Opened::Forgotten, Opened::Forgotten) = (&head, &body) {
            return false;
        }
        if addressed {
            return true;
        }
        let Some(needle) = &self.needle else { return false };
        // What cannot be opened says nothing to anybody.
        let head = head.read().and_then(|bytes| Head::from_bytes(&bytes).ok());
        let body = body.read().and_then(|bytes| Body::from_bytes(&bytes).ok());
        head.is_some_and(|head| needle.is_in_message(&head, &body.unwrap_or_default()))
    }

    fn concerns_letter(
        &self,
        log: &dyn EventLog,
        vault: &Vault,
        id: LetterId,
        recorded: &Recorded,
    ) -> bool {
        let Some(needle) = &self.needle else { return false };
        let part = |index| open(log, vault, recorded, (index, Purpose::Letter, id.as_bytes()));
        let head = part(0).read().and_then(|bytes| LetterHead::from_bytes(&bytes).ok());
        let octets = part(1).read();
        needle.is_in_letter(&head.unwrap_or_default(), &octets.unwrap_or_default())
    }
}

enum Opened {
    Read(Vec<u8>),
    Forgotten,
    Unreadable,
}

impl Opened {
    fn read(self) -> Option<Vec<u8>> {
        match self {
            Self::Read(bytes) => Some(bytes),
            Self::Forgotten | Self::Unreadable => None,
        }
    }
}

fn open(
    log: &dyn EventLog,
    vault: &Vault,
    recorded: &Recorded,
    (index, purpose, owner): (usize, Purpose, &[u8]),
) -> Opened {
    let Some(location) = recorded.content.get(index) else { return Opened::Forgotten };
    let sealed = match log.read_content(location) {
        Ok(sealed) => sealed,
        Err(ContentError::Forgotten) => return Opened::Forgotten,
        Err(error) => {
            tracing::error!(stream = %recorded.stream, %error, "content cannot be searched");
            return Opened::Unreadable;
        }
    };
    vault.open(purpose, owner, &sealed).map_or_else(
        |error| {
            tracing::error!(stream = %recorded.stream, %error, "content cannot be searched");
            Opened::Unreadable
        },
        Opened::Read,
    )
}
