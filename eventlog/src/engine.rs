//! sled, with what was learned about it: see `# Why` of the crate.

use std::{
    any::Any,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use crate::files;

/// Values above a quarter of this go to files that no sync covers.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// sled is not written to with less free space than this, in bytes: two of its segments. A full
/// disk would make it refuse everything until it is opened anew.
pub(crate) const FLOOR_BYTES: u64 = 2 * SEGMENT_BYTES as u64;
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// sled failed, or panicked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// Another process has the files open.
    #[error("in use by another process")]
    Locked,
    /// It returned an error.
    #[error("{0}")]
    Failed(String),
    /// It panicked.
    #[error("sled panicked: {0}")]
    Panicked(String),
}

/// Opens the files in `dir`, or makes them.
pub(crate) fn open(dir: &Path) -> Result<sled::Db, EngineError> {
    remove_half_written_snapshots(dir).map_err(|error| EngineError::Failed(error.to_string()))?;
    let attempt = || {
        guarded(|| {
            sled::Config::new()
                .path(dir)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                // We flush when we sync, not before.
                .flush_every_ms(None)
                .open()
        })
    };
    files::patiently(attempt, |result| matches!(result, Err(EngineError::Locked)))
}

/// Makes what was flushed durable: sled's own flush starts the writing and does not wait for it.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir.join("db"))?.sync_data()
}

/// Runs work on sled; a panic of its becomes an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(sled::Error::Io(error))) if is_lock(&error) => Err(EngineError::Locked),
        Ok(Err(error)) => Err(EngineError::Failed(error.to_string())),
        Err(panic) => Err(EngineError::Panicked(words(panic.as_ref()))),
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.to_string().contains("could not acquire lock")
}

fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// A crash while sled writes one leaves a file behind that stops the next open.
fn remove_half_written_snapshots(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
