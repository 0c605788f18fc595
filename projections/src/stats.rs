//! Counts of recipients and times to delivery, per app and hour.
//!
//! Everything that happens to a recipient counts in the hour in which its message was accepted. So
//! for every range, accepted = delivered + bounced + failed + suppressed + canceled + in flight.

mod counts;
mod histogram;
mod query;

use std::collections::BTreeSet;

use eventlog::Hour;
use model::{AppId, Event, message::MessageEvent};

use self::counts::Counter;
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
    fact::{Fact, Origin, malformed},
    projection::Projection,
    round::Round,
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
}

fn counts_prefix(app: AppId, dimension: Dimension) -> Vec<u8> {
    join(&[&[COUNTS], app.as_bytes(), &[dimension as u8]])
}

fn latencies_prefix(app: AppId) -> Vec<u8> {
    join(&[&[LATENCIES], app.as_bytes()])
}

/// Folds the statistics.
pub(crate) struct StatsProjection;

struct Cohort<'a> {
    origin: &'a Origin,
    hour: [u8; 4],
}

impl Cohort<'_> {
    fn key(&self, dimension: Dimension, value: &str) -> Vec<u8> {
        let prefix = counts_prefix(self.origin.accepted.app, dimension);
        join(&[&prefix, &self.hour, value.as_bytes()])
    }

    /// Counts `by` recipients of `domain` wherever they count.
    fn count(
        &self,
        round: &mut Round,
        counter: Counter,
        domain: &str,
        by: u64,
    ) -> Result<(), Halt> {
        let accepted = &self.origin.accepted;
        add(round, &self.key(Dimension::Whole, ""), counter, by)?;
        add(round, &self.key(Dimension::Domain, accepted.from.as_str()), counter, by)?;
        add(round, &self.key(Dimension::RecipientDomain, domain), counter, by)?;
        let tags: BTreeSet<&str> = accepted.tags.iter().map(model::message::Tag::as_str).collect();
        for tag in tags {
            add(round, &self.key(Dimension::Tag, tag), counter, by)?;
        }
        if let Some(template) = &accepted.template {
            add(round, &self.key(Dimension::Template, &template.id.to_string()), counter, by)?;
        }
        Ok(())
    }
}

fn add(round: &mut Round, key: &[u8], counter: Counter, by: u64) -> Result<(), Halt> {
    let row = round.edit_or(key, Counts::default().to_bytes())?;
    let mut counts = Counts::read(row).map_err(|Malformed| malformed(NAME))?;
    counts.add(counter, by);
    *row = counts.to_bytes();
    Ok(())
}

impl Projection for StatsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round) -> Result<(), Halt> {
        let (Event::Message(event), Some(origin)) = (fact.event, fact.origin) else {
            return Ok(());
        };
        let cohort =
            Cohort { origin: origin.as_ref(), hour: Hour::of(origin.at).get().to_be_bytes() };
        let accepted = &origin.accepted;
        let (recipient, counter) = match event {
            MessageEvent::Accepted(_) => {
                for recipient in &accepted.recipients {
                    cohort.count(round, Counter::Accepted, recipient.domain.as_str(), 1)?;
                }
                return Ok(());
            }
            MessageEvent::Scheduled(_) => return Ok(()),
            MessageEvent::Deferred(deferred) => {
                // A recipient counts as deferred once, however often it was.
                if deferred.attempt.attempt > 1 {
                    return Ok(());
                }
                (deferred.attempt.recipient, Counter::Deferred)
            }
            MessageEvent::Delivered(delivered) => {
                let recipient = delivered.attempt.recipient;
                let latency = fact.recorded.at.since(origin.send_from);
                let key = join(&[&latencies_prefix(accepted.app), &cohort.hour]);
                let row = round.edit_or(&key, Vec::new())?;
                histogram::record(row, latency).map_err(|Malformed| malformed(NAME))?;
                (recipient, Counter::Delivered)
            }
            MessageEvent::Bounced(bounced) => (bounced.attempt.recipient, Counter::Bounced),
            MessageEvent::Failed(failed) => (failed.recipient, Counter::Failed),
            MessageEvent::Suppressed(suppressed) => (suppressed.recipient, Counter::Suppressed),
            MessageEvent::Canceled(canceled) => (canceled.recipient, Counter::Canceled),
        };
        let Some(recipient) = accepted.recipients.get(recipient.as_usize()) else { return Ok(()) };
        cohort.count(round, counter, recipient.domain.as_str(), 1)
    }
}
