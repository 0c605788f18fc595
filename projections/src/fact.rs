//! An event with what every projection wants to know of it, found once.

use std::sync::Arc;

use eventlog::{ContentLocation, Recorded};
use model::{Event, StreamId, Timestamp, message::Accepted};

use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
};

/// One event of the log, decoded.
pub(crate) struct Fact<'a> {
    pub(crate) recorded: &'a Recorded,
    pub(crate) event: &'a Event,
    /// For an event of a message: what was accepted.
    pub(crate) origin: Option<&'a Arc<Origin>>,
}

/// How a message began: its first events, which every later one is read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) accepted: Accepted,
    pub(crate) at: Timestamp,
    /// From when on it may be sent.
    pub(crate) send_from: Timestamp,
    pub(crate) head: ContentLocation,
    pub(crate) body: ContentLocation,
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
