//! Statistics as they were, folded anew from the events of one app.
//!
//! # Why
//! - **Rows of hours hold sums, and a sum does not say when it became so.** To keep every state of
//!   them would multiply the largest read model; who asks about the past asks seldom.
//! - **The app's own list of events tells which to read**, so other apps' cost nothing. Of messages
//!   that were accepted before the time that is asked about nothing counts, and what happened to them
//!   is passed over.
//! - **The folds are those of the present**, both that count: so the sums can be held against each
//!   other in the past, too.

use std::collections::HashSet;

use eventlog::EventLog;
use model::{AppId, StreamId, Timestamp};

use super::told;
use crate::{
    alarms::{Alarms, AlarmsProjection, Conservation},
    error::{Halt, QueryError},
    events::events_at,
    fact::{Fact, Known},
    layer::{Layers, Round, Rows},
    logs::Logs,
    origins::Origins,
    projection::Projection,
    stats::{Statistics, Stats, StatsProjection, StatsQuery},
};

/// Most events folded for one answer: about a second.
const MAX_FOLDED: usize = 100_000;
/// Events in memory at once.
const CHUNK: usize = 1_024;

/// The counts of an app as they were at `at`, and the other count of the same recipients.
///
/// # Errors
/// [`QueryError::TooWide`] beyond 100 000 events of the app between the beginning of the time that
/// is asked about and `at`; [`QueryError::PrunedUntil`] where some of them were pruned.
pub(super) fn statistics(
    log: &dyn EventLog,
    logs: &Logs,
    app: AppId,
    query: &StatsQuery,
    at: Timestamp,
) -> Result<(Stats, Conservation), QueryError> {
    let from = query.from.floor_to(HOUR_MS);
    if let Some(pruned) = log.pruned()?.filter(|pruned| pruned.at >= from) {
        return Err(QueryError::PrunedUntil { at: pruned.at });
    }
    let wanted = logs.positions(app, from, at, MAX_FOLDED)?;
    let mut stats = Folding::of(StatsProjection::default());
    let mut alarms = Folding::of(AlarmsProjection::default());
    let (mut origins, mut begun) = (Origins::default(), HashSet::<StreamId>::new());
    for positions in wanted.chunks(CHUNK) {
        for recorded in &events_at(log, positions)? {
            let known = Known::of(recorded).map_err(|halt| told(&halt))?;
            if matches!(known, Known::Began(_)) {
                begun.insert(recorded.stream);
            } else if !begun.contains(&recorded.stream) {
                continue;
            }
            let origin = origins.of(log, recorded, &known).map_err(|halt| told(&halt))?;
            let fact = Fact { recorded, known: &known, origin: origin.as_ref() };
            stats.take_in(&fact).map_err(|halt| told(&halt))?;
            alarms.take_in(&fact).map_err(|halt| told(&halt))?;
        }
        stats.settle().map_err(|halt| told(&halt))?;
        alarms.settle().map_err(|halt| told(&halt))?;
    }
    let stats = Statistics::new(stats.rows).query(app, query)?;
    let conservation = Alarms::new(alarms.rows).conservation_of(app, stats.from, stats.to)?;
    Ok((stats, conservation))
}

const HOUR_MS: u64 = 3_600_000;

/// A fold whose rows are nowhere but in memory.
struct Folding<P> {
    projection: P,
    layers: Layers,
    rows: Rows,
}

impl<P: Projection> Folding<P> {
    fn of(projection: P) -> Self {
        let layers = Layers::in_memory();
        let rows = Rows::new(layers.clone(), 0);
        Self { projection, layers, rows }
    }

    fn take_in(&mut self, fact: &Fact<'_>) -> Result<(), Halt> {
        let mut state = self.layers.write();
        let Some(layer) = state.layers.first_mut() else { return Ok(()) };
        self.projection.apply(fact, &mut Round::in_memory(layer))
    }

    fn settle(&mut self) -> Result<(), Halt> {
        let mut state = self.layers.write();
        let Some(layer) = state.layers.first_mut() else { return Ok(()) };
        self.projection.settle(&mut Round::in_memory(layer))
    }
}
