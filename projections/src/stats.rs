//! Counts of recipients and times to delivery, per app and hour.
//!
//! Everything that happens to a recipient counts in the hour in which its message was accepted. So
//! for every range, accepted = delivered + bounced + failed + suppressed + canceled + in flight: a
//! recipient that was delivered and came back later is taken from the one and added to the other.

mod counts;
mod histogram;
mod query;
mod tally;

use std::collections::{HashMap, hash_map::Entry};

use eventlog::Hour;
use model::{
    AppId,
    delivery::BounceClass,
    message::{Accepted, End, Step},
};

use self::{counts::Counter, tally::Tally};
pub use self::{
    counts::Counts,
    query::{
        GroupBy, Interval, Latency, MAX_GROUPS, MAX_POINTS, Point, Statistics, Stats, StatsGroup,
        StatsQuery,
    },
};
use crate::{
    codec::{Malformed, join},
    error::Halt,
    fact::{Fact, Known, Origin, malformed},
    layer::Round,
    projection::Projection,
};

const NAME: &str = "stats";

/// Counts, by app, dimension, hour and value of the dimension.
const COUNTS: u8 = 1;
/// Times to delivery, by app and hour.
const LATENCIES: u8 = 2;

/// By what counts are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Dimension {
    /// By nothing.
    Whole = 0,
    /// By the sending domain.
    Domain = 1,
    /// By the recipient's mail domain.
    RecipientDomain = 2,
    /// By tag; a message with several counts under each.
    Tag = 3,
    /// By the template that made the message; one without counts under none.
    Template = 4,
    /// By the class of the bounce; only what bounced counts.
    BounceClass = 5,
}

fn counts_prefix(app: AppId, dimension: Dimension) -> Vec<u8> {
    join(&[&[COUNTS], app.as_bytes(), &[dimension as u8]])
}

fn latencies_prefix(app: AppId) -> Vec<u8> {
    join(&[&[LATENCIES], app.as_bytes()])
}

/// Values in memory beyond which, at the end of a round, they are let go of: some ten megabytes.
const MAX_KEPT: usize = 100_000;

/// Folds the statistics. The hours in which messages count that are under way now are kept in
/// memory beside their rows, for a count is then no more than an addition.
#[derive(Default)]
pub(crate) struct StatsProjection {
    hours: HashMap<(AppId, Hour), Cohort>,
    /// Those that changed in this round.
    changed: Vec<(AppId, Hour)>,
    /// Values in memory, as they were counted last.
    kept: usize,
}

/// The counts of one app's messages of one hour.
struct Cohort {
    dimensions: [(Vec<u8>, Tally); 6],
    latencies: Latencies,
    changed: bool,
    counted: usize,
}

struct Latencies {
    key: Vec<u8>,
    row: Vec<u8>,
    changed: bool,
}

impl Cohort {
    fn load(round: &mut Round<'_>, app: AppId, hour: Hour) -> Result<Self, Halt> {
        let hour = hour.get().to_be_bytes();
        let mut load = |dimension| -> Result<(Vec<u8>, Tally), Halt> {
            let prefix = join(&[&counts_prefix(app, dimension), &hour]);
            let tally = Tally::load(round, &prefix)?;
            Ok((prefix, tally))
        };
        let dimensions = [
            load(Dimension::Whole)?,
            load(Dimension::Domain)?,
            load(Dimension::RecipientDomain)?,
            load(Dimension::Tag)?,
            load(Dimension::Template)?,
            load(Dimension::BounceClass)?,
        ];
        let key = join(&[&latencies_prefix(app), &hour]);
        let row = round.get(&key)?.map(<[u8]>::to_vec).unwrap_or_default();
        let latencies = Latencies { key, row, changed: false };
        Ok(Self { dimensions, latencies, changed: false, counted: 0 })
    }

    /// Counts a recipient of `domain`, or with -1 takes it back, wherever it counts.
    fn count(&mut self, accepted: &Accepted, counter: Counter, domain: &str, by: i64) {
        let [(_, whole), (_, domains), (_, recipient_domains), (_, tags), (_, templates), _] =
            &mut self.dimensions;
        whole.add("", counter, by);
        domains.add(accepted.from.as_str(), counter, by);
        recipient_domains.add(domain, counter, by);
        for (number, tag) in accepted.tags.iter().enumerate() {
            // Named twice, it counts once.
            if accepted.tags.iter().take(number).all(|earlier| earlier != tag) {
                tags.add(tag.as_str(), counter, by);
            }
        }
        if let Some(template) = &accepted.template {
            templates.add(&template.id.to_string(), counter, by);
        }
    }

    /// Counts a bounce by its class.
    fn count_class(&mut self, class: BounceClass) {
        let [.., (_, classes)] = &mut self.dimensions;
        classes.add(class.as_str(), Counter::Bounced, 1);
    }

    /// Writes what changed; says how many values there are more than when it did so last.
    fn settle(&mut self, round: &mut Round<'_>) -> usize {
        self.changed = false;
        for (prefix, tally) in &mut self.dimensions {
            tally.settle(round, prefix);
        }
        if std::mem::take(&mut self.latencies.changed) {
            round.put(self.latencies.key.clone(), self.latencies.row.clone());
        }
        let count = 1 + self.dimensions.iter().map(|(_, tally)| tally.len()).sum::<usize>();
        let before = std::mem::replace(&mut self.counted, count);
        count.saturating_sub(before)
    }
}

impl StatsProjection {
    /// The counts among which those of a message are, to be changed.
    fn cohort(&mut self, round: &mut Round<'_>, origin: &Origin) -> Result<&mut Cohort, Halt> {
        let (app, hour) = (origin.accepted.app, Hour::of(origin.at));
        let cohort = match self.hours.entry((app, hour)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Cohort::load(round, app, hour)?),
        };
        if !std::mem::replace(&mut cohort.changed, true) {
            self.changed.push((app, hour));
        }
        Ok(cohort)
    }
}

impl Projection for StatsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        4
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let Some(origin) = fact.origin else { return Ok(()) };
        let accepted = &origin.accepted;
        let (recipient, counter) = match fact.known {
            Known::Began(_) => {
                let cohort = self.cohort(round, origin)?;
                for recipient in &accepted.recipients {
                    cohort.count(accepted, Counter::Accepted, recipient.domain.as_str(), 1);
                }
                return Ok(());
            }
            // A recipient counts as deferred once, however often it was.
            Known::Went(Step::Deferred { recipient, attempt: 0 | 1, .. }) => {
                (*recipient, Counter::Deferred)
            }
            Known::Went(Step::Ended { recipient, end, .. }) => {
                let counter = match end {
                    End::Suppressed => Counter::Suppressed,
                    End::Delivered => Counter::Delivered,
                    End::Bounced(_) => Counter::Bounced,
                    End::Failed => Counter::Failed,
                    End::Canceled => Counter::Canceled,
                };
                (*recipient, counter)
            }
            Known::Went(Step::Complained { recipient }) => (*recipient, Counter::Complained),
            Known::Went(Step::Returned { recipient, .. }) => (*recipient, Counter::Bounced),
            Known::Went(_) | Known::Other(_) => return Ok(()),
        };
        let cohort = self.cohort(round, origin)?;
        if counter == Counter::Delivered {
            let latencies = &mut cohort.latencies;
            let latency = fact.recorded.at.since(origin.send_from);
            histogram::record(&mut latencies.row, latency).map_err(|Malformed| malformed(NAME))?;
            latencies.changed = true;
        }
        let Some(recipient) = accepted.recipients.get(recipient.as_usize()) else { return Ok(()) };
        let domain = recipient.domain.as_str();
        cohort.count(accepted, counter, domain, 1);
        if let Known::Went(step) = fact.known {
            if let Some(class) = step.bounce_class() {
                cohort.count_class(class);
            }
            if matches!(step, Step::Returned { was_delivered: true, .. }) {
                cohort.count(accepted, Counter::Delivered, domain, -1);
            }
        }
        Ok(())
    }

    fn settle(&mut self, round: &mut Round<'_>) -> Result<(), Halt> {
        for hour in self.changed.drain(..) {
            if let Some(cohort) = self.hours.get_mut(&hour) {
                self.kept += cohort.settle(round);
            }
        }
        if self.kept > MAX_KEPT {
            self.hours.clear();
            self.kept = 0;
        }
        Ok(())
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}
