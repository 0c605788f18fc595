//! A message folded from its events.

use serde::{Deserialize, Serialize};

use super::events::{Accepted, MessageEvent};
use crate::{
    cause::{After, By, Cause},
    ids::RecipientIndex,
    time::Timestamp,
};

/// How a recipient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientStatus {
    /// Not tried yet.
    Queued,
    /// Tried, and to be tried again.
    Deferred,
    /// The receiver took it.
    Delivered,
    /// The receiver refused it, or reported later that it could not deliver it.
    Bounced,
    /// We gave up.
    Failed,
    /// It was on the suppression list.
    Suppressed,
    /// The caller took it back.
    Canceled,
}

impl RecipientStatus {
    /// Whether nothing further happens.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Deferred)
    }
}

/// How a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Waiting for its first attempt.
    Queued,
    /// Waiting for the time that the caller named.
    Scheduled,
    /// Tried, and not every recipient has ended.
    Sending,
    /// Every recipient was delivered.
    Delivered,
    /// Some recipients were delivered, the others ended otherwise.
    PartiallyDelivered,
    /// No recipient was delivered, and a receiver refused at least one.
    Bounced,
    /// No recipient was delivered, and no receiver refused any.
    Failed,
    /// The caller took the message back before anybody got it.
    Canceled,
}

/// One recipient of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipientState {
    /// How it stands.
    pub status: RecipientStatus,
    /// Attempts so far.
    pub attempts: u16,
    /// When it is due, while it is open.
    pub next_attempt_at: Timestamp,
    /// Whether it complained about the message.
    pub complained: bool,
    /// The version of the last event about it: what comes next follows from that.
    pub last_version: u64,
}

/// A message folded from its events. [`Message::default`] is one that was never accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    accepted: Option<(Timestamp, Accepted)>,
    scheduled_until: Option<Timestamp>,
    recipients: Vec<RecipientState>,
    /// Events so far, which is the version of the last.
    version: u64,
}

impl Message {
    /// Takes in what happened at `at`.
    pub fn evolve(&mut self, event: &MessageEvent, at: Timestamp) {
        self.version = self.version.saturating_add(1);
        match event {
            MessageEvent::Accepted(accepted) => {
                let queued = RecipientState {
                    status: RecipientStatus::Queued,
                    attempts: 0,
                    next_attempt_at: at,
                    complained: false,
                    last_version: self.version,
                };
                self.recipients = vec![queued; accepted.recipients.len()];
                self.accepted = Some((at, accepted.clone()));
            }
            MessageEvent::Scheduled(scheduled) => {
                self.scheduled_until = Some(scheduled.until);
                for recipient in &mut self.recipients {
                    recipient.next_attempt_at = scheduled.until;
                    recipient.last_version = self.version;
                }
            }
            MessageEvent::Suppressed(suppressed) => {
                self.end(suppressed.recipient, RecipientStatus::Suppressed);
            }
            MessageEvent::Delivered(delivered) => {
                let attempt = &delivered.attempt;
                self.tried(attempt.recipient, attempt.attempt, RecipientStatus::Delivered);
            }
            MessageEvent::Bounced(bounced) => {
                let attempt = &bounced.attempt;
                self.tried(attempt.recipient, attempt.attempt, RecipientStatus::Bounced);
            }
            MessageEvent::Deferred(deferred) => {
                let attempt = &deferred.attempt;
                self.tried(attempt.recipient, attempt.attempt, RecipientStatus::Deferred);
                if let Some(recipient) = self.recipients.get_mut(attempt.recipient.as_usize()) {
                    recipient.next_attempt_at = deferred.next_attempt_at;
                }
            }
            MessageEvent::Failed(failed) => {
                self.tried(failed.recipient, failed.attempt, RecipientStatus::Failed);
            }
            MessageEvent::Canceled(canceled) => {
                self.end(canceled.recipient, RecipientStatus::Canceled);
            }
            MessageEvent::Returned(returned) => {
                self.end(returned.recipient, RecipientStatus::Bounced);
            }
            MessageEvent::Complained(complained) => {
                if let Some(recipient) = self.recipients.get_mut(complained.recipient.as_usize()) {
                    recipient.complained = true;
                    recipient.last_version = self.version;
                }
            }
            MessageEvent::RetryRequested(_) => {
                let open = |one: &&mut RecipientState| !one.status.is_final();
                for recipient in self.recipients.iter_mut().filter(open) {
                    recipient.next_attempt_at = recipient.next_attempt_at.min(at);
                    recipient.last_version = self.version;
                }
            }
        }
    }

    fn end(&mut self, recipient: RecipientIndex, status: RecipientStatus) {
        if let Some(recipient) = self.recipients.get_mut(recipient.as_usize()) {
            recipient.status = status;
            recipient.last_version = self.version;
        }
    }

    fn tried(&mut self, recipient: RecipientIndex, attempts: u16, status: RecipientStatus) {
        if let Some(recipient) = self.recipients.get_mut(recipient.as_usize()) {
            recipient.status = status;
            recipient.attempts = attempts;
            recipient.last_version = self.version;
        }
    }

    /// What `event`, which is `by` somebody or something and decided upon this state, comes of.
    ///
    /// What an attempt, the alarm or a report leads to follows from the last event about that
    /// recipient: the one that made the attempt due, or the attempt that the report is about. What
    /// somebody asked for follows from nothing but that.
    pub fn cause(&self, event: &MessageEvent, by: By) -> Cause {
        let follows = matches!(by, By::Attempt | By::Alarm | By::Report);
        let last = event.recipient().filter(|_| follows).and_then(|index| {
            let recipient = self.recipients.get(index.as_usize())?;
            Some(After::Own(recipient.last_version))
        });
        Cause { by, after: last }
    }

    /// What was accepted, and when; `None` for a message that was not.
    pub fn accepted(&self) -> Option<(Timestamp, &Accepted)> {
        self.accepted.as_ref().map(|(at, accepted)| (*at, accepted))
    }

    /// The time that the caller named for sending.
    pub const fn scheduled_until(&self) -> Option<Timestamp> {
        self.scheduled_until
    }

    /// The recipients, in the order of the accepted message.
    pub fn recipients(&self) -> &[RecipientState] {
        &self.recipients
    }

    /// Recipients that have not ended.
    pub fn open(&self) -> impl Iterator<Item = (RecipientIndex, &RecipientState)> {
        (0_u8..)
            .map(RecipientIndex)
            .zip(&self.recipients)
            .filter(|(_, recipient)| !recipient.status.is_final())
    }

    /// Open recipients whose time has come.
    pub fn due(&self, now: Timestamp) -> Vec<RecipientIndex> {
        self.open()
            .filter(|(_, recipient)| recipient.next_attempt_at <= now)
            .map(|(index, _)| index)
            .collect()
    }

    /// When the message must be looked at again: never past its expiry; `None` once all have ended.
    pub fn next_alarm(&self) -> Option<Timestamp> {
        let due = self.open().map(|(_, recipient)| recipient.next_attempt_at).min()?;
        Some(self.accepted().map_or(due, |(_, accepted)| due.min(accepted.expires_at)))
    }

    /// How the message stands at `now`.
    pub fn status(&self, now: Timestamp) -> MessageStatus {
        let all = |wanted| self.recipients.iter().all(|recipient| recipient.status == wanted);
        let any = |wanted| self.recipients.iter().any(|recipient| recipient.status == wanted);
        if self.open().next().is_some() {
            return if self.recipients.iter().any(|recipient| recipient.attempts > 0) {
                MessageStatus::Sending
            } else if self.scheduled_until.is_some_and(|until| until > now) {
                MessageStatus::Scheduled
            } else {
                MessageStatus::Queued
            };
        }
        if all(RecipientStatus::Delivered) {
            MessageStatus::Delivered
        } else if any(RecipientStatus::Delivered) {
            MessageStatus::PartiallyDelivered
        } else if any(RecipientStatus::Bounced) {
            MessageStatus::Bounced
        } else if any(RecipientStatus::Canceled) {
            MessageStatus::Canceled
        } else {
            MessageStatus::Failed
        }
    }
}
