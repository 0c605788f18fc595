//! Content is forgotten when its time is over: whole hours of it, by deleting their segments.
//!
//! # Why
//! A message can outlive the retention of its content: scheduled for weeks ahead, or still being
//! tried. Its content must stay until it has ended, so the oldest unfinished message holds back the
//! hour that it was accepted in, and all later ones. That keeps some content longer than configured
//! and never loses a message.

use std::{sync::Arc, time::Duration};

use actors::Clock;
use eventlog::{EventLog, Hour};
use model::Timestamp;
use projections::{QueryError, ReadModels};

/// How often it is looked.
const EVERY: Duration = Duration::from_hours(1);
/// Unfinished messages looked at together.
const PAGE: usize = 1_000;

/// Forgets content older than `keep`, for as long as it is polled.
pub(crate) async fn run(
    log: Arc<dyn EventLog>,
    read: ReadModels,
    clock: Arc<dyn Clock>,
    keep: Duration,
) {
    loop {
        let now = clock.now();
        let (log, read) = (Arc::clone(&log), read.clone());
        let swept =
            tokio::task::spawn_blocking(move || sweep(log.as_ref(), &read, now.minus(keep)));
        match swept.await {
            Ok(Ok(0)) => {}
            Ok(Ok(segments)) => tracing::info!(segments, "content beyond its retention is gone"),
            Ok(Err(error)) => tracing::warn!(%error, "content could not be swept"),
            Err(error) => tracing::warn!(%error, "content could not be swept"),
        }
        clock.sleep_until(now.plus(EVERY)).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Content(#[from] eventlog::ContentError),
}

fn sweep(log: &dyn EventLog, read: &ReadModels, before: Timestamp) -> Result<u64, SweepError> {
    let before = oldest_unfinished(read)?.map_or(before, |oldest| oldest.min(before));
    Ok(log.drop_content_before(Hour::of(before))?)
}

fn oldest_unfinished(read: &ReadModels) -> Result<Option<Timestamp>, QueryError> {
    let mut oldest: Option<Timestamp> = None;
    let mut after = None;
    loop {
        let page = read.alarms().due(Timestamp::MAX, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(oldest) };
        after = Some(last.cursor());
        for alarm in &page {
            if let Some(message) = read.messages().get(alarm.message)? {
                let accepted = message.accepted_at;
                oldest = Some(oldest.map_or(accepted, |oldest| oldest.min(accepted)));
            }
        }
    }
}
