//! Checking a log that has a journal and no sled: that of a backup.

use std::path::Path;

use super::{VerifyError, VerifyReport, bad, check_content, walk::Signed, walk::Walk};
use crate::{
    content::{ContentSegments, Hour},
    error::OpenError,
    event::{ChainEnd, Recorded},
    journal::JournalReader,
    layout::Layout,
    position::Position,
};

/// Checks the log in `dir` by its journal alone, which must reach back to the first event: every
/// checksum, the chain, the tree, what was signed of both, and the content that events name.
/// `take` gets the events as they are found well, and the positions reached.
pub(crate) fn verify_copy(
    dir: &Path,
    signed: &Signed,
    take: &mut dyn FnMut(&[Recorded]) -> Result<(), OpenError>,
) -> Result<VerifyReport, VerifyError> {
    let layout = Layout::new(dir);
    let content = ContentSegments::open(&layout.content(), Hour::default())
        .map_err(|error| OpenError::io(layout.content(), error))?;
    let mut walk = Walk::of_copy(signed, &layout)?;
    let mut report = VerifyReport::default();
    let mut reader = JournalReader::open(&layout.journal(), Position::START)?;
    match reader.start()? {
        Some(ChainEnd::START) => {}
        Some(later) => {
            let what = format!("the journal begins only at {}", later.position.next());
            return Err(bad(Position::START.next(), what));
        }
        None => return Err(bad(Position::START.next(), "there is no journal")),
    }
    while let Some(events) = reader.next_frame()? {
        for event in &events {
            walk.step(event, None)?;
            check_content(&content, event, &mut report)?;
        }
        take(&events)?;
    }
    walk.finish()?;
    report.head = walk.end.position;
    report.signed = walk.signed;
    report.journal_from = Position::START.next();
    report.torn_bytes = reader.finish().map_or(0, |ending| ending.torn);
    Ok(report)
}
