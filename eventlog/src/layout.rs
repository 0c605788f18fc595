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

    /// sled's files that are in use: of a generation, 0 until something is pruned.
    pub(crate) fn sled(&self) -> Result<PathBuf, OpenError> {
        Ok(self.sled_of(self.generation()?))
    }

    /// sled's files of a generation. No other one ever has their path: sled may still write to it
    /// after another took over.
    pub(crate) fn sled_of(&self, generation: u64) -> PathBuf {
        match generation {
            0 => self.dir.join("sled"),
            number => self.dir.join(format!("sled.{number}")),
        }
    }

    fn generation_file(&self) -> PathBuf {
        self.dir.join("generation")
    }

    /// Which of sled's files are in use.
    pub(crate) fn generation(&self) -> Result<u64, OpenError> {
        let path = self.generation_file();
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            read => read.map_err(|error| OpenError::io(&path, error))?,
        };
        let number = text.strip_suffix('\n').and_then(|number| number.parse::<u64>().ok());
        number.filter(|number| format!("{number}\n") == text).ok_or_else(|| {
            let what = std::io::Error::new(std::io::ErrorKind::InvalidData, "not a number");
            OpenError::io(path, what)
        })
    }

    /// From now on, also after a crash, the files of this generation are in use.
    pub(crate) fn begin_generation(&self, generation: u64) -> std::io::Result<()> {
        files::replace(&self.generation_file(), format!("{generation}\n").as_bytes())
    }

    /// Removes sled's files of generations that are not in use: a crash left them half made, or
    /// not yet deleted.
    pub(crate) fn remove_other_generations(&self) -> Result<(), OpenError> {
        let current = self.sled()?;
        let failed = |error| OpenError::io(&self.dir, error);
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
            let number = name.strip_prefix("sled.").and_then(|number| number.parse::<u64>().ok());
            if path != current && (name == "sled" || number.is_some()) {
                std::fs::remove_dir_all(&path).map_err(|error| OpenError::io(&path, error))?;
            }
        }
        Ok(())
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
