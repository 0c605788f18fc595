//! Recording what happened: an outcome is never given up on while the node runs, nor while a stop
//! waits for it.

use std::sync::Arc;

use model::{
    After, By, Cause, Timestamp,
    message::{Command, Message, MessageEvent, Refusal},
    suppression,
};

use super::{Standing, State};
use crate::{
    error::CancelError,
    sourced::{CommitError, Draft, Sourced},
    suppressions::Listing,
};

/// Wait after the first append that failed; doubles up to [`LONGEST_BACKOFF_MS`].
const FIRST_BACKOFF_MS: u64 = 100;
const LONGEST_BACKOFF_MS: u64 = 10_000;

/// Why an outcome is not recorded yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    /// It was decided upon a state that has moved on.
    #[error("the message has moved on")]
    MovedOn,
    /// What follows from it for the suppression list could not be written before it.
    #[error("the suppression list cannot be written")]
    Unlisted,
    /// It could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A draft that is to be written, decided at `now`.
struct Kept {
    draft: Draft<MessageEvent>,
    now: Timestamp,
    /// Whether what follows from it for the suppression list is durable.
    listed: bool,
}

impl State {
    /// Decides and writes until it is written or the node stops; returns what was written, `None`
    /// when it was not.
    ///
    /// A delivered message must get its record, or it would be delivered again: so a log that does
    /// not write is waited for.
    pub(super) async fn record(&mut self, command: &Command, by: By) -> Option<Vec<MessageEvent>> {
        let node = Arc::clone(self.node());
        let mut backoff_ms = FIRST_BACKOFF_MS;
        let mut draft = None;
        loop {
            let failed = match self.attempt(command, by, &mut draft).await {
                Ok(events) => return Some(events),
                Err(failed) => failed,
            };
            match failed {
                NotYet::MovedOn => continue,
                error => {
                    tracing::error!(message = %self.id(), %error, "an outcome is not recorded yet");
                }
            }
            if !node.pause_to_the_end_ms(node.lots.spread_ms(backoff_ms)).await {
                tracing::error!(message = %self.id(), "stopped before an outcome was recorded");
                self.sourced = None;
                return None;
            }
            backoff_ms = (backoff_ms * 2).min(LONGEST_BACKOFF_MS);
        }
    }

    /// One try. A draft that may have been written is kept, so that it is recognised; and one whose
    /// events others may name already as what they follow from.
    async fn attempt(
        &mut self,
        command: &Command,
        by: By,
        kept: &mut Option<Kept>,
    ) -> Result<Vec<MessageEvent>, NotYet> {
        let node = Arc::clone(self.node());
        self.ensure_loaded().await?;
        let mut known = if let Some(known) = kept.take() {
            known
        } else {
            // Refused: somebody else has ended it.
            let Ok(decided) = self.decide(command, &Standing::unasked()) else {
                return Ok(Vec::new());
            };
            let draft = self.draft(decided.events, decided.now, by)?;
            Kept { draft, now: decided.now, listed: false }
        };
        if !known.listed {
            let listed = self.list(&known.draft, by).await;
            known.listed = listed.is_ok();
            if let Err(failed) = listed {
                *kept = Some(known);
                return Err(failed);
            }
        }
        let Kept { draft, now, .. } = kept.insert(known);
        let Some(sourced) = self.sourced.as_mut() else {
            return Err(NotYet::MovedOn);
        };
        match sourced.commit(&node.journal, *now, draft).await {
            Ok(()) => Ok(draft.events().cloned().collect()),
            Err(CommitError::Conflict) => {
                *kept = None;
                Err(NotYet::MovedOn)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Events that were decided upon the present state, each with what it comes of.
    fn draft(
        &self,
        events: Vec<MessageEvent>,
        now: Timestamp,
        by: By,
    ) -> Result<Draft<MessageEvent>, CommitError> {
        let absent = Message::default();
        let message = self.sourced.as_ref().map_or(&absent, Sourced::state);
        Ok(Draft::new(events, Vec::new(), now, |event| message.cause(event, by))?)
    }

    /// Puts on the app's list whom these events say is gone. Before they are recorded: a crash in
    /// between has the receiver asked once more, and the other way round it would be forgotten.
    async fn list(&mut self, draft: &Draft<MessageEvent>, by: By) -> Result<(), NotYet> {
        let Some((_, accepted)) = self.sourced.as_ref().and_then(|known| known.state().accepted())
        else {
            return Ok(());
        };
        let (tenant, app) = (accepted.tenant, accepted.app);
        let gone: Vec<_> = draft
            .named()
            .filter_map(|(id, event)| {
                let (recipient, reason) = suppression::follows_from(event, accepted)?;
                let hash = accepted.recipients.get(recipient.as_usize())?.hash;
                Some((id, recipient, Listing { tenant, app, recipient: hash, reason }))
            })
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let content = self.content().await.ok();
        for (id, recipient, listing) in gone {
            let people = content.as_ref().map(|content| &content.head.recipients);
            let known = people.and_then(|people| people.get(recipient.as_usize()));
            let email = known.map(|recipient| recipient.mailbox.email.clone());
            let cause = Cause { by, after: Some(After::Other(self.stream(), id)) };
            listing.put(self.node(), email, cause).await.map_err(|_| NotYet::Unlisted)?;
        }
        Ok(())
    }

    async fn ensure_loaded(&mut self) -> Result<(), CommitError> {
        if self.sourced.is_none() {
            let stream = self.stream();
            let loaded = Sourced::load(&self.node().journal, stream).await?;
            self.sourced = Some(loaded);
        }
        Ok(())
    }

    /// Decides and writes what somebody asks for; how many events that were. Once: who asks can ask
    /// again.
    pub(super) async fn record_once(
        &mut self,
        command: &Command,
        by: By,
    ) -> Result<usize, CancelError> {
        let node = Arc::clone(self.node());
        loop {
            let decided =
                self.decide(command, &Standing::unasked()).map_err(|refusal| match refusal {
                    Refusal::Unknown => CancelError::Unknown,
                    _ => CancelError::NotCancelable,
                })?;
            let count = decided.events.len();
            let draft = self.draft(decided.events, decided.now, by);
            let draft = draft.map_err(|_| CancelError::Internal)?;
            let sourced = self.sourced.as_mut().ok_or(CancelError::Internal)?;
            match sourced.commit(&node.journal, decided.now, &draft).await {
                Ok(()) => return Ok(count),
                Err(CommitError::Conflict) => {}
                Err(CommitError::NotWritten(_)) => return Err(CancelError::Unavailable),
                Err(CommitError::Unknown(_)) => {
                    self.sourced = None;
                    return Err(CancelError::Unavailable);
                }
                Err(error) => {
                    tracing::error!(message = %self.id(), %error, "a command on a message was not recorded");
                    self.sourced = None;
                    return Err(CancelError::Internal);
                }
            }
        }
    }
}
