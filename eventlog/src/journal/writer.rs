//! Writing the journal: one owner, one frame at a time.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use model::Timestamp;

use super::{
    reader::{Ending, SEGMENT_HEADER_LEN, segment_header},
    segment_path,
};
use crate::{event::ChainEnd, files};

/// Zeros are written ahead in pieces of this size: large enough that a sync that must record a
/// new length is rare, small enough that no single commit waits long for them.
const AHEAD: u64 = 1024 * 1024;
/// A segment that goes back further than this is ended, however small it is: it is let go of as a
/// whole, and what it holds cannot be pruned before.
const SEGMENT_AGE: Duration = Duration::from_hours(24);

/// A write that failed.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) error: io::Error,
    /// Whether the file is as it was before: the journal can go on.
    pub(crate) undone: bool,
}

/// The open end of the journal.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    dir: PathBuf,
    file: File,
    /// Where the next frame goes.
    end: u64,
    /// How far zeros are written.
    zeroed: u64,
    segment_bytes: u64,
    /// When the last event before the segment was recorded; 0 without one.
    begun: Timestamp,
}

impl JournalWriter {
    /// Begins a journal after `before`.
    pub(crate) fn create(dir: &Path, before: ChainEnd, segment_bytes: u64) -> io::Result<Self> {
        let file = new_segment(dir, before).map_err(|failure| failure.error)?;
        let end = SEGMENT_HEADER_LEN as u64;
        let begun = before.at;
        Ok(Self { dir: dir.to_owned(), file, end, zeroed: AHEAD, segment_bytes, begun })
    }

    /// Goes on where the last segment ends; what a crash cut off is removed.
    ///
    /// The last frame is written once more and synced: after a sync that failed, the page cache
    /// may show a frame that the disk does not have, and what is read here will be built upon.
    pub(crate) fn resume(
        dir: &Path,
        ending: &Ending,
        begun: Timestamp,
        segment_bytes: u64,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&ending.path)?;
        let mut zeroed = ending.len;
        if ending.torn > 0 {
            file.set_len(ending.end)?;
            zeroed = ending.end;
        }
        let len = usize::try_from(ending.end - ending.last_frame).unwrap_or(0);
        let mut last = vec![0; len];
        file.read_exact_at(&mut last, ending.last_frame)?;
        file.write_all_at(&last, ending.last_frame)?;
        file.sync_all()?;
        let (dir, end) = (dir.to_owned(), ending.end);
        Ok(Self { dir, file, end, zeroed, segment_bytes, begun })
    }

    /// Writes a frame that goes on after `before`; it is not yet durable.
    pub(crate) fn write(&mut self, frame: &[u8], before: ChainEnd) -> Result<(), WriteFailure> {
        if self.begun == Timestamp::from_millis(0) {
            self.begun = before.at;
        }
        if self.end >= self.segment_bytes || before.at.since(self.begun) > SEGMENT_AGE {
            self.rotate(before)?;
        }
        let after = self.end + frame.len() as u64;
        if after > self.zeroed {
            self.zero_ahead(after)?;
        }
        self.file.write_all_at(frame, self.end).map_err(|error| {
            // Part of the frame may be there; the next one can be shorter and must not end in it.
            let zeros = vec![0; frame.len()];
            let undone = self.file.write_all_at(&zeros, self.end).is_ok();
            WriteFailure { error, undone }
        })?;
        self.end = after;
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Cuts off the zeros that were written ahead; nothing more will be written.
    pub(crate) fn finish(self) {
        // Should this fail, they only cost space: readers know zeros.
        if let Err(error) = self.file.set_len(self.end).and_then(|()| self.file.sync_all()) {
            tracing::warn!(%error, "could not cut the zeros off the journal");
        }
    }

    fn zero_ahead(&mut self, after: u64) -> Result<(), WriteFailure> {
        let goal = after.next_multiple_of(AHEAD);
        // On a disk that is nearly full, what the frame itself needs will do.
        let mut last = io::Error::from(io::ErrorKind::StorageFull);
        for goal in [goal, after] {
            match files::write_zeros(&self.file, self.zeroed, goal) {
                Ok(()) => {
                    self.zeroed = goal;
                    return Ok(());
                }
                Err(error) => last = error,
            }
            if self.file.set_len(self.zeroed).is_err() {
                return Err(WriteFailure { error: last, undone: false });
            }
        }
        Err(WriteFailure { error: last, undone: true })
    }

    fn rotate(&mut self, before: ChainEnd) -> Result<(), WriteFailure> {
        let file = new_segment(&self.dir, before)?;
        // The zeros behind the last frame are of no more use. Should this fail, they only cost
        // space: readers know zeros.
        if let Err(error) = self.file.set_len(self.end) {
            tracing::warn!(%error, "could not cut the zeros off a finished journal segment");
        }
        self.file = file;
        self.end = SEGMENT_HEADER_LEN as u64;
        self.zeroed = AHEAD;
        self.begun = before.at;
        Ok(())
    }
}

/// Makes a segment under its final name only once its header is durable.
fn new_segment(dir: &Path, before: ChainEnd) -> Result<File, WriteFailure> {
    let path = segment_path(dir, before.position.next());
    let half_made = path.with_extension("new");
    let undone = |error| {
        let undone = std::fs::remove_file(&half_made).is_ok() || !half_made.exists();
        WriteFailure { error, undone }
    };
    let made = || -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&half_made)?;
        let header = segment_header(before);
        file.write_all_at(&header, 0)?;
        files::write_zeros(&file, header.len() as u64, AHEAD)?;
        file.sync_all()?;
        Ok(file)
    };
    let file = made().map_err(undone)?;
    // Opened before there is something to undo that cannot be: descriptors may be short.
    let directory = File::open(dir).map_err(undone)?;
    std::fs::rename(&half_made, &path).map_err(undone)?;
    directory.sync_all().map_err(|error| WriteFailure { error, undone: false })?;
    Ok(file)
}
