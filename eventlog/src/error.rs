//! What can go wrong, told apart by what the caller may do next.

use std::{io, path::PathBuf, sync::Arc};

use crate::{
    event::{
        MAX_APPEND_BYTES, MAX_APPEND_CONTENT, MAX_APPEND_EVENTS, MAX_APPENDS, MAX_EVENT_BYTES,
    },
    position::{Position, Version},
};

/// Why an append was not answered with [`crate::Appended`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream is at another version. Nothing was written: read it, decide again.
    #[error("the stream is at version {actual}")]
    Conflict {
        /// Where the stream stands.
        actual: Version,
    },
    /// Nothing was written; the same append may be tried again.
    #[error("not written: {0}")]
    NotWritten(Cause),
    /// The events may have been written or not: read the stream and compare event ids.
    #[error("written or not: {0}")]
    Unknown(Cause),
    /// The append breaks a bound of the log, and always will.
    #[error("invalid append: {0}")]
    Invalid(Bound),
}

/// The technical cause of a failed append.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// No space on the disk. The log goes on once there is some.
    #[error("no space left on the disk")]
    StorageFull,
    /// The file system refused.
    #[error("{0}")]
    Io(Arc<str>),
    /// The log stopped writing earlier, for this reason; it must be opened anew.
    #[error("the log no longer writes: {0}")]
    Unwritable(Arc<str>),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl Cause {
    /// From an error of the file system.
    pub(crate) fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull,
            _ => Self::Io(error.to_string().into()),
        }
    }
}

/// The bound that an append breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// No event, or too many.
    #[error("{count} events; 1 to {MAX_APPEND_EVENTS} are allowed")]
    EventCount {
        /// How many there were.
        count: usize,
    },
    /// One event is too long.
    #[error("an event of {bytes} bytes; at most {MAX_EVENT_BYTES} are allowed")]
    EventBytes {
        /// Its length.
        bytes: usize,
    },
    /// All events together are too long.
    #[error("{bytes} bytes of events; at most {MAX_APPEND_BYTES} are allowed")]
    AppendBytes {
        /// Their length.
        bytes: usize,
    },
    /// Too many sealed records.
    #[error("{count} sealed records; at most {MAX_APPEND_CONTENT} are allowed")]
    ContentCount {
        /// How many there were.
        count: usize,
    },
    /// No append, or too many together.
    #[error("{count} appends together; 1 to {MAX_APPENDS} are allowed")]
    AppendCount {
        /// How many there were.
        count: usize,
    },
    /// Two appends to one stream together.
    #[error("two appends to one stream together")]
    StreamTwice,
    /// The data of an event is not the text of a JSON object.
    #[error("an event that is not the text of a JSON object")]
    NotAnObject,
}

/// Why events could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What is stored is not what was written.
    #[error("damaged at position {position}: {what}")]
    Damaged {
        /// The first position that cannot be read.
        position: Position,
        /// What is wrong, in words.
        what: Arc<str>,
    },
    /// A copy needs every event, and some were pruned.
    #[error("events up to {last} were pruned: a backup must have begun before that")]
    Pruned {
        /// The last of them, or where it may have been.
        last: Position,
    },
    /// The store behind the log failed.
    #[error("the store failed: {0}")]
    Store(Arc<str>),
}

/// Why content could not be read or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It was erased, or dropped with its hour.
    #[error("the content was forgotten")]
    Forgotten,
    /// What is stored is not what was written.
    #[error("damaged content in hour {hour} at byte {offset}: {what}")]
    Damaged {
        /// Which segment.
        hour: u32,
        /// Where the record starts.
        offset: u64,
        /// What is wrong, in words.
        what: &'static str,
    },
    /// The file system refused.
    #[error("content: {0}")]
    Io(#[from] io::Error),
}

/// Why a log did not close in order. What was acknowledged is in the journal all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log did not close in order: {0}")]
pub struct CloseError(pub(crate) Arc<str>);

/// Why a log could not be opened, rebuilt or checked.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A backup was put back into it only in part.
    #[error("{}: a restore did not come to its end here: run it again", dir.display())]
    Restoring {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The journal, which is the truth, is damaged. Restore it from a backup.
    #[error("the journal is damaged: {} at byte {offset}, position {position}: {what}", file.display())]
    Journal {
        /// Which segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The first position that cannot be trusted.
        position: Position,
        /// What is wrong, in words.
        what: Arc<str>,
    },
    /// A file was written by a newer version of the program.
    #[error("{} has format {format}, which this version does not know", file.display())]
    Format {
        /// Which file.
        file: PathBuf,
        /// The number found.
        format: u8,
    },
    /// sled's files and the journal tell different histories; neither is taken for granted.
    #[error("the chain breaks at position {position}: {what}")]
    Chain {
        /// Where they part.
        position: Position,
        /// What is wrong, in words.
        what: Arc<str>,
    },
    /// sled's files cannot be used, and the journal does not reach back far enough to make them
    /// anew. They were left as they are.
    #[error(
        "sled's files cannot be used ({reason}) and the journal begins only at position {journal_from}: restore a backup"
    )]
    JournalTooShort {
        /// The first position in the journal.
        journal_from: Position,
        /// What is wrong with sled's files.
        reason: Arc<str>,
    },
    /// The store behind the log failed while it was filled.
    #[error("the store failed: {0}")]
    Store(Arc<str>),
}

impl OpenError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
