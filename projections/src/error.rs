//! What can go wrong with read models.

use std::{io, path::PathBuf, sync::Arc};

use eventlog::{Position, ReadError, StoreError};
use model::{StreamId, Timestamp};

/// Why the read models no longer follow the log. Nothing is skipped: they stand still until the
/// program that can read the log is started, or the damage is mended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Halt {
    /// An event that this version of the program does not understand.
    #[error("the event at position {position} of {stream} cannot be read: {what}")]
    Undecodable {
        /// Where it stands.
        position: Position,
        /// Whose event.
        stream: StreamId,
        /// What is wrong, in words.
        what: Arc<str>,
    },
    /// An event that cannot follow those before it.
    #[error("the event at position {position} of {stream} makes no sense: {what}")]
    Impossible {
        /// Where it stands.
        position: Position,
        /// Whose event.
        stream: StreamId,
        /// What is wrong, in words.
        what: &'static str,
    },
    /// A sealed name or address does not open: the master key is another one than it was.
    #[error("the sealed profile of {of} does not open: is this the right master key?")]
    Profile {
        /// Whose.
        of: String,
    },
    /// The log could not be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] ReadError),
    /// What is needed of pruned events was not carried, or in another form than this program reads.
    #[error(
        "the read model {table} needs events that were pruned up to position {position}, and what was carried of them is not what this program reads"
    )]
    Carried {
        /// Which table.
        table: &'static str,
        /// Up to where events were pruned.
        position: Position,
    },
    /// A table holds what was never written there. It is rebuilt at the next start.
    #[error("the read model {table} is damaged: {what}")]
    Damaged {
        /// Which table.
        table: &'static str,
        /// What is wrong, in words.
        what: Arc<str>,
    },
    /// The store failed. It is rebuilt at the next start.
    #[error("the store of the read models failed: {0}")]
    Store(#[from] StoreError),
    /// The thread that follows the log could not be started.
    #[error("no thread to follow the log: {0}")]
    Thread(Arc<str>),
    /// A fault of this program.
    #[error("following the log ended in a panic")]
    Panicked,
}

impl Halt {
    /// Whether the tables, rather than the log, are at fault.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Store(_) | Self::Panicked)
    }
}

/// Why read models could not be opened or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log holds what this program cannot follow, or the tables fail even when made anew.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// What is asked for was before events were pruned, and followed from them.
    #[error("events were pruned up to position {position}: what was before cannot be shown")]
    Pruned {
        /// Up to where.
        position: Position,
    },
    /// There is no read model of this name.
    #[error("there is no read model called {name}; there are: {known}")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: String,
    },
}

/// Why a question to a read model has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The store failed.
    #[error("the store of the read models failed: {0}")]
    Store(#[from] StoreError),
    /// A row is not what was written there.
    #[error("the read model {table} is damaged")]
    Damaged {
        /// Which table.
        table: &'static str,
    },
    /// The log failed.
    #[error("the log cannot be read: {0}")]
    Log(#[from] ReadError),
    /// What is asked for was pruned.
    #[error("what is asked for was pruned")]
    Pruned {
        /// The number of the last event of the app that was pruned or may have been.
        last: u64,
    },
    /// What is asked for follows from events, some of which were pruned.
    #[error("events up to {at} were pruned")]
    PrunedUntil {
        /// When the last of them was recorded, or may have been.
        at: Timestamp,
    },
    /// The answer would need more rows than one question may read.
    #[error("the question covers too much: ask for a shorter time")]
    TooWide,
}
