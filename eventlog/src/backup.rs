//! Backups: a second directory with all that cannot be made anew, and putting it back.
//!
//! # In a backup
//! | path | what |
//! |---|---|
//! | `lumora-backup` | what makes it one: whose, up to where, when, which content is known |
//! | `instance.pub` | the key that checks what was signed |
//! | `log/journal/` | every event, from the first one on |
//! | `log/content/` | sealed records, as in the log |
//! | `log/checkpoints`, `log/keyring` | as in the log |
//! | others | files that whoever asked for the backup named |
//!
//! # Contract
//! - A log may be in use while it is copied. Content is read from its files; events are read through
//!   whoever holds the log open, for its journal does not reach back for ever and sled's files are
//!   not to be copied under its hands.
//! - At every moment, and so after every crash, the backup can be put back: content is durable in it
//!   before the events that name it, as in the log. The same command again goes on.
//! - What was forgotten in the log is forgotten in the backup once the next one has come to its end.
//! - A history goes into a backup only where it goes on from what is there.
//! - Nothing is called restored before every checksum, the chain, the tree, what was signed and all
//!   content was checked, in the backup and once more where it was put. A directory in which that
//!   did not come to its end is opened by nobody.
//!
//! # Why
//! - **The journal's own format**: what reads and checks it is there already, a torn end is known
//!   for what it is, and sled's files, which hold nothing else, are made anew from it.
//! - **Content is compared, not appended**: an erasure changes the middle of a file. Files whose
//!   length, inode and times are those of the last backup are passed over.

mod content;
mod restore;
mod state;

use std::{
    fmt::Write as _,
    fs::DirBuilder,
    io::{self, BufReader, Seek as _, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use model::Timestamp;

pub use self::restore::{BackupInfo, RestoreError, Restoring, check_backup};
use self::state::State;
use crate::{
    checkpoint_file::{self, Checkpoints, CheckpointsError},
    contract::EventLog,
    error::{OpenError, ReadError},
    event::{ChainEnd, ChainHash},
    files,
    journal::{self, FrameBuilder, JournalReader, JournalWriter},
    layout::Layout,
    position::Position,
    signed_checkpoint::SignedCheckpoint,
    vault::VerifierKey,
};

/// The file that makes a directory a backup.
const STATE: &str = "lumora-backup";
/// The file with the key that checks.
const PUBLIC_KEY: &str = "instance.pub";
/// Where the log lies in it.
const LOG: &str = "log";
/// A journal segment of a backup is ended at this size, in bytes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Events of one [`Piece`].
const PIECE_EVENTS: usize = 4096;
/// Checkpoints that are written at once, in bytes.
const NOTES_BYTES: usize = 1024 * 1024;
const HASH_LEN: usize = 32;

/// What is to be copied, and where to.
#[derive(Debug, Clone)]
pub struct BackupPlan<'a> {
    /// The log's directory.
    pub log: &'a Path,
    /// The backup's; made when there is none.
    pub destination: &'a Path,
    /// What the log holds, signed a moment ago: so far it is copied.
    pub checkpoint: &'a SignedCheckpoint,
    /// The key that signed it.
    pub key: &'a VerifierKey,
    /// Files beside the log, each with its path in the backup. One that is not there is left out.
    pub files: &'a [(PathBuf, PathBuf)],
    /// Whether content is compared that nothing seems to have happened to.
    pub compare_all: bool,
    /// The present time, which is written down for it, and tells which files have been left alone
    /// for a while.
    pub now: Timestamp,
}

/// What a backup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackedUp {
    /// The last position that was there already.
    pub from: Position,
    /// The last position that is there now.
    pub position: Position,
    /// Bytes of content that were written.
    pub content_bytes: u64,
    /// Content segments that were read.
    pub segments_read: u64,
    /// Content segments that nothing happened to since.
    pub segments_kept: u64,
    /// Content segments that were deleted, as in the log.
    pub segments_dropped: u64,
}

/// Why there is no backup, or no newer one: what was there stays.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something else.
    #[error("{} is neither empty nor a backup", dir.display())]
    NotABackup {
        /// The destination.
        dir: PathBuf,
    },
    /// It is that of another instance.
    #[error("{} is a backup of {held}, and this is {given}: take another directory", dir.display())]
    OtherInstance {
        /// The destination.
        dir: PathBuf,
        /// The name of the key that signed what is there.
        held: Box<str>,
        /// That of the log.
        given: Box<str>,
    },
    /// What is there is not the beginning of the log: one of the two was put back to an earlier
    /// state, and went on otherwise.
    #[error(
        "{} holds another history up to position {position}: the log was put back since. Keep it, and take another directory",
        dir.display()
    )]
    OtherHistory {
        /// The destination.
        dir: PathBuf,
        /// The last position that is there.
        position: Position,
    },
    /// The events could not be had.
    #[error("the log's events: {0}")]
    Source(Box<str>),
    /// The backup itself is damaged.
    #[error("the backup: {0}")]
    Damaged(#[from] OpenError),
    /// The signed checkpoints cannot be read.
    #[error("checkpoints: {0}")]
    Checkpoints(#[from] CheckpointsError),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> BackupError {
    |source| BackupError::Io { path: path.to_owned(), source }
}

/// Events for a backup as they are handed over: the chain's hash after `after`, then the stored bytes
/// of those that follow, up to `through`; some of them at least, if there are any.
pub fn backup_piece(
    log: &dyn EventLog,
    after: Position,
    through: Position,
) -> Result<Vec<u8>, ReadError> {
    let pruned = log.pruned()?;
    // A copy of what is left would have gaps, for which a backup has no place.
    if let Some(pruned) = pruned.filter(|pruned| after < pruned.last) {
        return Err(ReadError::Pruned { last: pruned.last });
    }
    let mut piece = match (pruned, after.get().checked_sub(1)) {
        (_, None) => ChainHash::START.as_bytes().to_vec(),
        (Some(pruned), _) if pruned.last == after => pruned.chain.as_bytes().to_vec(),
        (_, Some(before)) => match log.read_all(Position::new(before), 1)?.first() {
            Some(event) => event.hash.as_bytes().to_vec(),
            // The log is shorter: no hash, which no history goes on from.
            None => return Ok(Vec::new()),
        },
    };
    if after < through {
        for event in log.read_all(after, PIECE_EVENTS)? {
            if event.position <= through {
                event.encode(&mut piece);
            }
        }
    }
    Ok(piece)
}

/// Brings a backup up to date, or begins one. `read` is asked for [`backup_piece`]s; `progress` is
/// told the position reached.
pub fn back_up(
    plan: &BackupPlan<'_>,
    read: &mut dyn FnMut(Position, Position) -> Result<Vec<u8>, Box<str>>,
    progress: &mut dyn FnMut(Position),
) -> Result<BackedUp, BackupError> {
    let destination = plan.destination;
    let mut state = claim(plan)?;
    let layout = Layout::new(&destination.join(LOG));
    layout.create()?;
    let _lock = layout.lock()?;
    let mut copy = Copy::open(&layout, plan, read)?;
    let head = plan.checkpoint.head();
    let mut done = BackedUp { from: copy.end.position, ..BackedUp::default() };
    copy.check_history()?;
    bring_bytes(format!("{}\n", plan.key).as_bytes(), &destination.join(PUBLIC_KEY))?;
    // With the keys first, and the content before the events that name it, each moment leaves a
    // backup that can be put back.
    let keys = (plan.log.join("keyring"), Path::new(LOG).join("keyring"));
    for (from, to) in std::iter::once(&keys).chain(plan.files) {
        bring_file(from, &destination.join(to))?;
    }
    let content = Layout::new(plan.log).content();
    content::bring(
        &content,
        &layout.content(),
        (plan.compare_all, plan.now),
        &mut state,
        &mut done,
    )
    .map_err(failed(&content))?;
    copy.bring(head.position, progress)?;
    let (end, dir) = (copy.end, destination.to_owned());
    copy.finish();
    if end.hash != head.chain {
        return Err(BackupError::OtherHistory { dir, position: end.position });
    }
    bring_checkpoints(&Layout::new(plan.log).checkpoints(), &layout.checkpoints(), end.position)?;
    done.position = end.position;
    (state.position, state.chain, state.at) = (end.position, end.hash, plan.now);
    let path = destination.join(STATE);
    state.write(&path).map_err(failed(&path))?;
    Ok(done)
}

/// Makes the destination a backup of this instance, if it is none yet.
fn claim(plan: &BackupPlan<'_>) -> Result<State, BackupError> {
    let dir = plan.destination;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(failed(dir))?;
    let path = dir.join(STATE);
    if let Some(state) = State::read(&path).map_err(failed(&path))? {
        if state.key == *plan.key {
            return Ok(state);
        }
        let (held, given) = (state.key.name().into(), plan.key.name().into());
        return Err(BackupError::OtherInstance { dir: dir.to_owned(), held, given });
    }
    let mut entries = std::fs::read_dir(dir).map_err(failed(dir))?;
    // What a crash left of the file's first writing, and what every file system has.
    let ours =
        |name: &Path| [Path::new("lumora-backup.new"), Path::new("lost+found")].contains(&name);
    let others = entries.any(|entry| entry.is_ok_and(|entry| !ours(Path::new(&entry.file_name()))));
    if others {
        return Err(BackupError::NotABackup { dir: dir.to_owned() });
    }
    let state = State::new(plan.key.clone());
    state.write(&path).map_err(failed(&path))?;
    files::sync_directory(files::parent(dir)).map_err(failed(dir))?;
    Ok(state)
}

/// Copies a small file when it is another.
fn bring_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    match std::fs::read(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        read => bring_bytes(&read.map_err(failed(from))?, to),
    }
}

fn bring_bytes(bytes: &[u8], to: &Path) -> Result<(), BackupError> {
    if std::fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let directory = files::parent(to);
    if !directory.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(failed(directory))?;
        files::sync_directory(files::parent(directory)).map_err(failed(directory))?;
    }
    files::replace(to, bytes).map_err(failed(to))
}

/// Adds the checkpoints that came since, up to a position.
fn bring_checkpoints(from: &Path, to: &Path, through: Position) -> Result<(), BackupError> {
    let (mut writer, newest) = checkpoint_file::resume(to)?;
    let known = newest.map_or(Position::START, |signed| signed.head().position);
    let mut file = match std::fs::File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(failed(from))?,
    };
    // Only ever added to, it goes on where the copy ends; should it not, it is read from its start.
    let end = writer.end();
    file.seek(SeekFrom::Start(end)).map_err(failed(from))?;
    let next = Checkpoints::read(BufReader::new(&file)).next();
    let goes_on = match next {
        None => file.metadata().map_err(failed(from))?.len() >= end,
        Some(next) => next.is_ok_and(|signed| signed.head().position > known),
    };
    let start = if goes_on { end } else { 0 };
    file.seek(SeekFrom::Start(start)).map_err(failed(from))?;
    let mut notes = String::new();
    for signed in Checkpoints::read(BufReader::new(&file)) {
        let signed = signed?;
        let position = signed.head().position;
        if position > through {
            break;
        }
        if position > known {
            // A string takes whatever is written.
            writeln!(notes, "{signed}").ok();
        }
        if notes.len() >= NOTES_BYTES {
            writer.add_all(&std::mem::take(&mut notes)).map_err(failed(to))?;
        }
    }
    if notes.is_empty() { Ok(()) } else { writer.add_all(&notes).map_err(failed(to)) }
}

/// The journal of a backup, and where its events come from.
struct Copy<'a> {
    dir: &'a Path,
    writer: JournalWriter,
    end: ChainEnd,
    read: &'a mut dyn FnMut(Position, Position) -> Result<Vec<u8>, Box<str>>,
}

impl<'a> Copy<'a> {
    /// Goes on where the last frame ends; one that a crash cut off is removed.
    fn open(
        layout: &Layout,
        plan: &'a BackupPlan<'_>,
        read: &'a mut dyn FnMut(Position, Position) -> Result<Vec<u8>, Box<str>>,
    ) -> Result<Self, BackupError> {
        let journal = layout.journal();
        journal::remove_half_made(&journal).map_err(failed(&journal))?;
        let last = journal::segments(&journal)?;
        let last = last.last().and_then(|path| journal::first_of(path));
        let (writer, end) = match last {
            None => {
                let writer = JournalWriter::create(&journal, ChainEnd::START, SEGMENT_BYTES);
                (writer.map_err(failed(&journal))?, ChainEnd::START)
            }
            Some(first) => {
                let mut reader = JournalReader::open(&journal, first)?;
                while reader.next_frame()?.is_some() {}
                let ending = reader
                    .finish()
                    .ok_or_else(|| BackupError::NotABackup { dir: plan.destination.to_owned() })?;
                let begun = ending.chain.at;
                let writer = JournalWriter::resume(&journal, &ending, begun, SEGMENT_BYTES);
                (writer.map_err(failed(&journal))?, ending.chain)
            }
        };
        Ok(Self { dir: plan.destination, writer, end, read })
    }

    fn piece(&mut self, through: Position) -> Result<Vec<u8>, BackupError> {
        let piece = (self.read)(self.end.position, through).map_err(BackupError::Source)?;
        if piece.get(..HASH_LEN) == Some(self.end.hash.as_bytes()) {
            return Ok(piece);
        }
        Err(BackupError::OtherHistory { dir: self.dir.to_owned(), position: self.end.position })
    }

    /// Whether the log goes on from what is there.
    fn check_history(&mut self) -> Result<(), BackupError> {
        self.piece(self.end.position).map(drop)
    }

    /// Adds the events up to `through`, each frame durable before the next.
    fn bring(
        &mut self,
        through: Position,
        progress: &mut dyn FnMut(Position),
    ) -> Result<(), BackupError> {
        let mut frame = FrameBuilder::default();
        while self.end.position < through {
            let piece = self.piece(through)?;
            let events = piece.get(HASH_LEN..).unwrap_or_default();
            let (before, mut rest) = (self.end, events);
            while !rest.is_empty() {
                let read = self.end.read(&mut rest, Bytes::copy_from_slice);
                read.map_err(|malformed| BackupError::Source(malformed.0.into()))?;
            }
            if self.end == before || self.end.position > through {
                return Err(BackupError::Source("they are not those that were asked for".into()));
            }
            frame.begin().extend_from_slice(events);
            let bytes = frame.finish(before.position.next(), self.end);
            let written = self.writer.write(bytes, before).map_err(|failure| failure.error);
            written.and_then(|()| self.writer.sync()).map_err(failed(self.dir))?;
            progress(self.end.position);
        }
        Ok(())
    }

    fn finish(self) {
        self.writer.finish();
    }
}
