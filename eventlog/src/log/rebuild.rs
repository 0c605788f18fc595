//! Making sled's files anew.

use std::path::Path;

use super::{LogOptions, open};
use crate::{error::OpenError, layout::Layout, position::Position};

/// What a rebuild made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events in the log.
    pub events: u64,
    /// Bytes of a journal frame that a crash had cut off.
    pub torn_bytes: u64,
}

/// Makes sled's files anew from the journal of a log that is not in use, and from the old files
/// what the journal no longer has. `progress` is told the position reached. When it fails, the old
/// files are as they were.
pub fn rebuild(
    dir: &Path,
    options: &LogOptions,
    progress: &mut dyn FnMut(Position),
) -> Result<Rebuilt, OpenError> {
    let layout = Layout::new(dir);
    layout.create()?;
    let _lock = layout.lock()?;
    let opened = open::recover(&layout, options, Some("a rebuild was asked for"), progress)?;
    let events = opened.sealing.end().position.get();
    Ok(Rebuilt { events, torn_bytes: opened.recovery.torn_bytes })
}
