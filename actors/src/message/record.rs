//! Recording what happened: an outcome is never given up on while the node runs, nor while a stop
//! waits for it.

use std::sync::Arc;

use model::{
    Timestamp,
    message::{Command, MessageEvent, Refusal},
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

impl State {
    /// Decides and writes until it is written or the node stops; returns what was written, `None`
    /// when it was not.
    ///
    /// A delivered message must get its record, or it would be delivered again: so a log that does
    /// not write is waited for.
    pub(super) async fn record(&mut self, command: &Command) -> Option<Vec<MessageEvent>> {
        let node = Arc::clone(self.node());
        let mut backoff_ms = FIRST_BACKOFF_MS;
        let mut draft: Option<(Draft<MessageEvent>, Timestamp)> = None;
        loop {
            let failed = match self.attempt(command, &mut draft).await {
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

    /// One try. A draft that may have been written is kept, so that it is recognised.
    async fn attempt(
        &mut self,
        command: &Command,
        kept: &mut Option<(Draft<MessageEvent>, Timestamp)>,
    ) -> Result<Vec<MessageEvent>, NotYet> {
        let node = Arc::clone(self.node());
        self.ensure_loaded().await?;
        if kept.is_none() {
            // Refused: somebody else has ended it.
            let Ok(decided) = self.decide(command, &Standing::unasked()) else {
                return Ok(Vec::new());
            };
            self.list(&decided.events).await?;
            let draft =
                Draft::new(decided.events, Vec::new(), decided.now).map_err(CommitError::from)?;
            *kept = Some((draft, decided.now));
        }
        let (Some((draft, now)), Some(sourced)) = (kept.as_ref(), self.sourced.as_mut()) else {
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

    /// Puts on the app's list whom these events say is gone. Before they are recorded: a crash in
    /// between has the receiver asked once more, and the other way round it would be forgotten.
    async fn list(&mut self, events: &[MessageEvent]) -> Result<(), NotYet> {
        let Some((_, accepted)) = self.sourced.as_ref().and_then(|known| known.state().accepted())
        else {
            return Ok(());
        };
        let (tenant, app) = (accepted.tenant, accepted.app);
        let gone: Vec<_> = events
            .iter()
            .filter_map(|event| suppression::follows_from(event, accepted))
            .filter_map(|(recipient, reason)| {
                let hash = accepted.recipients.get(recipient.as_usize())?.hash;
                Some((recipient, Listing { tenant, app, recipient: hash, reason }))
            })
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let content = self.content().await.ok();
        for (recipient, listing) in gone {
            let people = content.as_ref().map(|content| &content.head.recipients);
            let known = people.and_then(|people| people.get(recipient.as_usize()));
            let email = known.map(|recipient| recipient.mailbox.email.clone());
            listing.put(self.node(), email).await.map_err(|_| NotYet::Unlisted)?;
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
    pub(super) async fn record_once(&mut self, command: &Command) -> Result<usize, CancelError> {
        let node = Arc::clone(self.node());
        loop {
            let decided =
                self.decide(command, &Standing::unasked()).map_err(|refusal| match refusal {
                    Refusal::Unknown => CancelError::Unknown,
                    _ => CancelError::NotCancelable,
                })?;
            let count = decided.events.len();
            let draft = Draft::new(decided.events, Vec::new(), decided.now)
                .map_err(|_| CancelError::Internal)?;
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
