//! The layer of rows that were changed in memory and not yet written to the tables below it.
//!
//! A fold changes the same rows again and again: counts of an hour, the end of a list, the alarm of
//! a message that is delivered a moment later. So rows gather here, and what came and went in
//! between never reaches the disk. Readers look here first and below it then. A table may lag
//! behind the log, and its checkpoint, written in one batch with its rows, says how far: losing the
//! layer costs folding again what is in it.

use std::{collections::HashMap, ops::RangeBounds, sync::Arc};

use eventlog::{Batch, Position, Row, Scan, StoreError, Table};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::projection::{CHECKPOINT_KEY, Checkpoint};

/// What is known of a row in the table below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    /// It was not looked for.
    Unknown,
    /// There is none.
    Absent,
    /// There is one.
    Present,
}

#[derive(Debug)]
struct Slot {
    below: Below,
    changed: bool,
    value: Option<Vec<u8>>,
}

/// The rows of one table that are in memory.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    /// Where the slot of each key is. Rows are found far more often than they are gone through, so
    /// their order is made when it is wanted.
    places: HashMap<Vec<u8>, usize>,
    slots: Vec<Slot>,
    /// Slots of rows that came and went.
    free: Vec<usize>,
    bytes: usize,
    /// Keys written since they were last asked for; of tables that are remembered alone.
    written: Option<Vec<Vec<u8>>>,
}

impl Layer {
    /// From now on says what was written.
    pub(crate) fn note_written(&mut self) {
        self.written = Some(Vec::new());
    }

    /// Says how far the table has come. It goes down in one batch with the rows.
    pub(crate) fn reach(&mut self, checkpoint: Checkpoint) {
        self.set(CHECKPOINT_KEY.to_vec(), Below::Unknown, checkpoint.to_bytes());
    }

    fn find(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(*self.places.get(key)?)
    }

    fn find_mut(&mut self, key: &[u8]) -> Option<&mut Slot> {
        self.slots.get_mut(*self.places.get(key)?)
    }

    fn insert(&mut self, key: Vec<u8>, slot: Slot) -> usize {
        let place = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(place) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.places.insert(key, place);
        place
    }

    fn set(&mut self, key: Vec<u8>, below: Below, value: Vec<u8>) {
        self.bytes += value.len();
        match self.find_mut(&key) {
            Some(slot) => {
                slot.changed = true;
                let before = slot.value.replace(value).map_or(0, |before| before.len());
                self.bytes = self.bytes.saturating_sub(before);
            }
            None => {
                self.insert(key, Slot { below, changed: true, value: Some(value) });
            }
        }
    }

    /// How many rows are here, the unchanged ones too.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that were put here, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows written since this was last asked, in the order of their keys.
    pub(crate) fn take_written(&mut self) -> Vec<(&[u8], &[u8])> {
        let Some(keys) = &mut self.written else { return Vec::new() };
        let mut keys = std::mem::take(keys);
        keys.sort_unstable();
        keys.dedup();
        let rows = keys.iter().filter_map(|key| {
            let (key, place) = self.places.get_key_value(key)?;
            Some((key.as_slice(), self.slots.get(*place)?.value.as_deref()?))
        });
        rows.collect()
    }

    /// Everything that the table below does not have.
    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for (key, place) in &self.places {
            match self.slots.get(*place) {
                Some(Slot { changed: true, value: Some(value), .. }) => batch.put(key, value),
                Some(Slot { changed: true, value: None, .. }) => batch.delete(key),
                Some(Slot { changed: false, .. }) | None => {}
            }
        }
        batch
    }

    /// The rows of a scan, the first key first; without a value, what was taken out.
    fn range(&self, scan: &Scan) -> Vec<Above> {
        if scan.is_empty() {
            return Vec::new();
        }
        let bounds = scan.bounds();
        let places = self
            .places
            .iter()
            .filter(|(key, _)| RangeBounds::<[u8]>::contains(&bounds, key.as_slice()));
        let mut rows: Vec<Above> = places
            .map(|(key, place)| {
                let value = self.slots.get(*place).and_then(|slot| slot.value.as_deref());
                (Box::from(key.as_slice()), value.map(Box::from))
            })
            .collect();
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.slots.clear();
        self.free.clear();
        self.bytes = 0;
        if let Some(written) = &mut self.written {
            written.clear();
        }
    }
}

/// Every table with its layer, and the position that all of them have reached: readers see whole
/// rounds, and other tables all at once.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) layers: Vec<Layer>,
    /// As many as there are layers; none where all rows are in memory.
    pub(crate) tables: Vec<Table>,
}

/// The layers, shared by the one who folds and those who read.
#[derive(Debug, Clone)]
pub(crate) struct Layers(Arc<RwLock<State>>);

impl Layers {
    /// One above each of these tables.
    pub(crate) fn above(tables: Vec<Table>) -> Self {
        let layers = tables.iter().map(|_| Layer::default()).collect();
        Self(Arc::new(RwLock::new(State { position: Position::START, layers, tables })))
    }

    /// One that no table lies below.
    pub(crate) fn in_memory() -> Self {
        let (position, layers) = (Position::START, vec![Layer::default()]);
        Self(Arc::new(RwLock::new(State { position, layers, tables: Vec::new() })))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write()
    }
}

/// A table with what lies above it, for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    layers: Layers,
    number: usize,
}

impl Rows {
    /// `number`: of the table, and of its layer.
    pub(crate) const fn new(layers: Layers, number: usize) -> Self {
        Self { layers, number }
    }

    /// The position that is taken in.
    pub(crate) fn position(&self) -> Position {
        self.layers.read().position
    }

    /// The value of a row.
    pub(crate) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Box<[u8]>>, StoreError> {
        let key = key.as_ref();
        let table = {
            let state = self.layers.read();
            if let Some(slot) = state.layers.get(self.number).and_then(|layer| layer.find(key)) {
                return Ok(slot.value.as_deref().map(Box::from));
            }
            state.tables.get(self.number).cloned()
        };
        // What leaves the layer in between is in the table by then.
        table.map_or(Ok(None), |table| table.get(key))
    }

    /// The rows of a scan. What is in memory is seen as it is now; of the rest a long scan sees
    /// writes that happen during it, or not.
    pub(crate) fn scan(&self, scan: Scan) -> Merged {
        let (mut above, table) = {
            let state = self.layers.read();
            let above = state.layers.get(self.number).map(|layer| layer.range(&scan));
            (above.unwrap_or_default(), state.tables.get(self.number).cloned())
        };
        let reverse = scan.is_reversed();
        if reverse {
            above.reverse();
        }
        Merged {
            above: above.into_iter().peekable(),
            below: table.map(|table| table.scan(scan).peekable()),
            reverse,
        }
    }
}

type Above = (Box<[u8]>, Option<Box<[u8]>>);

/// The rows of a table and of what lies above it, in the order of their keys.
pub(crate) struct Merged {
    above: std::iter::Peekable<std::vec::IntoIter<Above>>,
    below: Option<std::iter::Peekable<eventlog::Rows>>,
    reverse: bool,
}

impl Iterator for Merged {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((above, _)) = self.above.peek() else { return self.below.as_mut()?.next() };
            match self.below.as_mut().and_then(std::iter::Peekable::peek) {
                Some(Err(_)) => return self.below.as_mut()?.next(),
                Some(Ok((below, _))) => {
                    let order = below.cmp(above);
                    let order = if self.reverse { order.reverse() } else { order };
                    if order.is_lt() {
                        return self.below.as_mut()?.next();
                    }
                    if order.is_eq() {
                        self.below.as_mut().and_then(Iterator::next);
                    }
                }
                None => {}
            }
            if let Some((key, Some(value))) = self.above.next() {
                return Some(Ok((key, value)));
            }
        }
    }
}

/// A table and its layer, for changing.
pub(crate) struct Round<'a> {
    table: Option<&'a Table>,
    layer: &'a mut Layer,
}

impl<'a> Round<'a> {
    pub(crate) const fn new(table: &'a Table, layer: &'a mut Layer) -> Self {
        Self { table: Some(table), layer }
    }

    /// Of a layer that no table lies below.
    pub(crate) const fn in_memory(layer: &'a mut Layer) -> Self {
        Self { table: None, layer }
    }

    fn slot(&mut self, key: &[u8]) -> Result<&mut Slot, StoreError> {
        let place = if let Some(place) = self.layer.places.get(key) {
            *place
        } else {
            let value = match self.table {
                Some(table) => table.get(key)?.map(Vec::from),
                None => None,
            };
            let below = if value.is_some() { Below::Present } else { Below::Absent };
            self.layer.insert(key.to_vec(), Slot { below, changed: false, value })
        };
        let lost = || StoreError::Damaged("a row that was just read is gone".into());
        self.layer.slots.get_mut(place).ok_or_else(lost)
    }

    /// The row, as it stands.
    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        self.slot(key).map(|slot| slot.value.as_deref())
    }

    /// The row, for changing; `None` when there is none.
    pub(crate) fn edit(&mut self, key: &[u8]) -> Result<Option<&mut Vec<u8>>, StoreError> {
        self.note(key);
        let slot = self.slot(key)?;
        slot.changed |= slot.value.is_some();
        Ok(slot.value.as_mut())
    }

    /// The row, for changing; begun as `new` when there is none.
    pub(crate) fn edit_or(
        &mut self,
        key: &[u8],
        new: impl FnOnce() -> Vec<u8>,
    ) -> Result<&mut Vec<u8>, StoreError> {
        self.note(key);
        let slot = self.slot(key)?;
        slot.changed = true;
        Ok(slot.value.get_or_insert_with(new))
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.set(key, Below::Unknown, value);
    }

    /// Writes a row that was never there before: taking it out again costs nothing.
    pub(crate) fn put_new(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.set(key, Below::Absent, value);
    }

    fn set(&mut self, key: Vec<u8>, below: Below, value: Vec<u8>) {
        self.note(&key);
        self.layer.set(key, below, value);
    }

    /// Takes a row out.
    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        match self.layer.find_mut(&key) {
            // It came and went in memory.
            Some(Slot { below: Below::Absent, value, .. }) => {
                let gone = value.take().map_or(0, |value| value.len());
                self.layer.bytes = self.layer.bytes.saturating_sub(gone);
                self.layer.free.extend(self.layer.places.remove(&key));
            }
            Some(slot) => {
                slot.changed = true;
                slot.value = None;
            }
            None => {
                let slot = Slot { below: Below::Unknown, changed: true, value: None };
                self.layer.insert(key, slot);
            }
        }
    }

    fn note(&mut self, key: &[u8]) {
        if let Some(written) = &mut self.layer.written {
            written.push(key.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use eventlog::Store;
    use proptest::prelude::*;

    use super::*;

    /// What is done to a row: its key, and what.
    fn change() -> impl Strategy<Value = (u8, u8)> {
        (0_u8..24, 0_u8..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn rows_read_the_same_wherever_they_lie(
            parts in proptest::collection::vec(proptest::collection::vec(change(), 0..40), 1..6),
            (from, to) in (0_u8..24, 0_u8..24),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let table = Store::open(dir.path()).unwrap().table("rows").unwrap();
            let layers = Layers::above(vec![table.clone()]);
            let rows = Rows::new(layers.clone(), 0);
            let mut truth: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for part in parts {
                for (number, what) in part {
                    let key = vec![number];
                    let mut state = layers.write();
                    let mut round = Round::new(&table, &mut state.layers[0]);
                    match what {
                        0 => {
                            round.put(key.clone(), vec![what]);
                            truth.insert(key, vec![what]);
                        }
                        1 => {
                            round.delete(key.clone());
                            truth.remove(&key);
                        }
                        2 if !truth.contains_key(&key) => {
                            round.put_new(key.clone(), vec![what]);
                            truth.insert(key, vec![what]);
                        }
                        3 => {
                            round.edit_or(&key, Vec::new).unwrap().push(what);
                            truth.entry(key).or_default().push(what);
                        }
                        _ => {
                            if let Some(row) = round.edit(&key).unwrap() {
                                row.push(what);
                            }
                            if let Some(row) = truth.get_mut(&key) {
                                row.push(what);
                            }
                        }
                    }
                }
                for number in 0..24 {
                    let found = rows.get([number]).unwrap().map(Vec::from);
                    prop_assert_eq!(found, truth.get(&vec![number]).cloned());
                }
                let scan = Scan::range([from], [to]);
                let mut expected: Vec<_> = truth.clone().into_iter().collect();
                expected.retain(|(key, _)| (from..to).contains(&key[0]));
                for scan in [scan.clone(), scan.reverse()] {
                    let found: Vec<_> = rows
                        .scan(scan)
                        .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
                        .collect();
                    prop_assert_eq!(&found, &expected);
                    expected.reverse();
                }
                let written = layers.read().layers[0].batch();
                table.apply(written).unwrap();
                layers.write().layers[0].clear();
            }
        }
    }

    #[test]
    fn what_came_and_went_in_memory_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let table = Store::open(dir.path()).unwrap().table("rows").unwrap();
        let mut layer = Layer::default();
        let mut round = Round::new(&table, &mut layer);
        round.put_new(vec![1], vec![1]);
        round.delete(vec![1]);
        assert!(layer.batch().is_empty());
        assert_eq!(layer.len(), 0);
    }
}
