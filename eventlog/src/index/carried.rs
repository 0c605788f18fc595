//! What stays of what was pruned beside its gaps: what that was, signed, and rows that were carried
//! for those who count it.
//!
//! Rows are of tables, which have names, and mean nothing to the log. Their digest covers table, key
//! and value of each, in the order of these.

use super::{BATCH_ENTRIES, Index, IndexError, Position, SignedPruned};
use crate::{contract::CarriedRows, engine};

const STATEMENT: [u8; 1] = *b"p";
const ROW: u8 = b'r';
/// Most bytes of rows of one batch, about.
const BATCH_BYTES: usize = 1024 * 1024;

fn table_prefix(table: &str) -> Vec<u8> {
    let mut key = vec![ROW, u8::try_from(table.len()).unwrap_or(u8::MAX)];
    key.extend_from_slice(table.as_bytes());
    key
}

impl Index {
    /// What was ever pruned; `None` when nothing was.
    pub(crate) fn pruned(&self) -> Result<Option<SignedPruned>, IndexError> {
        let Some(value) = engine::guarded(|| self.db.get(STATEMENT))? else { return Ok(None) };
        let note = std::str::from_utf8(&value).ok().and_then(|note| note.parse().ok());
        note.map(Some).ok_or(IndexError::Damaged {
            position: Position::START,
            what: "what says what was pruned is not what was written",
        })
    }

    /// Says what was pruned.
    pub(crate) fn put_pruned(&self, pruned: &SignedPruned) -> Result<(), IndexError> {
        engine::guarded(|| self.db.insert(STATEMENT, pruned.note().as_bytes()))?;
        Ok(())
    }

    /// The rows that were carried in a table.
    pub(crate) fn carried(&self, table: &str) -> CarriedRows {
        let prefix = table_prefix(table);
        let skip = prefix.len();
        let mut rows = self.db.scan_prefix(prefix);
        Box::new(std::iter::from_fn(move || {
            let row = engine::guarded(|| rows.next().transpose()).map_err(IndexError::from);
            row.transpose().map(|row| {
                let (key, value) = row?;
                Ok((key.get(skip..).unwrap_or_default().into(), value.as_ref().into()))
            })
        }))
    }

    /// Puts down rows to be carried; gives the digest over them.
    pub(crate) fn carry<E: From<IndexError>>(
        &self,
        rows: impl IntoIterator<Item = Result<(Box<str>, Box<[u8]>, Box<[u8]>), E>>,
    ) -> Result<(), E> {
        let (mut batch, mut entries, mut bytes) = (sled::Batch::default(), 0, 0);
        let apply = |batch: sled::Batch| {
            engine::guarded(|| self.db.apply_batch(batch)).map_err(IndexError::from)
        };
        for row in rows {
            let (table, key, value) = row?;
            let mut place = table_prefix(&table);
            place.extend_from_slice(&key);
            bytes += place.len() + value.len();
            entries += 1;
            batch.insert(place, &*value);
            if entries >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                apply(std::mem::take(&mut batch))?;
                (entries, bytes) = (0, 0);
            }
        }
        apply(batch)?;
        Ok(())
    }

    /// The digest over all rows that were carried.
    pub(crate) fn carried_digest(&self) -> Result<blake3::Hash, IndexError> {
        let mut hasher = blake3::Hasher::new();
        let mut rows = self.db.scan_prefix([ROW]);
        while let Some((key, value)) = engine::guarded(|| rows.next().transpose())? {
            for part in [key, value] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(&part);
            }
        }
        Ok(hasher.finalize())
    }

    /// Takes over from another index what stays of what was pruned, but for the gaps.
    pub(crate) fn inherit(&self, from: &Self) -> Result<(), IndexError> {
        let Some(pruned) = from.pruned()? else { return Ok(()) };
        let (mut batch, mut entries, mut bytes) = (sled::Batch::default(), 0, 0);
        let mut rows = from.db.scan_prefix([ROW]);
        while let Some((key, value)) = engine::guarded(|| rows.next().transpose())? {
            bytes += key.len() + value.len();
            entries += 1;
            batch.insert(key, value);
            if entries >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                let full = std::mem::take(&mut batch);
                engine::guarded(|| self.db.apply_batch(full))?;
                (entries, bytes) = (0, 0);
            }
        }
        engine::guarded(|| self.db.apply_batch(batch))?;
        self.put_pruned(&pruned)
    }
}
