//! Taking the log in, round by round.

use std::{sync::Arc, time::Duration};

use eventlog::{Batch, EventLog, Position, Pruned, Recorded, Scan, Store, StoreError, Table};
use model::Timestamp;

use crate::{
    ahead::{Ahead, CHUNK, Chunk},
    error::Halt,
    fact::{Fact, Known, Origin},
    layer::{Layer, Layers, Round},
    origins::Origins,
    projection::{CHECKPOINT_KEY, Checkpoint, Projection},
};

/// Most events that are taken in at once: readers wait as long.
const ROUND_EVENTS: usize = 512;

/// Tables are written, and made durable, each time so many events were taken in, and at a stop. A
/// crash in between costs folding these events again.
const WRITE_EVERY: u64 = 200_000;
/// A table is written when it has so many rows in memory: sled stalls on much larger batches.
const WRITE_ROWS: usize = 12 * 1024;
/// And when it has so many bytes of rows there.
const WRITE_BYTES: usize = 16 * 1024 * 1024;

/// On a full disk nothing is written; when there is as much in memory as may be, it is looked so
/// often whether there is space again.
const LOOK_FOR_SPACE: Duration = Duration::from_millis(250);

/// With more events than this before them, folds read ahead.
const FAR: u64 = 4 * CHUNK;

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
    /// Whether it does not go as far as an event.
    pub(crate) fn is_before(self, position: Position, at: Timestamp) -> bool {
        match self {
            Self::Head => false,
            Self::Position(last) => last < position,
            Self::Time(last) => last < at,
        }
    }

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
    /// How far it has come, in memory.
    checkpoint: Checkpoint,
    /// How far its table has come.
    written: Checkpoint,
}

/// Every projection, and the log that they follow.
pub(crate) struct Folds {
    log: Arc<dyn EventLog>,
    store: Store,
    every: Vec<Fold>,
    layers: Layers,
    origins: Origins,
    ahead: Option<Ahead>,
    unwritten: u64,
    /// For space on the disk.
    waits: bool,
    broken: Option<Halt>,
}

impl Folds {
    /// Finds where each table stands. One that is missing, has another version, or does not stand
    /// on this log's chain is emptied; so are those in `afresh`.
    pub(crate) fn open(
        log: Arc<dyn EventLog>,
        store: Store,
        layers: Layers,
        projections: Vec<Box<dyn Projection>>,
        afresh: impl Fn(&str) -> bool,
    ) -> Result<Self, Halt> {
        let mut every = Vec::with_capacity(projections.len());
        for projection in projections {
            let table = store.table(projection.name())?;
            let pruned = log.pruned()?.filter(|_| projection.is_carried());
            let stands = match stored_checkpoint(&table)? {
                Some(checkpoint) if afresh(projection.name()) => Err(Some(checkpoint)),
                Some(checkpoint) if checkpoint.version != projection.version() => {
                    Err(Some(checkpoint))
                }
                // Events that it has not taken in may be gone.
                Some(checkpoint) if pruned.is_some_and(|it| checkpoint.position < it.last) => {
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
                    match pruned {
                        Some(pruned) => carry_on(log.as_ref(), &pruned, &table, &*projection)?,
                        None => Checkpoint::start(projection.version()),
                    }
                }
            };
            if projection.remembers() {
                load(projection.as_ref(), &table)?;
            }
            every.push(Fold { projection, table, checkpoint, written: checkpoint });
        }
        let origins = Origins::default();
        let (ahead, broken) = (None, None);
        let (unwritten, waits) = (0, false);
        let folds = Self { log, store, every, layers, origins, ahead, unwritten, waits, broken };
        {
            let mut state = folds.layers.write();
            state.position = folds.position();
            for (fold, layer) in folds.every.iter().zip(&mut state.layers) {
                if fold.projection.remembers() {
                    layer.note_written();
                }
            }
        }
        Ok(folds)
    }

    /// The tables of a store that was made beside, one for each fold; fails unless each stands where
    /// its fold stands.
    pub(crate) fn tables_in(&self, store: &Store) -> Result<Vec<Table>, Halt> {
        let table = |fold: &Fold| {
            let table = store.table(fold.projection.name())?;
            // Where nothing was taken in nothing was written.
            let start = Checkpoint::start(fold.checkpoint.version);
            if stored_checkpoint(&table)?.unwrap_or(start) == fold.checkpoint {
                return Ok(table);
            }
            Err(Halt::Damaged {
                table: fold.projection.name(),
                what: "what was made beside it stands elsewhere".into(),
            })
        };
        self.every.iter().map(table).collect()
    }

    /// Goes on with other tables, which stand where the folds stand: readers see all of them at once.
    /// Nothing of what was before is written any more.
    pub(crate) fn go_on_with(&mut self, store: Store, tables: Vec<Table>) {
        let mut state = self.layers.write();
        state.layers.iter_mut().for_each(Layer::clear);
        for (fold, table) in self.every.iter_mut().zip(&tables) {
            fold.table = table.clone();
            fold.written = fold.checkpoint;
        }
        state.tables = tables;
        self.store = store;
        self.unwritten = 0;
    }

    pub(crate) const fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The position that every table has reached.
    pub(crate) fn position(&self) -> Position {
        self.every.iter().map(|fold| fold.checkpoint.position).min().unwrap_or(Position::START)
    }

    /// Takes in the next events; `false` when there are none. While there is no space for them, it
    /// waits and takes none in. Before an event that cannot be read
    /// everything is taken in, and then this fails, each time.
    pub(crate) fn round(&mut self, until: Until) -> Result<bool, Halt> {
        if let Some(halt) = &self.broken {
            return Err(halt.clone());
        }
        if self.is_full() {
            if !self.store.has_room() {
                self.note_waiting(true);
                std::thread::sleep(LOOK_FOR_SPACE);
                return Ok(true);
            }
            self.write(is_full)?;
        }
        self.note_waiting(false);
        let Chunk { facts, mut stopped } = self.next_chunk()?;
        let wanted = facts.iter().take_while(|(recorded, _)| until.includes(recorded)).count();
        if wanted < facts.len() {
            stopped = None;
        }
        let mut left = facts.get(..wanted).unwrap_or_default();
        while !left.is_empty() {
            let round = left.get(..ROUND_EVENTS).unwrap_or(left);
            let (origins, without) = self.origins_of(round);
            let round = round.get(..origins.len()).unwrap_or_default();
            let taken = match self.take_in(round, &origins) {
                Ok(taken) => taken,
                Err(halt) => return Err(self.lose(halt)),
            };
            left = left.get(taken..).unwrap_or_default();
            if let Some(halt) = without.filter(|_| taken == round.len()) {
                stopped = Some(halt);
                break;
            }
            if !self.store.has_room() {
                if self.is_full() {
                    break;
                }
            } else if self.unwritten >= WRITE_EVERY {
                self.flush()?;
            } else {
                self.write(is_full)?;
            }
        }
        stopped.map_or(Ok(wanted > 0), Err)
    }

    /// Whether a table must be written before it takes more.
    fn is_full(&self) -> bool {
        self.layers.read().layers.iter().any(is_full)
    }

    fn note_waiting(&mut self, waits: bool) {
        if self.waits != waits {
            tracing::warn!(waits, "the read models and the space on the disk");
            self.waits = waits;
        }
    }

    /// The events that follow, decoded.
    fn next_chunk(&mut self) -> Result<Chunk, Halt> {
        let after = self.position();
        let head = *self.log.head().borrow();
        if let Some(chunk) = self.ahead.as_mut().and_then(|ahead| ahead.next(after)) {
            return Ok(chunk);
        }
        self.ahead = None;
        if head.get().saturating_sub(after.get()) > FAR {
            let ahead = self.ahead.insert(Ahead::start(&self.log, after, head)?);
            if let Some(chunk) = ahead.next(after) {
                return Ok(chunk);
            }
        }
        Ok(Chunk::read(self.log.as_ref(), after, head, CHUNK))
    }

    /// How the message of each event began, up to one that is of none.
    fn origins_of(
        &mut self,
        round: &[(Recorded, Known)],
    ) -> (Vec<Option<Arc<Origin>>>, Option<Halt>) {
        let mut origins = Vec::with_capacity(round.len());
        for (recorded, known) in round {
            match self.origins.of(self.log.as_ref(), recorded, known) {
                Ok(origin) => origins.push(origin),
                Err(halt) => return (origins, Some(halt)),
            }
        }
        (origins, None)
    }

    /// Takes events in until there is enough in memory; says how many.
    fn take_in(
        &mut self,
        round: &[(Recorded, Known)],
        origins: &[Option<Arc<Origin>>],
    ) -> Result<usize, Halt> {
        let before = self.position();
        let layers = self.layers.clone();
        let mut state = layers.write();
        let mut taken = 0;
        let mut last: Option<&Recorded> = None;
        for ((recorded, known), origin) in round.iter().zip(origins) {
            let fact = Fact { recorded, known, origin: origin.as_ref() };
            for (fold, layer) in self.every.iter_mut().zip(&mut state.layers) {
                if recorded.position > fold.checkpoint.position {
                    fold.projection.apply(&fact, &mut Round::new(&fold.table, layer))?;
                }
            }
            last = Some(recorded);
            taken += 1;
            if state.layers.iter().any(is_full) {
                break;
            }
        }
        let Some(last) = last else { return Ok(0) };
        for (fold, layer) in self.every.iter_mut().zip(&mut state.layers) {
            if last.position <= fold.checkpoint.position {
                continue;
            }
            fold.projection.settle(&mut Round::new(&fold.table, layer))?;
            for (key, value) in layer.take_written() {
                fold.projection.remember(key, value)?;
            }
            let version = fold.checkpoint.version;
            fold.checkpoint = Checkpoint { version, position: last.position, hash: last.hash };
            layer.reach(fold.checkpoint);
        }
        let reached = self.position();
        state.position = reached;
        self.unwritten += reached.get().saturating_sub(before.get());
        Ok(taken)
    }

    /// Writes what was taken in, and makes it durable.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if self.unwritten == 0 || self.broken.is_some() {
            return Ok(());
        }
        if !self.store.has_room() {
            // Folded again at the next start.
            tracing::warn!("read models are not written: the disk is nearly full");
            return Ok(());
        }
        self.write(|_| true)?;
        self.store.flush()?;
        self.unwritten = 0;
        Ok(())
    }

    /// Writes the tables whose layers are `wanted`.
    fn write(&mut self, wanted: impl Fn(&Layer) -> bool) -> Result<(), StoreError> {
        for (number, fold) in self.every.iter_mut().enumerate() {
            {
                // Readers go on; nobody else writes.
                let state = self.layers.read();
                let Some(layer) = state.layers.get(number).filter(|layer| wanted(layer)) else {
                    continue;
                };
                fold.table.apply(layer.batch())?;
                fold.written = fold.checkpoint;
            }
            // Only now: until then readers find it here, and from now on in the table.
            if let Some(layer) = self.layers.write().layers.get_mut(number) {
                layer.clear();
            }
        }
        Ok(())
    }

    /// A round was taken in in part: what was not yet written is let go of, and nothing is written
    /// any more.
    fn lose(&mut self, halt: Halt) -> Halt {
        let mut state = self.layers.write();
        state.layers.iter_mut().for_each(Layer::clear);
        for fold in &mut self.every {
            fold.checkpoint = fold.written;
            fold.projection.forget();
        }
        state.position =
            self.every.iter().map(|fold| fold.written.position).min().unwrap_or_default();
        self.broken = Some(halt.clone());
        halt
    }
}

/// Whether a layer must be written before it takes more.
fn is_full(layer: &Layer) -> bool {
    layer.len() >= WRITE_ROWS || layer.bytes() >= WRITE_BYTES
}

fn stored_checkpoint(table: &Table) -> Result<Option<Checkpoint>, StoreError> {
    let stored = table.get(CHECKPOINT_KEY)?;
    Ok(stored.and_then(|bytes| Checkpoint::read(&bytes).ok()))
}

/// Begins a table with the rows that it had where events were pruned; its checkpoint last, for a
/// table without one is emptied again.
fn carry_on(
    log: &dyn EventLog,
    pruned: &Pruned,
    table: &Table,
    projection: &dyn Projection,
) -> Result<Checkpoint, Halt> {
    let unreadable = || Halt::Carried { table: projection.name(), position: pruned.last };
    let mut checkpoint = None;
    let (mut batch, mut rows, mut bytes) = (Batch::new(), 0, 0);
    for row in log.carried(projection.name()) {
        let (key, value) = row?;
        if *key == *CHECKPOINT_KEY {
            checkpoint = Checkpoint::read(&value).ok();
            continue;
        }
        batch.put(&key, &value);
        (rows, bytes) = (rows + 1, bytes + key.len() + value.len());
        if rows >= WRITE_ROWS || bytes >= WRITE_BYTES {
            table.apply(std::mem::take(&mut batch))?;
            (rows, bytes) = (0, 0);
        }
    }
    let wanted =
        Checkpoint { version: projection.version(), position: pruned.last, hash: pruned.chain };
    if checkpoint != Some(wanted) {
        return Err(unreadable());
    }
    table.apply(batch)?;
    let mut last = Batch::new();
    last.put(CHECKPOINT_KEY, wanted.to_bytes());
    table.apply(last)?;
    Ok(wanted)
}

/// Whether the log holds the very event that the checkpoint was written after, or held it until it
/// was pruned.
fn is_on_chain(log: &dyn EventLog, checkpoint: Checkpoint) -> Result<bool, Halt> {
    let Checkpoint { position, hash, .. } = checkpoint;
    if log.pruned()?.is_some_and(|pruned| (pruned.last, pruned.chain) == (position, hash)) {
        return Ok(true);
    }
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
