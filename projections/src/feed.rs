//! The feed of an app: every event that it is told of, numbered 1, 2, 3 and so on.
//!
//! A client remembers one number, that of the last event it has dealt with, and asks for what comes
//! after it. So numbers are gapless *for each app*, which is all that a key can see: numbers of a
//! whole tenant would have gaps for each of its apps, and a client could not tell a gap from a loss.
//!
//! # Contract
//! - The nth event of an app that [`is_numbered`] has the number n, in the order of the log. Numbers
//!   follow from the log alone: made anew, they are the same.
//! - What has a number is never renumbered. So [`is_numbered`] may be told of new kinds of events,
//!   and never changes its mind about one that logs hold already.
//!
//! # Why
//! - **Positions in pieces of 256**, found by arithmetic: about 2 octets an event, and a page reads
//!   at most two rows, wherever it begins.
//! - **Who waits is woken by the app**: readers of one app cost nothing while others send.

mod news;
mod query;

use std::{collections::BTreeSet, sync::Arc};

use eventlog::Position;
use model::{AppId, Event, message::Step, tenant::TenantEvent};

pub(crate) use self::news::Herald;
pub use self::{
    news::News,
    query::{Feed, FeedPage, FeedRow, MAX_FEED_PAGE},
};
use crate::{
    codec::{Malformed, Reader, join, put_varint},
    error::Halt,
    fact::{Fact, Known, malformed},
    layer::Round,
    projection::Projection,
};

const NAME: &str = "feed";

/// The piece that grows, by app.
const LAST: u8 = 1;
/// Those that are full, by app and number from 0.
const FULL: u8 = 2;

/// Events of one piece.
const PIECE: u16 = 256;
/// Number of the piece 8, events in it 2, position of the last one 8.
const HEADER: usize = 8 + 2 + 8;

fn last_key(app: AppId) -> Vec<u8> {
    join(&[&[LAST], app.as_bytes()])
}

fn full_key(app: AppId, number: u64) -> Vec<u8> {
    join(&[&[FULL], app.as_bytes(), &number.to_be_bytes()])
}

/// Whether the app is told of what happened to a message of its.
const fn is_numbered(step: &Step) -> bool {
    match step {
        Step::Accepted(_)
        | Step::Scheduled(_)
        | Step::Deferred { .. }
        | Step::Ended { .. }
        | Step::Returned { .. }
        | Step::Complained { .. } => true,
        // That it is tried earlier says nothing that the attempt does not.
        Step::RetryRequested => false,
    }
}

/// Some consecutive events of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    number: u64,
    positions: Vec<Position>,
}

impl Piece {
    /// An empty one.
    fn begin(number: u64) -> Vec<u8> {
        join(&[&number.to_le_bytes(), &0_u16.to_le_bytes(), &0_u64.to_le_bytes()])
    }

    fn header(row: &[u8]) -> Result<(u64, u16, u64), Malformed> {
        let mut reader = Reader::new(row);
        Ok((reader.u64()?, reader.u16()?, reader.u64()?))
    }

    fn read(row: &[u8]) -> Result<Self, Malformed> {
        let (number, count, _) = Self::header(row)?;
        let mut reader = Reader::new(row.get(HEADER..).ok_or(Malformed)?);
        let mut positions = Vec::with_capacity(usize::from(count));
        let mut position = Position::START;
        while !reader.is_empty() {
            position = position.plus(reader.varint()?);
            positions.push(position);
        }
        let whole = positions.len() == usize::from(count);
        if whole { Ok(Self { number, positions }) } else { Err(Malformed) }
    }

    /// How many events the app has up to the end of this piece.
    fn end(&self) -> u64 {
        self.number.saturating_mul(PIECE.into()).saturating_add(self.positions.len() as u64)
    }
}

/// Adds the next event of an app.
fn append(round: &mut Round<'_>, app: AppId, position: Position) -> Result<(), Halt> {
    let row = round.edit_or(&last_key(app), || Piece::begin(0))?;
    let damaged = |Malformed| malformed(NAME);
    let (mut number, mut count, mut last) = Piece::header(row).map_err(damaged)?;
    let mut full = None;
    if count >= PIECE {
        let next = number.saturating_add(1);
        full = Some((number, std::mem::replace(row, Piece::begin(next))));
        (number, count, last) = (next, 0, 0);
    }
    put_varint(row, position.get().saturating_sub(last));
    let (number_bytes, count) = (number.to_le_bytes(), count.saturating_add(1).to_le_bytes());
    let header = join(&[&number_bytes, &count, &position.get().to_le_bytes()]);
    let place = row.get_mut(..HEADER).ok_or_else(|| malformed(NAME))?;
    place.copy_from_slice(&header);
    if let Some((number, full)) = full {
        round.put_new(full_key(app, number), full);
    }
    Ok(())
}

/// Folds the feeds.
pub(crate) struct FeedProjection {
    herald: Arc<Herald>,
    /// Apps with news in this round.
    touched: BTreeSet<AppId>,
}

impl FeedProjection {
    pub(crate) const fn new(herald: Arc<Herald>) -> Self {
        Self { herald, touched: BTreeSet::new() }
    }

    fn touch(&mut self, app: AppId) {
        if self.herald.anybody_waits() {
            self.touched.insert(app);
        }
    }
}

impl Projection for FeedProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        match fact.known {
            Known::Began(_) => {}
            Known::Went(step) if is_numbered(step) => {}
            // Whoever waits with this key must look whether it still may.
            Known::Other(Event::Tenant(TenantEvent::ApiKeyRevoked(revoked))) => {
                self.touch(revoked.app);
                return Ok(());
            }
            Known::Went(_) | Known::Other(_) => return Ok(()),
        }
        let Some(origin) = fact.origin else { return Ok(()) };
        append(round, origin.accepted.app, fact.recorded.position)?;
        self.touch(origin.accepted.app);
        Ok(())
    }

    /// Who is woken reads once this round can be read: rows are locked until then.
    fn settle(&mut self, _round: &mut Round<'_>) -> Result<(), Halt> {
        self.herald.tell(&std::mem::take(&mut self.touched));
        Ok(())
    }

    fn forget(&mut self) {
        self.touched.clear();
    }
}

#[cfg(test)]
mod tests {
    use eventlog::Store;

    use super::*;
    use crate::layer::{Layers, Rows};

    fn app(number: u8) -> AppId {
        AppId::from_bytes([number; 16])
    }

    #[test]
    fn numbers_lead_to_positions_however_the_rows_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut dumps = Vec::new();
        for write_every in [u64::MAX, 100, 7] {
            let table = store.table(&write_every.to_string()).unwrap();
            let layers = Layers::above(vec![table.clone()]);
            let rows = Rows::new(layers.clone(), 0);
            for number in 1..=1_000_u64 {
                let mut state = layers.write();
                let mut round = Round::new(&table, &mut state.layers[0]);
                append(&mut round, app(1), Position::new(number * 3)).unwrap();
                if number % 5 == 0 {
                    append(&mut round, app(2), Position::new(number * 3 + 1)).unwrap();
                }
                if number % write_every == 0 {
                    table.apply(state.layers[0].batch()).unwrap();
                    state.layers[0].clear();
                }
            }
            for after in [0, 1, 255, 256, 257, 511, 512, 999, 1_000, 1_001, u64::MAX] {
                let (found, head) = query::positions(&rows, app(1), after, 300).unwrap();
                let first = after.saturating_add(1);
                let last = after.saturating_add(300).min(1_000);
                let expected: Vec<_> = (first..=last).map(|n| Position::new(n * 3)).collect();
                assert_eq!((found, head), (expected, 1_000), "after {after}");
            }
            for (position, number) in [(0, 0), (2, 0), (3, 1), (5, 1), (768, 256), (3_000, 1_000)] {
                let found = query::number_at(&rows, app(1), Position::new(position)).unwrap();
                assert_eq!(found, number, "at {position}");
            }
            assert_eq!(query::number_at(&rows, app(1), Position::new(u64::MAX)).unwrap(), 1_000);
            assert_eq!(query::number_at(&rows, app(3), Position::new(9)).unwrap(), 0);
            assert_eq!(query::positions(&rows, app(2), 199, 9).unwrap().0.len(), 1);
            assert_eq!(query::positions(&rows, app(3), 0, 9).unwrap(), (Vec::new(), 0));
            let all = rows.scan(eventlog::Scan::all()).map(Result::unwrap);
            dumps.push(all.collect::<Vec<_>>());
        }
        assert_eq!(dumps[0].len(), 5);
        assert!(dumps.iter().all(|dump| *dump == dumps[0]));
    }

    #[test]
    fn a_cut_piece_is_refused() {
        let mut row = Piece::begin(3);
        row.extend_from_slice(&[9, 1]);
        assert_eq!(Piece::read(&row), Err(Malformed), "its count is wrong");
        row[8] = 2;
        let piece = Piece::read(&row).unwrap();
        assert_eq!((piece.end(), piece.positions[1]), (3 * 256 + 2, Position::new(10)));
        for end in 0..row.len() {
            assert_eq!(Piece::read(&row[..end]), Err(Malformed), "{end}");
        }
    }
}
