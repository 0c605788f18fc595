//! Causes: who or what an event came of, and the event that it followed.
//!
//! Every event carries its cause beside `type` and `v`: `"cause":"key_…"`, and `"after"` where
//! another event led to it. Walked back, they tell why something happened: an address is on a list
//! for a report, which came of an attempt, which came of a message, which a key sent, which a user
//! made. They name nobody but by ids. Events of before causes were recorded have none.
//!
//! # Why
//! - **Two plain values, not an object**: events of attempts are read field by field, millions of
//!   them, and a number or a text is passed over without a copy.
//! - **Within a stream an event is named by its version**, which is short, and is there by then: an
//!   event is decided upon what the stream holds. In another stream it is named by its id: who is
//!   gone is put on the list before the bounce that says so is recorded, when that bounce has an id
//!   and no version yet. Should the server stop in between, the id leads to nothing, where a version
//!   would lead to another event.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::Error as _};

use crate::{
    event::UndecodableEvent,
    ids::{ApiKeyId, EventId, InvalidId, UserId},
    pause::Who,
    stream::StreamId,
};

/// Who or what an event came of. Written as an id, or as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// A request with this API key.
    Key(ApiKeyId),
    /// Somebody who was signed in to the portal, or who showed a password there.
    User(UserId),
    /// Somebody without an account, who asked for one at the portal.
    Registration,
    /// Somebody at the portal of whom nothing is known: no right password was shown.
    Visitor,
    /// Somebody who runs the server, by way of the running server.
    Operator,
    /// A command on a stopped server's data directory.
    CommandLine,
    /// The server itself, as it is configured.
    Configuration,
    /// An attempt at delivery, with what came of it.
    Attempt,
    /// The alarm: a time had come.
    Alarm,
    /// The DNS, looked at on a schedule.
    Dns,
    /// A report that came in by mail.
    Report,
    /// A letter that came in by mail.
    Letter,
    /// Somebody used the link of a bulk message.
    Unsubscribe,
}

impl By {
    /// Those that are told by a word, which are all but keys and users.
    pub const WORDS: [(Self, &'static str); 11] = [
        (Self::Registration, "registration"),
        (Self::Visitor, "visitor"),
        (Self::Operator, "operator"),
        (Self::CommandLine, "command_line"),
        (Self::Configuration, "configuration"),
        (Self::Attempt, "attempt"),
        (Self::Alarm, "alarm"),
        (Self::Dns, "dns"),
        (Self::Report, "report"),
        (Self::Letter, "letter"),
        (Self::Unsubscribe, "unsubscribe"),
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::User(_) => "user",
            Self::Registration => "registration",
            Self::Visitor => "visitor",
            Self::Operator => "operator",
            Self::CommandLine => "command_line",
            Self::Configuration => "configuration",
            Self::Attempt => "attempt",
            Self::Alarm => "alarm",
            Self::Dns => "dns",
            Self::Report => "report",
            Self::Letter => "letter",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

impl From<Who> for By {
    fn from(who: Who) -> Self {
        match who {
            Who::Operator => Self::Operator,
            Who::User(user) => Self::User(user),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::User(user) => user.fmt(f),
            other => f.write_str(other.word()),
        }
    }
}

impl FromStr for By {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.get(..4) {
            Some(ApiKeyId::PREFIX) => text.parse().map(Self::Key),
            Some(UserId::PREFIX) => text.parse().map(Self::User),
            _ => Self::WORDS
                .into_iter()
                .find_map(|(by, word)| (word == text).then_some(by))
                .ok_or(InvalidId),
        }
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The event that led to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// One of the same stream, by its version: written as a number.
    Own(u64),
    /// One of another stream: written as `msg_…/evt_…`. It may stand later in the log.
    Other(StreamId, EventId),
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(version) => version.fmt(f),
            Self::Other(stream, event) => write!(f, "{stream}/{event}"),
        }
    }
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(version) => serializer.serialize_u64(*version),
            Self::Other(..) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl de::Visitor<'_> for Reading {
            type Value = After;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version, or a stream and an event")
            }

            fn visit_u64<E: de::Error>(self, version: u64) -> Result<After, E> {
                Ok(After::Own(version))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<After, E> {
                let (stream, event) = text.split_once('/').ok_or_else(|| E::custom(InvalidId))?;
                let stream = stream.parse().map_err(E::custom)?;
                Ok(After::Other(stream, event.parse().map_err(E::custom)?))
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

/// What an event came of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cause {
    /// Who or what.
    pub by: By,
    /// The event that led to it, where there is one.
    pub after: Option<After>,
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(default)]
    cause: Option<By>,
    #[serde(default)]
    after: Option<After>,
}

impl Cause {
    /// Somebody's or something's doing, without an event that led to it.
    pub const fn by(by: By) -> Self {
        Self { by, after: None }
    }

    /// The cause that an event was recorded with; `None` for one of before causes were recorded.
    ///
    /// # Errors
    /// It is not JSON, or tells a cause that this program does not know.
    pub fn read(data: &[u8]) -> Result<Option<Self>, UndecodableEvent> {
        let Recorded { cause, after } = serde_json::from_slice(data)?;
        Ok(cause.map(|by| Self { by, after }))
    }
}

impl From<By> for Cause {
    fn from(by: By) -> Self {
        Self::by(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::MessageId,
        message::{Canceled, MessageEvent},
    };

    fn every() -> Vec<By> {
        let ids = [By::Key(ApiKeyId::from_bytes([1; 16])), By::User(UserId::from_bytes([2; 16]))];
        ids.into_iter().chain(By::WORDS.map(|(by, _)| by)).collect()
    }

    fn elsewhere() -> After {
        let stream = StreamId::Message(MessageId::from_bytes([3; 16]));
        After::Other(stream, EventId::from_bytes([4; 16]))
    }

    #[test]
    fn every_cause_is_read_as_it_was_written() {
        let event: MessageEvent =
            Canceled { recipient: crate::RecipientIndex(0), reason: None }.into();
        for by in every() {
            assert_eq!(by.to_string().parse(), Ok(by));
            for after in [None, Some(After::Own(7)), Some(elsewhere())] {
                let cause = Cause { by, after };
                let data = event.encode(&cause);
                assert_eq!(Cause::read(&data).unwrap(), Some(cause));
                let stream = StreamId::Message(MessageId::from_bytes([3; 16]));
                assert_eq!(crate::Event::decode(stream, &data).unwrap().kind(), event.kind());
            }
        }
    }

    #[test]
    fn it_stands_beside_type_and_version() {
        let event: MessageEvent =
            Canceled { recipient: crate::RecipientIndex(0), reason: None }.into();
        let cause = Cause { by: By::Attempt, after: Some(After::Own(1)) };
        let written = String::from_utf8(event.encode(&cause).into()).unwrap();
        let expected =
            r#"{"type":"message.canceled","v":1,"cause":"attempt","after":1,"recipient":0}"#;
        assert_eq!(written, expected);
    }

    #[test]
    fn what_names_no_cause_has_none_and_what_is_none_is_refused() {
        assert_eq!(Cause::read(br#"{"type":"x","v":1}"#).unwrap(), None);
        for wrong in [
            r#"{"cause":"magic"}"#,
            r#"{"cause":"key_1"}"#,
            r#"{"cause":1}"#,
            r#"{"cause":"alarm","after":-1}"#,
            r#"{"cause":"alarm","after":"msg_1"}"#,
            r#"{"cause":"alarm","after":"msg_/evt_"}"#,
        ] {
            assert!(Cause::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
