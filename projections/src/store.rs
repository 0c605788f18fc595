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
/// Names the directory below that has the tables, when it is not this one: read models that were made
/// beside others have a directory of their own. It is written whole or not at all.
const CURRENT: &str = "current";
/// What such directories are called, with a number.
const MADE: &str = "made-";
/// Its presence says that the tables must not be believed.
const CONDEMNED: &str = "condemned";

/// How often, and after what pause, tables in use are tried again: two seconds in all.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Where the tables of `root` are: there, or in what was made beside and took their place.
pub(crate) fn current(root: &Path) -> PathBuf {
    let name = fs::read_to_string(root.join(CURRENT)).unwrap_or_default();
    let name = name.trim();
    match number(name) {
        Some(_) if root.join(name).is_dir() => root.join(name),
        _ => root.to_owned(),
    }
}

fn number(name: &str) -> Option<u64> {
    name.strip_prefix(MADE)?.parse().ok()
}

/// An empty place to make read models in, beside those in `current`.
pub(crate) fn beside(root: &Path, current: &Path) -> Result<PathBuf, OpenError> {
    let known = current.file_name().and_then(|name| number(name.to_str()?)).unwrap_or(0);
    let place = root.join(format!("{MADE}{}", known.saturating_add(1)));
    remove(&place).map_err(|error| failed(&place, error))?;
    fs::create_dir_all(&place).map_err(|error| failed(&place, error))?;
    Ok(place)
}

/// From now on, also after a crash, the tables of `root` are those in `place`, which are durable.
pub(crate) fn point_to(root: &Path, place: &Path) -> Result<(), OpenError> {
    let (file, fresh) = (root.join(CURRENT), root.join("current.new"));
    let name = place.file_name().unwrap_or_default();
    let written = (|| {
        fs::write(&fresh, name.as_encoded_bytes())?;
        fs::File::open(&fresh)?.sync_all()?;
        fs::File::open(place)?.sync_all()?;
        fs::rename(&fresh, &file)?;
        fs::File::open(root)?.sync_all()
    })();
    written.map_err(|error| failed(&file, error))
}

/// Removes what lies in `root` beside what is current: what took another's place leaves it behind, and
/// so does a crash. What cannot be removed is in nobody's way.
pub(crate) fn sweep(root: &Path, current: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let made = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| number(name).is_some()));
    let mut left: Vec<_> = made.map(|entry| entry.path()).filter(|path| path != current).collect();
    if current != root {
        left.push(root.join(TABLES));
    }
    for path in left {
        if let Err(error) = remove(&path) {
            tracing::warn!(path = %path.display(), %error, "old read models were not removed");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

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
