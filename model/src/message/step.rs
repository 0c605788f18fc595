//! What an event does to the course of a message, without what was said: a fifth of the work of
//! reading it whole, for those who go through millions.

use serde::{Deserialize, de::DeserializeOwned};

use super::events::{Accepted, MessageEvent, Scheduled};
use crate::{
    delivery::{BounceClass, Trouble},
    event::{Header, UPCASTERS, UndecodableEvent},
    ids::RecipientIndex,
    time::Timestamp,
};

/// An event of a message, as far as counting and waiting go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// [`MessageEvent::Accepted`], whole.
    Accepted(Box<Accepted>),
    /// [`MessageEvent::Scheduled`], whole.
    Scheduled(Scheduled),
    /// [`MessageEvent::Deferred`].
    Deferred {
        /// Which recipient.
        recipient: RecipientIndex,
        /// The how many-th attempt at it, from 1.
        attempt: u16,
        /// When the next one is due.
        next_attempt_at: Timestamp,
        /// What of ours is to be mended, if that is why.
        trouble: Option<Trouble>,
    },
    /// A recipient came to its end.
    Ended {
        /// Which recipient.
        recipient: RecipientIndex,
        /// How.
        end: End,
        /// What of ours is to be mended, if that is why.
        trouble: Option<Trouble>,
    },
    /// [`MessageEvent::Returned`].
    Returned {
        /// Which recipient.
        recipient: RecipientIndex,
        /// Why.
        class: BounceClass,
        /// Whether it had counted as delivered until now.
        was_delivered: bool,
        /// What of ours is to be mended, if that is why.
        trouble: Option<Trouble>,
    },
    /// [`MessageEvent::Complained`].
    Complained {
        /// Which recipient.
        recipient: RecipientIndex,
    },
    /// [`MessageEvent::RetryRequested`].
    RetryRequested,
}

/// How a recipient ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// [`MessageEvent::Suppressed`].
    Suppressed,
    /// [`MessageEvent::Delivered`].
    Delivered,
    /// [`MessageEvent::Bounced`], for which reason.
    Bounced(BounceClass),
    /// [`MessageEvent::Failed`].
    Failed,
    /// [`MessageEvent::Canceled`].
    Canceled,
}

impl Step {
    /// The step that an event is.
    pub fn of(event: MessageEvent) -> Self {
        let ended = |recipient, end| Self::Ended { recipient, end, trouble: None };
        match event {
            MessageEvent::Accepted(accepted) => Self::Accepted(Box::new(accepted)),
            MessageEvent::Scheduled(scheduled) => Self::Scheduled(scheduled),
            MessageEvent::Deferred(deferred) => Self::Deferred {
                recipient: deferred.attempt.recipient,
                attempt: deferred.attempt.attempt,
                next_attempt_at: deferred.next_attempt_at,
                trouble: deferred.trouble,
            },
            MessageEvent::Suppressed(event) => ended(event.recipient, End::Suppressed),
            MessageEvent::Delivered(event) => ended(event.attempt.recipient, End::Delivered),
            MessageEvent::Bounced(event) => Self::Ended {
                recipient: event.attempt.recipient,
                end: End::Bounced(event.class),
                trouble: event.trouble,
            },
            MessageEvent::Failed(event) => ended(event.recipient, End::Failed),
            MessageEvent::Canceled(event) => ended(event.recipient, End::Canceled),
            MessageEvent::Returned(event) => Self::Returned {
                recipient: event.recipient,
                class: event.class,
                was_delivered: event.was_delivered,
                trouble: event.trouble,
            },
            MessageEvent::Complained(event) => Self::Complained { recipient: event.recipient },
            MessageEvent::RetryRequested(_) => Self::RetryRequested,
        }
    }

    /// Reads what the log holds for a message. Of what a step does not tell, only the form is
    /// checked: [`MessageEvent`]'s own reading may still refuse it.
    ///
    /// # Errors
    /// It is not JSON, lacks a field that the step needs, or is of a type or version that is not
    /// known.
    pub fn decode(data: &[u8]) -> Result<Self, UndecodableEvent> {
        let header = Header::read(data)?;
        // Where there are two versions, both are read whole.
        let current = header.v == 1 && UPCASTERS.iter().all(|step| step.kind != header.kind);
        let end = match header.kind.as_ref() {
            "message.accepted" if current => {
                return read(data).map(|accepted| Self::Accepted(Box::new(accepted)));
            }
            "message.deferred" if current => {
                let Put { recipient, attempt, next_attempt_at, trouble } = read(data)?;
                return Ok(Self::Deferred { recipient, attempt, next_attempt_at, trouble });
            }
            "message.suppressed" if current => End::Suppressed,
            "message.delivered" if current => End::Delivered,
            "message.bounced" if current => {
                let Refused { recipient, class, trouble } = read(data)?;
                return Ok(Self::Ended { recipient, end: End::Bounced(class), trouble });
            }
            "message.returned" if current => {
                let CameBack { recipient, class, was_delivered, trouble } = read(data)?;
                return Ok(Self::Returned { recipient, class, was_delivered, trouble });
            }
            "message.complained" if current => {
                let About { recipient } = read(data)?;
                return Ok(Self::Complained { recipient });
            }
            "message.failed" if current => End::Failed,
            "message.canceled" if current => End::Canceled,
            kind => return MessageEvent::decode(kind, header.v, data).map(Self::of),
        };
        let About { recipient } = read(data)?;
        Ok(Self::Ended { recipient, end, trouble: None })
    }

    /// The recipient that it is about; `None`: it is about all.
    pub const fn recipient(&self) -> Option<RecipientIndex> {
        match self {
            Self::Accepted(_) | Self::Scheduled(_) | Self::RetryRequested => None,
            Self::Deferred { recipient, .. }
            | Self::Ended { recipient, .. }
            | Self::Returned { recipient, .. }
            | Self::Complained { recipient } => Some(*recipient),
        }
    }

    /// Why a recipient did not get it, if that is what happened.
    pub const fn bounce_class(&self) -> Option<BounceClass> {
        match self {
            Self::Ended { end: End::Bounced(class), .. } | Self::Returned { class, .. } => {
                Some(*class)
            }
            _ => None,
        }
    }

    /// What of ours is to be mended, if that is why it happened.
    pub const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Deferred { trouble, .. }
            | Self::Ended { trouble, .. }
            | Self::Returned { trouble, .. } => *trouble,
            Self::Accepted(_)
            | Self::Scheduled(_)
            | Self::Complained { .. }
            | Self::RetryRequested => None,
        }
    }

    /// The event's `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "message.accepted",
            Self::Scheduled(_) => "message.scheduled",
            Self::Deferred { .. } => "message.deferred",
            Self::Ended { end, .. } => match end {
                End::Suppressed => "message.suppressed",
                End::Delivered => "message.delivered",
                End::Bounced(_) => "message.bounced",
                End::Failed => "message.failed",
                End::Canceled => "message.canceled",
            },
            Self::Returned { .. } => "message.returned",
            Self::Complained { .. } => "message.complained",
            Self::RetryRequested => "message.retry_requested",
        }
    }
}

#[derive(Deserialize)]
struct About {
    recipient: RecipientIndex,
}

#[derive(Deserialize)]
struct Refused {
    recipient: RecipientIndex,
    class: BounceClass,
    #[serde(default)]
    trouble: Option<Trouble>,
}

#[derive(Deserialize)]
struct CameBack {
    recipient: RecipientIndex,
    class: BounceClass,
    was_delivered: bool,
    #[serde(default)]
    trouble: Option<Trouble>,
}

#[derive(Deserialize)]
struct Put {
    recipient: RecipientIndex,
    attempt: u16,
    next_attempt_at: Timestamp,
    #[serde(default)]
    trouble: Option<Trouble>,
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Result<T, UndecodableEvent> {
    Ok(serde_json::from_slice(data)?)
}
