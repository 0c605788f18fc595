//! Looks at content: recorded before anything is shown.
//!
//! # Why
//! - **No record, no look.** What people wrote is shown to a person only once it is durable that it
//!   was; while the record cannot be written, on a full disk above all, such a look is refused (503)
//!   and can be had when there is space again. Everything that shows no content goes on: states,
//!   counts, the audit itself.
//! - **One small append to a new stream**: nothing is read for it, it shares its sync with whatever
//!   else is recorded at that moment, and no stream that is folded grows.
//! - **The same reader, again at the same within an hour, is not recorded anew.** Who reloads a page,
//!   or has a stolen session, does not fill the log: at most it grows by one event for each piece of
//!   content, reader and hour. A restart begins anew, which records more and never less.
//! - **API keys are not recorded here**: they read what their own app sent, as a program does, and
//!   an append for each read would put reading at the mercy of the disk.

use std::{sync::Arc, time::Duration};

use model::{
    By, Cause, Event, ReadingId, StreamId, Timestamp,
    reading::{ContentRead, ReadingEvent, Shown},
};
use tokio::sync::Mutex;

use crate::{
    Platform,
    error::ChangeError,
    sourced::{Aggregate, CommitError, Draft, Sourced},
};

/// Looks of the same reader at the same within this have one event.
const RECORDED_EVERY: Duration = Duration::from_hours(1);
/// Looks that are remembered; one that is forgotten is recorded anew.
const MOST_REMEMBERED: u64 = 100_000;

/// A look: nothing is known of it but that it was.
#[derive(Debug, Clone, Copy, Default)]
struct Reading;

impl Aggregate for Reading {
    type Event = ReadingEvent;

    fn own(event: Event) -> Option<ReadingEvent> {
        match event {
            Event::Reading(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &ReadingEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, _event: &ReadingEvent, _at: Timestamp) {}
}

/// When a look was recorded last. Who looks while it is being recorded waits for that.
type Recorded = Arc<Mutex<Option<Timestamp>>>;

/// What was recorded of late.
pub(crate) struct Readings(moka::sync::Cache<(By, Shown, StreamId), Recorded>);

impl Readings {
    pub(crate) fn new() -> Self {
        Self(moka::sync::Cache::new(MOST_REMEMBERED))
    }
}

impl Platform {
    /// Records that content is shown to somebody: it is durable once this comes back, and only then
    /// may it be shown.
    ///
    /// # Errors
    /// The record cannot be written. Nothing is to be shown.
    pub async fn record_reading(&self, by: By, read: ContentRead) -> Result<(), ChangeError> {
        let node = self.node();
        let now = node.now();
        let look = (by, read.shown, read.of);
        let recorded = node.readings.0.get_with(look, Arc::default);
        let mut recorded = recorded.lock().await;
        if recorded.is_some_and(|at| now.since(at) < RECORDED_EVERY) {
            return Ok(());
        }
        let id = ReadingId::new(now, node.lots.bytes()?);
        let draft = Draft::new(vec![read.into()], Vec::new(), now, |_| by.into())?;
        let mut reading = Sourced::<Reading>::absent(StreamId::Reading(id));
        match reading.commit(&node.journal, now, &draft).await {
            Ok(()) => {
                *recorded = Some(now);
                Ok(())
            }
            Err(CommitError::NotWritten(error) | CommitError::Unknown(error)) => {
                tracing::warn!(%error, "content is not shown: that it was could not be recorded");
                Err(ChangeError::Unavailable)
            }
            Err(error) => {
                tracing::error!(%error, "a look at content could not be recorded");
                Err(ChangeError::Internal)
            }
        }
    }
}
