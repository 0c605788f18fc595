//! The journal: append-only segment files in which an append becomes durable.
//!
//! A segment is named by its first position. It begins with a header (the chain's end before it)
//! and holds frames, one per group commit, then zeros that were written ahead: a sync into zeros
//! that are already on the disk has no new length to record and costs half.

mod frame;
mod reader;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) use self::{
    frame::FrameBuilder,
    reader::{Ending, Segment, SegmentReader, segment_header},
    writer::JournalWriter,
};
use crate::{error::OpenError, event::ChainEnd, position::Position};

const EXTENSION: &str = "journal";

/// The segments of a journal, oldest first.
pub(crate) fn segments(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(|error| OpenError::io(dir, error))?;
    for entry in entries {
        let path = entry.map_err(|error| OpenError::io(dir, error))?.path();
        if let Some(first) = first_of(&path) {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The first position of the segment with this name; `None` for other files.
pub(crate) fn first_of(path: &Path) -> Option<Position> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok().map(Position::new)
}

pub(crate) fn segment_path(dir: &Path, first: Position) -> PathBuf {
    dir.join(format!("{:020}.{EXTENSION}", first.get()))
}

/// Reads the journal from the segment in which `from` lies, frame by frame, to its end.
///
/// # Errors
/// The first damage, with its place. A torn last frame is none: it was never acknowledged.
pub(crate) struct JournalReader {
    waiting: std::vec::IntoIter<PathBuf>,
    current: Option<SegmentReader>,
    end: Option<ChainEnd>,
    last: Option<Ending>,
}

impl JournalReader {
    /// `from`: the first position that is wanted; earlier ones of its segment come too.
    pub(crate) fn open(dir: &Path, from: Position) -> Result<Self, OpenError> {
        let mut paths = segments(dir)?;
        let first_wanted = paths
            .iter()
            .rposition(|path| first_of(path).is_some_and(|first| first <= from))
            .unwrap_or(0);
        paths.drain(..first_wanted);
        Ok(Self { waiting: paths.into_iter(), current: None, end: None, last: None })
    }

    /// The chain's end before the first event that will be read; `None` for an empty journal.
    pub(crate) fn start(&mut self) -> Result<Option<ChainEnd>, OpenError> {
        if self.current.is_none() && self.end.is_none() {
            self.advance()?;
        }
        Ok(self.current.as_ref().map(SegmentReader::end))
    }

    /// The events of the next frame; `None` at the end.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Vec<crate::Recorded>>, OpenError> {
        loop {
            if self.current.is_none() && !self.advance()? {
                return Ok(None);
            }
            let Some(reader) = self.current.as_mut() else { return Ok(None) };
            let last_segment = self.waiting.len() == 0;
            if let Some(events) = reader.next_frame(last_segment)? {
                return Ok(Some(events));
            }
            self.end = Some(reader.end());
            self.last = reader.ending();
            self.current = None;
        }
    }

    /// How the last segment ended, once everything was read; `None` for an empty journal.
    pub(crate) fn finish(self) -> Option<Ending> {
        self.last
    }

    fn advance(&mut self) -> Result<bool, OpenError> {
        let Some(path) = self.waiting.next() else { return Ok(false) };
        let segment = Segment::open(&path)?;
        if let Some(end) = self.end
            && end != segment.before()
        {
            return Err(OpenError::Journal {
                file: path,
                offset: 0,
                position: end.position.next(),
                what: "it does not go on where the segment before it ends".into(),
            });
        }
        self.current = Some(segment.read());
        Ok(true)
    }
}

/// Bytes that the journal takes on the disk.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    crate::files::disk_bytes(dir)
}

/// Removes segments that a crash left half made.
pub(crate) fn remove_half_made(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
