//! Events as they stand in the log: self-describing JSON with a type and a version.
//!
//! `{"type":"message.accepted","v":1,"cause":"key_…",…}`. A field may be added to an event at any time when its
//! absence has a meaning; anything else is a new version, with an upcaster for the old one. An
//! event that was ever shipped is decoded for ever: `tests/golden` holds one of each.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    cause::{After, By, Cause},
    domain::DomainEvent,
    erasure::ErasureEvent,
    instance::InstanceEvent,
    letter::LetterEvent,
    message::MessageEvent,
    reading::ReadingEvent,
    stream::StreamId,
    suppression::SuppressionEvent,
    template::TemplateEvent,
    tenant::TenantEvent,
    user::UserEvent,
};

/// Longest event, in octets of JSON.
pub const MAX_EVENT_OCTETS: usize = 32 * 1024;

/// Why a recorded event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UndecodableEvent {
    /// It is not JSON, or lacks a field.
    #[error("the event is not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// This program does not know such an event, or not this version of it.
    #[error("unknown event {kind} version {version}")]
    Unknown {
        /// Its `type`.
        kind: String,
        /// Its `v`.
        version: u16,
    },
}

/// Turns the JSON of one version of an event into that of the next.
pub struct Upcaster {
    /// The event's `type`.
    pub kind: &'static str,
    /// The version it reads; it writes the next one.
    pub from_version: u16,
    /// The change.
    pub apply: fn(Value) -> Value,
}

/// Every upcaster there is. No event has a second version yet.
pub const UPCASTERS: &[Upcaster] = &[];

/// What every event begins with.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Header<'a> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: std::borrow::Cow<'a, str>,
    pub(crate) v: u16,
}

impl<'a> Header<'a> {
    /// Reads it. As we write it, it stands in front, and the rest is not looked at; in another
    /// order it is looked for.
    pub(crate) fn read(data: &'a [u8]) -> Result<Self, serde_json::Error> {
        match Self::in_front(data) {
            Some(header) => Ok(header),
            None => serde_json::from_slice(data),
        }
    }

    fn in_front(data: &'a [u8]) -> Option<Self> {
        let rest = data.strip_prefix(br#"{"type":""#)?;
        let end =
            rest.iter().take(64).position(|byte| !matches!(byte, b'a'..=b'z' | b'_' | b'.'))?;
        let (kind, rest) = rest.split_at_checked(end)?;
        let rest = rest.strip_prefix(br#"","v":"#)?;
        let digits = rest.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
        let (v, rest) = rest.split_at_checked(digits)?;
        // Else it may be a number of another form.
        matches!(rest.first(), Some(b',' | b'}')).then_some(())?;
        let v = std::str::from_utf8(v).ok()?.parse().ok()?;
        Some(Self { kind: std::str::from_utf8(kind).ok()?.into(), v })
    }
}

#[derive(Serialize)]
struct Written<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    v: u16,
    cause: By,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<After>,
    #[serde(flatten)]
    body: &'a T,
}

pub(crate) fn encode<T: Serialize>(
    kind: &'static str,
    v: u16,
    cause: &Cause,
    body: &T,
) -> Box<[u8]> {
    let Cause { by: cause, after } = *cause;
    let written = Written { kind, v, cause, after, body };
    // Plain structs of numbers, strings and lists always have a JSON form.
    serde_json::to_vec(&written).unwrap_or_default().into_boxed_slice()
}

/// Decodes the body of version `current`, upcasting first when the event is older.
pub(crate) fn decode_body<T: DeserializeOwned>(
    upcasters: &[Upcaster],
    data: &[u8],
    kind: &'static str,
    version: u16,
    current: u16,
) -> Result<T, UndecodableEvent> {
    if version == current {
        return Ok(serde_json::from_slice(data)?);
    }
    let mut value: Value = serde_json::from_slice(data)?;
    let mut reached = version;
    while reached < current {
        let step = upcasters
            .iter()
            .find(|step| step.kind == kind && step.from_version == reached)
            .ok_or(UndecodableEvent::Unknown { kind: kind.to_owned(), version })?;
        value = (step.apply)(value);
        reached += 1;
    }
    if reached > current {
        return Err(UndecodableEvent::Unknown { kind: kind.to_owned(), version });
    }
    Ok(serde_json::from_value(value)?)
}

/// Names the events of one aggregate: variant, `type` and current version.
macro_rules! events {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $kind:literal v $version:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$vdoc])* $variant($variant),)+
        }

        impl $name {
            /// Every `type` of this aggregate.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];

            /// The event's `type`.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)+ }
            }

            /// The JSON that goes into the log, with what it came of.
            pub fn encode(&self, cause: &$crate::Cause) -> Box<[u8]> {
                match self {
                    $(Self::$variant(body) => $crate::event::encode($kind, $version, cause, body),)+
                }
            }

            pub(crate) fn decode(
                kind: &str,
                version: u16,
                data: &[u8],
            ) -> Result<Self, $crate::event::UndecodableEvent> {
                match kind {
                    $($kind => $crate::event::decode_body(
                        $crate::event::UPCASTERS, data, $kind, version, $version,
                    ).map(Self::$variant),)+
                    _ => Err($crate::event::UndecodableEvent::Unknown { kind: kind.to_owned(), version }),
                }
            }
        }

        $(impl From<$variant> for $name {
            fn from(body: $variant) -> Self { Self::$variant(body) }
        })+
    };
}
pub(crate) use events;

/// For a count that stands in an event only when there is something to count.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
pub(crate) const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Of a tenant.
    Tenant(TenantEvent),
    /// Of a domain.
    Domain(DomainEvent),
    /// Of a message.
    Message(MessageEvent),
    /// Of a user.
    User(UserEvent),
    /// Of a template.
    Template(TemplateEvent),
    /// Of an address on a suppression list.
    Suppression(SuppressionEvent),
    /// Of a letter that came to an office.
    Letter(LetterEvent),
    /// Of the forgetting of a person.
    Erasure(ErasureEvent),
    /// Of the instance.
    Instance(InstanceEvent),
    /// Of a look at content.
    Reading(ReadingEvent),
}

impl Event {
    /// Reads what the log holds for `stream`.
    pub fn decode(stream: StreamId, data: &[u8]) -> Result<Self, UndecodableEvent> {
        let Header { kind, v } = Header::read(data)?;
        match stream {
            StreamId::Tenant(_) => TenantEvent::decode(&kind, v, data).map(Self::Tenant),
            StreamId::Domain(_) => DomainEvent::decode(&kind, v, data).map(Self::Domain),
            StreamId::Message(_) => MessageEvent::decode(&kind, v, data).map(Self::Message),
            StreamId::User(_) => UserEvent::decode(&kind, v, data).map(Self::User),
            StreamId::Template(_) => TemplateEvent::decode(&kind, v, data).map(Self::Template),
            StreamId::Suppression(_) => {
                SuppressionEvent::decode(&kind, v, data).map(Self::Suppression)
            }
            StreamId::Letter(_) => LetterEvent::decode(&kind, v, data).map(Self::Letter),
            StreamId::Erasure(_) => ErasureEvent::decode(&kind, v, data).map(Self::Erasure),
            StreamId::Instance(_) => InstanceEvent::decode(&kind, v, data).map(Self::Instance),
            StreamId::Reading(_) => ReadingEvent::decode(&kind, v, data).map(Self::Reading),
        }
    }

    /// The event's `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tenant(event) => event.kind(),
            Self::Domain(event) => event.kind(),
            Self::Message(event) => event.kind(),
            Self::User(event) => event.kind(),
            Self::Template(event) => event.kind(),
            Self::Suppression(event) => event.kind(),
            Self::Letter(event) => event.kind(),
            Self::Erasure(event) => event.kind(),
            Self::Instance(event) => event.kind(),
            Self::Reading(event) => event.kind(),
        }
    }
}

/// Text sealed at the edge, in base64: opaque here. Events carry what identifies a person, and
/// secrets, only in this form.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedText(pub Box<str>);

impl std::fmt::Debug for SealedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedText({} octets)", self.0.len())
    }
}

/// A keyed hash in lower-case hexadecimal: says who or what without saying it to others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyedHash<const N: usize>(pub [u8; N]);

/// Of a recipient's canonical address. 16 octets: ten thousand million addresses collide with a
/// chance of one in 10¹⁸.
pub type RecipientHash = KeyedHash<16>;
/// Of an API key's secret.
pub type SecretHash = KeyedHash<32>;
/// Of a whole request, for telling an idempotent repetition from another request.
pub type RequestHash = KeyedHash<16>;

impl<const N: usize> std::fmt::Display for KeyedHash<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> std::fmt::Debug for KeyedHash<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for KeyedHash<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for KeyedHash<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.as_bytes();
        if digits.len() != 2 * N {
            return Err(D::Error::custom("a keyed hash of another length"));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let mut bytes = [0_u8; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else { return Err(D::Error::custom("not hexadecimal")) };
            let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                return Err(D::Error::custom("not hexadecimal"));
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Third {
        whole: u32,
    }

    const STEPS: &[Upcaster] = &[
        Upcaster {
            kind: "x.y",
            from_version: 1,
            apply: |mut value| {
                value["half"] = Value::from(value["quarter"].as_u64().unwrap_or(0) * 2);
                value
            },
        },
        Upcaster {
            kind: "x.y",
            from_version: 2,
            apply: |mut value| {
                value["whole"] = Value::from(value["half"].as_u64().unwrap_or(0) * 2);
                value
            },
        },
    ];

    #[test]
    fn old_versions_are_brought_up_one_step_at_a_time() {
        let read = |data: &[u8], version| decode_body::<Third>(STEPS, data, "x.y", version, 3);
        assert_eq!(read(br#"{"quarter":1}"#, 1).unwrap(), Third { whole: 4 });
        assert_eq!(read(br#"{"half":1}"#, 2).unwrap(), Third { whole: 2 });
        assert_eq!(read(br#"{"whole":1}"#, 3).unwrap(), Third { whole: 1 });
    }

    #[test]
    fn a_version_from_the_future_is_refused_not_guessed() {
        let read = decode_body::<Third>(STEPS, br#"{"whole":1}"#, "x.y", 4, 3);
        assert!(matches!(read, Err(UndecodableEvent::Unknown { version: 4, .. })));
    }

    #[test]
    fn the_header_is_found_in_front_and_elsewhere() {
        let read = |text: &'static str| {
            Header::read(text.as_bytes()).ok().map(|header| (header.kind.into_owned(), header.v))
        };
        let found = Some(("message.accepted".to_owned(), 12));
        assert_eq!(read(r#"{"type":"message.accepted","v":12}"#), found);
        assert_eq!(read(r#"{"type":"message.accepted","v":12,"x":1}"#), found);
        assert_eq!(read(r#"{ "x":1, "v":12, "type":"message.\u0061ccepted"}"#), found);
        assert_eq!(Header::in_front(br#"{"v":12,"type":"message.accepted"}"#), None);
        for wrong in [
            r#"{"type":"message.accepted","v":1.5}"#,
            r#"{"type":"message.accepted","v":-1}"#,
            r#"{"type":"message.accepted","v":70000}"#,
            r#"{"type":"message.accepted","v":1"#,
            r#"{"type":"message.accepted"}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keyed_hashes_round_trip_and_wrong_ones_are_refused() {
        let hash = RecipientHash { 0: [0xab; 16] };
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<RecipientHash>(&json).unwrap(), hash);
        for wrong in
            ["\"\"", "\"abc\"", "\"éééééééééééééééé\"", "\"zz00000000000000000000000000000z\""]
        {
            assert!(serde_json::from_str::<RecipientHash>(wrong).is_err(), "{wrong}");
        }
    }
}
