//! Reading the log from one end to the other.

use crate::{contract::EventLog, error::ReadError, event::Recorded, position::Position};

/// Events read at once.
const PAGE: usize = 1024;

/// All events after a position up to the head at the time they are reached, one by one; ends after
/// the first error.
pub fn export(
    log: &dyn EventLog,
    after: Position,
) -> impl Iterator<Item = Result<Recorded, ReadError>> + '_ {
    let mut reached = Some(after);
    let mut page = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if page.len() == 0 {
            match log.read_all(reached?, PAGE) {
                Ok(events) => page = events.into_iter(),
                Err(error) => {
                    reached = None;
                    return Some(Err(error));
                }
            }
        }
        let event: Recorded = page.next()?;
        reached = Some(event.position);
        Some(Ok(event))
    })
}
