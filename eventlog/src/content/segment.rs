//! Content segments: one file per hour, and one for what lasts; records one behind the other.
//!
//! What deletes is the file system: a whole file for retention, a punched hole for one record.
//! (10 KB values deleted from sled gave no disk back.)

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{ContentLocation, Hour, MAX_SEALED_BYTES, Sealed};
use crate::{error::ContentError, files};

const MAGIC: [u8; 8] = *b"lumorac1";
/// Zeros are written ahead in pieces of this size.
const AHEAD: u64 = 512 * 1024;
const EXTENSION: &str = "content";
const LASTING: &str = "lasting";

/// The segments of a directory, to read from and to forget in.
#[derive(Debug)]
pub(crate) struct ContentSegments {
    dir: PathBuf,
    /// The hour that is being written: it is never dropped.
    newest: AtomicU32,
    /// Hours before this one were dropped.
    dropped_before: AtomicU32,
}

/// The one who writes segments.
#[derive(Debug)]
pub(crate) struct ContentWriter {
    dir: PathBuf,
    open: Option<OpenSegment>,
    /// That of [`Hour::LASTING`]: beside the present hour's, so that the two do not take turns.
    lasting: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    hour: Hour,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// How far zeros are written.
    zeroed: u64,
}

/// A write that failed.
#[derive(Debug)]
pub(crate) struct ContentFailure {
    pub(crate) error: io::Error,
    /// Whether the segments are as they were before.
    pub(crate) undone: bool,
}

pub(crate) fn segment_path(dir: &Path, hour: Hour) -> PathBuf {
    if hour == Hour::LASTING {
        return dir.join(format!("{LASTING}.{EXTENSION}"));
    }
    dir.join(format!("{:08}.{EXTENSION}", hour.get()))
}

fn hour_of(path: &Path) -> Option<Hour> {
    if path.extension()? != EXTENSION {
        return None;
    }
    match path.file_stem()?.to_str()? {
        LASTING => Some(Hour::LASTING),
        hour => hour.parse().ok().map(Hour::new),
    }
}

impl ContentWriter {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), open: None, lasting: None }
    }

    /// Writes the records of several appends, each with its hour, and makes them durable: all or
    /// none. Hours do not go backwards. The locations come in the same order.
    pub(crate) fn write(
        &mut self,
        appends: &[(Hour, &[Sealed])],
    ) -> Result<Vec<Box<[ContentLocation]>>, ContentFailure> {
        let mut written = BTreeMap::new();
        match self.write_records(appends, &mut written) {
            Ok(locations) => Ok(locations),
            Err(error) => {
                // What no event names is cut off again: it would be there until its hour is
                // dropped, and erasing a person would not find it.
                let mut undone = true;
                for (hour, end) in written {
                    undone &= self.cut(hour, end).is_ok();
                }
                (self.open, self.lasting) = (None, None);
                Err(ContentFailure { error, undone })
            }
        }
    }

    fn write_records(
        &mut self,
        appends: &[(Hour, &[Sealed])],
        written: &mut BTreeMap<Hour, u64>,
    ) -> io::Result<Vec<Box<[ContentLocation]>>> {
        let mut all = Vec::with_capacity(appends.len());
        for (hour, records) in appends {
            let mut locations = Vec::with_capacity(records.len());
            if !records.is_empty() {
                let segment = self.segment(*hour)?;
                written.entry(*hour).or_insert(segment.end);
                for sealed in *records {
                    segment.zero_ahead(u64::from(sealed.len()))?;
                    segment.file.write_all_at(sealed.as_bytes(), segment.end)?;
                    locations.push(ContentLocation {
                        segment: *hour,
                        offset: segment.end,
                        len: sealed.len(),
                        hash: sealed.hash(),
                    });
                    segment.end += u64::from(sealed.len());
                }
            }
            all.push(locations.into_boxed_slice());
        }
        for segment in self.open.iter().chain(&self.lasting) {
            if written.contains_key(&segment.hour) {
                segment.file.sync_data()?;
            }
        }
        Ok(all)
    }

    /// The segment of an hour; one of another hour is synced and left.
    fn segment(&mut self, hour: Hour) -> io::Result<&mut OpenSegment> {
        let place = if hour == Hour::LASTING { &mut self.lasting } else { &mut self.open };
        if let Some(open) = place.take_if(|open| open.hour != hour) {
            open.finish()?;
        }
        let segment = match place.take() {
            Some(segment) => segment,
            None => OpenSegment::open(&self.dir, hour)?,
        };
        Ok(place.insert(segment))
    }

    /// Cuts off the zeros that were written ahead; nothing more will be written.
    pub(crate) fn finish(self) {
        for open in self.open.iter().chain(&self.lasting) {
            if let Err(error) = open.finish() {
                tracing::warn!(%error, "could not cut the zeros off a content segment");
            }
        }
    }

    fn cut(&self, hour: Hour, end: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(segment_path(&self.dir, hour))?.set_len(end)
    }
}

impl OpenSegment {
    fn open(dir: &Path, hour: Hour) -> io::Result<Self> {
        let path = segment_path(dir, hour);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let mut end = file.metadata()?.len();
        let first = MAGIC.len() as u64;
        if end < first {
            file.write_all_at(&MAGIC, 0)?;
            end = first;
            file.sync_all()?;
            files::sync_directory(dir)?;
        }
        // What lies there, be it zeros that were written ahead before a crash, stays as it is: the
        // place of an erased record must never be given out again.
        Ok(Self { hour, file, end, zeroed: end })
    }

    /// Writes zeros ahead of a record that does not fit into those there are: a sync into zeros
    /// that are on the disk has no new length to record.
    fn zero_ahead(&mut self, len: u64) -> io::Result<()> {
        let after = self.end + len;
        if after <= self.zeroed {
            return Ok(());
        }
        // A large record has enough of its own to write.
        let goal = after.next_multiple_of(AHEAD);
        if len < AHEAD / 4 && files::write_zeros(&self.file, self.zeroed, goal).is_ok() {
            self.zeroed = goal;
            return Ok(());
        }
        // On a disk that is nearly full, what the record itself needs may still fit.
        self.file.set_len(self.zeroed)?;
        self.zeroed = after;
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }
}

impl ContentSegments {
    pub(crate) fn open(dir: &Path, newest: Hour) -> io::Result<Self> {
        let dropped = match std::fs::read_to_string(dropped_file(dir)) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "dropped-before is not a number")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            dir: dir.to_owned(),
            newest: AtomicU32::new(newest.get()),
            dropped_before: AtomicU32::new(dropped),
        })
    }

    /// From now on, content is written to this hour or a later one.
    pub(crate) fn reach(&self, hour: Hour) {
        self.newest.fetch_max(hour.get(), Ordering::AcqRel);
    }

    pub(crate) fn read(&self, location: &ContentLocation) -> Result<Sealed, ContentError> {
        let file = match File::open(segment_path(&self.dir, location.segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.missing(location));
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = read_record(&file, location)?;
        if bytes.first() == Some(&0) {
            return Err(ContentError::Forgotten);
        }
        match Sealed::from_bytes(bytes) {
            Ok(sealed) if sealed.hash() == location.hash => Ok(sealed),
            _ => Err(damaged(location, "the record fails its hash")),
        }
    }

    /// Overwrites a record. Its first byte goes first, and durably: a sealed record never begins
    /// with zero, so one that a crash left half overwritten counts as forgotten and can be erased
    /// again.
    pub(crate) fn erase(&self, location: &ContentLocation) -> Result<(), ContentError> {
        match self.read(location) {
            Err(ContentError::Forgotten) if !self.is_there(location) => return Ok(()),
            Ok(_) | Err(ContentError::Forgotten) => {}
            Err(error) => return Err(error),
        }
        let path = segment_path(&self.dir, location.segment);
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(&[0], location.offset)?;
        file.sync_data()?;
        let zeros = vec![0; usize::try_from(location.len).unwrap_or(0)];
        file.write_all_at(&zeros, location.offset)?;
        file.sync_data()?;
        // Not every file system can; the bytes are gone in any case.
        let punched = fallocate(
            &file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            location.offset,
            u64::from(location.len),
        );
        if let Err(error) = punched {
            tracing::debug!(%error, "no hole punched for erased content");
        }
        file.sync_data()?;
        Ok(())
    }

    pub(crate) fn drop_before(&self, hour: Hour) -> Result<u64, ContentError> {
        let hour = hour.get().min(self.newest.load(Ordering::Acquire));
        // The note first: after a crash in between, files that are gone were meant to go.
        if hour > self.dropped_before.load(Ordering::Acquire) {
            files::replace(&dropped_file(&self.dir), format!("{hour}\n").as_bytes())?;
            self.dropped_before.fetch_max(hour, Ordering::AcqRel);
        }
        let mut dropped = 0;
        for segment in self.hours()? {
            if segment.get() < hour {
                std::fs::remove_file(segment_path(&self.dir, segment))?;
                dropped += 1;
            }
        }
        if dropped > 0 {
            files::sync_directory(&self.dir)?;
        }
        Ok(dropped)
    }

    pub(crate) fn hours(&self) -> io::Result<Vec<Hour>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            found.extend(hour_of(&entry?.path()));
        }
        Ok(found)
    }

    fn is_there(&self, location: &ContentLocation) -> bool {
        segment_path(&self.dir, location.segment).exists()
    }

    fn missing(&self, location: &ContentLocation) -> ContentError {
        if location.segment.get() < self.dropped_before.load(Ordering::Acquire) {
            ContentError::Forgotten
        } else {
            damaged(location, "the segment is missing")
        }
    }
}

pub(crate) fn dropped_file(dir: &Path) -> PathBuf {
    dir.join("dropped-before")
}

fn read_record(file: &File, location: &ContentLocation) -> Result<Vec<u8>, ContentError> {
    let len = usize::try_from(location.len).unwrap_or(usize::MAX);
    if len == 0 || len > MAX_SEALED_BYTES || location.offset < MAGIC.len() as u64 {
        return Err(damaged(location, "no record can lie there"));
    }
    let mut bytes = vec![0; len];
    match file.read_exact_at(&mut bytes, location.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged(location, "the segment ends before the record does"))
        }
        read => Ok(read.map(|()| bytes)?),
    }
}

fn damaged(location: &ContentLocation, what: &'static str) -> ContentError {
    let (hour, offset) = (location.segment.get(), location.offset);
    ContentError::Damaged { hour, offset, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ContentHash;

    fn sealed(byte: u8, len: usize) -> Sealed {
        Sealed::from_bytes(vec![byte; len]).unwrap()
    }

    fn write(dir: &Path, hour: u32, records: &[Sealed]) -> Vec<ContentLocation> {
        let mut writer = ContentWriter::new(dir);
        let locations = writer.write(&[(Hour::new(hour), records)]).unwrap().concat();
        writer.finish();
        locations
    }

    #[test]
    fn records_read_back_across_hours_and_writers() {
        let dir = tempfile::tempdir().unwrap();
        let records = [sealed(1, 10), sealed(2, 100_000)];
        let mut writer = ContentWriter::new(dir.path());
        let locations = writer
            .write(&[(Hour::new(5), &records), (Hour::new(5), &[]), (Hour::new(6), &records[..1])])
            .unwrap();
        assert_eq!(locations.iter().map(|l| l.len()).collect::<Vec<_>>(), [2, 0, 1]);
        let later = write(dir.path(), 6, &records);
        let segments = ContentSegments::open(dir.path(), Hour::new(6)).unwrap();
        for (location, record) in locations.concat().iter().zip([0, 1, 0]) {
            assert_eq!(segments.read(location).unwrap(), records[record]);
        }
        assert_eq!(segments.read(&later[1]).unwrap(), records[1]);
    }

    #[test]
    fn what_is_erased_is_forgotten_and_its_neighbours_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let records = [sealed(1, 20_000), sealed(2, 20_000), sealed(3, 20_000)];
        let locations = write(dir.path(), 5, &records);
        let segments = ContentSegments::open(dir.path(), Hour::new(5)).unwrap();
        segments.erase(&locations[1]).unwrap();
        segments.erase(&locations[1]).unwrap();
        assert!(matches!(segments.read(&locations[1]), Err(ContentError::Forgotten)));
        assert_eq!(segments.read(&locations[0]).unwrap(), records[0]);
        assert_eq!(segments.read(&locations[2]).unwrap(), records[2]);
        let bytes = std::fs::read(segment_path(dir.path(), Hour::new(5))).unwrap();
        assert!(!bytes.contains(&2));
    }

    #[test]
    fn a_record_that_a_crash_left_half_erased_can_be_erased_again() {
        let dir = tempfile::tempdir().unwrap();
        let locations = write(dir.path(), 5, &[sealed(7, 5000)]);
        let path = segment_path(dir.path(), Hour::new(5));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0], locations[0].offset).unwrap();
        let segments = ContentSegments::open(dir.path(), Hour::new(5)).unwrap();
        assert!(matches!(segments.read(&locations[0]), Err(ContentError::Forgotten)));
        segments.erase(&locations[0]).unwrap();
        assert!(!std::fs::read(&path).unwrap().contains(&7));
    }

    #[test]
    fn what_lasts_goes_with_no_hour_and_can_be_erased() {
        let dir = tempfile::tempdir().unwrap();
        let records = [sealed(1, 300), sealed(2, 300)];
        let mut writer = ContentWriter::new(dir.path());
        let appends = [
            (Hour::new(5), &records[..1]),
            (Hour::LASTING, &records[..]),
            (Hour::new(5), &records[1..]),
            (Hour::new(7), &records[..1]),
        ];
        let locations = writer.write(&appends).unwrap();
        writer.finish();
        let segments = ContentSegments::open(dir.path(), Hour::new(7)).unwrap();
        assert_eq!(segments.drop_before(Hour::new(99)).unwrap(), 1);
        assert!(matches!(segments.read(&locations[0][0]), Err(ContentError::Forgotten)));
        assert_eq!(segments.read(&locations[1][1]).unwrap(), records[1]);
        segments.erase(&locations[1][1]).unwrap();
        assert!(matches!(segments.read(&locations[1][1]), Err(ContentError::Forgotten)));
        assert_eq!(segments.read(&locations[1][0]).unwrap(), records[0]);
    }

    #[test]
    fn dropped_hours_are_forgotten_and_missing_ones_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let old = write(dir.path(), 5, &[sealed(1, 10)]);
        let new = write(dir.path(), 7, &[sealed(1, 10)]);
        let segments = ContentSegments::open(dir.path(), Hour::new(7)).unwrap();
        // The hour being written is kept whatever is asked.
        assert_eq!(segments.drop_before(Hour::new(99)).unwrap(), 1);
        let segments = ContentSegments::open(dir.path(), Hour::new(7)).unwrap();
        assert!(matches!(segments.read(&old[0]), Err(ContentError::Forgotten)));
        segments.erase(&old[0]).unwrap();
        assert!(segments.read(&new[0]).is_ok());
        std::fs::remove_file(segment_path(dir.path(), Hour::new(7))).unwrap();
        assert!(matches!(segments.read(&new[0]), Err(ContentError::Damaged { hour: 7, .. })));
    }

    #[test]
    fn a_crash_leaves_zeros_ahead_and_no_place_is_given_out_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = ContentWriter::new(dir.path());
        let records = [sealed(1, 300), sealed(2, 300), sealed(3, 700_000), sealed(4, 300)];
        let first = writer.write(&[(Hour::new(5), &records)]).unwrap().concat();
        let path = segment_path(dir.path(), Hour::new(5));
        assert_eq!(std::fs::metadata(&path).unwrap().len() % AHEAD, 0);
        let segments = ContentSegments::open(dir.path(), Hour::new(5)).unwrap();
        segments.erase(&first[3]).unwrap();
        // Not finished: as after a crash.
        drop(writer);
        let second = write(dir.path(), 5, &records);
        assert!(matches!(segments.read(&first[3]), Err(ContentError::Forgotten)));
        for (location, record) in first[..3].iter().chain(&second).zip([0, 1, 2, 0, 1, 2, 3]) {
            assert_eq!(segments.read(location).unwrap(), records[record]);
        }
    }

    #[test]
    fn flipped_and_cut_bytes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let locations = write(dir.path(), 5, &[sealed(1, 300), sealed(2, 300)]);
        let path = segment_path(dir.path(), Hour::new(5));
        let segments = ContentSegments::open(dir.path(), Hour::new(5)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[20] ^= 4;
        std::fs::write(&path, &flipped).unwrap();
        let offset = locations[0].offset;
        assert!(matches!(
            segments.read(&locations[0]),
            Err(ContentError::Damaged { hour: 5, offset: at, .. }) if at == offset
        ));
        assert!(segments.read(&locations[1]).is_ok());
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(segments.read(&locations[1]), Err(ContentError::Damaged { .. })));
        let nowhere = ContentLocation { hash: ContentHash::from_bytes([0; 32]), ..locations[0] };
        assert!(segments.erase(&nowhere).is_err());
    }
}
