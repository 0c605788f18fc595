//! Messages in detail: every event of each, read from the log.

use std::{fmt, sync::Arc};

use eventlog::{ContentLocation, EventLog, Position, Recorded, Version};
use model::{
    AppId, Event, EventId, MessageId, StreamId, TenantId, Timestamp,
    message::{Accepted, Message, MessageEvent},
};

use crate::{
    codec::{Malformed, Reader},
    error::{Halt, QueryError},
    fact::{Fact, Known, malformed},
    layer::{Round, Rows},
    projection::Projection,
};

const NAME: &str = "messages";

/// How many messages there are.
const COUNT_KEY: &[u8] = &[1];

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

impl EventView {
    /// The view of an event of a message; `None` for others, and for what cannot be read.
    pub(crate) fn of(recorded: &Recorded) -> Option<Self> {
        let Ok(Event::Message(event)) = Event::decode(recorded.stream, &recorded.data) else {
            return None;
        };
        let Recorded { id, at, position, .. } = *recorded;
        Some(Self { id, at, position, kind: event.kind(), event })
    }
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
#[derive(Clone)]
pub struct Messages {
    table: Rows,
    log: Arc<dyn EventLog>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

impl Messages {
    pub(crate) fn new(table: Rows, log: Arc<dyn EventLog>) -> Self {
        Self { table, log }
    }

    /// The message of this id as it stands at [`crate::ReadModels::position`]; `None` when there
    /// is none.
    pub fn get(&self, id: MessageId) -> Result<Option<MessageView>, QueryError> {
        self.get_at(id, Timestamp::MAX)
    }

    /// The message as it stood at `at`, with all that was recorded at that very moment; `None` when
    /// there was none. Costs what [`Messages::get`] does.
    pub fn get_at(&self, id: MessageId, at: Timestamp) -> Result<Option<MessageView>, QueryError> {
        let Some(history) = self.history(id)? else { return Ok(None) };
        let History { accepted_at, accepted, head, body, mut events } = history;
        // Times never go backwards in the log.
        events.retain(|view| view.at <= at);
        if events.is_empty() {
            return Ok(None);
        }
        let mut state = Message::default();
        for view in &events {
            state.evolve(&view.event, view.at);
        }
        Ok(Some(MessageView {
            id,
            tenant: accepted.tenant,
            app: accepted.app,
            accepted_at,
            accepted,
            state,
            head,
            body,
            events,
        }))
    }

    /// How many messages there are.
    pub fn count(&self) -> Result<u64, QueryError> {
        let Some(row) = self.table.get(COUNT_KEY)? else { return Ok(0) };
        Reader::new(&row).u64().map_err(|Malformed| damaged())
    }

    /// How a message began, and where its addresses and subject lie.
    pub(crate) fn beginning(
        &self,
        id: MessageId,
    ) -> Result<Option<(Accepted, ContentLocation)>, QueryError> {
        let first = self.log.read_stream(StreamId::Message(id), Version::NONE, 1)?;
        let Some(first) = first.into_iter().next() else { return Ok(None) };
        let [head, ..] = *first.content else { return Err(damaged()) };
        match EventView::of(&first).map(|view| view.event) {
            Some(MessageEvent::Accepted(accepted)) => Ok(Some((accepted, head))),
            _ => Err(damaged()),
        }
    }

    /// The events of a message that are taken in.
    pub(crate) fn history(&self, id: MessageId) -> Result<Option<History>, QueryError> {
        let end = self.table.position();
        let mut history: Option<History> = None;
        let mut after = Version::NONE;
        loop {
            let read = self.log.read_stream(StreamId::Message(id), after, usize::MAX)?;
            let Some(last) = read.last() else { return Ok(history) };
            after = last.version;
            for recorded in &read {
                if recorded.position > end {
                    return Ok(history);
                }
                match &mut history {
                    None => history = Some(History::begin(recorded).ok_or_else(damaged)?),
                    Some(history) => {
                        history.events.push(EventView::of(recorded).ok_or_else(damaged)?);
                    }
                }
            }
        }
    }
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}

/// The events of one message.
#[derive(Debug)]
pub(crate) struct History {
    accepted_at: Timestamp,
    pub(crate) accepted: Accepted,
    pub(crate) head: ContentLocation,
    body: ContentLocation,
    /// All of them, oldest first.
    pub(crate) events: Vec<EventView>,
}

impl History {
    fn begin(first: &Recorded) -> Option<Self> {
        let [head, body, ..] = *first.content else { return None };
        let view = EventView::of(first)?;
        let MessageEvent::Accepted(accepted) = &view.event else { return None };
        let (accepted_at, accepted) = (view.at, accepted.clone());
        Some(Self { accepted_at, accepted, head, body, events: vec![view] })
    }
}

/// Counts the messages. What happened to them stands in the log, and its index finds it.
pub(crate) struct MessagesProjection;

impl Projection for MessagesProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        if let Known::Began(_) = fact.known {
            let row = round.edit_or(COUNT_KEY, || 0_u64.to_le_bytes().to_vec())?;
            let count: &mut [u8; 8] = row.first_chunk_mut().ok_or_else(|| malformed(NAME))?;
            *count = u64::from_le_bytes(*count).saturating_add(1).to_le_bytes();
        }
        Ok(())
    }
}
