//! The file that makes a directory a backup: whose, up to where, and which content need not be
//! looked at again.
//!
//! Text, so that a person can read it: a line for each thing, and a checksum at the end.

use std::{
    collections::BTreeMap, fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path,
    time::Duration,
};

use model::Timestamp;

use crate::{content::Hour, event::ChainHash, files, position::Position, vault::VerifierKey};

const TITLE: &str = "lumora backup 1";
/// A file that was changed so short a time before it was looked at can be changed again without
/// its times showing that: clocks of file systems go by ticks.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How a file was when its content was copied: while this stays, so does its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of a file that has not been written to for a while; `None` for any other.
    pub(super) fn settled(metadata: &Metadata, now: Timestamp) -> Option<Self> {
        let stamp = Self {
            len: metadata.len(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        let seconds = u64::try_from(metadata.ctime()).ok()?.saturating_add(1);
        let changed = Timestamp::from_millis(seconds.saturating_mul(1_000));
        // A file from the future says nothing.
        (now >= changed.plus(SETTLED_AFTER)).then_some(stamp)
    }

    fn words(&self) -> String {
        let Self { len, inode, modified, changed } = self;
        format!("{len} {inode} {} {} {} {}", modified.0, modified.1, changed.0, changed.1)
    }

    fn parse(words: &mut dyn Iterator<Item = &str>) -> Option<Self> {
        let (len, inode) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let mut number = || words.next()?.parse().ok();
        let (modified, changed) = ((number()?, number()?), (number()?, number()?));
        Some(Self { len, inode, modified, changed })
    }
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// The key that signs what the log holds.
    pub(super) key: VerifierKey,
    /// The last position of the last backup that came to its end; 0 before there is one.
    pub(super) position: Position,
    pub(super) chain: ChainHash,
    /// When that was.
    pub(super) at: Timestamp,
    /// Segments of content as they were copied.
    pub(super) segments: BTreeMap<u32, Stamp>,
}

impl State {
    /// That of a destination to which nothing was copied yet.
    pub(super) fn new(key: VerifierKey) -> Self {
        let (position, chain) = (Position::START, ChainHash::START);
        let at = Timestamp::from_millis(0);
        Self { key, position, chain, at, segments: BTreeMap::new() }
    }

    pub(super) fn stamp(&self, hour: Hour) -> Option<&Stamp> {
        self.segments.get(&hour.get())
    }

    fn text(&self) -> String {
        let Self { key, position, chain, at, segments } = self;
        let head = format!("{TITLE}\nkey {key}\nposition {position}\nchain {chain}\ntime {at}\n");
        let segments = segments.iter().map(|(hour, stamp)| format!("{hour} {}\n", stamp.words()));
        let body = head + &segments.collect::<String>();
        format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut of = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        of("lumora")?;
        let key = of("key")?.parse().ok()?;
        let position = Position::new(of("position")?.parse().ok()?);
        let chain = ChainHash::from_hex(of("chain")?)?;
        let at = of("time")?.parse().ok()?;
        let mut segments = BTreeMap::new();
        for line in lines.take_while(|line| !line.starts_with("crc32")) {
            let mut words = line.split(' ');
            let hour = words.next()?.parse().ok()?;
            segments.insert(hour, Stamp::parse(&mut words)?);
        }
        let read = Self { key, position, chain, at, segments };
        (read.text() == text).then_some(read)
    }

    /// Reads it: `None` when there is none, an error when it is not as it was written.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "it is not as it was written")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        files::replace(path, self.text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::InstanceKey;

    #[test]
    fn it_reads_back_and_every_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lumora-backup");
        assert_eq!(State::read(&path).unwrap(), None);
        let key = InstanceKey::from_seed(&[7; 32]).unwrap().verifier().clone();
        let mut written = State::new(key);
        written.position = Position::new(77);
        let stamp = Stamp { len: 9, inode: 8, modified: (-1, 7), changed: (6, 5) };
        written.segments.insert(u32::MAX, stamp);
        written.segments.insert(498_732, stamp);
        written.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(written));
        let bytes = std::fs::read(&path).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(State::read(&path).is_err(), "byte {index}");
            std::fs::write(&path, &bytes[..index]).unwrap();
            assert!(State::read(&path).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn a_file_that_was_just_written_is_not_settled() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let changed = u64::try_from(metadata.ctime()).unwrap();
        let after = |seconds| Timestamp::from_millis((changed + seconds) * 1_000);
        assert_eq!(Stamp::settled(&metadata, after(0)), None);
        assert_eq!(Stamp::settled(&metadata, after(2)), None);
        let stamp = Stamp::settled(&metadata, after(3)).unwrap();
        std::fs::write(file.path(), "more").unwrap();
        let metadata = file.as_file().metadata().unwrap();
        assert_ne!(Stamp::settled(&metadata, after(9_999)), Some(stamp));
    }
}
