//! Events that rows point at, read from the log.

use eventlog::{EventLog, Position, Recorded};

use crate::error::QueryError;

/// Events that lie so near each other are read at once: most of the time they share a block.
const NEAR: u64 = 64;

/// The events at these positions, which rise.
///
/// # Errors
/// The log fails, or has no such event.
pub(crate) fn events_at(
    log: &dyn EventLog,
    wanted: &[Position],
) -> Result<Vec<Recorded>, QueryError> {
    let mut found: Vec<Recorded> = Vec::with_capacity(wanted.len());
    while let Some((first, rest)) = wanted.get(found.len()..).and_then(<[_]>::split_first) {
        let near = rest.iter().take_while(|at| at.get().saturating_sub(first.get()) < NEAR).last();
        let span = near.map_or(0, |last| last.get().saturating_sub(first.get())).saturating_add(1);
        let after = Position::new(first.get().saturating_sub(1));
        let known = found.len();
        let limit = usize::try_from(span).unwrap_or(usize::MAX);
        for recorded in log.read_all(after, limit)? {
            if wanted.get(found.len()) == Some(&recorded.position) {
                found.push(recorded);
            }
        }
        if found.len() == known {
            return Err(QueryError::Damaged { table: "log" });
        }
    }
    Ok(found)
}
