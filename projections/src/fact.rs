//! An event with what every projection wants to know of it, found once.

use std::sync::Arc;

use eventlog::Recorded;
use model::{
    Event, StreamId, Timestamp,
    message::{Accepted, Step},
};

use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
};

/// One event of the log, decoded as far as folds need it.
pub(crate) struct Fact<'a> {
    pub(crate) recorded: &'a Recorded,
    pub(crate) known: &'a Known,
    /// For an event of a message: how it began.
    pub(crate) origin: Option<&'a Arc<Origin>>,
}

/// What an event says.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most events are of messages, and small here")]
pub(crate) enum Known {
    /// A message was accepted.
    Began(Arc<Origin>),
    /// What happened to it later.
    Went(Step),
    /// An event of another stream.
    Other(Event),
}

impl Known {
    /// Decodes an event.
    pub(crate) fn of(recorded: &Recorded) -> Result<Self, Halt> {
        let undecodable = |error: model::event::UndecodableEvent| Halt::Undecodable {
            position: recorded.position,
            stream: recorded.stream,
            what: error.to_string().into(),
        };
        if !matches!(recorded.stream, StreamId::Message(_)) {
            let event = Event::decode(recorded.stream, &recorded.data);
            return event.map(Self::Other).map_err(undecodable);
        }
        match Step::decode(&recorded.data).map_err(undecodable)? {
            Step::Accepted(accepted) => {
                Origin::begin(recorded, *accepted).map(|origin| Self::Began(Arc::new(origin)))
            }
            step => Ok(Self::Went(step)),
        }
    }

    /// The event, when it is not of a message.
    pub(crate) const fn other(&self) -> Option<&Event> {
        match self {
            Self::Other(event) => Some(event),
            Self::Began(_) | Self::Went(_) => None,
        }
    }

    /// The event's `type`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Began(_) => "message.accepted",
            Self::Went(step) => step.kind(),
            Self::Other(event) => event.kind(),
        }
    }
}

/// How a message began: its first events, which every later one is read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) accepted: Accepted,
    pub(crate) at: Timestamp,
    /// From when on it may be sent.
    pub(crate) send_from: Timestamp,
}

impl Origin {
    fn begin(recorded: &Recorded, accepted: Accepted) -> Result<Self, Halt> {
        if recorded.content.len() < 2 {
            return Err(Halt::Impossible {
                position: recorded.position,
                stream: recorded.stream,
                what: "an accepted message has no content beside it",
            });
        }
        Ok(Self { accepted, at: recorded.at, send_from: recorded.at })
    }
}

/// A row that is an event as it was recorded: read with the event's own decoder, old versions too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FactRow<'a> {
    pub(crate) stream: StreamId,
    pub(crate) at: Timestamp,
    pub(crate) data: &'a [u8],
}

impl<'a> FactRow<'a> {
    pub(crate) fn of(fact: &Fact<'a>) -> Self {
        let recorded = fact.recorded;
        Self { stream: recorded.stream, at: recorded.at, data: &recorded.data }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        join(&[&self.stream.to_bytes(), &self.at.as_millis().to_le_bytes(), self.data])
    }

    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let stream = StreamId::from_bytes(reader.array()?).ok_or(Malformed)?;
        let at = Timestamp::from_millis(reader.u64()?);
        Ok(Self { stream, at, data: reader.rest() })
    }

    /// The event of this row, in the table called `table`.
    pub(crate) fn event(&self, table: &'static str) -> Result<Event, Halt> {
        Event::decode(self.stream, self.data).map_err(|_| malformed(table))
    }
}

/// A row of the table is not what was written there.
pub(crate) fn malformed(table: &'static str) -> Halt {
    Halt::Damaged { table, what: "a row that no version of this program writes".into() }
}
