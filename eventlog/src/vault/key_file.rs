//! Files that hold a secret key: 32 random bytes, made when missing, for nobody else to read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;

use crate::files;

pub(super) const KEY_LEN: usize = 32;

/// Why a secret key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Others than its owner can read or change the file.
    #[error("{} has mode {mode:o}: others can read it; set it to 0600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not 32 bytes long.
    #[error("{} is not a key: it has {len} bytes, not 32", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The path is a directory, a device or the like.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a new key")]
    Random,
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Reads the key file, or makes one with mode 0600 when there is none. Refuses a file that others
/// can read or that has another size. A new key is on the disk when this returns.
pub(super) fn load_or_create(path: &Path) -> Result<[u8; KEY_LEN], KeyFileError> {
    match load(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    match create(path) {
        // Another process made it in between: take that one.
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            load(path)
        }
        created => created,
    }
}

/// Reads the key file; an error when there is none.
pub(super) fn load(path: &Path) -> Result<[u8; KEY_LEN], KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() != KEY_LEN as u64 {
        let len = metadata.len();
        return Err(KeyFileError::WrongSize { path: path.to_owned(), len });
    }
    let mut bytes = [0; KEY_LEN];
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn create(path: &Path) -> Result<[u8; KEY_LEN], KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut bytes = [0; KEY_LEN];
    rand::fill(&mut bytes).map_err(|_| KeyFileError::Random)?;
    let directory = files::parent(path);
    std::fs::create_dir_all(directory).map_err(failed)?;
    // Under its own name only once it is whole: a crash in between must not leave a short file
    // behind that then refuses every start.
    let mut suffix = [0; 8];
    rand::fill(&mut suffix).map_err(|_| KeyFileError::Random)?;
    let whole = path.with_extension(format!("{:016x}.new", u64::from_le_bytes(suffix)));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&whole).map_err(failed)?;
    let written = file
        .write_all(&bytes)
        .and_then(|()| file.sync_all())
        // A link, unlike a rename, never replaces a key that is already there.
        .and_then(|()| std::fs::hard_link(&whole, path));
    let removed = std::fs::remove_file(&whole);
    written.and(removed).and_then(|()| files::sync_directory(directory)).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_key_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/master.key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap(), made);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_readable_or_odd_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = load_or_create(&path);
        assert!(matches!(refused, Err(KeyFileError::Exposed { mode: 0o640, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [1; 31]).unwrap();
        let refused = load_or_create(&path);
        assert!(matches!(refused, Err(KeyFileError::WrongSize { len: 31, .. })));
        let refused = load_or_create(dir.path());
        assert!(matches!(refused, Err(KeyFileError::NotAFile { .. })));
    }

    #[test]
    fn those_who_create_at_once_get_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let made: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create(&path).unwrap())).collect();
            made.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
