//! A file of signed checkpoints, one after another with an empty line behind each, only ever added
//! to.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::{
    files,
    note::MAX_NOTE_BYTES,
    signed_checkpoint::{InvalidCheckpoint, SignedCheckpoint},
};

/// Why checkpoints could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointsError {
    /// What stands there is no checkpoint.
    #[error("checkpoint {number}: {source}")]
    Invalid {
        /// The how many-th of those that were read, from 1.
        number: u64,
        /// What is wrong.
        source: InvalidCheckpoint,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The checkpoints of a file, oldest first; ends after the first error. What a crash cut off at
/// the end is left out: it was never whole.
#[derive(Debug)]
pub struct Checkpoints<R = BufReader<File>> {
    reader: Option<R>,
    number: u64,
}

impl Checkpoints {
    /// Those of a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::read(BufReader::new(File::open(path)?)))
    }

    /// The newest of a file; `None` when it has none. Reads only its end.
    pub fn newest(path: &Path) -> Result<Option<SignedCheckpoint>, CheckpointsError> {
        let mut file = File::open(path)?;
        Ok(ending(&mut file)?.0)
    }
}

impl<R: BufRead> Checkpoints<R> {
    /// Those of a reader.
    pub fn read(reader: R) -> Self {
        Self { reader: Some(reader), number: 0 }
    }

    fn next_note(&mut self) -> Result<Option<String>, CheckpointsError> {
        let Some(reader) = self.reader.as_mut() else { return Ok(None) };
        self.number += 1;
        let mut note = Vec::new();
        for _part in 0..2 {
            loop {
                let before = note.len();
                let room = (MAX_NOTE_BYTES + 1).saturating_sub(before) as u64;
                reader.by_ref().take(room).read_until(b'\n', &mut note)?;
                let line = note.get(before..).unwrap_or_default();
                if line == b"\n" {
                    break;
                }
                if !line.ends_with(b"\n") {
                    // Cut off by a crash, or longer than any of ours.
                    let cut = note.len() <= MAX_NOTE_BYTES;
                    return if cut { Ok(None) } else { Err(self.invalid()) };
                }
            }
        }
        note.pop();
        String::from_utf8(note).map(Some).map_err(|_| self.invalid())
    }

    fn invalid(&self) -> CheckpointsError {
        CheckpointsError::Invalid { number: self.number, source: InvalidCheckpoint::unreadable() }
    }
}

impl<R: BufRead> Iterator for Checkpoints<R> {
    type Item = Result<SignedCheckpoint, CheckpointsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.number + 1;
        let read = self.next_note().and_then(|note| {
            let parse = |note: String| note.parse();
            note.map(parse)
                .transpose()
                .map_err(|source| CheckpointsError::Invalid { number, source })
        });
        if !matches!(read, Ok(Some(_))) {
            self.reader = None;
        }
        read.transpose()
    }
}

/// The newest checkpoint of a file, and where the whole ones end.
fn ending(file: &mut File) -> Result<(Option<SignedCheckpoint>, u64), CheckpointsError> {
    // Two whole notes: the newest, and one that a crash cut off behind it.
    let window = 2 * (MAX_NOTE_BYTES as u64 + 1);
    let len = file.seek(SeekFrom::End(0))?;
    let from = len.saturating_sub(window);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(window).read_to_end(&mut bytes)?;
    // The window may begin inside a character, and lengths are counted below.
    let inside = bytes.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    let from = from + inside as u64;
    let text = String::from_utf8_lossy(bytes.get(inside..).unwrap_or_default());
    let mut parts: Vec<&str> = text.split_inclusive("\n\n").collect();
    // A note is a text and its signatures, each with an empty line behind it.
    while let Some(last) = parts.pop() {
        let whole = last.ends_with("\n\n") && last.starts_with('\u{2014}');
        if let (true, Some(body)) = (whole, parts.last()) {
            let note = format!("{body}{}", last.strip_suffix('\n').unwrap_or_default());
            let read =
                note.parse().map_err(|source| CheckpointsError::Invalid { number: 0, source });
            let before = parts.iter().map(|part| part.len()).sum::<usize>() + last.len();
            return Ok((Some(read?), from + before as u64));
        }
    }
    match from {
        0 => Ok((None, 0)),
        _ => Err(CheckpointsError::Invalid { number: 0, source: InvalidCheckpoint::unreadable() }),
    }
}

/// The open end of a file of checkpoints.
#[derive(Debug)]
pub(crate) struct CheckpointWriter {
    file: File,
    /// Where the whole ones end.
    end: u64,
}

/// Opens a file of checkpoints to add to it, and makes it when there is none. What a crash cut off
/// at its end is removed.
pub(crate) fn resume(
    path: &Path,
) -> Result<(CheckpointWriter, Option<SignedCheckpoint>), CheckpointsError> {
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let (newest, end) = ending(&mut file)?;
    file.set_len(end)?;
    file.sync_all()?;
    files::sync_directory(files::parent(path))?;
    Ok((CheckpointWriter { file, end }, newest))
}

impl CheckpointWriter {
    /// Where the whole ones end, in bytes.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Adds one; it is on the disk when this returns.
    pub(crate) fn add(&mut self, checkpoint: &SignedCheckpoint) -> io::Result<()> {
        self.add_all(&format!("{checkpoint}\n"))
    }

    /// Adds whole notes, each with an empty line behind it; they are on the disk when this returns.
    pub(crate) fn add_all(&mut self, notes: &str) -> io::Result<()> {
        // A full disk leaves the beginning of one behind, which the next must not follow.
        if self.file.metadata()?.len() != self.end {
            self.file.set_len(self.end)?;
        }
        self.file.write_all(notes.as_bytes())?;
        self.file.sync_data()?;
        self.end += notes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::{
        event::ChainHash, merkle::TreeHash, position::Position, signed_checkpoint::TreeHead,
        vault::InstanceKey,
    };

    fn checkpoint(position: u64) -> SignedCheckpoint {
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let head = TreeHead {
            position: Position::new(position),
            root: TreeHash::of_leaf(b"x"),
            chain: ChainHash::from_bytes([3; 32]),
        };
        SignedCheckpoint::sign(&key, head, Timestamp::from_millis(position))
    }

    fn read(path: &Path) -> Vec<SignedCheckpoint> {
        Checkpoints::open(path).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn the_end_is_found_wherever_the_part_that_is_read_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let note = format!("{}\n", checkpoint(7));
        let notes = note.repeat(3 * MAX_NOTE_BYTES / note.len());
        for torn in 0..note.len() {
            let torn = note.as_bytes().get(..torn).unwrap();
            std::fs::write(&path, [notes.as_bytes(), torn].concat()).unwrap();
            let (newest, end) = ending(&mut File::open(&path).unwrap()).unwrap();
            assert_eq!((newest, end), (Some(checkpoint(7)), notes.len() as u64));
        }
    }

    /// Wherever a crash cuts the file: what was whole stays, and the next one is readable.
    #[test]
    fn a_cut_at_any_byte_costs_at_most_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let (mut file, newest) = resume(&path).unwrap();
        assert_eq!(newest, None);
        let mut ends = vec![0];
        let written: Vec<_> = (1..=3).map(checkpoint).collect();
        for one in &written {
            file.add(one).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        assert_eq!(read(&path), written);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let left = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
            assert_eq!(read(&path), written[..left], "cut at {cut}");
            let (mut file, newest) = resume(&path).unwrap();
            assert_eq!(newest.as_ref(), written[..left].last(), "cut at {cut}");
            assert_eq!(Checkpoints::newest(&path).unwrap().as_ref(), written[..left].last());
            file.add(&checkpoint(8)).unwrap();
            // What a full disk would leave behind.
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(b"half")
                .unwrap();
            file.add(&checkpoint(9)).unwrap();
            assert_eq!(read(&path).len(), left + 2, "cut at {cut}");
        }
    }

    #[test]
    fn the_newest_of_a_long_file_is_found_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let (mut file, _) = resume(&path).unwrap();
        for number in 1..=200 {
            file.add(&checkpoint(number)).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() > 2 * MAX_NOTE_BYTES as u64);
        assert_eq!(Checkpoints::newest(&path).unwrap(), Some(checkpoint(200)));
        assert_eq!(read(&path).len(), 200);
    }

    #[test]
    fn what_is_no_checkpoint_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        std::fs::write(&path, format!("{}\nnonsense\n\n\u{2014} a b\n\n", checkpoint(1))).unwrap();
        let read: Vec<_> = Checkpoints::open(&path).unwrap().collect();
        assert!(matches!(read[..], [Ok(_), Err(CheckpointsError::Invalid { number: 2, .. })]));
        assert!(Checkpoints::newest(&path).is_err());
        std::fs::write(&path, "x".repeat(100_000)).unwrap();
        assert!(Checkpoints::open(&path).unwrap().next().unwrap().is_err());
        assert!(Checkpoints::newest(&path).is_err());
        assert!(resume(&path).is_err());
    }
}
