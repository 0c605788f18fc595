//! Recording what happened: an outcome is never given up on while the node runs, nor while a stop
//! waits for it.

use std::sync::Arc;

use model::{
    Timestamp,
    message::{Command, MessageEvent, Refusal},
};

use super::{Standing, State};
use crate::{
    error::CancelError,
    sourced::{CommitError, Draft},
};

/// Wait after the first append that failed; doubles up to [`LONGEST_BACKOFF_MS`].
const FIRST_BACKOFF_MS: u64 = 100;
const LONGEST_BACKOFF_MS: u64 = 10_000;

impl State {
    /// Decides and writes until it is written or the node stops; returns what was written.
    ///
    /// A delivered message must get its record, or it would be delivered again: so a log that does
    /// not write is waited for.
    pub(super) async fn record(&mut self, command: &Command) -> Vec<MessageEvent> {
        let node = Arc::clone(self.node());
        let mut backoff_ms = FIRST_BACKOFF_MS;
        let mut draft: Option<(Draft<MessageEvent>, Timestamp)> = None;
        loop {
            let failed = match self.attempt(command, &mut draft).await {
                Ok(events) => return events,
                Err(failed) => failed,
            };
            match failed {
                Some(error) => {
                    tracing::error!(message = %self.id(), %error, "an outcome is not recorded yet");
                }
                // Decided upon a state that has moved on: at once again.
                None => continue,
            }
            if !node.pause_to_the_end_ms(node.lots.spread_ms(backoff_ms)).await {
                tracing::error!(message = %self.id(), "stopped before an outcome was recorded");
                self.sourced = None;
                return Vec::new();
            }
            backoff_ms = (backoff_ms * 2).min(LONGEST_BACKOFF_MS);
        }
    }

    /// One try. A draft that may have been written is kept, so that it is recognised.
    async fn attempt(
        &mut self,
        command: &Command,
        kept: &mut Option<(Draft<MessageEvent>, Timestamp)>,
    ) -> Result<Vec<MessageEvent>, Option<CommitError>> {
        let node = Arc::clone(self.node());
        if let Err(error) = self.ensure_loaded().await {
            return Err(Some(error));
        }
        if kept.is_none() {
            // Refused: somebody else has ended it.
            let Ok(decided) = self.decide(command, &Standing::unasked()) else {
                return Ok(Vec::new());
            };
            let draft = Draft::new(decided.events, Vec::new(), decided.now)
                .map_err(|error| Some(error.into()))?;
            *kept = Some((draft, decided.now));
        }
        let (Some((draft, now)), Some(sourced)) = (kept.as_ref(), self.sourced.as_mut()) else {
            return Err(None);
        };
        match sourced.commit(&node.journal, *now, draft).await {
            Ok(()) => Ok(draft.events().cloned().collect()),
            Err(CommitError::Conflict) => {
                *kept = None;
                Err(None)
            }
            Err(error) => Err(Some(error)),
        }
    }

    async fn ensure_loaded(&mut self) -> Result<(), CommitError> {
        if self.sourced.is_none() {
            let stream = self.stream();
            let loaded = crate::sourced::Sourced::load(&self.node().journal, stream).await?;
            self.sourced = Some(loaded);
        }
        Ok(())
    }

    /// Takes back what is open. Once: who asks can ask again.
    pub(super) async fn cancel_open(&mut self) -> Result<(), CancelError> {
        let node = Arc::clone(self.node());
        loop {
            let decided = self.decide(&Command::Cancel, &Standing::unasked()).map_err(
                |refusal| match refusal {
                    Refusal::Unknown => CancelError::Unknown,
                    _ => CancelError::NotCancelable,
                },
            )?;
            let draft = Draft::new(decided.events, Vec::new(), decided.now)
                .map_err(|_| CancelError::Internal)?;
            let sourced = self.sourced.as_mut().ok_or(CancelError::Internal)?;
            match sourced.commit(&node.journal, decided.now, &draft).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::NotWritten(_)) => return Err(CancelError::Unavailable),
                Err(CommitError::Unknown(_)) => {
                    self.sourced = None;
                    return Err(CancelError::Unavailable);
                }
                Err(error) => {
                    tracing::error!(message = %self.id(), %error, "a message was not taken back");
                    self.sourced = None;
                    return Err(CancelError::Internal);
                }
            }
        }
    }
}
