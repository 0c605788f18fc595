//! Where what lies in the log's directory, and the lock on it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{error::OpenError, files};

/// The paths of a log.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
    /// Whether it is opened by who puts a backup back into it.
    restoring: bool,
}

/// Held as long as the log is in use; the lock goes with it, also when the process is killed.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is just being started holds a copy of the
        // descriptor until it runs its program, and the lock with it.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the log's lock goes with this process only");
        }
    }
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), restoring: false }
    }

    /// The same, for who puts a backup back into it: nobody else may open it meanwhile.
    pub(crate) fn restoring(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), restoring: true }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    pub(crate) fn sled(&self) -> PathBuf {
        self.dir.join("sled")
    }

    /// sled's files that could not be used, the latest only.
    pub(crate) fn sled_aside(&self) -> PathBuf {
        self.dir.join("sled.aside")
    }

    pub(crate) fn content(&self) -> PathBuf {
        self.dir.join("content")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    /// Signed checkpoints, only ever added to.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// There while a backup is put back into the directory.
    pub(crate) fn restoring_mark(&self) -> PathBuf {
        self.dir.join("restoring")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Makes the directories that are missing.
    pub(crate) fn create(&self) -> Result<(), OpenError> {
        let mut missing = Vec::new();
        let mut path = self.dir.as_path();
        while !path.as_os_str().is_empty() && !path.exists() {
            missing.push(path.to_owned());
            path = files::parent(path);
        }
        missing.reverse();
        missing.extend([self.journal(), self.content()]);
        for path in missing {
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(OpenError::io(path, error));
                }
                // The names must be durable before anything in them is.
                _ => files::sync_directory(files::parent(&path))
                    .map_err(|error| OpenError::io(path, error))?,
            }
        }
        Ok(())
    }

    /// Takes the lock, or says that another process has it, or that a backup was put back here only
    /// in part: what looks like a log then is an earlier state of one.
    pub(crate) fn lock(&self) -> Result<DirectoryLock, OpenError> {
        if !self.restoring && self.restoring_mark().exists() {
            return Err(OpenError::Restoring { dir: self.dir.clone() });
        }
        let path = self.dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| OpenError::io(&path, error))?;
        let locked =
            |result: &Result<(), TryLockError>| matches!(result, Err(TryLockError::WouldBlock));
        match files::patiently(|| file.try_lock(), locked) {
            Ok(()) => Ok(DirectoryLock { file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: self.dir.clone() }),
            Err(TryLockError::Error(error)) => Err(OpenError::io(path, error)),
        }
    }
}
