//! Events that rows point at, read from the log.

use eventlog::{EventLog, Position, Recorded};

use crate::error::QueryError;

/// Events that lie so near each other are read at once: most of the time they share a block.
const NEAR: u64 = 64;

/// The events at these positions, which rise; without those that were pruned.
///
/// # Errors
/// The log fails, or has no such event.
pub(crate) fn events_at(
    log: &dyn EventLog,
    wanted: &[Position],
) -> Result<Vec<Recorded>, QueryError> {
    let mut found: Vec<Recorded> = Vec::with_capacity(wanted.len());
    let pruned = log.pruned()?.map_or(Position::START, |pruned| pruned.last);
    let mut left = wanted;
    while let Some((first, rest)) = left.split_first() {
        if *first <= pruned && log.is_pruned(*first)? {
            left = rest;
            continue;
        }
        let near = rest.iter().take_while(|at| at.get().saturating_sub(first.get()) < NEAR).last();
        let span = near.map_or(0, |last| last.get().saturating_sub(first.get())).saturating_add(1);
        let after = Position::new(first.get().saturating_sub(1));
        let known = left.len();
        let limit = usize::try_from(span).unwrap_or(usize::MAX);
        for recorded in log.read_all(after, limit)? {
            if left.first() == Some(&recorded.position) {
                left = left.get(1..).unwrap_or_default();
                found.push(recorded);
            }
        }
        if left.len() == known {
            return Err(QueryError::Damaged { table: "log" });
        }
    }
    Ok(found)
}
