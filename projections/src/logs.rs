//! The log of an app's events as its owner reads it: newest first, with filters.

mod query;

use eventlog::Position;
use model::{
    AppId, Event, MessageId, RecipientIndex, StreamId, Timestamp,
    event::RecipientHash,
    message::{Accepted, MessageEvent, Tag},
};

pub use self::query::{LogCursor, LogQuery, LogRow, Logs, MAX_PAGE, Page};
use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
    fact::{Fact, Origin},
    projection::Projection,
    round::Round,
};

const NAME: &str = "logs";

/// One row for each event, by app and time.
const BY_TIME: u8 = 1;
/// The same places by recipient; nothing in the value.
const BY_RECIPIENT: u8 = 2;

/// What kind of event a row tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogKind {
    /// The message was taken over.
    Accepted = 1,
    /// It waits for its time.
    Scheduled = 2,
    /// A recipient was on the suppression list.
    Suppressed = 3,
    /// A recipient was delivered.
    Delivered = 4,
    /// An attempt did not settle a recipient.
    Deferred = 5,
    /// A recipient was refused for good.
    Bounced = 6,
    /// We gave up on a recipient.
    Failed = 7,
    /// The caller took a recipient's delivery back.
    Canceled = 8,
}

impl LogKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Scheduled,
        Self::Suppressed,
        Self::Delivered,
        Self::Deferred,
        Self::Bounced,
        Self::Failed,
        Self::Canceled,
    ];

    /// The kind of an event.
    pub const fn of(event: &MessageEvent) -> Self {
        match event {
            MessageEvent::Accepted(_) => Self::Accepted,
            MessageEvent::Scheduled(_) => Self::Scheduled,
            MessageEvent::Suppressed(_) => Self::Suppressed,
            MessageEvent::Delivered(_) => Self::Delivered,
            MessageEvent::Deferred(_) => Self::Deferred,
            MessageEvent::Bounced(_) => Self::Bounced,
            MessageEvent::Failed(_) => Self::Failed,
            MessageEvent::Canceled(_) => Self::Canceled,
        }
    }

    /// The name, such as `delivered`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Scheduled => "scheduled",
            Self::Suppressed => "suppressed",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn from_code(code: u8) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code).ok_or(Malformed)
    }
}

/// The recipient that an event is about; `None`: it is about all.
const fn recipient_of(event: &MessageEvent) -> Option<RecipientIndex> {
    match event {
        MessageEvent::Accepted(_) | MessageEvent::Scheduled(_) => None,
        MessageEvent::Suppressed(event) => Some(event.recipient),
        MessageEvent::Delivered(event) => Some(event.attempt.recipient),
        MessageEvent::Deferred(event) => Some(event.attempt.recipient),
        MessageEvent::Bounced(event) => Some(event.attempt.recipient),
        MessageEvent::Failed(event) => Some(event.recipient),
        MessageEvent::Canceled(event) => Some(event.recipient),
    }
}

/// The recipients under whom an event is found.
fn found_under(event: &MessageEvent, accepted: &Accepted) -> Vec<RecipientHash> {
    let hashes = accepted.recipients.iter().map(|recipient| recipient.hash);
    match recipient_of(event) {
        None => hashes.collect(),
        Some(index) => hashes.skip(index.as_usize()).take(1).collect(),
    }
}

/// The place of a row. Times never go backwards along positions, so this is the log's own order,
/// and a span of time is a span of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: Timestamp,
    position: Position,
}

impl Place {
    fn to_bytes(self) -> [u8; 16] {
        let number = u128::from(self.at.as_millis()) << 64 | u128::from(self.position.get());
        number.to_be_bytes()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = Timestamp::from_millis(reader.key_u64()?);
        Ok(Self { at, position: Position::new(reader.key_u64()?) })
    }
}

fn time_prefix(app: AppId) -> Vec<u8> {
    join(&[&[BY_TIME], app.as_bytes()])
}

fn recipient_prefix(app: AppId, recipient: RecipientHash) -> Vec<u8> {
    join(&[&[BY_RECIPIENT], app.as_bytes(), &recipient.0])
}

/// A row points at an event of a message; the event itself stands in the message's own rows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer {
    kind: LogKind,
    message: MessageId,
    /// Place of the event in the message, from 0.
    place: u32,
    /// Short hashes of the message's tags: whoever looks for a tag opens few messages in vain.
    tags: Vec<u32>,
}

impl Pointer {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            join(&[&[self.kind as u8], self.message.as_bytes(), &self.place.to_le_bytes()]);
        for tag in &self.tags {
            bytes.extend_from_slice(&tag.to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let kind = LogKind::from_code(reader.u8()?)?;
        let message = MessageId::from_bytes(reader.array()?);
        let place = reader.u32()?;
        let mut tags = Vec::with_capacity(reader.rest().len() / 4);
        while !reader.is_empty() {
            tags.push(reader.u32()?);
        }
        Ok(Self { kind, message, place, tags })
    }
}

fn tag_hash(tag: &Tag) -> u32 {
    let hash = blake3::hash(tag.as_str().as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Folds the logs.
pub(crate) struct LogsProjection;

impl Projection for LogsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round) -> Result<(), Halt> {
        let recorded = fact.recorded;
        let (StreamId::Message(message), Event::Message(event), Some(origin)) =
            (recorded.stream, fact.event, fact.origin)
        else {
            return Ok(());
        };
        let Origin { accepted, .. } = origin.as_ref();
        let place = recorded.version.get().checked_sub(1).and_then(|n| u32::try_from(n).ok());
        let place = place.ok_or(Halt::Impossible {
            position: recorded.position,
            stream: recorded.stream,
            what: "its version is out of range",
        })?;
        let kind = LogKind::of(event);
        let tags = accepted.tags.iter().map(tag_hash).collect();
        let pointer = Pointer { kind, message, place, tags };
        let at = Place { at: recorded.at, position: recorded.position }.to_bytes();
        round.put(join(&[&time_prefix(accepted.app), &at]), pointer.to_bytes());
        for recipient in found_under(event, accepted) {
            round.put(join(&[&recipient_prefix(accepted.app, recipient), &at]), Vec::new());
        }
        Ok(())
    }
}
