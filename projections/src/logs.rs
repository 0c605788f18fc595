//! The log of an app's events as its owner reads it: newest first, with filters.

mod query;

use model::{
    AppId, RecipientIndex,
    event::RecipientHash,
    message::{Accepted, End, MessageEvent, Step, Tag},
};

pub use self::query::{LogCursor, LogQuery, LogRow, Logs, MAX_PAGE, Page};
use crate::{
    codec::join,
    error::Halt,
    fact::{Fact, Known, Origin},
    layer::Round,
    lists::{self, Entry, Place},
    projection::Projection,
};

const NAME: &str = "logs";

/// An app's events; each with its kind.
const BY_APP: u8 = 1;
/// An app's events of messages with a tag; each with its kind.
const BY_TAG: u8 = 2;
/// Events about recipients, of all apps, in [`RECIPIENT_LISTS`] lists; each with its kind and four
/// octets of who it is about. A list for each recipient would be a row for each.
const BY_RECIPIENT: u8 = 3;

/// A recipient is looked for in one list of these, so in that part of all events.
const RECIPIENT_LISTS: u16 = 4096;

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
    /// A recipient was refused for good, or did not get it as a report says.
    Bounced = 6,
    /// We gave up on a recipient.
    Failed = 7,
    /// The caller took a recipient's delivery back.
    Canceled = 8,
    /// A recipient complained.
    Complained = 9,
}

impl LogKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Scheduled,
        Self::Suppressed,
        Self::Delivered,
        Self::Deferred,
        Self::Bounced,
        Self::Failed,
        Self::Canceled,
        Self::Complained,
    ];

    /// The kind of an event; `None` for one that tells an app nothing: that it was not tried yet.
    pub const fn of(event: &MessageEvent) -> Option<Self> {
        Some(match event {
            MessageEvent::Accepted(_) => Self::Accepted,
            MessageEvent::Scheduled(_) => Self::Scheduled,
            MessageEvent::Suppressed(_) => Self::Suppressed,
            MessageEvent::Delivered(_) => Self::Delivered,
            MessageEvent::Deferred(_) => Self::Deferred,
            MessageEvent::Bounced(_) | MessageEvent::Returned(_) => Self::Bounced,
            MessageEvent::Failed(_) => Self::Failed,
            MessageEvent::Canceled(_) => Self::Canceled,
            MessageEvent::Complained(_) => Self::Complained,
            MessageEvent::RetryRequested(_) => return None,
        })
    }

    const fn of_step(step: &Step) -> Option<Self> {
        Some(match step {
            Step::Accepted(_) => Self::Accepted,
            Step::Scheduled(_) => Self::Scheduled,
            Step::Deferred { .. } => Self::Deferred,
            Step::Ended { end, .. } => match end {
                End::Suppressed => Self::Suppressed,
                End::Delivered => Self::Delivered,
                End::Bounced(_) => Self::Bounced,
                End::Failed => Self::Failed,
                End::Canceled => Self::Canceled,
            },
            Step::Returned { .. } => Self::Bounced,
            Step::Complained { .. } => Self::Complained,
            Step::RetryRequested => return None,
        })
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
            Self::Complained => "complained",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The recipient that an event is about; `None`: it is about all.
const fn recipient_of(event: &MessageEvent) -> Option<RecipientIndex> {
    match event {
        MessageEvent::Accepted(_)
        | MessageEvent::Scheduled(_)
        | MessageEvent::RetryRequested(_) => None,
        MessageEvent::Suppressed(event) => Some(event.recipient),
        MessageEvent::Delivered(event) => Some(event.attempt.recipient),
        MessageEvent::Deferred(event) => Some(event.attempt.recipient),
        MessageEvent::Bounced(event) => Some(event.attempt.recipient),
        MessageEvent::Failed(event) => Some(event.recipient),
        MessageEvent::Canceled(event) => Some(event.recipient),
        MessageEvent::Returned(event) => Some(event.recipient),
        MessageEvent::Complained(event) => Some(event.recipient),
    }
}

/// Whether an event is found under this recipient.
fn is_about(event: &MessageEvent, accepted: &Accepted, wanted: &RecipientHash) -> bool {
    match recipient_of(event) {
        None => accepted.recipients.iter().any(|recipient| recipient.hash == *wanted),
        Some(index) => accepted
            .recipients
            .get(index.as_usize())
            .is_some_and(|recipient| recipient.hash == *wanted),
    }
}

fn app_prefix(app: AppId) -> Vec<u8> {
    join(&[&[BY_APP], app.as_bytes()])
}

fn tag_prefix(app: AppId, tag: &Tag) -> Vec<u8> {
    let hash = blake3::hash(tag.as_str().as_bytes());
    let short = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    join(&[&[BY_TAG], app.as_bytes(), &short])
}

/// The list in which a recipient is found, and what marks it there: the hash is a keyed one, so
/// any part of it will do.
fn recipient_list(app: AppId, recipient: RecipientHash) -> (Vec<u8>, [u8; 4]) {
    let mixed = u128::from_be_bytes(recipient.0) ^ u128::from_be_bytes(*app.as_bytes());
    let [high, low, mark @ .., _, _, _, _, _, _, _, _, _, _] = mixed.to_be_bytes();
    let list = u16::from_be_bytes([high, low]) % RECIPIENT_LISTS;
    (join(&[&[BY_RECIPIENT], &list.to_be_bytes()]), mark)
}

/// Folds the logs.
pub(crate) struct LogsProjection;

impl Projection for LogsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (kind, about) = match fact.known {
            Known::Began(_) => (LogKind::Accepted, None),
            Known::Went(step) => match LogKind::of_step(step) {
                Some(kind) => (kind, step.recipient()),
                None => return Ok(()),
            },
            Known::Other(_) => return Ok(()),
        };
        let Some(Origin { accepted, .. }) = fact.origin.map(AsRef::as_ref) else { return Ok(()) };
        let place = Place { at: fact.recorded.at, position: fact.recorded.position };
        let mark = kind as u8;
        let entry = Entry { place, mark: [mark] };
        lists::append(round, &app_prefix(accepted.app), entry, NAME)?;
        let mut tags: Vec<&Tag> = accepted.tags.iter().collect();
        tags.sort_unstable();
        tags.dedup();
        for tag in tags {
            lists::append(round, &tag_prefix(accepted.app, tag), entry, NAME)?;
        }
        let found_under = match about {
            None => accepted.recipients.as_slice(),
            Some(index) => accepted.recipients.get(index.as_usize()..).unwrap_or_default(),
        };
        let count = if about.is_some() { 1 } else { found_under.len() };
        for recipient in found_under.iter().take(count) {
            let (list, who) = recipient_list(accepted.app, recipient.hash);
            let mut full = [mark; 5];
            if let Some(rest) = full.last_chunk_mut() {
                *rest = who;
            }
            let entry = Entry { place, mark: full };
            lists::append(round, &list, entry, NAME)?;
        }
        Ok(())
    }
}
