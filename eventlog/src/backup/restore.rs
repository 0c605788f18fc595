//! Putting a backup back, after it was checked.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use model::Timestamp;

use super::{LOG, STATE, state::State};
use crate::{
    content::{Hour, dropped_file, segment_path},
    error::OpenError,
    event::{ChainEnd, Recorded},
    files,
    journal::{FrameBuilder, JournalWriter},
    layout::Layout,
    log::{Log, LogOptions},
    position::Position,
    vault::VerifierKey,
    verify::{Signed, VerifyError, VerifyReport, verify_copy, verify_in},
};

/// Why a backup is not put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It lacks the file that makes it one, or that file is not as it was written.
    #[error("{} is no backup: {what}", dir.display())]
    NotABackup {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it, in words.
        what: Box<str>,
    },
    /// Its first backup did not come to its end.
    #[error("{} is a backup that was begun and has no events yet", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// There is something where it is to be put.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The log's directory.
        dir: PathBuf,
    },
    /// It is not as it was written.
    #[error(transparent)]
    Bad(#[from] VerifyError),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RestoreError {
    |source| RestoreError::Io { path: path.to_owned(), source }
}

/// What a backup says of itself. Nothing of it is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupInfo {
    /// The key that signs what the log holds.
    pub key: VerifierKey,
    /// The last position of the last backup that came to its end.
    pub position: Position,
    /// When that was.
    pub at: Timestamp,
}

impl BackupInfo {
    /// Reads it.
    pub fn read(source: &Path) -> Result<Self, RestoreError> {
        let not = |what: Box<str>| RestoreError::NotABackup { dir: source.to_owned(), what };
        let path = source.join(STATE);
        let state = match State::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(not(format!("{STATE}: {error}").into()));
            }
            read => read.map_err(failed(&path))?,
        };
        let state = state.ok_or_else(|| not(format!("it has no file {STATE}").into()))?;
        let State { key, position, at, .. } = state;
        Ok(Self { key, position, at })
    }
}

/// Checks a whole backup: every checksum, the chain, the tree, what `key` signed of both, all content
/// that events name. `progress` is told the position reached.
pub fn check_backup(
    source: &Path,
    key: &VerifierKey,
    progress: &mut dyn FnMut(Position),
) -> Result<VerifyReport, RestoreError> {
    check(source, key, &mut |events| {
        if let Some(event) = events.last() {
            progress(event.position);
        }
        Ok(())
    })
}

fn check(
    source: &Path,
    key: &VerifierKey,
    take: &mut dyn FnMut(&[Recorded]) -> Result<(), OpenError>,
) -> Result<VerifyReport, RestoreError> {
    let info = BackupInfo::read(source)?;
    if info.position == Position::START {
        return Err(RestoreError::Empty { dir: source.to_owned() });
    }
    let signed = Signed { key: Some(key.clone()), ..Signed::default() };
    let report = verify_copy(&source.join(LOG), &signed, take)?;
    if report.head < info.position {
        let what = format!("the journal ends here, and once held events up to {}", info.position);
        return Err(VerifyError::Bad { position: report.head.next(), what: what.into() }.into());
    }
    Ok(report)
}

/// A log that a backup is being put back into. Until [`Restoring::finish`] nobody else can open it;
/// dropped before, it stays so, and the next attempt begins anew.
#[derive(Debug)]
pub struct Restoring {
    layout: Layout,
    report: VerifyReport,
}

impl Restoring {
    /// Checks the backup as [`check_backup`] does, and copies it into `dir`, which must be empty, not
    /// there, or left behind by an attempt before. Of content, only what events name is copied.
    pub fn begin(
        source: &Path,
        dir: &Path,
        key: &VerifierKey,
        progress: &mut dyn FnMut(Position),
    ) -> Result<Self, RestoreError> {
        let layout = Layout::restoring(dir);
        clear(&layout)?;
        let journal = layout.journal();
        let mut writer = JournalWriter::create(&journal, ChainEnd::START, super::SEGMENT_BYTES)
            .map_err(failed(&journal))?;
        let (mut end, mut frame) = (ChainEnd::START, FrameBuilder::default());
        let mut named = BTreeMap::new();
        let report = check(source, key, &mut |events| {
            let before = end;
            let out = frame.begin();
            for event in events {
                event.encode(out);
                end = ChainEnd { position: event.position, hash: event.hash, at: event.at };
                for location in &event.content {
                    let place = named.entry(location.segment).or_insert(0);
                    *place = location.offset.saturating_add(location.len.into()).max(*place);
                }
            }
            progress(end.position);
            let bytes = frame.finish(before.position.next(), end);
            let written = writer.write(bytes, before);
            written.map_err(|failure| OpenError::io(&journal, failure.error))
        })?;
        writer.sync().map_err(failed(&journal))?;
        writer.finish();
        let log = source.join(LOG);
        copy_content(&Layout::new(&log).content(), &layout.content(), &named)?;
        for name in ["keyring", "checkpoints"] {
            copy_file(&log.join(name), &dir.join(name), None)?;
        }
        files::sync_directory(dir).map_err(failed(dir))?;
        Ok(Self { layout, report })
    }

    /// What was checked of the backup.
    pub const fn report(&self) -> VerifyReport {
        self.report
    }

    /// Opens the log, to write down that it was put back. Makes sled's files.
    pub fn open(&self, options: LogOptions) -> Result<Log, OpenError> {
        Log::open_in(self.layout.clone(), options)
    }

    /// Sets the checkpoints aside that the key from before signed, where another signs from now on.
    pub fn set_checkpoints_aside(&self) -> Result<(), RestoreError> {
        let path = self.layout.checkpoints();
        let aside = path.with_extension("before");
        std::fs::rename(&path, aside).map_err(failed(&path))
    }

    /// Checks what was put back, once nobody has it open.
    pub fn verify(
        &self,
        key: &VerifierKey,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<VerifyReport, VerifyError> {
        let signed = Signed { key: Some(key.clone()), ..Signed::default() };
        verify_in(&self.layout, &signed, progress)
    }

    /// From now on it is a log like any other.
    pub fn finish(self) -> Result<(), RestoreError> {
        let mark = self.layout.restoring_mark();
        std::fs::remove_file(&mark).map_err(failed(&mark))?;
        files::sync_directory(self.layout.dir()).map_err(failed(self.layout.dir()))
    }
}

/// Makes an empty log's directory with the mark in it; takes away what an attempt before left.
fn clear(layout: &Layout) -> Result<(), RestoreError> {
    let dir = layout.dir();
    let mark = layout.restoring_mark();
    let empty = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        entries => entries.map_err(failed(dir))?.next().is_none(),
    };
    if !empty && !mark.exists() {
        return Err(RestoreError::NotEmpty { dir: dir.to_owned() });
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
    files::replace(&mark, b"a backup is being put back here\n").map_err(failed(&mark))?;
    files::sync_directory(files::parent(dir)).map_err(failed(dir))?;
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let removed = if path == mark {
            Ok(())
        } else if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(failed(&path))?;
    }
    layout.create().map_err(VerifyError::from)?;
    Ok(())
}

/// Copies segments as far as events name records in them: what lies behind was written for events
/// that the backup has not, and nobody could erase it.
fn copy_content(from: &Path, to: &Path, named: &BTreeMap<Hour, u64>) -> Result<(), RestoreError> {
    for (hour, end) in named {
        copy_file(&segment_path(from, *hour), &segment_path(to, *hour), Some(*end))?;
    }
    copy_file(&dropped_file(from), &dropped_file(to), None)?;
    files::sync_directory(to).map_err(failed(to))
}

/// Copies a file, or its beginning, and makes it durable. One that is not there was dropped.
fn copy_file(from: &Path, to: &Path, len: Option<u64>) -> Result<(), RestoreError> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(failed(from))?,
    };
    let mut target =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed(to))?;
    io::copy(&mut source, &mut target).map_err(failed(to))?;
    if let Some(len) = len {
        let copied = target.metadata().map_err(failed(to))?.len();
        target.set_len(len.min(copied)).map_err(failed(to))?;
    }
    target.sync_all().map_err(failed(to))
}
