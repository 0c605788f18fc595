//! Reading the logs.

use std::{collections::HashMap, fmt, sync::Arc};

use eventlog::{ContentLocation, EventLog, Position, Recorded};
use model::{
    AppId, EventId, MessageId, StreamId, Timestamp,
    event::RecipientHash,
    message::{Accepted, MessageEvent, Tag},
};

use super::{LogKind, NAME, app_prefix, is_about, recipient_list, tag_prefix};
use crate::{
    codec::{Reader, join},
    error::QueryError,
    events::events_at,
    layer::Rows,
    lists::{Backwards, Entry, Place},
    messages::{EventView, Messages},
};

/// Most rows of one page.
pub const MAX_PAGE: usize = 100;

/// Most entries looked at for one page: some milliseconds. Where a filter finds little, the page is
/// short and its cursor goes on from here.
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

impl LogRow {
    /// `None` for an event that logs do not show.
    pub(crate) fn of(message: MessageId, view: EventView, head: ContentLocation) -> Option<Self> {
        Some(Self {
            id: view.id,
            message,
            at: view.at,
            position: view.position,
            kind: LogKind::of(&view.event)?,
            event: view.event,
            head,
        })
    }
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
#[derive(Clone)]
pub struct Logs {
    table: Rows,
    log: Arc<dyn EventLog>,
    messages: Messages,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

/// Messages opened for one page: how they began, and where their addresses and subject lie.
type Opened = HashMap<MessageId, Arc<(Accepted, ContentLocation)>>;

impl Logs {
    pub(crate) fn new(table: Rows, log: Arc<dyn EventLog>, messages: Messages) -> Self {
        Self { table, log, messages }
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
        let limit = query.limit.clamp(1, MAX_PAGE);
        let (mut places, before) = self.places(app, query)?;
        let (mut opened, mut rows) = (Opened::new(), Vec::new());
        let (mut looked_at, mut last, mut ended) = (0, before, false);
        // Behind it nearly everything is gone: the logs end there, and what stayed is found by its
        // message.
        let pruned = self.log.pruned()?.map_or(Position::START, |pruned| pruned.last);
        // Mostly once: marks lie seldom.
        while rows.len() < limit && looked_at < MAX_LOOKED_AT && !ended {
            let mut wanted = Vec::new();
            ended = true;
            for place in places.by_ref() {
                let (place, fits) = place?;
                last = place;
                looked_at += 1;
                if query.from.is_some_and(|from| place.at < from) || place.position <= pruned {
                    break;
                }
                if fits {
                    wanted.push(place.position);
                }
                if rows.len() + wanted.len() == limit || looked_at == MAX_LOOKED_AT {
                    ended = false;
                    break;
                }
            }
            wanted.reverse();
            for recorded in events_at(self.log.as_ref(), &wanted)?.into_iter().rev() {
                rows.extend(self.row(&recorded, app, query, &mut opened)?);
            }
        }
        // Whether anything follows is known only by looking.
        let more = !ended
            && match places.next().transpose()? {
                Some((place, _)) => {
                    place.position > pruned && query.from.is_none_or(|from| place.at >= from)
                }
                None => false,
            };
        Ok(Page { rows, next: more.then_some(LogCursor { app, place: last }) })
    }

    /// Where the events of an app stand that were recorded from `from` up to and at `at`, the oldest
    /// first.
    ///
    /// # Errors
    /// [`QueryError::TooWide`]: there are more than `most`.
    pub(crate) fn positions(
        &self,
        app: AppId,
        from: Timestamp,
        at: Timestamp,
        most: usize,
    ) -> Result<Vec<Position>, QueryError> {
        let end = Timestamp::from_millis(at.as_millis().saturating_add(1));
        let before = Place { at: end, position: Position::START };
        let mut found = Vec::new();
        for entry in Backwards::<1>::of(&self.table, &app_prefix(app), before, NAME)? {
            let place = entry?.place;
            if place.at < from {
                break;
            }
            if found.len() == most {
                return Err(QueryError::TooWide);
            }
            found.push(place.position);
        }
        found.reverse();
        Ok(found)
    }

    /// The places before the cursor and the end of the time, newest first; and whether what marks
    /// each fits.
    fn places(&self, app: AppId, query: &LogQuery) -> Result<(Places, Place), QueryError> {
        let mut before = query.cursor.map_or(Place::END, |cursor| cursor.place);
        if let Some(to) = query.to {
            before = before.min(Place { at: to, position: Position::START });
        }
        let kind_fits = {
            let wanted = query.kind;
            move |mark: u8| wanted.is_none_or(|kind| kind as u8 == mark)
        };
        let places: Places = if let Some(recipient) = query.recipient {
            let (list, wanted) = recipient_list(app, recipient);
            let entries = Backwards::<5>::of(&self.table, &list, before, NAME)?;
            Box::new(entries.map(move |entry| {
                entry.map(|Entry { place, mark: [mark, who @ ..] }| {
                    (place, who == wanted && kind_fits(mark))
                })
            }))
        } else {
            let list = match &query.tag {
                Some(tag) => tag_prefix(app, tag),
                None => app_prefix(app),
            };
            let entries = Backwards::<1>::of(&self.table, &list, before, NAME)?;
            Box::new(entries.map(move |entry| {
                entry.map(|Entry { place, mark: [mark] }| (place, kind_fits(mark)))
            }))
        };
        Ok((places, before))
    }

    /// The row of an event; `None` when it does not fit after all.
    fn row(
        &self,
        recorded: &Recorded,
        app: AppId,
        query: &LogQuery,
        opened: &mut Opened,
    ) -> Result<Option<LogRow>, QueryError> {
        let StreamId::Message(message) = recorded.stream else { return Err(damaged()) };
        let began = if let Some(began) = opened.get(&message) {
            Arc::clone(began)
        } else {
            let began = Arc::new(self.messages.beginning(message)?.ok_or_else(damaged)?);
            opened.insert(message, Arc::clone(&began));
            began
        };
        let (accepted, head) = began.as_ref();
        let view = EventView::of(recorded).ok_or_else(damaged)?;
        let fits = accepted.app == app
            && query.tag.as_ref().is_none_or(|tag| accepted.tags.contains(tag))
            && query.recipient.is_none_or(|wanted| is_about(&view.event, accepted, &wanted));
        Ok(LogRow::of(message, view, *head).filter(|_| fits))
    }

    /// The events of one message need no index: they stand together.
    fn of_message(
        &self,
        app: AppId,
        message: MessageId,
        query: &LogQuery,
    ) -> Result<Page, QueryError> {
        let nothing = Page { rows: Vec::new(), next: None };
        let Some(history) = self.messages.history(message)? else { return Ok(nothing) };
        let accepted = &history.accepted;
        let tag_fits = query.tag.as_ref().is_none_or(|tag| accepted.tags.contains(tag));
        if accepted.app != app || !tag_fits {
            return Ok(nothing);
        }
        let limit = query.limit.clamp(1, MAX_PAGE);
        let mut page = nothing;
        for view in history.events.iter().rev() {
            let place = Place { at: view.at, position: view.position };
            if query.cursor.is_some_and(|cursor| place >= cursor.place) {
                continue;
            }
            let Some(kind) = LogKind::of(&view.event) else { continue };
            let fits = query.from.is_none_or(|from| place.at >= from)
                && query.to.is_none_or(|to| place.at < to)
                && query.kind.is_none_or(|wanted| wanted == kind)
                && query.recipient.is_none_or(|wanted| is_about(&view.event, accepted, &wanted));
            if !fits {
                continue;
            }
            if page.rows.len() == limit {
                let last = page.rows.last().map(|row| Place { at: row.at, position: row.position });
                page.next = last.map(|place| LogCursor { app, place });
                break;
            }
            page.rows.extend(LogRow::of(message, view.clone(), history.head));
        }
        Ok(page)
    }
}

/// Places, and whether each may fit.
type Places = Box<dyn Iterator<Item = Result<(Place, bool), QueryError>>>;

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}
