//! The log on disk.

mod committer;
mod open;
mod pace;
mod prune;
mod rebuild;
mod sealer;
mod shared;

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use model::StreamId;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub(crate) use self::open::check_index;
use self::{
    committer::{Committer, Waiting},
    sealer::Sealer,
    shared::Shared,
};
pub use self::{
    open::Recovery,
    prune::{CarriedRow, Prunable, PruneError, Pruning},
    rebuild::{Rebuilt, rebuild},
};
use crate::{
    content::{ContentLocation, Hour, Sealed},
    contract::{CarriedRows, EventLog, Health},
    error::{AppendError, Cause, CloseError, ContentError, OpenError, ReadError},
    event::{Append, Appended, BoxFuture, Recorded, check_all, only},
    layout::Layout,
    merkle::TreeHash,
    position::{Position, Version},
    pruned::Pruned,
    signed_checkpoint::TreeHead,
    verify::{VerifyError, VerifyReport},
};

/// Appends that wait for the committer; the next ones wait outside.
const WAITING_APPENDS: usize = 4096;
/// Bytes of appends that wait for the committer, in KiB; the next ones wait outside.
const WAITING_KIB: usize = 256 * 1024;

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// How long journal segments stay after they were sealed.
    pub keep_journal: KeepJournal,
    /// A journal segment is ended at this size, in bytes.
    pub segment_bytes: u64,
    /// With less free space than this, in bytes, appends that bring content are refused, so that
    /// what is under way can still be recorded.
    pub low_water_bytes: u64,
    /// Size of a file that only takes space, in bytes; 0 for none. It is given up when the log is
    /// opened on a full disk: sled cannot open without some room.
    pub ballast_bytes: u64,
}

/// How long journal segments stay after they were sealed. Without the whole journal, sled's files
/// can only be made anew as long as their older part is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepJournal {
    /// For ever: sled's files can always be made anew.
    Forever,
    /// Until they are older than `age` or all together larger than `bytes`.
    Within {
        /// By the time of the events.
        age: Duration,
        /// Of all segments.
        bytes: u64,
    },
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            keep_journal: KeepJournal::Within {
                age: Duration::from_hours(7 * 24),
                bytes: 2 * 1024 * 1024 * 1024,
            },
            segment_bytes: 64 * 1024 * 1024,
            low_water_bytes: 64 * 1024 * 1024,
            ballast_bytes: 32 * 1024 * 1024,
        }
    }
}

/// What a log is made of, on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// The last durable position.
    pub head: Position,
    /// The last sealed position.
    pub sealed: Position,
    /// The first position that the journal still holds.
    pub journal_from: Position,
    /// How many segments the journal has.
    pub journal_segments: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of sled's files.
    pub sled_bytes: u64,
    /// How many sealed blocks there are.
    pub blocks: u64,
    /// How many sealed events the stream index names.
    pub indexed: u64,
    /// How many events were pruned.
    pub pruned: u64,
    /// How many content segments there are.
    pub content_segments: u64,
    /// Bytes of content.
    pub content_bytes: u64,
}

/// The log: a journal in front, sled behind.
///
/// Dropping it closes it and waits for that; [`EventLog::close`] waits without blocking.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    requests: Mutex<Option<mpsc::Sender<Waiting>>>,
    space: Arc<Semaphore>,
    stopped: watch::Receiver<Option<Result<(), CloseError>>>,
    threads: Vec<JoinHandle<()>>,
    recovery: Recovery,
}

impl Log {
    /// Opens the log in `dir`, or makes one. Blocks until what was not sealed is.
    ///
    /// sled's files are made anew from the journal when they cannot be used; [`Log::recovery`]
    /// says so.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, OpenError> {
        Self::open_in(Layout::new(dir), options)
    }

    pub(crate) fn open_in(layout: Layout, options: LogOptions) -> Result<Self, OpenError> {
        layout.create()?;
        let lock = layout.lock()?;
        let opened = open::recover(&layout, &options, None, &mut |_| {})?;
        let recovery = opened.recovery.clone();
        let dir = layout.dir().to_owned();
        let (shared, journal) = Shared::new(layout, options, lock, opened)?;
        let shared = Arc::new(shared);

        let (requests, waiting) = mpsc::channel(WAITING_APPENDS);
        let (stopped_tx, stopped) = watch::channel(None);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|error| OpenError::io(&dir, error))
        };
        let end = shared.sealing.lock().end();
        let committer = Committer::new(Arc::clone(&shared), (journal, end), waiting);
        let sealer = Sealer::new(Arc::clone(&shared));
        let threads = vec![
            spawn(
                "log-seal",
                Box::new(move || {
                    stopped_tx.send_replace(Some(sealer.run()));
                }),
            )?,
            spawn("log-commit", Box::new(move || committer.run()))?,
        ];
        Ok(Self {
            shared,
            requests: Mutex::new(Some(requests)),
            space: Arc::new(Semaphore::new(WAITING_KIB)),
            stopped,
            threads,
            recovery,
        })
    }

    /// What had to be mended when it was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What it is made of. Reads all keys of the index.
    pub fn stats(&self) -> Result<LogStats, ReadError> {
        self.shared.stats()
    }

    /// Checks every block, the chain, the stream index and all content up to the last sealed
    /// position, while the log is in use. `progress` is told the positions checked and their
    /// number.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, VerifyError> {
        crate::verify::verify_open(&self.shared.index(), &self.shared.content, progress)
    }

    async fn append_waiting(&self, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
        check_all(&appends).map_err(AppendError::Invalid)?;
        let not_written = |()| AppendError::NotWritten(self.shared.closed_cause());
        let requests = self.requests.lock().clone().ok_or(()).map_err(not_written)?;
        let bytes = |append: &Append| append.encoded_len() + append.content_len();
        let kib = appends.iter().map(bytes).sum::<usize>() / 1024 + 1;
        let kib = u32::try_from(kib.min(WAITING_KIB)).unwrap_or(u32::MAX);
        let space = Arc::clone(&self.space).acquire_many_owned(kib).await;
        let space = space.map_err(|_| not_written(()))?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { appends, answer, space };
        requests.send(waiting).await.map_err(|_| not_written(()))?;
        drop(requests);
        // The committer answers all it took; it is gone only if it failed in the middle.
        answered.await.unwrap_or_else(|_| Err(AppendError::Unknown(self.shared.closed_cause())))
    }
}

impl EventLog for Log {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async { only(self.append_waiting(vec![append]).await) })
    }

    fn append_all(
        &self,
        appends: Vec<Append>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(self.append_waiting(appends))
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        self.shared.read_stream(stream, after, limit)
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.shared.read_all(after, limit)
    }

    fn pruned(&self) -> Result<Option<Pruned>, ReadError> {
        Ok(self.shared.index().pruned()?.map(|signed| signed.pruned))
    }

    fn is_pruned(&self, position: Position) -> Result<bool, ReadError> {
        Ok(self.shared.index().gap_at(position)?.is_some())
    }

    fn carried(&self, table: &str) -> CarriedRows {
        self.shared.index().carried(table)
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.shared.head.subscribe()
    }

    fn read_content(&self, location: &ContentLocation) -> Result<Sealed, ContentError> {
        self.shared.content.read(location)
    }

    fn erase(&self, location: &ContentLocation) -> Result<(), ContentError> {
        self.shared.content.erase(location)
    }

    fn drop_content_before(&self, hour: Hour) -> Result<u64, ContentError> {
        self.shared.content.drop_before(hour)
    }

    fn tree_size(&self) -> Position {
        self.shared.sealed()
    }

    fn tree_head(&self, at: Position) -> Result<Option<TreeHead>, ReadError> {
        self.shared.tree_head(at)
    }

    fn inclusion(&self, position: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        self.shared.inclusion(position, size)
    }

    fn consistency(&self, before: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        self.shared.consistency(before, size)
    }

    fn health(&self) -> Health {
        let mut health = self.shared.health();
        if self.requests.lock().as_ref().is_none_or(mpsc::Sender::is_closed) {
            health.writable = false;
            health.reason.get_or_insert_with(|| Cause::Closed.to_string().into());
        }
        health
    }

    fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    fn stopped_writing(&self) -> watch::Receiver<bool> {
        self.shared.stopped.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>> {
        Box::pin(async move {
            self.requests.lock().take();
            let mut stopped = self.stopped.clone();
            match stopped.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
                Err(_) => Err(CloseError("the sealer failed".into())),
            }
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.requests.lock().take();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}
