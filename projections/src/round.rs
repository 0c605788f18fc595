//! The writes of one round on one table, held back until the round ends.

use std::collections::BTreeMap;

use eventlog::{Batch, StoreError, Table};

/// A round ends once it holds this many writes: sled takes batches of some thousand writes at full
/// speed and stalls on much larger ones.
pub(crate) const ENOUGH_WRITES: usize = 4096;

/// What is known of a row before the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It was not looked at.
    Unknown,
    /// There was none.
    Absent,
    /// There was one.
    Present,
}

#[derive(Debug)]
struct Slot {
    before: Before,
    value: Option<Vec<u8>>,
}

/// What the events of one round change in one table. A row that changes many times is read once
/// and written once.
pub(crate) struct Round {
    table: Table,
    slots: BTreeMap<Vec<u8>, Slot>,
}

impl Round {
    pub(crate) const fn new(table: Table) -> Self {
        Self { table, slots: BTreeMap::new() }
    }

    /// The row, for changing; `None` when there is none.
    pub(crate) fn edit(&mut self, key: &[u8]) -> Result<Option<&mut Vec<u8>>, StoreError> {
        if !self.slots.contains_key(key) {
            let value = self.table.get(key)?.map(Vec::from);
            let before = if value.is_some() { Before::Present } else { Before::Absent };
            self.slots.insert(key.to_vec(), Slot { before, value });
        }
        Ok(self.slots.get_mut(key).and_then(|slot| slot.value.as_mut()))
    }

    /// The row, for changing; begun as `new` when there is none.
    pub(crate) fn edit_or(&mut self, key: &[u8], new: Vec<u8>) -> Result<&mut Vec<u8>, StoreError> {
        self.edit(key)?;
        let slot =
            self.slots.entry(key.to_vec()).or_insert(Slot { before: Before::Unknown, value: None });
        Ok(slot.value.get_or_insert(new))
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.set(key, Before::Unknown, Some(value));
    }

    /// Writes a row that was never there before: taking it out again costs nothing.
    pub(crate) fn put_new(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.set(key, Before::Absent, Some(value));
    }

    /// Takes a row out.
    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.set(key, Before::Unknown, None);
    }

    fn set(&mut self, key: Vec<u8>, before: Before, value: Option<Vec<u8>>) {
        match self.slots.get_mut(&key) {
            Some(slot) => slot.value = value,
            None => {
                self.slots.insert(key, Slot { before, value });
            }
        }
    }

    /// How many rows it touches.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The rows written, in the order of their keys.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.slots.iter().filter_map(|(key, slot)| Some((key.as_slice(), slot.value.as_deref()?)))
    }

    /// Applies everything together with the checkpoint.
    pub(crate) fn commit(self, checkpoint: (&[u8], &[u8])) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (key, slot) in self.slots {
            match (slot.value, slot.before) {
                (Some(value), _) => batch.put(key, value),
                (None, Before::Absent) => {}
                (None, Before::Unknown | Before::Present) => batch.delete(key),
            }
        }
        batch.put(checkpoint.0, checkpoint.1);
        self.table.apply(batch)
    }
}
