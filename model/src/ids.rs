//! Prefixed, opaque identifiers.
//!
//! 16 bytes in the shape of a UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds first, so
//! that keys made together lie together on disk. Written as the prefix and 26 characters of
//! lower-case Crockford base 32, which sort as the bytes do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LEN: usize = 26;
const NO_DIGIT: u8 = u8::MAX;
/// The digit that each octet stands for: an event names up to five ids, and a fold reads millions.
const DIGITS: [u8; 256] = digits();

#[expect(clippy::indexing_slicing, reason = "checked when it is compiled")]
const fn digits() -> [u8; 256] {
    let mut digits = [NO_DIGIT; 256];
    let mut digit: u8 = 0;
    while (digit as usize) < ALPHABET.len() {
        digits[ALPHABET[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
}

/// The text was not an identifier of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier of this kind")]
pub struct InvalidId;

fn encode(bytes: [u8; 16]) -> [u8; TEXT_LEN] {
    let mut value = u128::from_be_bytes(bytes);
    let mut text = [b'0'; TEXT_LEN];
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET.get((value & 31) as usize).copied().unwrap_or(b'0');
        value >>= 5;
    }
    text
}

fn decode(text: &str) -> Result<[u8; 16], InvalidId> {
    if text.len() != TEXT_LEN {
        return Err(InvalidId);
    }
    let mut value: u128 = 0;
    for (index, character) in text.bytes().enumerate() {
        let digit = usize::from(DIGITS.get(usize::from(character)).copied().unwrap_or(NO_DIGIT));
        if digit == usize::from(NO_DIGIT) {
            return Err(InvalidId);
        }
        // 26 digits carry 130 bits: the first may use only three of its five.
        if index == 0 && digit > 7 {
            return Err(InvalidId);
        }
        value = (value << 5) | digit as u128;
    }
    Ok(value.to_be_bytes())
}

/// The 16 bytes of a UUIDv7 (RFC 9562): milliseconds, version and variant bits, randomness.
fn uuid_v7(at: Timestamp, random: [u8; 10]) -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    let (time, rest) = bytes.split_at_mut(6);
    time.copy_from_slice(at.as_millis().to_be_bytes().get(2..).unwrap_or(&[0; 6]));
    rest.copy_from_slice(&random);
    if let Some(version) = bytes.get_mut(6) {
        *version = 0x70 | (*version & 0x0f);
    }
    if let Some(variant) = bytes.get_mut(8) {
        *variant = 0x80 | (*variant & 0x3f);
    }
    bytes
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What the written form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier for something made at `at`; `random` comes from the edge.
            pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(at, random))
            }

            /// The identifier with exactly these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, big-endian: they sort as the text does.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                for character in encode(self.0) {
                    fmt::Write::write_char(f, char::from(character))?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                decode(text.strip_prefix($prefix).ok_or(InvalidId)?).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

id!(
    /// The forgetting of a person.
    ErasureId, "era_"
);
id!(
    /// A look that somebody took at content.
    ReadingId, "rdg_"
);
id!(
    /// A customer of the platform; owns apps, domains and users.
    TenantId, "ten_"
);
id!(
    /// A person who signs in to the portal.
    UserId, "usr_"
);
id!(
    /// An application of a tenant; owns API keys and messages.
    AppId, "app_"
);
id!(
    /// An API key. The secret is something else.
    ApiKeyId, "key_"
);
id!(
    /// A sending domain of one tenant.
    DomainId, "dom_"
);
id!(
    /// A template of an app.
    TemplateId, "tpl_"
);
id!(
    /// One address on the suppression list of one app.
    SuppressionId, "sup_"
);
id!(
    /// A letter that came to an office.
    LetterId, "let_"
);
id!(
    /// This installation, which has one log.
    InstanceId, "ins_"
);
id!(
    /// One email with all its recipients.
    MessageId, "msg_"
);
id!(
    /// One recorded event.
    EventId, "evt_"
);

/// A recipient by its place in the message: `to`, then `cc`, then `bcc`, from 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct RecipientIndex(pub u8);

impl RecipientIndex {
    /// The place as an index into the message's recipients.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_sorts_as_the_bytes_do() {
        let early = MessageId::new(Timestamp::from_millis(1_000), [7; 10]);
        let late = MessageId::new(Timestamp::from_millis(2_000), [0; 10]);
        assert_eq!(early.to_string().parse::<MessageId>(), Ok(early));
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert!(early.to_string().starts_with("msg_"));
    }

    #[test]
    fn extreme_bytes_round_trip() {
        for bytes in [[0; 16], [255; 16]] {
            let id = EventId::from_bytes(bytes);
            assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        }
    }

    #[test]
    fn other_kinds_lengths_and_characters_are_refused() {
        let id = MessageId::from_bytes([255; 16]).to_string();
        assert!(id.replace("msg_", "app_").parse::<MessageId>().is_err());
        assert!(id.replace("msg_7", "msg_8").parse::<MessageId>().is_err());
        assert!(id.to_uppercase().parse::<MessageId>().is_err());
        assert!(id.replace("zz", "u\u{0}").parse::<MessageId>().is_err());
        assert!("msg_".parse::<MessageId>().is_err());
    }

    #[test]
    fn the_shape_is_that_of_uuid_version_7() {
        let id = EventId::new(Timestamp::from_millis(0x0123_4567_89ab), [255; 10]);
        assert_eq!(id.as_bytes()[..6], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        assert_eq!(id.as_bytes()[6] >> 4, 7);
        assert_eq!(id.as_bytes()[8] >> 6, 0b10);
    }
}
