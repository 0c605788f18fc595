//! The key ring: the keys that everything is sealed with, themselves sealed under the master key.
//!
//! A file beside the record, `keyring`: a line `lumora-keyring-1`, then a line for each master key
//! that opens it, in base 64: the ring's keys, 32 bytes each, the oldest first, as a sealed record.
//! There is one such line, and two for a moment while the master key is replaced.
//!
//! # Why
//! - **The master key only opens the ring**, so it can be replaced without sealing anything anew:
//!   what is sealed is named by its hash in the record, and cannot be written again.
//! - **A new key joins the ring with each new master key**, and seals from then on. Who has the old
//!   master key and an old ring can read what was sealed by then, and nothing later.
//! - **Hashes keep the first key**: they name aggregates, and what they name must be found for ever.
//! - **A directory from before there was a ring has none**: its master key is its only key, until it
//!   is replaced.
//! - **Each step leaves the ring readable by the master key that is in its file**: first the new
//!   one is written under another name, then the ring for both, then the new one takes its place,
//!   then the ring for it alone.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;

use super::{KeyFileError, MasterKey, VaultError, cipher, key_file::KEY_LEN, open, seal};
use crate::{content::Sealed, error::OpenError, files, layout::Layout};

const FORMAT: &str = "lumora-keyring-1";
const CONTEXT: &str = "lumora 2026-11 vault seal key ring";
const TAG: [u8; 1] = [255];
/// Keys of one ring: a sealed record has six bits for the number of its key.
pub(super) const MAX_KEYS: usize = 64;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The keys, the oldest first; never empty.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyRing(Vec<[u8; KEY_LEN]>);

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The file is not one of this program's.
    #[error("{} is not a key ring", path.display())]
    NotARing {
        /// The file.
        path: PathBuf,
    },
    /// It is sealed under another master key.
    #[error(
        "{} does not open with this master key: it was replaced, or belongs to another directory",
        path.display()
    )]
    OtherMasterKey {
        /// The file.
        path: PathBuf,
    },
    /// It has as many keys as there can be.
    #[error("the master key was replaced 63 times: there is no room for another key")]
    Full,
    /// A key file cannot be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The log is in use, or not there.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The cipher failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The lines of a ring, one for each master key.
struct Written {
    wraps: Vec<String>,
}

impl KeyRing {
    /// That of a directory without a ring.
    pub(super) fn only(master: &MasterKey) -> Self {
        Self(vec![*master.as_bytes()])
    }

    /// The key that hashes.
    pub(super) fn first(&self) -> &[u8; KEY_LEN] {
        self.0.first().unwrap_or(&[0; KEY_LEN])
    }

    /// The key that seals, and its number.
    pub(super) fn newest(&self) -> (u8, &[u8; KEY_LEN]) {
        let number = u8::try_from(self.0.len().saturating_sub(1)).unwrap_or(u8::MAX);
        (number, self.0.last().unwrap_or(&[0; KEY_LEN]))
    }

    /// The key of this number.
    pub(super) fn get(&self, number: u8) -> Option<&[u8; KEY_LEN]> {
        self.0.get(usize::from(number))
    }

    /// The ring of the log in `dir`. A log that is new gets one; an older one without a ring has
    /// its master key for its only key.
    pub(super) fn load_or_create(dir: &Path, master: &MasterKey) -> Result<Self, KeyRingError> {
        let path = path(dir);
        if let Some(ring) = Self::load(&path, master)? {
            return Ok(ring);
        }
        if Layout::new(dir).journal().exists() {
            return Ok(Self::only(master));
        }
        let mut key = [0; KEY_LEN];
        rand::fill(&mut key).map_err(|_| VaultError::Cipher)?;
        let ring = Self(vec![key]);
        let failed = |source| KeyRingError::Io { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        ring.write(&path, &[master])?;
        Ok(ring)
    }

    /// The ring in a file; `None` when there is none.
    pub(super) fn load(path: &Path, master: &MasterKey) -> Result<Option<Self>, KeyRingError> {
        let Some(written) = read(path)? else { return Ok(None) };
        let cipher = cipher(&blake3::derive_key(CONTEXT, master.as_bytes()))?;
        let opened = written.wraps.iter().find_map(|wrap| {
            let sealed = Sealed::from_base64(wrap).ok()?;
            open(&cipher, 0, &TAG, b"", &sealed).ok()
        });
        let other = || KeyRingError::OtherMasterKey { path: path.to_owned() };
        let opened = opened.ok_or_else(other)?;
        let (keys, rest) = opened.as_chunks::<KEY_LEN>();
        if keys.is_empty() || keys.len() > MAX_KEYS || !rest.is_empty() {
            return Err(KeyRingError::NotARing { path: path.to_owned() });
        }
        Ok(Some(Self(keys.to_vec())))
    }

    /// Writes it for these master keys: wholly, or not at all.
    pub(super) fn write(&self, path: &Path, masters: &[&MasterKey]) -> Result<(), KeyRingError> {
        let plain = self.0.concat();
        let wraps = masters.iter().map(|master| {
            let cipher = cipher(&blake3::derive_key(CONTEXT, master.as_bytes()))?;
            Ok(seal(&cipher, 0, &TAG, b"", &plain)?.to_base64())
        });
        let wraps = wraps.collect::<Result<Vec<String>, VaultError>>()?;
        let text = format!("{FORMAT}\n{}\n", wraps.join("\n"));
        files::replace(path, text.as_bytes())
            .map_err(|source| KeyRingError::Io { path: path.to_owned(), source })
    }
}

/// Where the ring of a log lies.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("keyring")
}

fn read(path: &Path) -> Result<Option<Written>, KeyRingError> {
    let failed = |source| KeyRingError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(KeyRingError::NotARing { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT) {
        return Err(KeyRingError::NotARing { path: path.to_owned() });
    }
    Ok(Some(Written { wraps: lines.map(str::to_owned).collect() }))
}

/// What replacing the master key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Keys of the ring now.
    pub keys: usize,
    /// Whether the directory had no ring: then the old master key is itself a key of the ring, and
    /// opens what was sealed until now.
    pub old_key_opens_the_past: bool,
}

/// Replaces the master key in its file by a new one, for the log in `dir`, which must not be in use.
/// A crash leaves everything readable by the key that is in the file then; the same call again goes
/// on.
pub fn rotate_master_key(dir: &Path, file: &Path) -> Result<Rotated, KeyRingError> {
    rotate(dir, file, &mut |_| true)
}

/// `goes_on` is asked after each step, to end there as a crash would.
fn rotate(
    dir: &Path,
    file: &Path,
    goes_on: &mut dyn FnMut(u8) -> bool,
) -> Result<Rotated, KeyRingError> {
    let _lock = Layout::new(dir).lock()?;
    let ring_path = path(dir);
    let old = MasterKey::load(file)?;
    let before = KeyRing::load(&ring_path, &old)?;
    let had_none = before.is_none();
    let mut ring = before.unwrap_or_else(|| KeyRing::only(&old));
    if ring.0.len() >= MAX_KEYS {
        return Err(KeyRingError::Full);
    }
    let mut key = [0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| VaultError::Cipher)?;
    ring.0.push(key);
    let rotated = Rotated {
        keys: ring.0.len(),
        old_key_opens_the_past: had_none || ring.first() == old.as_bytes(),
    };
    let next = next_to(file);
    let new = MasterKey::load_or_create(&next)?;
    if !goes_on(1) {
        return Ok(rotated);
    }
    ring.write(&ring_path, &[&old, &new])?;
    if !goes_on(2) {
        return Ok(rotated);
    }
    let failed = |source| KeyRingError::Io { path: file.to_owned(), source };
    fs::rename(&next, file).map_err(failed)?;
    files::sync_directory(files::parent(file)).map_err(failed)?;
    if !goes_on(3) {
        return Ok(rotated);
    }
    ring.write(&ring_path, &[&new])?;
    Ok(rotated)
}

/// Ends what a crash broke off: once the new master key is in its place, the ring is for it alone.
pub(super) fn settle(dir: &Path, file: &Path, master: &MasterKey) -> Result<(), KeyRingError> {
    let path = path(dir);
    let two = read(&path)?.is_some_and(|written| written.wraps.len() > 1);
    if two
        && !next_to(file).exists()
        && let Some(ring) = KeyRing::load(&path, master)?
    {
        ring.write(&path, &[master])?;
    }
    Ok(())
}

fn next_to(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{HashPurpose, Purpose, Vault};

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn log(&self) -> PathBuf {
            self.dir.path().join("log")
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("master.key")
        }

        fn open(&self) -> Result<Vault, KeyRingError> {
            let master = MasterKey::load_or_create(&self.file())?;
            Vault::load_or_create(&self.log(), &self.file(), &master)
        }
    }

    fn seal(vault: &Vault) -> Sealed {
        vault.seal(Purpose::Letter, b"x", b"said").unwrap()
    }

    fn opens(vault: &Vault, sealed: &Sealed) -> bool {
        vault.open(Purpose::Letter, b"x", sealed).is_ok_and(|plain| plain == b"said")
    }

    #[test]
    fn wherever_it_is_broken_off_all_is_readable_and_in_the_end_the_new_key_alone_opens_it() {
        for stop in 1..=4 {
            let place = Place::new();
            let before = place.open().unwrap();
            let (sealed, hash) = (seal(&before), before.keyed_hash(HashPurpose::Recipient, b"a"));
            let old = fs::read(place.file()).unwrap();
            rotate(&place.log(), &place.file(), &mut |step| step != stop).unwrap();
            let between = place.open().unwrap();
            assert!(opens(&between, &sealed), "broken off at {stop}");
            let later = seal(&between);
            if stop < 4 {
                rotate_master_key(&place.log(), &place.file()).unwrap();
            }
            let after = place.open().unwrap();
            assert!(opens(&after, &sealed) && opens(&after, &later), "{stop}");
            assert_eq!(after.keyed_hash(HashPurpose::Recipient, b"a"), hash);
            assert!(!opens(&before, &seal(&after)), "a new key seals");
            assert!(!next_to(&place.file()).exists());
            assert_ne!(fs::read(place.file()).unwrap(), old);
            // The old key is of no use any more.
            fs::write(place.file(), &old).unwrap();
            assert!(matches!(place.open(), Err(KeyRingError::OtherMasterKey { .. })), "{stop}");
        }
    }

    #[test]
    fn broken_off_with_the_new_key_in_place_the_next_opening_ends_it() {
        let place = Place::new();
        place.open().unwrap();
        let old = fs::read(place.file()).unwrap();
        rotate(&place.log(), &place.file(), &mut |step| step != 3).unwrap();
        place.open().unwrap();
        fs::write(place.file(), old).unwrap();
        assert!(matches!(place.open(), Err(KeyRingError::OtherMasterKey { .. })));
    }

    #[test]
    fn a_directory_from_before_there_were_rings_goes_on_and_says_what_the_old_key_opens() {
        let place = Place::new();
        fs::create_dir_all(Layout::new(&place.log()).journal()).unwrap();
        let before = place.open().unwrap();
        let sealed = seal(&before);
        assert!(!path(&place.log()).exists());
        let rotated = rotate_master_key(&place.log(), &place.file()).unwrap();
        assert_eq!(rotated, Rotated { keys: 2, old_key_opens_the_past: true });
        let after = place.open().unwrap();
        assert!(opens(&after, &sealed) && !opens(&before, &seal(&after)));
    }

    #[test]
    fn a_log_in_use_and_nonsense_are_refused() {
        let place = Place::new();
        place.open().unwrap();
        let lock = Layout::new(&place.log()).lock().unwrap();
        let refused = rotate_master_key(&place.log(), &place.file());
        assert!(matches!(refused, Err(KeyRingError::Log(OpenError::Locked { .. }))));
        drop(lock);
        fs::write(path(&place.log()), "{}").unwrap();
        assert!(matches!(place.open(), Err(KeyRingError::NotARing { .. })));
    }
}
