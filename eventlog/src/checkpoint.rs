//! The checkpoint file: what sled's files are known to hold, kept outside of them.
//!
//! sled forgets in silence. Up to the position in this file it was flushed and synced, so if it
//! holds less, it lost something.

use std::{io, path::Path};

use crate::{event::ChainHash, files, position::Position};

/// The last sealed position that is durable, and the chain's hash there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) hash: ChainHash,
}

/// What the file says.
#[derive(Debug)]
pub(crate) enum CheckpointFile {
    /// There is none: nothing was ever sealed durably.
    Missing,
    /// It is whole.
    Whole(Checkpoint),
    /// It is not what was written.
    Damaged,
}

const TITLE: &str = "lumora log checkpoint 1";

impl Checkpoint {
    fn text(&self) -> String {
        let body = format!("{TITLE}\nposition {}\nchain {}\n", self.position, self.hash);
        format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let _title = lines.next()?;
        let position = lines.next()?.strip_prefix("position ")?.parse().ok()?;
        let hash = blake3::Hash::from_hex(lines.next()?.strip_prefix("chain ")?).ok()?;
        let read = Self {
            position: Position::new(position),
            hash: ChainHash::from_bytes(*hash.as_bytes()),
        };
        (read.text() == text).then_some(read)
    }

    pub(crate) fn read(path: &Path) -> io::Result<CheckpointFile> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(std::str::from_utf8(&bytes)
                .ok()
                .and_then(Self::parse)
                .map_or(CheckpointFile::Damaged, CheckpointFile::Whole)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(CheckpointFile::Missing),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        files::replace(path, self.text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_every_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        assert!(matches!(Checkpoint::read(&path).unwrap(), CheckpointFile::Missing));
        let written =
            Checkpoint { position: Position::new(77), hash: ChainHash::from_bytes([3; 32]) };
        written.write(&path).unwrap();
        assert!(
            matches!(Checkpoint::read(&path).unwrap(), CheckpointFile::Whole(read) if read == written)
        );
        let bytes = std::fs::read(&path).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            let read = Checkpoint::read(&path).unwrap();
            assert!(matches!(read, CheckpointFile::Damaged), "byte {index}");
            std::fs::write(&path, &bytes[..index]).unwrap();
            let read = Checkpoint::read(&path).unwrap();
            assert!(matches!(read, CheckpointFile::Damaged), "cut at {index}");
        }
    }
}
