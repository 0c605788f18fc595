//! Reading the feed.

use std::{collections::HashMap, fmt, sync::Arc};

use eventlog::{EventLog, Position};
use model::{AppId, MessageId, StreamId};

use super::{Herald, NAME, News, PIECE, Piece, full_key, last_key};
use crate::{
    codec::Malformed,
    error::QueryError,
    events::events_at,
    layer::Rows,
    logs::LogRow,
    messages::{EventView, Messages},
};

/// Most events of one page.
pub const MAX_FEED_PAGE: usize = 100;

/// An event with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRow {
    /// Its number among those of the app, from 1.
    pub seq: u64,
    /// What happened.
    pub row: LogRow,
}

/// Some events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The events, each with the number after that of the one before.
    pub rows: Vec<FeedRow>,
    /// The number of the newest event of the app; 0 without any.
    pub head: u64,
}

/// The feeds.
#[derive(Clone)]
pub struct Feed {
    table: Rows,
    log: Arc<dyn EventLog>,
    messages: Messages,
    herald: Arc<Herald>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl Feed {
    pub(crate) fn new(
        table: Rows,
        log: Arc<dyn EventLog>,
        messages: Messages,
        herald: Arc<Herald>,
    ) -> Self {
        Self { table, log, messages, herald }
    }

    /// The number of the newest event of an app; 0 without any.
    pub fn head(&self, app: AppId) -> Result<u64, QueryError> {
        Ok(last_piece(&self.table, app)?.map_or(0, |piece| piece.end()))
    }

    /// The number of the last event of an app up to a position; 0 without any.
    pub fn number_at(&self, app: AppId, position: Position) -> Result<u64, QueryError> {
        number_at(&self.table, app, position)
    }

    /// Tells from now on that the app has news.
    pub fn listen(&self, app: AppId) -> News {
        self.herald.listen(app)
    }

    /// The events of an app after a number, the oldest first, at most `limit` and
    /// [`MAX_FEED_PAGE`]. None when there are none, and after a number that there is not yet.
    pub fn page(&self, app: AppId, after: u64, limit: usize) -> Result<FeedPage, QueryError> {
        let limit = limit.clamp(1, MAX_FEED_PAGE);
        let (positions, head) = positions(&self.table, app, after, limit)?;
        let mut began: HashMap<MessageId, _> = HashMap::new();
        let mut rows = Vec::with_capacity(positions.len());
        let numbers = after.saturating_add(1)..;
        for (seq, recorded) in numbers.zip(events_at(self.log.as_ref(), &positions)?) {
            let StreamId::Message(message) = recorded.stream else { return Err(damaged()) };
            let head = if let Some(head) = began.get(&message) {
                *head
            } else {
                let (_, head) = self.messages.beginning(message)?.ok_or_else(damaged)?;
                *began.entry(message).or_insert(head)
            };
            let view = EventView::of(&recorded).ok_or_else(damaged)?;
            let row = LogRow::of(message, view, head).ok_or_else(damaged)?;
            rows.push(FeedRow { seq, row });
        }
        Ok(FeedPage { rows, head })
    }
}

fn last_piece(table: &Rows, app: AppId) -> Result<Option<Piece>, QueryError> {
    let row = table.get(last_key(app))?;
    row.map(|row| Piece::read(&row).map_err(|Malformed| damaged())).transpose()
}

/// Where the events after a number stand, at most so many; and the number of the newest.
pub(super) fn positions(
    table: &Rows,
    app: AppId,
    after: u64,
    limit: usize,
) -> Result<(Vec<Position>, u64), QueryError> {
    // First: what moves out of it meanwhile is found under its number, too.
    let Some(last) = last_piece(table, app)? else { return Ok((Vec::new(), 0)) };
    let head = last.end();
    let mut found = Vec::new();
    let mut next = after;
    while found.len() < limit && next < head {
        let number = next / u64::from(PIECE);
        let skipped = usize::try_from(next % u64::from(PIECE)).unwrap_or(usize::MAX);
        let full;
        let piece = if number == last.number {
            &last
        } else {
            let row = table.get(full_key(app, number))?.ok_or_else(damaged)?;
            full = Piece::read(&row).map_err(|Malformed| damaged())?;
            &full
        };
        let before = found.len();
        let rest = piece.positions.iter().skip(skipped);
        found.extend(rest.take(limit.saturating_sub(before)).copied());
        if found.len() == before {
            return Err(damaged());
        }
        next = next.saturating_add((found.len() - before) as u64);
    }
    Ok((found, head))
}

/// How many events of an app stand up to a position.
pub(super) fn number_at(table: &Rows, app: AppId, position: Position) -> Result<u64, QueryError> {
    let (mut least, mut most) = (0, last_piece(table, app)?.map_or(0, |piece| piece.end()));
    while least < most {
        let middle = least + (most - least) / 2;
        let (found, _) = positions(table, app, middle, 1)?;
        match found.first() {
            Some(place) if *place <= position => least = middle + 1,
            _ => most = middle,
        }
    }
    Ok(least)
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}
