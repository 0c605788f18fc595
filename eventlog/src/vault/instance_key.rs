//! The key with which this instance signs what its log holds, and its public half.
//!
//! # Why
//! - **A key of its own, not one derived from the master key**: the master key can be replaced, and
//!   what was signed must stay verifiable; and who holds a copy of the master key to restore content
//!   need not be able to sign history.
//! - **The public half is written as a verifier key of C2SP signed-note**, which tools for
//!   transparency logs read: name, `+`, key id (4 bytes in hexadecimal), `+`, base 64 of the
//!   algorithm byte 1 (Ed25519) and the 32 bytes of the key. The id begins SHA-256 of name, line
//!   feed, algorithm byte and key.

use std::{fmt, path::Path, str::FromStr};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::key_file::{self, KEY_LEN, KeyFileError};

/// Ed25519 in the key types of signed-note.
const ALGORITHM: u8 = 1;
const SIGNATURE_LEN: usize = 64;
/// Longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The instance's Ed25519 key (RFC 8032).
pub struct InstanceKey {
    pair: Ed25519KeyPair,
    public: VerifierKey,
}

/// The public half of an [`InstanceKey`]: all that is needed to check what it signed. Written as
/// one line of text.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: Box<str>,
    public: [u8; KEY_LEN],
}

/// The text is not a verifier key of an Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier key: expected name+id+key, as `lumora log key` prints it")]
pub struct InvalidVerifierKey;

impl InstanceKey {
    /// Reads the key file, or makes one with mode 0600 when there is none. Refuses a file that
    /// others can read or that has another size.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        Self::from_seed(&key_file::load_or_create(path)?)
    }

    /// Reads the key file; refuses like [`InstanceKey::load_or_create`], and when there is none.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        Self::from_seed(&key_file::load(path)?)
    }

    /// The key with this seed, for tests.
    pub fn from_seed(seed: &[u8; KEY_LEN]) -> Result<Self, KeyFileError> {
        // Only the cipher library itself can fail here: every seed of this length is a key.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyFileError::Random)?;
        let public: [u8; KEY_LEN] =
            pair.public_key().as_ref().try_into().map_err(|_| KeyFileError::Random)?;
        let print = digest(&SHA256, &public);
        let print = print.as_ref().iter().take(8);
        let name = print.fold("lumora/".to_owned(), |name, byte| format!("{name}{byte:02x}"));
        Ok(Self { pair, public: VerifierKey { name: name.into(), public } })
    }

    /// The public half.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_LEN] {
        // An Ed25519 signature has 64 bytes; another would verify for nobody.
        self.pair.sign(bytes).as_ref().try_into().unwrap_or([0; SIGNATURE_LEN])
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceKey({})", self.public.name)
    }
}

impl VerifierKey {
    /// Its name, which is also the origin of the checkpoints that it verifies.
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of a hash of name and key.
    pub(crate) fn id(&self) -> [u8; 4] {
        let mut named = Vec::with_capacity(self.name.len() + 2 + KEY_LEN);
        named.extend_from_slice(self.name.as_bytes());
        named.extend_from_slice(&[b'\n', ALGORITHM]);
        named.extend_from_slice(&self.public);
        let hash = digest(&SHA256, &named);
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Whether `signature` is the key's for `bytes`.
    pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(bytes, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = Vec::with_capacity(1 + KEY_LEN);
        key.push(ALGORITHM);
        key.extend_from_slice(&self.public);
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = InvalidVerifierKey;

    fn from_str(text: &str) -> Result<Self, InvalidVerifierKey> {
        if text.len() > MAX_NAME_BYTES * 2 {
            return Err(InvalidVerifierKey);
        }
        // Base 64 can hold a plus sign itself.
        let mut parts = text.trim().splitn(3, '+');
        let mut part = || parts.next().ok_or(InvalidVerifierKey);
        let (name, id, key) = (part()?, part()?, part()?);
        let named = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        let key = STANDARD.decode(key).map_err(|_| InvalidVerifierKey)?;
        let (Some((&ALGORITHM, public)), true) = (key.split_first(), named) else {
            return Err(InvalidVerifierKey);
        };
        let public = public.try_into().map_err(|_| InvalidVerifierKey)?;
        let read = Self { name: name.into(), public };
        let same = id == format!("{:08x}", u32::from_be_bytes(read.id()));
        if same { Ok(read) } else { Err(InvalidVerifierKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_half_reads_back_and_a_changed_one_does_not() {
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let text = key.verifier().to_string();
        assert_eq!(text.parse().as_ref(), Ok(key.verifier()));
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(changed).unwrap();
            let read: Result<VerifierKey, _> = changed.parse();
            assert!(read.is_err(), "{changed}");
        }
        for wrong in ["", "+", "a+b", "a b+00000000+AQ==", &"x".repeat(1000)] {
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        }
    }

    /// The key that the documentation of Go's `note` package made, whose text is widely copied.
    #[test]
    fn ids_are_those_that_others_compute() {
        let known = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: VerifierKey = known.parse().unwrap();
        assert_eq!(key.name(), "PeterNeumann");
        assert_eq!(key.to_string(), known);
    }

    #[test]
    fn it_signs_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        assert!(InstanceKey::load(&path).is_err());
        let key = InstanceKey::load_or_create(&path).unwrap();
        let again = InstanceKey::load(&path).unwrap();
        let signature = key.sign(b"text");
        assert!(again.verifier().verifies(b"text", &signature));
        assert!(!again.verifier().verifies(b"texT", &signature));
        let other = InstanceKey::from_seed(&[8; 32]).unwrap();
        assert!(!other.verifier().verifies(b"text", &signature));
    }
}
