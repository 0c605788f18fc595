//! Reading the logs.

use std::{collections::HashMap, fmt, sync::Arc};

use eventlog::{ContentLocation, Position, Scan, Table};
use model::{
    AppId, EventId, MessageId, Timestamp,
    event::RecipientHash,
    message::{Accepted, MessageEvent, Tag},
};

use super::{LogKind, NAME, Place, Pointer, found_under, recipient_prefix, tag_hash, time_prefix};
use crate::{
    codec::{Malformed, Reader, join},
    error::QueryError,
    messages::{EventView, History, Messages},
};

/// Most rows of one page.
pub const MAX_PAGE: usize = 100;

/// Most rows looked at for one page. Where a filter finds little, the page is short and its cursor
/// goes on from here.
const MAX_LOOKED_AT: usize = 20_000;

/// What to look for. Everything that is named must hold.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Most rows wanted: at least 1, at most [`MAX_PAGE`].
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<LogCursor>,
    /// Events of this message.
    pub message: Option<MessageId>,
    /// Events about this recipient.
    pub recipient: Option<RecipientHash>,
    /// Events of this kind.
    pub kind: Option<LogKind>,
    /// Events of messages with this tag.
    pub tag: Option<Tag>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// A place in the logs of one app. Its text is opaque, and no cursor for another app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCursor {
    app: AppId,
    place: Place,
}

impl LogCursor {
    /// Reads a cursor of this app's logs; `None` for anything else.
    pub fn parse(app: AppId, text: &str) -> Option<Self> {
        if text.len() != 2 * 24 || !text.is_ascii() {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?))
            .collect();
        let bytes = bytes?;
        let mut reader = Reader::new(&bytes);
        let place = Place::read(&mut reader).ok()?;
        let cursor = Self { app, place };
        (cursor.to_string() == text).then_some(cursor)
    }

    /// Binds the place to the app: a cursor taken to another app is refused, not misread.
    fn check(self) -> u64 {
        let hash = blake3::hash(&join(&[b"cursor", self.app.as_bytes(), &self.place.to_bytes()]));
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = u128::from_be_bytes(self.place.to_bytes());
        write!(f, "{place:032x}{:016x}", self.check())
    }
}

/// One event of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Which event.
    pub id: EventId,
    /// Of which message.
    pub message: MessageId,
    /// When it was recorded.
    pub at: Timestamp,
    /// Where it stands in the log.
    pub position: Position,
    /// What kind of event it is.
    pub kind: LogKind,
    /// What happened.
    pub event: MessageEvent,
    /// Where the message's addresses and subject lie.
    pub head: ContentLocation,
}

/// Some rows, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<LogRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<LogCursor>,
}

/// The logs.
#[derive(Debug, Clone)]
pub struct Logs {
    table: Table,
    messages: Messages,
}

/// Messages opened for one page.
type Opened = HashMap<MessageId, Arc<(History, Accepted)>>;

impl Logs {
    pub(crate) const fn new(table: Table, messages: Messages) -> Self {
        Self { table, messages }
    }

    /// A page of the events of an app, newest first. Events that come while pages are read change
    /// none of the pages that follow.
    pub fn page(&self, app: AppId, query: &LogQuery) -> Result<Page, QueryError> {
        match query.message {
            Some(message) => self.of_message(app, message, query),
            None => self.of_app(app, query),
        }
    }

    fn of_app(&self, app: AppId, query: &LogQuery) -> Result<Page, QueryError> {
        let prefix = match query.recipient {
            Some(recipient) => recipient_prefix(app, recipient),
            None => time_prefix(app),
        };
        let limit = query.limit.clamp(1, MAX_PAGE);
        let wanted_tag = query.tag.as_ref().map(tag_hash);
        let (mut opened, mut rows) = (Opened::new(), Vec::new());
        let mut last = None;
        for (looked_at, row) in self.table.scan(span(&prefix, query)).enumerate() {
            if looked_at == MAX_LOOKED_AT || rows.len() == limit {
                return Ok(Page { rows, next: last.map(|place| LogCursor { app, place }) });
            }
            let (key, value) = row?;
            let mut reader = Reader::new(key.get(prefix.len()..).unwrap_or_default());
            let place = Place::read(&mut reader).map_err(|Malformed| damaged())?;
            last = Some(place);
            let pointer = if query.recipient.is_some() {
                let key = join(&[&time_prefix(app), &place.to_bytes()]);
                Pointer::read(&self.table.get(key)?.ok_or_else(damaged)?)
            } else {
                Pointer::read(&value)
            };
            let pointer = pointer.map_err(|Malformed| damaged())?;
            let kind_fits = query.kind.is_none_or(|kind| kind == pointer.kind);
            let tag_fits = wanted_tag.is_none_or(|tag| pointer.tags.contains(&tag));
            if kind_fits && tag_fits {
                rows.extend(self.row(&pointer, query, &mut opened)?);
            }
        }
        Ok(Page { rows, next: None })
    }

    /// The row that a pointer stands for; `None` when the message lacks the wanted tag after all.
    fn row(
        &self,
        pointer: &Pointer,
        query: &LogQuery,
        opened: &mut Opened,
    ) -> Result<Option<LogRow>, QueryError> {
        let message = if let Some(message) = opened.get(&pointer.message) {
            Arc::clone(message)
        } else {
            let message = Arc::new(self.open(pointer.message)?.ok_or_else(damaged)?);
            opened.insert(pointer.message, Arc::clone(&message));
            message
        };
        let (history, accepted) = message.as_ref();
        if query.tag.as_ref().is_some_and(|tag| !accepted.tags.contains(tag)) {
            return Ok(None);
        }
        let place = usize::try_from(pointer.place).unwrap_or(usize::MAX);
        let event = history.event(place).ok_or_else(damaged)?;
        Ok(Some(log_row(pointer.message, event, history.head)))
    }

    fn open(&self, message: MessageId) -> Result<Option<(History, Accepted)>, QueryError> {
        let Some(history) = self.messages.history(message)? else { return Ok(None) };
        match history.event(0).map(|first| first.event) {
            Some(MessageEvent::Accepted(accepted)) => Ok(Some((history, accepted))),
            _ => Err(damaged()),
        }
    }

    /// The events of one message need no index: they stand together.
    fn of_message(
        &self,
        app: AppId,
        message: MessageId,
        query: &LogQuery,
    ) -> Result<Page, QueryError> {
        let nothing = Page { rows: Vec::new(), next: None };
        let Some((history, accepted)) = self.open(message)? else { return Ok(nothing) };
        let tag_fits = query.tag.as_ref().is_none_or(|tag| accepted.tags.contains(tag));
        if accepted.app != app || !tag_fits {
            return Ok(nothing);
        }
        let limit = query.limit.clamp(1, MAX_PAGE);
        let mut page = nothing;
        for number in (0..history.len()).rev() {
            let (at, position) = history.recorded(number).ok_or_else(damaged)?;
            let place = Place { at, position };
            if query.cursor.is_some_and(|cursor| place >= cursor.place) {
                continue;
            }
            let in_time = query.from.is_none_or(|from| place.at >= from)
                && query.to.is_none_or(|to| place.at < to);
            if !in_time {
                continue;
            }
            let view = history.event(number).ok_or_else(damaged)?;
            let kind_fits = query.kind.is_none_or(|kind| kind == LogKind::of(&view.event));
            let recipient_fits = query
                .recipient
                .is_none_or(|wanted| found_under(&view.event, &accepted).contains(&wanted));
            if !kind_fits || !recipient_fits {
                continue;
            }
            if page.rows.len() == limit {
                let last = page.rows.last().map(|row| Place { at: row.at, position: row.position });
                page.next = last.map(|place| LogCursor { app, place });
                break;
            }
            page.rows.push(log_row(message, view, history.head));
        }
        Ok(page)
    }
}

/// The keys below `prefix` that lie in the time and before the cursor, newest first.
fn span(prefix: &[u8], query: &LogQuery) -> Scan {
    let bound =
        |at: Timestamp| join(&[prefix, &Place { at, position: Position::START }.to_bytes()]);
    let mut scan = Scan::prefix(prefix);
    if let Some(from) = query.from {
        // No event has position 0, so nothing that lies in the time is left out.
        scan = scan.after(bound(from));
    }
    if let Some(to) = query.to {
        scan = scan.before(bound(to));
    }
    if let Some(cursor) = query.cursor {
        scan = scan.before(join(&[prefix, &cursor.place.to_bytes()]));
    }
    scan.reverse()
}

fn log_row(message: MessageId, view: EventView, head: ContentLocation) -> LogRow {
    LogRow {
        id: view.id,
        message,
        at: view.at,
        position: view.position,
        kind: LogKind::of(&view.event),
        event: view.event,
        head,
    }
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}
