//! The vault: what is sealed with the master key.
//!
//! A sealed record is, in bytes: format (1), flags (1: bit 0 compressed, bit 1 sealed with a
//! [`ReplyKey`], bits 2 to 7 the number of the key in the ring), nonce (12), then AES-256-GCM-SIV (RFC 8452) of the plain length (4,
//! little-endian) and the plain or compressed bytes, with its tag (16). The purpose, the owner,
//! the format and the flags are associated data, so a record that is moved to another place does
//! not open.

mod instance_key;
mod key_file;
mod keyring;
mod master_key;

use std::{fmt, path::Path, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use self::keyring::KeyRing;
pub use self::{
    instance_key::{InstanceKey, InvalidVerifierKey, VerifierKey},
    key_file::KeyFileError,
    keyring::{KeyRingError, Rotated, rotate_master_key},
    master_key::MasterKey,
};
use crate::{
    compression::{compress, decompress},
    content::{MAX_SEALED_BYTES, Sealed},
};

const FORMAT: u8 = 1;
const COMPRESSED: u8 = 1;
const OWN_KEY: u8 = 2;
/// Where in the flags the number of the key stands.
const NUMBER_SHIFT: u8 = 2;
const HEADER_LEN: usize = 2 + NONCE_LEN;
const LENGTH_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// Shorter texts do not gain from compression.
const COMPRESS_FROM: usize = 64;

/// Longest text that can be sealed, in bytes.
pub const MAX_PLAIN_BYTES: usize = MAX_SEALED_BYTES - HEADER_LEN - LENGTH_LEN - TAG_LEN;

/// What a record is for. Each has a key of its own, so a record never opens as another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Addresses, names, subject and headers of a message.
    MessageHead = 1,
    /// The html and text of a message.
    MessageBody = 2,
    /// An attachment of a message.
    MessageAttachment = 3,
    /// Names and addresses of a tenant, its apps and its users.
    TenantProfile = 4,
    /// A DKIM private key.
    DkimPrivateKey = 5,
    /// What a remote server replied, which can echo an address.
    ReplyText = 6,
    /// What a version of a template says.
    Template = 7,
    /// A letter that came to an office, and its head.
    Letter = 8,
}

impl Purpose {
    /// What its key is derived with: never change one, or its records no longer open.
    const fn context(self) -> &'static str {
        match self {
            Self::MessageHead => "lumora 2026-11 vault seal message head",
            Self::MessageBody => "lumora 2026-11 vault seal message body",
            Self::MessageAttachment => "lumora 2026-11 vault seal message attachment",
            Self::TenantProfile => "lumora 2026-11 vault seal tenant profile",
            Self::DkimPrivateKey => "lumora 2026-11 vault seal dkim private key",
            Self::ReplyText => "lumora 2026-11 vault seal reply text",
            Self::Template => "lumora 2026-11 vault seal template",
            Self::Letter => "lumora 2026-11 vault seal letter",
        }
    }
}

/// What a keyed hash is for. Each has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashPurpose {
    /// The secret of an API key.
    ApiKey,
    /// A recipient's address, to find it in read models that do not hold it.
    Recipient,
    /// A request body, to compare it with another under the same idempotency key.
    Request,
    /// An app and an idempotency key, from which a message's id is made.
    IdempotencyKey,
    /// An app and a recipient's hash, from which a suppression's id is made.
    Suppression,
    /// The secret of a portal session.
    Session,
    /// The address that a message comes back to, which names the message.
    ReturnPath,
    /// The link by which a recipient of bulk mail unsubscribes.
    Unsubscribe,
    /// A letter that came to an office, and the place that it came to, of which its id is made.
    Letter,
}

impl HashPurpose {
    /// What its key is derived with: never change one, or nothing is found again.
    const fn context(self) -> &'static str {
        match self {
            Self::ApiKey => "lumora 2026-11 vault hash api key",
            Self::Recipient => "lumora 2026-11 vault hash recipient",
            Self::Request => "lumora 2026-11 vault hash request",
            Self::IdempotencyKey => "lumora 2026-11 vault hash idempotency key",
            Self::Session => "lumora 2026-11 vault hash session",
            Self::Suppression => "lumora 2026-11 vault hash suppression",
            Self::ReturnPath => "lumora 2026-11 vault hash return path",
            Self::Unsubscribe => "lumora 2026-11 vault hash unsubscribe",
            Self::Letter => "lumora 2026-11 vault hash letter",
        }
    }
}

/// Why something could not be sealed or opened. Says nothing of what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Longer than [`MAX_PLAIN_BYTES`].
    #[error("too long to seal")]
    TooLong,
    /// Not sealed with this key, for this purpose and owner; or changed since.
    #[error("does not open: another key, purpose or owner, or changed bytes")]
    DoesNotOpen,
    /// Sealed by a newer version of the program.
    #[error("sealed in a format that this version does not know")]
    UnknownFormat,
    /// The operating system gave no random bytes, or the cipher failed.
    #[error("the cipher failed")]
    Cipher,
}

/// Seals and opens. Cheap to clone.
///
/// Each use derives its purpose's key anew: 0.3 µs, against tables that could miss one.
#[derive(Clone)]
pub struct Vault {
    ring: Arc<KeyRing>,
}

/// A random key for the texts of one message. Kept in the message's content: once that is
/// forgotten, nothing sealed with it opens again, wherever its copies are.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyKey([u8; 32]);

impl Vault {
    /// The vault of a master key without a ring: as of a directory from before there were rings.
    pub fn new(master: &MasterKey) -> Self {
        Self { ring: Arc::new(KeyRing::only(master)) }
    }

    /// The vault of the log in `dir`, whose key ring opens with the master key in `file`. A log that
    /// is not there yet gets a ring. What a crash broke off in [`rotate_master_key`] is ended.
    pub fn load_or_create(
        dir: &Path,
        file: &Path,
        master: &MasterKey,
    ) -> Result<Self, KeyRingError> {
        keyring::settle(dir, file, master)?;
        Ok(Self { ring: Arc::new(KeyRing::load_or_create(dir, master)?) })
    }

    /// The vault of the log in `dir` as it lies there; nothing is made or changed.
    pub fn load(dir: &Path, master: &MasterKey) -> Result<Self, KeyRingError> {
        let ring = KeyRing::load(&keyring::path(dir), master)?;
        Ok(Self { ring: Arc::new(ring.unwrap_or_else(|| KeyRing::only(master))) })
    }

    /// Seals `plain` for `purpose`; it opens only with the same purpose and `owner`, which names
    /// whose it is and which part (a message's id and the part's number, say).
    pub fn seal(&self, purpose: Purpose, owner: &[u8], plain: &[u8]) -> Result<Sealed, VaultError> {
        let (number, key) = self.ring.newest();
        seal(&derived(key, purpose)?, number << NUMBER_SHIFT, &purpose_tag(purpose), owner, plain)
    }

    /// Opens what [`Vault::seal`] sealed.
    pub fn open(
        &self,
        purpose: Purpose,
        owner: &[u8],
        sealed: &Sealed,
    ) -> Result<Vec<u8>, VaultError> {
        let flags = sealed.as_bytes().get(1).ok_or(VaultError::DoesNotOpen)?;
        let number = flags >> NUMBER_SHIFT;
        let key = self.ring.get(number).ok_or(VaultError::DoesNotOpen)?;
        let kind = number << NUMBER_SHIFT;
        open(&derived(key, purpose)?, kind, &purpose_tag(purpose), owner, sealed)
    }

    /// A hash that only the holder of the master key can compute: equal bytes are found, and a
    /// guess cannot be tried by who has the files alone.
    pub fn keyed_hash(&self, purpose: HashPurpose, bytes: &[u8]) -> [u8; 32] {
        let key = blake3::derive_key(purpose.context(), self.ring.first());
        *blake3::keyed_hash(&key, bytes).as_bytes()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl ReplyKey {
    /// A new random key.
    pub fn generate() -> Result<Self, VaultError> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| VaultError::Cipher)?;
        Ok(Self(bytes))
    }

    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be kept in sealed content alone.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its bytes as text, as it travels inside content and evidence.
    pub fn to_base64(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(self.0)
    }

    /// Seals a text of `owner`; it opens with the same key and owner.
    pub fn seal(&self, owner: &[u8], plain: &[u8]) -> Result<Sealed, VaultError> {
        seal(&cipher(&self.0)?, OWN_KEY, &purpose_tag(Purpose::ReplyText), owner, plain)
    }

    /// Opens what [`ReplyKey::seal`] sealed.
    pub fn open(&self, owner: &[u8], sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
        open(&cipher(&self.0)?, OWN_KEY, &purpose_tag(Purpose::ReplyText), owner, sealed)
    }
}

/// Seals a text of `owner` with a key of its own: [`ReplyKey::seal`].
pub fn seal_with(key: &ReplyKey, owner: &[u8], plain: &[u8]) -> Result<Sealed, VaultError> {
    key.seal(owner, plain)
}

/// Opens what [`seal_with`] sealed.
pub fn open_with(key: &ReplyKey, owner: &[u8], sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
    key.open(owner, sealed)
}

impl fmt::Debug for ReplyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyKey")
    }
}

// The key travels inside content, as base 64 text.
impl Serialize for ReplyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for ReplyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("not a key"))?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("not a key"))
    }
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, VaultError> {
    // SIV: should random nonces ever repeat, only equal texts show as equal.
    let key = UnboundKey::new(&AES_256_GCM_SIV, key).map_err(|_| VaultError::Cipher)?;
    Ok(LessSafeKey::new(key))
}

fn derived(key: &[u8; 32], purpose: Purpose) -> Result<LessSafeKey, VaultError> {
    cipher(&blake3::derive_key(purpose.context(), key))
}

const fn purpose_tag(purpose: Purpose) -> [u8; 1] {
    [purpose as u8]
}

fn associated(format: u8, flags: u8, tag: &[u8], owner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + tag.len() + owner.len());
    bytes.extend_from_slice(&[format, flags]);
    bytes.extend_from_slice(tag);
    bytes.extend_from_slice(owner);
    bytes
}

fn seal(
    key: &LessSafeKey,
    kind: u8,
    tag: &[u8],
    owner: &[u8],
    plain: &[u8],
) -> Result<Sealed, VaultError> {
    let plain_len = u32::try_from(plain.len()).map_err(|_| VaultError::TooLong)?;
    if plain.len() > MAX_PLAIN_BYTES {
        return Err(VaultError::TooLong);
    }
    let compressed = (plain.len() >= COMPRESS_FROM)
        .then(|| compress(plain).ok())
        .flatten()
        .filter(|compressed| compressed.len() < plain.len());
    let flags = kind | if compressed.is_some() { COMPRESSED } else { 0 };
    let body = compressed.as_deref().unwrap_or(plain);

    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| VaultError::Cipher)?;
    let mut bytes = Vec::with_capacity(HEADER_LEN + LENGTH_LEN + body.len() + TAG_LEN);
    bytes.extend_from_slice(&[FORMAT, flags]);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&plain_len.to_le_bytes());
    bytes.extend_from_slice(body);
    let aad = Aad::from(associated(FORMAT, flags, tag, owner));
    let inside = bytes.get_mut(HEADER_LEN..).ok_or(VaultError::Cipher)?;
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, inside)
        .map_err(|_| VaultError::Cipher)?;
    bytes.extend_from_slice(tag.as_ref());
    Sealed::from_bytes(bytes).map_err(|_| VaultError::TooLong)
}

fn open(
    key: &LessSafeKey,
    kind: u8,
    tag: &[u8],
    owner: &[u8],
    sealed: &Sealed,
) -> Result<Vec<u8>, VaultError> {
    let (header, inside) =
        sealed.as_bytes().split_first_chunk::<HEADER_LEN>().ok_or(VaultError::DoesNotOpen)?;
    let [format, flags, nonce @ ..] = *header;
    if format != FORMAT {
        return Err(VaultError::UnknownFormat);
    }
    if flags & !COMPRESSED != kind {
        return Err(VaultError::DoesNotOpen);
    }
    let aad = Aad::from(associated(format, flags, tag, owner));
    let mut inside = inside.to_vec();
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut inside)
        .map_err(|_| VaultError::DoesNotOpen)?;
    let (len, body) = plain.split_first_chunk::<LENGTH_LEN>().ok_or(VaultError::DoesNotOpen)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| VaultError::DoesNotOpen)?;
    if len > MAX_PLAIN_BYTES {
        return Err(VaultError::DoesNotOpen);
    }
    let opened = if flags & COMPRESSED == 0 {
        body.to_vec()
    } else {
        decompress(body, len).map_err(|_| VaultError::DoesNotOpen)?
    };
    if opened.len() == len { Ok(opened) } else { Err(VaultError::DoesNotOpen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new(&MasterKey::from_bytes([42; 32]))
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_owner_alone() {
        let vault = vault();
        for plain in [&b""[..], b"short", &"a".repeat(100_000).into_bytes()] {
            let sealed = vault.seal(Purpose::MessageHead, b"msg 1", plain).unwrap();
            assert_eq!(vault.open(Purpose::MessageHead, b"msg 1", &sealed).unwrap(), plain);
            for (purpose, owner) in
                [(Purpose::MessageBody, &b"msg 1"[..]), (Purpose::MessageHead, b"msg 2")]
            {
                assert_eq!(vault.open(purpose, owner, &sealed), Err(VaultError::DoesNotOpen));
            }
            let other = Vault::new(&MasterKey::from_bytes([43; 32]));
            assert_eq!(
                other.open(Purpose::MessageHead, b"msg 1", &sealed),
                Err(VaultError::DoesNotOpen)
            );
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let vault = vault();
        let sealed = vault.seal(Purpose::TenantProfile, b"t", &[b'x'; 200]).unwrap();
        for index in 0..sealed.as_bytes().len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[index] ^= 1;
            if let Ok(changed) = Sealed::from_bytes(bytes) {
                assert!(vault.open(Purpose::TenantProfile, b"t", &changed).is_err(), "{index}");
            }
        }
        for len in 1..sealed.as_bytes().len() {
            let cut = Sealed::from_bytes(sealed.as_bytes()[..len].to_vec()).unwrap();
            assert!(vault.open(Purpose::TenantProfile, b"t", &cut).is_err(), "{len}");
        }
    }

    #[test]
    fn compression_is_used_where_it_helps() {
        let vault = vault();
        let sealed = vault.seal(Purpose::MessageBody, b"", &[b'a'; 10_000]).unwrap();
        assert!(sealed.as_bytes().len() < 200);
        let mut noise = vec![0; 1000];
        rand::fill(&mut noise).unwrap();
        let sealed = vault.seal(Purpose::MessageBody, b"", &noise).unwrap();
        assert_eq!(sealed.as_bytes().len(), 1000 + HEADER_LEN + LENGTH_LEN + TAG_LEN);
        assert_eq!(vault.open(Purpose::MessageBody, b"", &sealed).unwrap(), noise);
    }

    #[test]
    fn the_same_text_is_never_sealed_to_the_same_bytes() {
        let vault = vault();
        let one = vault.seal(Purpose::MessageBody, b"", b"text").unwrap();
        let two = vault.seal(Purpose::MessageBody, b"", b"text").unwrap();
        assert_ne!(one.hash(), two.hash());
    }

    #[test]
    fn a_reply_key_opens_its_own_texts_alone() {
        let key = ReplyKey::generate().unwrap();
        let sealed = seal_with(&key, b"msg 1", b"550 no such user").unwrap();
        assert_eq!(open_with(&key, b"msg 1", &sealed).unwrap(), b"550 no such user");
        assert_eq!(open_with(&key, b"msg 2", &sealed), Err(VaultError::DoesNotOpen));
        let other = ReplyKey::generate().unwrap();
        assert_eq!(open_with(&other, b"msg 1", &sealed), Err(VaultError::DoesNotOpen));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<ReplyKey>(&json).unwrap(), key);
    }

    #[test]
    fn keyed_hashes_differ_by_purpose_and_key() {
        let one = vault();
        let two = Vault::new(&MasterKey::from_bytes([43; 32]));
        let hash = one.keyed_hash(HashPurpose::Recipient, b"ada@example.com");
        assert_eq!(hash, one.keyed_hash(HashPurpose::Recipient, b"ada@example.com"));
        assert_ne!(hash, one.keyed_hash(HashPurpose::ApiKey, b"ada@example.com"));
        assert_ne!(hash, two.keyed_hash(HashPurpose::Recipient, b"ada@example.com"));
    }

    #[test]
    fn nothing_prints_a_key() {
        let master = MasterKey::from_bytes([42; 32]);
        for text in
            [format!("{master:?}"), format!("{:?}", vault()), format!("{:?}", ReplyKey([42; 32]))]
        {
            assert!(!text.contains("42") && !text.contains("2a"), "{text}");
        }
    }

    #[test]
    fn records_sealed_earlier_still_open() {
        // Made by this code with the key of 32 times 42; the format must stay readable.
        let sealed = Sealed::from_base64(OLD_RECORD).unwrap();
        let opened = vault().open(Purpose::MessageHead, b"msg", &sealed).unwrap();
        assert_eq!(opened, b"sealed in November 2026");
    }

    const OLD_RECORD: &str =
        "AQBAsJMPf5TmewDbyYmIgblHK3XvUcuQeQu3s+SV7j7PSVkZFy8BygwcjSyVBTvqnWgC779X18TF";
}
