//! Moves durable events from the tail into sled, and says in the checkpoint file how far.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{KeepJournal, shared::Shared};
use crate::{
    checkpoint::Checkpoint,
    error::{CloseError, OpenError},
    event::ChainEnd,
    index::{BATCH_ENTRIES, IndexError},
    journal::{self, Segment},
    position::Position,
};

/// How long an event waits at most before it is sealed.
const SEAL_EVERY: Duration = Duration::from_millis(250);
/// How long what is sealed waits before it is made durable in sled. Until then the journal has it.
const SYNC_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Sealer {
    shared: Arc<Shared>,
    durable: Position,
}

impl Sealer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let durable = shared.sealing.lock().end().position;
        Self { shared, durable }
    }

    /// Works until the committer is done and everything is sealed.
    pub(super) fn run(mut self) -> Result<(), CloseError> {
        let mut synced_at = Instant::now();
        loop {
            let stop = self.shared.wake.wait(SEAL_EVERY);
            let sync = stop || synced_at.elapsed() >= SYNC_EVERY;
            if self.shared.sealing_must_wait() {
                if stop {
                    let words = "the disk is full; nothing is lost, and what is not sealed yet is at the next start";
                    return Err(CloseError(words.into()));
                }
                continue;
            }
            if let Err(error) = self.seal().and_then(|()| if sync { self.sync() } else { Ok(()) }) {
                if error.is_shortage() && !stop {
                    // The journal has it all; the next round tries again.
                    tracing::warn!(%error, "what is sealed is not durable yet");
                    continue;
                }
                self.shared.stop_writing(&format!("sealing: {error}"));
                return Err(CloseError(error.to_string().into()));
            }
            if sync {
                synced_at = Instant::now();
            }
            if stop {
                return Ok(());
            }
        }
    }

    fn seal(&mut self) -> Result<(), IndexError> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut sealing = shared.sealing.lock();
            let events = self.shared.unsealed(BATCH_ENTRIES);
            let Some(last) = events.last() else { break };
            for event in &events {
                sealing.push(event)?;
            }
            sealing.apply()?;
            self.shared.sealed_through(last.position);
            if self.shared.sealing_must_wait() {
                break;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IndexError> {
        // Another index does not take this one's place meanwhile.
        let shared = Arc::clone(&self.shared);
        let sealing = shared.sealing.lock();
        let end = sealing.end();
        if end.position == self.durable {
            return Ok(());
        }
        sealing.index().sync()?;
        let checkpoint = Checkpoint { position: end.position, hash: end.hash };
        checkpoint.write(&self.shared.layout.checkpoint())?;
        self.durable = end.position;
        drop(sealing);
        let keep = self.shared.options.keep_journal;
        if let Err(error) = retire(&self.shared.layout.journal(), keep, end) {
            // They only cost space; the next round tries again.
            tracing::warn!(%error, "old journal segments were not removed");
        }
        Ok(())
    }
}

/// Removes journal segments that are sealed and no longer wanted, oldest first.
fn retire(dir: &Path, keep: KeepJournal, sealed: ChainEnd) -> Result<(), OpenError> {
    let KeepJournal::Within { age, bytes } = keep else { return Ok(()) };
    let segments = journal::segments(dir)?;
    let sizes = segments.iter().map(|path| crate::files::disk_bytes(path));
    let mut total: u64 = sizes.clone().sum();
    let followers = segments.iter().skip(1);
    for ((path, follower), size) in segments.iter().zip(followers).zip(sizes) {
        let last = Segment::open(follower)?.before();
        let old = sealed.at.since(last.at) > age;
        if last.position > sealed.position || !(old || total > bytes) {
            break;
        }
        std::fs::remove_file(path).map_err(|error| OpenError::io(path, error))?;
        total = total.saturating_sub(size);
    }
    Ok(())
}
