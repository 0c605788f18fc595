//! Reading ahead: where much lies before the folds, the log is read and decoded on all cores, so
//! that the one thread that folds does nothing else.

use std::{num::NonZero, sync::Arc, sync::mpsc, thread::JoinHandle};

use eventlog::{EventLog, Position, Recorded};

use crate::{error::Halt, fact::Known};

/// Events of one chunk.
pub(crate) const CHUNK: u64 = 4096;
/// Chunks that each thread keeps ready.
const READY: usize = 2;

/// Some events, decoded, and why there are no more of them if one cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) facts: Vec<(Recorded, Known)>,
    pub(crate) stopped: Option<Halt>,
}

impl Chunk {
    /// The events after one position and up to another, at most so many.
    pub(crate) fn read(log: &dyn EventLog, after: Position, last: Position, most: u64) -> Self {
        let mut chunk = Self::default();
        let mut reached = after;
        while reached < last {
            // Where events were pruned, there are fewer than positions.
            let left = last.get().saturating_sub(reached.get());
            let left = left.min(most.saturating_sub(chunk.facts.len() as u64));
            match log.read_all(reached, usize::try_from(left).unwrap_or(usize::MAX)) {
                Ok(events) if events.is_empty() => break,
                Ok(events) => {
                    for recorded in events {
                        reached = recorded.position;
                        if reached > last {
                            break;
                        }
                        match Known::of(&recorded) {
                            Ok(known) => chunk.facts.push((recorded, known)),
                            Err(halt) => {
                                chunk.stopped = Some(halt);
                                return chunk;
                            }
                        }
                    }
                }
                Err(error) => {
                    chunk.stopped = Some(error.into());
                    return chunk;
                }
            }
        }
        chunk
    }
}

/// Threads that read ahead, each every so manieth chunk of positions. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    threads: Vec<(mpsc::Receiver<Chunk>, JoinHandle<()>)>,
    turn: usize,
    /// Of the last event that was given.
    reached: Position,
    /// Up to where chunks were given: further, where events were pruned.
    covered: Position,
    last: Position,
}

impl Ahead {
    /// Reads what lies after one position and up to another.
    pub(crate) fn start(
        log: &Arc<dyn EventLog>,
        after: Position,
        last: Position,
    ) -> Result<Self, Halt> {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let (give, take) = mpsc::sync_channel(READY);
            let log = Arc::clone(log);
            let stride = CHUNK.saturating_mul(count as u64);
            let mut begin = after.plus(CHUNK.saturating_mul(number as u64));
            let work = move || {
                while begin < last {
                    let end = begin.plus(CHUNK).min(last);
                    let chunk = Chunk::read(log.as_ref(), begin, end, CHUNK);
                    let ends = chunk.stopped.is_some();
                    if give.send(chunk).is_err() || ends {
                        break;
                    }
                    begin = begin.plus(stride);
                }
            };
            let thread = std::thread::Builder::new().name("read-ahead".into()).spawn(work);
            let thread = thread.map_err(|error| Halt::Thread(error.to_string().into()))?;
            threads.push((take, thread));
        }
        Ok(Self { threads, turn: 0, reached: after, covered: after, last })
    }

    /// The next chunk after `after` in which there is anything; `None` when everything was read, or it
    /// is not here.
    pub(crate) fn next(&mut self, after: Position) -> Option<Chunk> {
        while after == self.reached && self.covered < self.last {
            let (take, _) = self.threads.get(self.turn)?;
            let chunk = take.recv().ok()?;
            self.turn = (self.turn + 1) % self.threads.len();
            self.covered = self.covered.plus(CHUNK).min(self.last);
            if let Some((recorded, _)) = chunk.facts.last() {
                self.reached = recorded.position;
            }
            if !chunk.facts.is_empty() || chunk.stopped.is_some() {
                return Some(chunk);
            }
        }
        None
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        for (take, thread) in self.threads.drain(..) {
            drop(take);
            if thread.join().is_err() {
                tracing::error!("a thread that reads ahead panicked");
            }
        }
    }
}
