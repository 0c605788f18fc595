//! Taking the log in, round by round.

use std::sync::Arc;

use eventlog::{Batch, EventLog, Position, Recorded, Scan, Store, StoreError, Table};
use model::{Event, Timestamp};

use crate::{
    error::Halt,
    fact::Fact,
    origins::Origins,
    projection::{CHECKPOINT_KEY, Checkpoint, Projection},
    round::{ENOUGH_WRITES, Round},
};

/// Most events of one round.
const ROUND_EVENTS: usize = 4096;

/// Tables are made durable each time so many events were taken in, and at a stop. A crash in
/// between costs folding these events again.
const FLUSH_EVERY: u64 = 50_000;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Up to the end of the log.
    Head,
    /// Up to and with this position.
    Position(Position),
    /// Up to and with the last event at or before this time.
    Time(Timestamp),
}

impl Until {
    fn includes(self, recorded: &Recorded) -> bool {
        match self {
            Self::Head => true,
            Self::Position(last) => recorded.position <= last,
            Self::Time(last) => recorded.at <= last,
        }
    }
}

/// One projection with its table.
struct Fold {
    projection: Box<dyn Projection>,
    table: Table,
    checkpoint: Checkpoint,
}

/// Every projection, and the log that they follow.
pub(crate) struct Folds {
    log: Arc<dyn EventLog>,
    store: Store,
    every: Vec<Fold>,
    origins: Origins,
    unflushed: u64,
}

pub(crate) fn decode(recorded: &Recorded) -> Result<Event, Halt> {
    Event::decode(recorded.stream, &recorded.data).map_err(|error| Halt::Undecodable {
        position: recorded.position,
        stream: recorded.stream,
        what: error.to_string().into(),
    })
}

impl Folds {
    /// Finds where each table stands. One that is missing, has another version, or does not stand
    /// on this log's chain is emptied; so are those in `afresh`.
    pub(crate) fn open(
        log: Arc<dyn EventLog>,
        store: Store,
        projections: Vec<Box<dyn Projection>>,
        afresh: impl Fn(&str) -> bool,
    ) -> Result<Self, Halt> {
        let mut every = Vec::with_capacity(projections.len());
        for projection in projections {
            let table = store.table(projection.name())?;
            let stands = match stored_checkpoint(&table)? {
                Some(checkpoint) if afresh(projection.name()) => Err(Some(checkpoint)),
                Some(checkpoint) if checkpoint.version != projection.version() => {
                    Err(Some(checkpoint))
                }
                Some(checkpoint) if !is_on_chain(log.as_ref(), checkpoint)? => {
                    Err(Some(checkpoint))
                }
                Some(checkpoint) => Ok(checkpoint),
                None => Err(None),
            };
            let checkpoint = match stands {
                Ok(checkpoint) => checkpoint,
                Err(before) => {
                    let position = before.map(|checkpoint| checkpoint.position.get());
                    tracing::info!(table = projection.name(), ?position, "made anew from the log");
                    empty(&table)?;
                    Checkpoint::start(projection.version())
                }
            };
            if projection.remembers() {
                load(projection.as_ref(), &table)?;
            }
            every.push(Fold { projection, table, checkpoint });
        }
        Ok(Self { log, store, every, origins: Origins::default(), unflushed: 0 })
    }

    pub(crate) const fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The position that every table has reached.
    pub(crate) fn position(&self) -> Position {
        self.every.iter().map(|fold| fold.checkpoint.position).min().unwrap_or(Position::START)
    }

    /// Takes in the next events; `false` when there are none. Before an event that cannot be read
    /// everything is taken in, and then this fails, each time.
    pub(crate) fn round(&mut self, until: Until) -> Result<bool, Halt> {
        let events = self.log.read_all(self.position(), ROUND_EVENTS)?;
        let mut rounds: Vec<Round> =
            self.every.iter().map(|fold| Round::new(fold.table.clone())).collect();
        let mut last: Option<&Recorded> = None;
        let mut stopped = None;
        for recorded in events.iter().take_while(|recorded| until.includes(recorded)) {
            let known = decode(recorded).and_then(|event| {
                let origin = self.origins.of(self.log.as_ref(), recorded, &event)?;
                Ok((event, origin))
            });
            let (event, origin) = match known {
                Ok(known) => known,
                Err(halt) => {
                    stopped = Some(halt);
                    break;
                }
            };
            let fact = Fact { recorded, event: &event, origin: origin.as_ref() };
            for (fold, round) in self.every.iter_mut().zip(&mut rounds) {
                if recorded.position > fold.checkpoint.position {
                    fold.projection.apply(&fact, round)?;
                }
            }
            last = Some(recorded);
            if rounds.iter().any(|round| round.len() >= ENOUGH_WRITES) {
                break;
            }
        }
        let taken = last.is_some();
        if let Some(last) = last {
            self.commit(rounds, last)?;
        }
        stopped.map_or(Ok(taken), Err)
    }

    fn commit(&mut self, rounds: Vec<Round>, last: &Recorded) -> Result<(), Halt> {
        let before = self.position();
        for (fold, round) in self.every.iter_mut().zip(rounds) {
            if last.position <= fold.checkpoint.position {
                continue;
            }
            for (key, value) in round.written() {
                fold.projection.remember(key, value)?;
            }
            let version = fold.checkpoint.version;
            let next = Checkpoint { version, position: last.position, hash: last.hash };
            round.commit((CHECKPOINT_KEY, &next.to_bytes()))?;
            fold.checkpoint = next;
        }
        self.unflushed += last.position.get().saturating_sub(before.get());
        if self.unflushed >= FLUSH_EVERY {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes what was taken in durable.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if self.unflushed > 0 {
            self.store.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }
}

fn stored_checkpoint(table: &Table) -> Result<Option<Checkpoint>, StoreError> {
    let stored = table.get(CHECKPOINT_KEY)?;
    Ok(stored.and_then(|bytes| Checkpoint::read(&bytes).ok()))
}

/// Whether the log holds the very event that the checkpoint was written after.
fn is_on_chain(log: &dyn EventLog, checkpoint: Checkpoint) -> Result<bool, Halt> {
    let Some(before) = checkpoint.position.get().checked_sub(1) else { return Ok(false) };
    let found = log.read_all(Position::new(before), 1)?;
    Ok(found.first().is_some_and(|recorded| {
        recorded.position == checkpoint.position && recorded.hash == checkpoint.hash
    }))
}

/// Removes every row, the checkpoint first: emptying is not atomic, and a table without a
/// checkpoint is emptied again.
fn empty(table: &Table) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.delete(CHECKPOINT_KEY);
    table.apply(batch)?;
    table.clear()
}

fn load(projection: &dyn Projection, table: &Table) -> Result<(), Halt> {
    for row in table.scan(Scan::all()) {
        let (key, value) = row?;
        if *key != *CHECKPOINT_KEY {
            projection.remember(&key, &value)?;
        }
    }
    Ok(())
}
