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
    ///
    /// # Errors
    /// [`QueryError::Pruned`] when the next one was recorded where events were pruned: says after
    /// which number one can go on.
    pub fn page(&self, app: AppId, after: u64, limit: usize) -> Result<FeedPage, QueryError> {
        let limit = limit.clamp(1, MAX_FEED_PAGE);
        let (positions, head) = positions(&self.table, app, after, limit)?;
        let pruned = self.log.pruned()?.map_or(Position::START, |pruned| pruned.last);
        if positions.first().is_some_and(|first| *first <= pruned) {
            return Err(QueryError::Pruned { last: number_at(&self.table, app, pruned)? });
        }
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
            full = full_piece(table, app, number)?;
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

/// The number of the last event of an app that stands at or before a position: how many there are
/// up to it.
pub(super) fn number_at(table: &Rows, app: AppId, position: Position) -> Result<u64, QueryError> {
    let Some(last) = last_piece(table, app)? else { return Ok(0) };
    let count = |piece: &Piece| {
        let before = piece.number.saturating_mul(PIECE.into());
        let here = piece.positions.partition_point(|at| *at <= position);
        before.saturating_add(here as u64)
    };
    // The first piece that ends behind the position, or the one that grows.
    let (mut low, mut high) = (0, last.number);
    while low < high {
        let middle = low.midpoint(high);
        let piece = full_piece(table, app, middle)?;
        if piece.positions.last().is_some_and(|at| *at > position) {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    if low == last.number { Ok(count(&last)) } else { Ok(count(&full_piece(table, app, low)?)) }
}

fn full_piece(table: &Rows, app: AppId, number: u64) -> Result<Piece, QueryError> {
    let row = table.get(full_key(app, number))?.ok_or_else(damaged)?;
    Piece::read(&row).map_err(|Malformed| damaged())
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}
