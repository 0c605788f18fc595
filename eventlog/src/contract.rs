//! The seam: what everyone who holds the log may ask of it.

use std::sync::Arc;

use model::StreamId;
use tokio::sync::watch;

use crate::{
    content::{ContentLocation, Hour, Sealed},
    error::{AppendError, CloseError, ContentError, ReadError},
    event::{Append, Appended, BoxFuture, Recorded},
    merkle::TreeHash,
    position::{Position, Version},
    pruned::Pruned,
    signed_checkpoint::TreeHead,
};

/// Most bytes of events that one read returns, unless a single event is longer.
pub const MAX_READ_BYTES: usize = 4 * 1024 * 1024;
/// Most events that one read returns.
pub const MAX_READ_EVENTS: usize = 8192;

/// Key and value of rows that were carried, in the order of their keys.
pub type CarriedRows = Box<dyn Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), ReadError>>>;

/// An append-only log of events in streams, with one total order.
///
/// # Contract
/// Checked by one suite against every implementation.
/// - An append is answered with [`Appended`] only once it is durable, and is then seen by every
///   read. Nothing is seen by a read or announced by [`EventLog::head`] before it is durable.
/// - Positions run from 1 without gaps, but where events were pruned; versions of a stream likewise; an append's events stand
///   together.
/// - The content of an append is durable before its events.
/// - Reads block shortly on the disk: from async code, call them where blocking is allowed.
pub trait EventLog: Send + Sync + 'static {
    /// Appends events to one stream. Dropping the future does not take the append back.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>>;

    /// Appends to several streams, each named once: all are written or none is, whatever happens. A
    /// conflict of one is the conflict of all. Together they keep within the bounds of one append;
    /// at most [`crate::MAX_APPENDS`]. Answered in their order.
    fn append_all(&self, appends: Vec<Append>)
    -> BoxFuture<'_, Result<Vec<Appended>, AppendError>>;

    /// The events of a stream after a version, oldest first; empty at its end. Returns at most
    /// `limit`, [`MAX_READ_EVENTS`] events and about [`MAX_READ_BYTES`].
    fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError>;

    /// The events of the whole log after a position, oldest first; empty only at its end. Bounded
    /// like [`EventLog::read_stream`]; fewer than `limit` does not mean the end.
    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, ReadError>;

    /// What was ever pruned: its events are skipped by reads of the whole log, and its streams are as
    /// if they had never been. `None` when nothing was.
    fn pruned(&self) -> Result<Option<Pruned>, ReadError> {
        Ok(None)
    }

    /// Whether the event at a position was pruned.
    fn is_pruned(&self, _position: Position) -> Result<bool, ReadError> {
        Ok(false)
    }

    /// The rows that were carried in a table of what was pruned, in the order of their keys.
    fn carried(&self, _table: &str) -> CarriedRows {
        Box::new(std::iter::empty())
    }

    /// The last durable position, and a signal when it moves.
    fn head(&self) -> watch::Receiver<Position>;

    /// A sealed record, checked against the hash in its location.
    fn read_content(&self, location: &ContentLocation) -> Result<Sealed, ContentError>;

    /// Overwrites a sealed record in place and gives its disk space back. Afterwards, and when it
    /// was forgotten before, reading it is [`ContentError::Forgotten`].
    fn erase(&self, location: &ContentLocation) -> Result<(), ContentError>;

    /// Deletes all content written before an hour; returns how many segments went.
    fn drop_content_before(&self, hour: Hour) -> Result<u64, ContentError>;

    /// The last position that is in the tree: at most 250 ms behind the head, unless sealing waits
    /// for space on the disk.
    fn tree_size(&self) -> Position;

    /// The tree over the events up to a position; `None` when it has not come so far.
    fn tree_head(&self, at: Position) -> Result<Option<TreeHead>, ReadError>;

    /// The proof that the event at `position` is in the tree over the events up to `size`: at most
    /// 64 hashes, for [`crate::verify_inclusion`]. Empty when it is not.
    fn inclusion(&self, position: Position, size: Position) -> Result<Vec<TreeHash>, ReadError>;

    /// The proof that the tree over the events up to `size` goes on from that up to `before`: for
    /// [`crate::verify_consistency`]. Empty when they are the same, or `before` is the start.
    fn consistency(&self, before: Position, size: Position) -> Result<Vec<TreeHash>, ReadError>;

    /// How the log is doing.
    fn health(&self) -> Health;

    /// Whether there is space for what follows from something that is about to be begun: for
    /// events, and some more. Cheap enough to be asked each time.
    fn has_room(&self) -> bool {
        true
    }

    /// Becomes true once the log writes no more until it is opened anew, as after a sync that
    /// failed; it never becomes false again.
    fn stopped_writing(&self) -> watch::Receiver<bool> {
        watch::channel(false).1
    }

    /// Refuses further appends, finishes those that wait, seals, writes the checkpoint. Reads
    /// still work; the directory is free once the log is dropped.
    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>>;
}

/// How a log is doing: for readiness and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether appends can succeed.
    pub writable: bool,
    /// Why not, or what is wrong although it is.
    pub reason: Option<Arc<str>>,
    /// The last durable position.
    pub head: Position,
    /// The last position that is in sealed blocks.
    pub sealed: Position,
    /// Appends answered well since the log was opened.
    pub appends: u64,
    /// Events appended since the log was opened.
    pub events: u64,
    /// Appends refused for a conflict since the log was opened.
    pub conflicts: u64,
    /// Appends failed for a technical cause since the log was opened.
    pub failures: u64,
    /// Syncs of the journal since the log was opened.
    pub journal_syncs: u64,
    /// Syncs of content segments since the log was opened.
    pub content_syncs: u64,
    /// Journal bytes on disk.
    pub journal_bytes: u64,
    /// Bytes of events that are not yet sealed, in memory.
    pub tail_bytes: u64,
    /// Bytes free on the file system, where known.
    pub disk_free_bytes: Option<u64>,
}
