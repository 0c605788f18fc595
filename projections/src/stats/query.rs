//! Reading the statistics.

use std::collections::BTreeMap;

use eventlog::{Hour, Scan};
use model::{AppId, Timestamp, delivery::BounceClass, tls_report::Day};

use super::{
    COUNTS, Counts, Dimension, NAME, counts_prefix, histogram::Histogram, latencies_prefix,
    tally::read_part,
};
use crate::{
    codec::{Malformed, Reader, join},
    error::QueryError,
    layer::Rows,
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Most points of a series.
pub const MAX_POINTS: u64 = 2_000;
/// Most groups of an answer; of more, those with the most recipients are told.
pub const MAX_GROUPS: usize = 1_000;
/// Most octets of rows read for one answer: some hundred thousand counts.
const MAX_OCTETS: usize = 16 * 1024 * 1024;

/// The length of a point of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interval {
    /// A whole hour.
    Hour,
    /// A whole day in UTC.
    #[default]
    Day,
}

impl Interval {
    const fn ms(self) -> u64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }
}

/// By what groups are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupBy {
    /// No groups.
    #[default]
    None,
    /// The sending domain.
    Domain,
    /// The recipient's mail domain.
    RecipientDomain,
    /// The tag; a recipient counts under every tag of its message, and under none without.
    Tag,
    /// The template, by its id, whatever the version; a message without one counts under none.
    Template,
}

/// What to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsQuery {
    /// Messages accepted from the hour of this time on.
    pub from: Timestamp,
    /// And before this time; a begun hour counts whole.
    pub to: Timestamp,
    /// The length of a point.
    pub interval: Interval,
    /// By what groups are told apart.
    pub group_by: GroupBy,
}

/// How long deliveries took, from acceptance or the time the caller named, in milliseconds; each
/// within 3 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of the recipients had it by then.
    pub p50_ms: u64,
    /// 95 of 100.
    pub p95_ms: u64,
    /// 99 of 100.
    pub p99_ms: u64,
}

/// The counts of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When it begins.
    pub start: Timestamp,
    /// Its counts.
    pub counts: Counts,
}

/// The counts of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsGroup {
    /// The domain, the tag or the template's id.
    pub key: String,
    /// Its counts.
    pub counts: Counts,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The whole hour from which messages count.
    pub from: Timestamp,
    /// The whole hour before which they do.
    pub to: Timestamp,
    /// All together.
    pub totals: Counts,
    /// How many of those that bounced did for which reason; classes without any are left out.
    pub bounce_classes: BTreeMap<BounceClass, u64>,
    /// Recipients that have not ended.
    pub in_flight: u64,
    /// How long deliveries took; `None` without any.
    pub latency: Option<Latency>,
    /// Every interval, those without messages too.
    pub series: Vec<Point>,
    /// Every group, the one with the most recipients first.
    pub groups: Vec<StatsGroup>,
    /// How many groups there are beyond [`MAX_GROUPS`].
    pub groups_left_out: u64,
}

/// The statistics.
#[derive(Debug, Clone)]
pub struct Statistics {
    table: Rows,
}

/// The hours of a question: from the first, without the last.
#[derive(Debug, Clone, Copy)]
struct Hours {
    from: u32,
    to: u32,
}

impl Statistics {
    pub(crate) const fn new(table: Rows) -> Self {
        Self { table }
    }

    /// The counts of an app.
    pub fn query(&self, app: AppId, query: &StatsQuery) -> Result<Stats, QueryError> {
        let hours = Hours {
            from: Hour::of(query.from).get(),
            to: Hour::of(Timestamp::from_millis(query.to.as_millis().saturating_add(HOUR_MS - 1)))
                .get(),
        };
        let (from, to) = (time(hours.from), time(hours.to.max(hours.from)));
        let mut totals = Counts::default();
        let mut points = empty_points(from, to, query.interval.ms())?;
        self.each(&counts_prefix(app, Dimension::Whole), hours, |hour, row| {
            let point = points.entry(time(hour).floor_to(query.interval.ms())).or_default();
            read_part(row, |_, counts| {
                totals.merge(&counts);
                point.merge(&counts);
            })
        })?;
        let (groups, groups_left_out) = self.groups(app, hours, query.group_by)?;
        Ok(Stats {
            from,
            to,
            totals,
            bounce_classes: self.bounce_classes(app, hours)?,
            in_flight: totals.in_flight(),
            latency: self.latency(app, hours)?,
            series: points.into_iter().map(|(start, counts)| Point { start, counts }).collect(),
            groups,
            groups_left_out,
        })
    }

    /// The counts of all apps and times. Reads every row.
    pub fn overall(&self) -> Result<Counts, QueryError> {
        let mut overall = Counts::default();
        for row in self.table.scan(Scan::prefix([COUNTS])) {
            let (key, value) = row?;
            if key.get(17) == Some(&(Dimension::Whole as u8)) {
                read_part(&value, |_, counts| overall.merge(&counts))
                    .map_err(|Malformed| QueryError::Damaged { table: NAME })?;
            }
        }
        Ok(overall)
    }

    /// The counts of all messages by app and the day of acceptance. Reads every row.
    pub fn by_day(&self) -> Result<BTreeMap<(AppId, Day), Counts>, QueryError> {
        let mut days: BTreeMap<(AppId, Day), Counts> = BTreeMap::new();
        for row in self.table.scan(Scan::prefix([COUNTS])) {
            let (key, value) = row?;
            let mut read = || -> Result<(), Malformed> {
                let mut reader = Reader::new(key.get(1..).ok_or(Malformed)?);
                let app = AppId::from_bytes(reader.array()?);
                if reader.u8()? != Dimension::Whole as u8 {
                    return Ok(());
                }
                let day = Day::of(time(reader.key_u32()?));
                let sums = days.entry((app, day)).or_default();
                read_part(&value, |_, counts| sums.merge(&counts))
            };
            read().map_err(|Malformed| QueryError::Damaged { table: NAME })?;
        }
        Ok(days)
    }

    fn latency(&self, app: AppId, hours: Hours) -> Result<Option<Latency>, QueryError> {
        let mut times = Histogram::default();
        self.each(&latencies_prefix(app), hours, |_, row| times.merge(row))?;
        let at = |percent| times.percentile_ms(percent);
        Ok(match (at(50), at(95), at(99)) {
            (Some(p50_ms), Some(p95_ms), Some(p99_ms)) => Some(Latency { p50_ms, p95_ms, p99_ms }),
            _ => None,
        })
    }

    fn bounce_classes(
        &self,
        app: AppId,
        hours: Hours,
    ) -> Result<BTreeMap<BounceClass, u64>, QueryError> {
        let mut classes = BTreeMap::new();
        self.each(&counts_prefix(app, Dimension::BounceClass), hours, |_, row| {
            let mut known = Ok(());
            read_part(row, |name, counts| match BounceClass::parse(name) {
                Some(class) => *classes.entry(class).or_default() += counts.bounced,
                None => known = Err(Malformed),
            })?;
            known
        })?;
        Ok(classes)
    }

    fn groups(
        &self,
        app: AppId,
        hours: Hours,
        group_by: GroupBy,
    ) -> Result<(Vec<StatsGroup>, u64), QueryError> {
        let dimension = match group_by {
            GroupBy::None => return Ok((Vec::new(), 0)),
            GroupBy::Domain => Dimension::Domain,
            GroupBy::RecipientDomain => Dimension::RecipientDomain,
            GroupBy::Tag => Dimension::Tag,
            GroupBy::Template => Dimension::Template,
        };
        let mut found: BTreeMap<String, Counts> = BTreeMap::new();
        self.each(&counts_prefix(app, dimension), hours, |_, row| {
            read_part(row, |key, counts| match found.get_mut(key) {
                Some(sum) => sum.merge(&counts),
                None => {
                    found.insert(key.to_owned(), counts);
                }
            })
        })?;
        let mut groups: Vec<StatsGroup> =
            found.into_iter().map(|(key, counts)| StatsGroup { key, counts }).collect();
        // Stable, so equal counts stay in the order of their keys.
        groups.sort_by_key(|group| std::cmp::Reverse(group.counts.accepted));
        let left_out = groups.len().saturating_sub(MAX_GROUPS) as u64;
        groups.truncate(MAX_GROUPS);
        Ok((groups, left_out))
    }

    /// Calls `take` with the hour and the value of each row of these hours.
    fn each(
        &self,
        prefix: &[u8],
        hours: Hours,
        mut take: impl FnMut(u32, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), QueryError> {
        let bound = |hour: u32| join(&[prefix, &hour.to_be_bytes()]);
        let scan = Scan::range(bound(hours.from), bound(hours.to));
        let mut octets = 0;
        for stored in self.table.scan(scan) {
            let (key, value) = stored?;
            octets += value.len();
            if octets > MAX_OCTETS {
                return Err(QueryError::TooWide);
            }
            let mut reader = Reader::new(key.get(prefix.len()..).unwrap_or_default());
            reader
                .key_u32()
                .and_then(|hour| take(hour, &value))
                .map_err(|Malformed| QueryError::Damaged { table: NAME })?;
        }
        Ok(())
    }
}

/// When an hour begins.
fn time(hour: u32) -> Timestamp {
    Timestamp::from_millis(u64::from(hour) * HOUR_MS)
}

fn empty_points(
    from: Timestamp,
    to: Timestamp,
    length_ms: u64,
) -> Result<BTreeMap<Timestamp, Counts>, QueryError> {
    if to <= from {
        return Ok(BTreeMap::new());
    }
    let first = from.floor_to(length_ms).as_millis();
    let span = to.as_millis().saturating_sub(first);
    if span.div_ceil(length_ms) > MAX_POINTS {
        return Err(QueryError::TooWide);
    }
    let starts = (first..to.as_millis()).step_by(usize::try_from(length_ms).unwrap_or(1));
    Ok(starts.map(|start| (Timestamp::from_millis(start), Counts::default())).collect())
}
