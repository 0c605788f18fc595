//! A small ordered key-value store on sled, for read models: they may not touch sled themselves.
//!
//! Nothing in it is the only copy of anything. So a store that does not open is moved out of the
//! way and begun anew, and the read models fold the log again.

use std::{
    fmt, io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{engine, files};

/// Longest value, in bytes. Larger ones end in files of sled's that no sync covers.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Most writes in one [`Batch`]: sled stalls on larger ones.
pub const MAX_BATCH_WRITES: usize = 16 * 1024;

/// Why the store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It failed or panicked; what it holds cannot be trusted. Open it anew and rebuild.
    #[error("the store is damaged: {0}")]
    Damaged(Arc<str>),
    /// A key, a value or a batch is too large.
    #[error("too large for the store: {what} of {size}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Bytes of a key or value, writes of a batch.
        size: usize,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: Arc<io::Error>,
    },
}

/// The store: named tables in one directory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: sled::Db,
    dir: Arc<Path>,
    reset: Option<Arc<str>>,
}

/// One table: ordered rows of bytes. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    tree: sled::Tree,
    store: Store,
}

/// Writes that are applied together or not at all, the last on a key winning.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    inner: sled::Batch,
    writes: usize,
    too_large: Option<(&'static str, usize)>,
}

impl Batch {
    /// No writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a row.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.count(key);
        if value.len() > MAX_VALUE_BYTES {
            self.too_large = Some(("a value", value.len()));
        } else if self.too_large.is_none() {
            self.inner.insert(key, value);
        }
    }

    /// Removes a row; nothing happens when there is none.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        self.count(key);
        if self.too_large.is_none() {
            self.inner.remove(key);
        }
    }

    /// How many writes there are.
    pub const fn len(&self) -> usize {
        self.writes
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.writes == 0
    }

    fn count(&mut self, key: &[u8]) {
        self.writes += 1;
        if key.len() > MAX_KEY_BYTES {
            self.too_large = Some(("a key", key.len()));
        } else if self.writes > MAX_BATCH_WRITES {
            self.too_large = Some(("a batch", self.writes));
        }
    }
}

/// Which rows to scan, and from which end.
#[derive(Debug, Clone)]
pub struct Scan {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    reverse: bool,
}

impl Scan {
    /// Every row.
    pub const fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded, reverse: false }
    }

    /// The rows whose keys begin with `prefix`.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        let mut end = prefix.to_vec();
        // The first key that no longer begins so: the last byte that can be raised, raised.
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        let to = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(prefix.to_vec()), to, reverse: false }
    }

    /// The rows from `from` up to and without `to`.
    pub fn range(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        let from = Bound::Included(from.as_ref().to_vec());
        Self { from, to: Bound::Excluded(to.as_ref().to_vec()), reverse: false }
    }

    /// Of these, only the rows after `key`.
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        let key = key.as_ref();
        let already = match &self.from {
            Bound::Included(from) | Bound::Excluded(from) => from.as_slice() > key,
            Bound::Unbounded => false,
        };
        if !already {
            self.from = Bound::Excluded(key.to_vec());
        }
        self
    }

    /// Of these, only the rows before `key`.
    pub fn before(mut self, key: impl AsRef<[u8]>) -> Self {
        let key = key.as_ref();
        let already = match &self.to {
            Bound::Included(to) | Bound::Excluded(to) => to.as_slice() < key,
            Bound::Unbounded => false,
        };
        if !already {
            self.to = Bound::Excluded(key.to_vec());
        }
        self
    }

    /// The same rows, the last first.
    pub const fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Where it begins and where it ends, whichever end comes first.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice))
    }

    /// Whether the last row comes first.
    pub const fn is_reversed(&self) -> bool {
        self.reverse
    }

    /// Whether no key can lie in it: it ends before it begins. sled panics on such ranges, and so
    /// do those of the standard library.
    pub fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Excluded(to) | Bound::Included(to),
            ) => from >= to,
        }
    }
}

/// One row: its key and its value.
pub type Row = (Box<[u8]>, Box<[u8]>);

/// The rows of a [`Scan`], read as they are asked for; ends after the first error.
pub struct Rows {
    iter: Option<sled::Iter>,
    reverse: bool,
}

impl Iterator for Rows {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let iter = self.iter.as_mut()?;
        let reverse = self.reverse;
        let row = guarded(|| {
            let row = if reverse { iter.next_back() } else { iter.next() };
            row.transpose()
        });
        match row {
            Ok(Some((key, value))) => Some(Ok((key.as_ref().into(), value.as_ref().into()))),
            Ok(None) => None,
            Err(error) => {
                self.iter = None;
                Some(Err(error))
            }
        }
    }
}

impl Store {
    /// Opens the store in `dir`, or makes one. One that does not open is deleted and begun anew:
    /// [`Store::reset`] says so.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { path: dir.to_owned(), source: Arc::new(source) };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let (db, reset) = match engine::open(dir) {
            Ok(db) => (db, None),
            Err(engine::EngineError::Locked) => {
                let locked = io::Error::new(io::ErrorKind::WouldBlock, "in use by another process");
                return Err(failed(locked));
            }
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                tracing::warn!(dir = %dir.display(), %reason, "the store does not open: begun anew");
                std::fs::remove_dir_all(dir).map_err(failed)?;
                std::fs::create_dir_all(dir).map_err(failed)?;
                let db = engine::open(dir).map_err(StoreError::from)?;
                (db, Some(reason))
            }
        };
        Ok(Self { db, dir: dir.into(), reset })
    }

    /// Why the store was begun anew when it was opened, if it was: every read model must be folded
    /// from the start.
    pub fn reset(&self) -> Option<&str> {
        self.reset.as_deref()
    }

    /// The table of this name, made if there is none.
    pub fn table(&self, name: &str) -> Result<Table, StoreError> {
        let tree = guarded(|| self.db.open_tree(name))?;
        Ok(Table { tree, store: self.clone() })
    }

    /// Makes what was applied durable: after a power cut it is there.
    pub fn flush(&self) -> Result<(), StoreError> {
        guarded(|| self.db.flush())?;
        engine::sync(&self.dir)
            .map_err(|source| StoreError::Io { path: self.dir.join("db"), source: source.into() })
    }

    /// Whether the disk has space for what is applied and flushed: without it sled would refuse
    /// everything from then on, until it is opened anew.
    pub fn has_room(&self) -> bool {
        files::free_bytes(&self.dir).is_none_or(|free| free >= engine::FLOOR_BYTES)
    }

    /// Bytes that it takes on the disk.
    pub fn disk_bytes(&self) -> u64 {
        files::disk_bytes(&self.dir)
    }
}

impl Table {
    /// The value of a row.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Box<[u8]>>, StoreError> {
        let value = guarded(|| self.tree.get(key.as_ref()))?;
        Ok(value.map(|value| value.as_ref().into()))
    }

    /// Applies all writes or none; readers see all or none.
    pub fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        if let Some((what, size)) = batch.too_large {
            return Err(StoreError::TooLarge { what, size });
        }
        guarded(|| self.tree.apply_batch(batch.inner))
    }

    /// The rows of a scan. A long scan sees writes that happen during it, or not.
    pub fn scan(&self, scan: Scan) -> Rows {
        let empty = scan.is_empty();
        let reverse = scan.reverse;
        let iter = (!empty).then(|| self.tree.range::<Vec<u8>, _>((scan.from, scan.to)));
        Rows { iter, reverse }
    }

    /// Removes every row.
    pub fn clear(&self) -> Result<(), StoreError> {
        guarded(|| self.tree.clear())
    }

    /// Makes what was applied durable: [`Store::flush`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl From<engine::EngineError> for StoreError {
    fn from(error: engine::EngineError) -> Self {
        Self::Damaged(error.to_string().into())
    }
}

/// sled panics on some damage: that is an error like the others here.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    engine::guarded(work).map_err(StoreError::from)
}
