//! Content: what can be forgotten, sealed, beside the events that name it.

mod segment;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use model::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(crate) use self::segment::{
    ContentFailure, ContentSegments, ContentWriter, dropped_file, segment_path,
};

/// Longest sealed record, in bytes.
pub const MAX_SEALED_BYTES: usize = 64 * 1024 * 1024;

const HOUR_MS: u64 = 3_600_000;

/// Whole hours since the Unix epoch: the unit in which content is stored and dropped.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Hour(u32);

impl Hour {
    /// No hour: the segment of what does not go with time, and is only ever overwritten.
    pub const LASTING: Self = Self(u32::MAX);

    /// From the number of hours.
    pub const fn new(hours: u32) -> Self {
        Self(hours)
    }

    /// The hour in which a time lies.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.as_millis() / HOUR_MS).unwrap_or(u32::MAX).min(u32::MAX - 1))
    }

    /// When it begins.
    pub(crate) fn begin(self) -> Timestamp {
        Timestamp::from_millis(u64::from(self.0) * HOUR_MS)
    }

    /// The number of hours.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// BLAKE3 of a record's sealed bytes, nonce included, so it says nothing of what was sealed.
/// Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of sealed bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        blake3::Hash::from_hex(text.as_bytes())
            .map(|h| Self(*h.as_bytes()))
            .map_err(D::Error::custom)
    }
}

/// Where a sealed record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentLocation {
    /// The segment: the hour in which it was written.
    pub segment: Hour,
    /// Where in the segment it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: u32,
    /// What its bytes hash to.
    pub hash: ContentHash,
}

/// Bytes that only the [`crate::Vault`] opens.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    bytes: Bytes,
    hash: ContentHash,
}

/// The bytes or text are not a sealed record: empty, too long or not base 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sealed record")]
pub struct NotSealed;

impl Sealed {
    /// From bytes that [`Sealed::as_bytes`] gave. Whether they open is for the vault to say.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, NotSealed> {
        let bytes = bytes.into();
        // A first byte of zero is what erasing leaves behind.
        if bytes.len() > MAX_SEALED_BYTES || bytes.first().is_none_or(|&format| format == 0) {
            return Err(NotSealed);
        }
        Ok(Self { hash: ContentHash::of(&bytes), bytes })
    }

    /// The sealed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What they hash to.
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// As text, base 64 with padding.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// From text that [`Sealed::to_base64`] wrote.
    pub fn from_base64(text: &str) -> Result<Self, NotSealed> {
        if text.len() > MAX_SEALED_BYTES / 3 * 4 + 4 {
            return Err(NotSealed);
        }
        Self::from_bytes(STANDARD.decode(text).map_err(|_| NotSealed)?)
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let sealed = Sealed::from_bytes(vec![1, 2, 3]).unwrap();
        assert_eq!(Sealed::from_base64(&sealed.to_base64()), Ok(sealed.clone()));
        let json = serde_json::to_string(&sealed).unwrap();
        assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
    }

    #[test]
    fn nothing_zeros_and_nonsense_are_not_sealed() {
        assert_eq!(Sealed::from_bytes(Vec::new()), Err(NotSealed));
        assert_eq!(Sealed::from_bytes(vec![0; 40]), Err(NotSealed));
        assert_eq!(Sealed::from_base64("§"), Err(NotSealed));
    }

    #[test]
    fn the_hour_of_a_time_is_counted_from_the_epoch() {
        assert_eq!(Hour::of(Timestamp::from_millis(0)), Hour::new(0));
        assert_eq!(Hour::of(Timestamp::from_millis(HOUR_MS * 7 + 1)), Hour::new(7));
    }
}
