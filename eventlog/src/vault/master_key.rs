//! The master key.

use std::{fmt, path::Path};

use super::key_file::{self, KEY_LEN, KeyFileError};

/// The key under which everything is sealed. Whoever has it and the files can read all content;
/// whoever lost it can read none.
pub struct MasterKey([u8; KEY_LEN]);

impl MasterKey {
    /// Reads the key file, or makes one with mode 0600 when there is none. Refuses a file that
    /// others can read or that has another size. A new key is on the disk when this returns.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        key_file::load_or_create(path).map(Self)
    }

    /// Reads the key file; refuses like [`MasterKey::load_or_create`], and when there is none.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        key_file::load(path).map(Self)
    }

    /// The key with these bytes, for tests.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}
