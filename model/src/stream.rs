//! Streams: each aggregate's own sequence of events in the log.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::ids::{
    DomainId, ErasureId, InstanceId, InvalidId, LetterId, MessageId, ReadingId, SuppressionId,
    TemplateId, TenantId, UserId,
};

/// Whose events: the identity of an aggregate. Written as the aggregate's own identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// A tenant, with its apps, keys and users.
    Tenant(TenantId),
    /// A sending domain.
    Domain(DomainId),
    /// A message.
    Message(MessageId),
    /// A user, with its sessions.
    User(UserId),
    /// A template, with its versions.
    Template(TemplateId),
    /// An address that an app may or may not send to.
    Suppression(SuppressionId),
    /// A letter that came to an office.
    Letter(LetterId),
    /// The forgetting of a person.
    Erasure(ErasureId),
    /// The instance, with the receivers that are paused.
    Instance(InstanceId),
    /// A look that somebody took at content.
    Reading(ReadingId),
}

impl StreamId {
    /// Length of [`StreamId::to_bytes`].
    pub const LEN: usize = 17;

    /// A kind byte and the identifier's 16 bytes: the form used in keys and hashes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, id) = match &self {
            Self::Tenant(id) => (1, id.as_bytes()),
            Self::Domain(id) => (2, id.as_bytes()),
            Self::Message(id) => (3, id.as_bytes()),
            Self::User(id) => (4, id.as_bytes()),
            Self::Template(id) => (5, id.as_bytes()),
            Self::Suppression(id) => (6, id.as_bytes()),
            Self::Letter(id) => (8, id.as_bytes()),
            Self::Erasure(id) => (9, id.as_bytes()),
            Self::Instance(id) => (7, id.as_bytes()),
            Self::Reading(id) => (10, id.as_bytes()),
        };
        let mut bytes = [kind; Self::LEN];
        if let Some(rest) = bytes.get_mut(1..) {
            rest.copy_from_slice(id);
        }
        bytes
    }

    /// The stream that [`StreamId::to_bytes`] wrote; `None` for an unknown kind.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        let [kind, id @ ..] = bytes;
        match kind {
            1 => Some(Self::Tenant(TenantId::from_bytes(id))),
            2 => Some(Self::Domain(DomainId::from_bytes(id))),
            3 => Some(Self::Message(MessageId::from_bytes(id))),
            4 => Some(Self::User(UserId::from_bytes(id))),
            5 => Some(Self::Template(TemplateId::from_bytes(id))),
            6 => Some(Self::Suppression(SuppressionId::from_bytes(id))),
            8 => Some(Self::Letter(LetterId::from_bytes(id))),
            9 => Some(Self::Erasure(ErasureId::from_bytes(id))),
            7 => Some(Self::Instance(InstanceId::from_bytes(id))),
            10 => Some(Self::Reading(ReadingId::from_bytes(id))),
            _ => None,
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(id) => id.fmt(f),
            Self::Domain(id) => id.fmt(f),
            Self::Message(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::Template(id) => id.fmt(f),
            Self::Suppression(id) => id.fmt(f),
            Self::Letter(id) => id.fmt(f),
            Self::Erasure(id) => id.fmt(f),
            Self::Instance(id) => id.fmt(f),
            Self::Reading(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StreamId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.get(..4) {
            Some(TenantId::PREFIX) => text.parse().map(Self::Tenant),
            Some(DomainId::PREFIX) => text.parse().map(Self::Domain),
            Some(MessageId::PREFIX) => text.parse().map(Self::Message),
            Some(UserId::PREFIX) => text.parse().map(Self::User),
            Some(TemplateId::PREFIX) => text.parse().map(Self::Template),
            Some(SuppressionId::PREFIX) => text.parse().map(Self::Suppression),
            Some(LetterId::PREFIX) => text.parse().map(Self::Letter),
            Some(ErasureId::PREFIX) => text.parse().map(Self::Erasure),
            Some(InstanceId::PREFIX) => text.parse().map(Self::Instance),
            Some(ReadingId::PREFIX) => text.parse().map(Self::Reading),
            _ => Err(InvalidId),
        }
    }
}

impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text_round_trip() {
        for stream in [
            StreamId::Tenant(TenantId::from_bytes([1; 16])),
            StreamId::Domain(DomainId::from_bytes([2; 16])),
            StreamId::Message(MessageId::from_bytes([3; 16])),
            StreamId::User(UserId::from_bytes([4; 16])),
            StreamId::Template(TemplateId::from_bytes([5; 16])),
            StreamId::Suppression(SuppressionId::from_bytes([6; 16])),
            StreamId::Letter(LetterId::from_bytes([8; 16])),
            StreamId::Erasure(ErasureId::from_bytes([9; 16])),
            StreamId::Instance(InstanceId::THIS),
            StreamId::Reading(ReadingId::from_bytes([10; 16])),
        ] {
            assert_eq!(StreamId::from_bytes(stream.to_bytes()), Some(stream));
            assert_eq!(stream.to_string().parse(), Ok(stream));
        }
    }

    #[test]
    fn unknown_kinds_are_refused() {
        assert_eq!(StreamId::from_bytes([0; 17]), None);
        assert!("key_00000000000000000000000000".parse::<StreamId>().is_err());
        assert!("é".parse::<StreamId>().is_err());
    }
}
