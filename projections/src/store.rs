//! The directory of the read models.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use eventlog::{Store, StoreError};

use crate::error::{Halt, OpenError};

/// The tables.
const TABLES: &str = "tables";
/// Its presence says that the tables must not be believed.
const CONDEMNED: &str = "condemned";

/// How often, and after what pause, tables in use are tried again: two seconds in all.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Opens the tables; condemned ones are deleted first.
pub(crate) fn open(dir: &Path) -> Result<Store, OpenError> {
    let (tables, mark) = (dir.join(TABLES), dir.join(CONDEMNED));
    if mark.exists() {
        tracing::warn!(dir = %dir.display(), "damaged read models are made anew from the log");
        match fs::remove_dir_all(&tables) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&tables, error));
            }
            _ => {}
        }
        fs::remove_file(&mark).map_err(|error| failed(&mark, error))?;
    }
    fs::create_dir_all(&tables).map_err(|error| failed(&tables, error))?;
    // sled lets go of its lock a moment after it was dropped, and so does a process that ends.
    let mut left = LOCK_TRIES;
    loop {
        match Store::open(&tables).map_err(Halt::from) {
            Err(halt) if is_locked(&halt) && left > 0 => {
                left -= 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened.map_err(OpenError::Halted),
        }
    }
}

/// Marks the tables as damaged: they are deleted at the next opening.
pub(crate) fn condemn(dir: &Path) {
    let mark = dir.join(CONDEMNED);
    if let Err(error) = fs::write(&mark, b"") {
        tracing::error!(path = %mark.display(), %error, "damaged read models could not be marked");
    }
}

fn failed(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: PathBuf::from(path), source }
}

/// Whether another process has the tables.
pub(crate) fn is_locked(halt: &Halt) -> bool {
    matches!(halt, Halt::Store(StoreError::Io { source, .. })
        if source.kind() == io::ErrorKind::WouldBlock)
}
