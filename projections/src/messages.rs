//! Messages in detail: every event of each, ready to be folded.

use eventlog::{ContentHash, ContentLocation, Hour, Position, Recorded, Scan, Table};
use model::{
    AppId, Event, EventId, MessageId, StreamId, TenantId, Timestamp,
    message::{Accepted, Message, MessageEvent},
};

use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    fact::{Fact, malformed},
    projection::Projection,
    round::Round,
};

const NAME: &str = "messages";

const MESSAGE: u8 = 1;

/// A row is continued in another one beyond this: an event of 32 KiB must still fit.
const ROW_BYTES: usize = 30 * 1024;

/// One event of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Which event.
    pub id: EventId,
    /// When it was recorded.
    pub at: Timestamp,
    /// Where it stands in the log.
    pub position: Position,
    /// Its `type`.
    pub kind: &'static str,
    /// What happened.
    pub event: MessageEvent,
}

/// A message with all that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// Which message.
    pub id: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The app that sent it.
    pub app: AppId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What was accepted.
    pub accepted: Accepted,
    /// How it stands.
    pub state: Message,
    /// Where addresses and subject lie.
    pub head: ContentLocation,
    /// Where texts and files lie.
    pub body: ContentLocation,
    /// What happened, oldest first.
    pub events: Vec<EventView>,
}

/// The messages.
#[derive(Debug, Clone)]
pub struct Messages {
    table: Table,
}

impl Messages {
    pub(crate) const fn new(table: Table) -> Self {
        Self { table }
    }

    /// The message of this id; `None` when there is none.
    pub fn get(&self, id: MessageId) -> Result<Option<MessageView>, QueryError> {
        let Some(history) = self.history(id)? else { return Ok(None) };
        let mut state = Message::default();
        let mut events = Vec::with_capacity(history.entries.len());
        for version in 0..history.entries.len() {
            let view = history.event(version).ok_or_else(damaged)?;
            state.evolve(&view.event, view.at);
            events.push(view);
        }
        let Some((accepted_at, accepted)) = state.accepted() else { return Err(damaged()) };
        let accepted = accepted.clone();
        Ok(Some(MessageView {
            id,
            tenant: accepted.tenant,
            app: accepted.app,
            accepted_at,
            accepted,
            state,
            head: history.head,
            body: history.body,
            events,
        }))
    }

    /// How many messages there are. Reads every row.
    pub fn count(&self) -> Result<u64, QueryError> {
        let mut count = 0;
        for row in self.table.scan(Scan::prefix([MESSAGE])) {
            // The rows of a message are numbered from 0.
            count += u64::from(row?.0.ends_with(&[0, 0]));
        }
        Ok(count)
    }

    /// The events of a message, not yet decoded.
    pub(crate) fn history(&self, id: MessageId) -> Result<Option<History>, QueryError> {
        let mut history: Option<History> = None;
        for row in self.table.scan(Scan::prefix(join(&[&[MESSAGE], id.as_bytes()]))) {
            let (_, value) = row?;
            let read = match &mut history {
                None => History::begin(id, &value).map(|begun| history = Some(begun)),
                Some(history) => history.go_on(&value),
            };
            read.map_err(|Malformed| damaged())?;
        }
        Ok(history)
    }
}

fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}

/// One event of a message as it stands in a row.
#[derive(Debug)]
struct Entry {
    id: EventId,
    at: Timestamp,
    position: Position,
    data: Box<[u8]>,
}

/// The rows of one message. The first begins with the number of the last row and the locations of
/// the content; then, in each row, come events.
#[derive(Debug)]
pub(crate) struct History {
    message: MessageId,
    pub(crate) head: ContentLocation,
    body: ContentLocation,
    entries: Vec<Entry>,
}

impl History {
    fn begin(message: MessageId, row: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(row);
        reader.u16()?;
        let (head, body) = (read_location(&mut reader)?, read_location(&mut reader)?);
        let mut history = Self { message, head, body, entries: Vec::new() };
        history.read_entries(reader)?;
        Ok(history)
    }

    fn go_on(&mut self, row: &[u8]) -> Result<(), Malformed> {
        self.read_entries(Reader::new(row))
    }

    fn read_entries(&mut self, mut reader: Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let id = EventId::from_bytes(reader.array()?);
            let at = Timestamp::from_millis(reader.u64()?);
            let position = Position::new(reader.u64()?);
            let len = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
            let data = reader.take(len)?.into();
            self.entries.push(Entry { id, at, position, data });
        }
        Ok(())
    }

    /// The event of this place in the message, from 0.
    pub(crate) fn event(&self, place: usize) -> Option<EventView> {
        let entry = self.entries.get(place)?;
        let stream = StreamId::Message(self.message);
        let Ok(Event::Message(event)) = Event::decode(stream, &entry.data) else { return None };
        let (id, at, position) = (entry.id, entry.at, entry.position);
        Some(EventView { id, at, position, kind: event.kind(), event })
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the event of this place was recorded, and where it stands in the log.
    pub(crate) fn recorded(&self, place: usize) -> Option<(Timestamp, Position)> {
        self.entries.get(place).map(|entry| (entry.at, entry.position))
    }
}

fn write_location(location: &ContentLocation, out: &mut Vec<u8>) {
    out.extend_from_slice(&location.segment.get().to_le_bytes());
    out.extend_from_slice(&location.offset.to_le_bytes());
    out.extend_from_slice(&location.len.to_le_bytes());
    out.extend_from_slice(location.hash.as_bytes());
}

fn read_location(reader: &mut Reader<'_>) -> Result<ContentLocation, Malformed> {
    Ok(ContentLocation {
        segment: Hour::new(reader.u32()?),
        offset: reader.u64()?,
        len: reader.u32()?,
        hash: ContentHash::from_bytes(reader.array()?),
    })
}

fn write_entry(recorded: &Recorded, out: &mut Vec<u8>) {
    out.extend_from_slice(recorded.id.as_bytes());
    out.extend_from_slice(&recorded.at.as_millis().to_le_bytes());
    out.extend_from_slice(&recorded.position.get().to_le_bytes());
    let len = u32::try_from(recorded.data.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&recorded.data);
}

fn row_key(message: MessageId, number: u16) -> Vec<u8> {
    join(&[&[MESSAGE], message.as_bytes(), &number.to_be_bytes()])
}

/// Folds the messages.
pub(crate) struct MessagesProjection;

impl Projection for MessagesProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round) -> Result<(), Halt> {
        let (StreamId::Message(message), Event::Message(event), Some(origin)) =
            (fact.recorded.stream, fact.event, fact.origin)
        else {
            return Ok(());
        };
        let first = row_key(message, 0);
        if let MessageEvent::Accepted(_) = event {
            let mut row = Vec::with_capacity(128 + fact.recorded.data.len());
            row.extend_from_slice(&0_u16.to_le_bytes());
            write_location(&origin.head, &mut row);
            write_location(&origin.body, &mut row);
            write_entry(fact.recorded, &mut row);
            round.put_new(first, row);
            return Ok(());
        }
        let row = round.edit(&first)?.ok_or_else(|| malformed(NAME))?;
        let number = Reader::new(row).u16().map_err(|Malformed| malformed(NAME))?;
        let last = if number == 0 {
            row
        } else {
            round.edit(&row_key(message, number))?.ok_or_else(|| malformed(NAME))?
        };
        if last.len() < ROW_BYTES {
            write_entry(fact.recorded, last);
            return Ok(());
        }
        let number = number.checked_add(1).ok_or(Halt::Impossible {
            position: fact.recorded.position,
            stream: fact.recorded.stream,
            what: "the message has more events than can be kept of one",
        })?;
        let mut row = Vec::new();
        write_entry(fact.recorded, &mut row);
        round.put(row_key(message, number), row);
        let first = round.edit(&first)?.ok_or_else(|| malformed(NAME))?;
        if let Some(count) = first.first_chunk_mut() {
            *count = number.to_le_bytes();
        }
        Ok(())
    }
}
