//! Counts of what became of an app's mail.

use std::collections::BTreeMap;

use model::{Timestamp, delivery::BounceClass};
use poem_openapi::{Enum, Object, types::Example};
use projections::{Conservation, Counts, GroupBy, Interval, Latency, Stats};

use super::Time;

const EXAMPLE_DAY: Timestamp = Timestamp::from_millis(1_764_115_200_000);
const DAY_MS: u64 = 86_400_000;

/// What became of the recipients of the messages that were accepted in a time. Whatever the time,
/// `accepted = delivered + bounced + failed + suppressed + canceled + inFlight`.
#[derive(Object)]
#[oai(rename = "Stats", rename_all = "camelCase", example)]
pub(crate) struct StatsAnswer {
    /// Where the time begins, on a full hour.
    pub from: Time,
    /// Where it ends, on a full hour; that moment is not part of it.
    pub to: Time,
    /// The sums.
    pub totals: CountsWire,
    /// Why recipients bounced.
    pub bounce_classes: BounceClassesWire,
    /// The shares.
    pub rates: RatesWire,
    /// How long deliveries took.
    pub latency: LatencyWire,
    /// Recipients that have not ended.
    pub in_flight: u64,
    /// That nobody is lost.
    pub conservation: ConservationWire,
    /// The sums of each hour or day.
    pub series: Vec<BucketWire>,
    /// The sums of each group, the largest first, at most 1000; empty without `groupBy`.
    pub groups: Vec<GroupWire>,
    /// How many more groups there are.
    pub groups_left_out: u64,
}

/// Recipients of the same messages, counted another way: ends by events, who is in flight by whom the
/// server still waits to try. `difference` is between `accepted` and `ended + inFlight`, and is 0 as
/// long as nobody is lost or counted twice.
#[derive(Object, Clone, Copy)]
#[oai(rename = "Conservation", rename_all = "camelCase", example)]
pub(crate) struct ConservationWire {
    /// Taken over for delivery.
    pub accepted: u64,
    /// That have come to an end.
    pub ended: u64,
    /// That have not.
    pub in_flight: u64,
    /// By how much the first and the sum of the others differ.
    pub difference: u64,
}

/// Numbers of recipients.
#[derive(Object, Clone, Copy, Default)]
#[oai(rename = "Counts", example)]
pub(crate) struct CountsWire {
    /// Taken over for delivery.
    pub accepted: u64,
    /// Taken by the receiver's mail server.
    pub delivered: u64,
    /// Deferred at least once; they also count as what became of them.
    pub deferred: u64,
    /// Refused by the receiver's mail server.
    pub bounced: u64,
    /// Given up.
    pub failed: u64,
    /// Not sent to, as they are on the suppression list.
    pub suppressed: u64,
    /// Complained after delivery; they also count as delivered.
    pub complained: u64,
    /// Taken back by you.
    pub canceled: u64,
}

/// Of the recipients that bounced, how many for which reason. Together they are `totals.bounced`.
#[derive(Object, Clone, Copy, Default)]
#[oai(rename = "BounceClasses", rename_all = "camelCase", example)]
pub(crate) struct BounceClassesWire {
    /// The address or its domain does not exist or takes no mail; it is on the suppression list
    /// now.
    pub recipient: u64,
    /// The mailbox is full.
    pub mailbox_full: u64,
    /// A rule of the receiver.
    pub policy: u64,
    /// The reputation of the sending address or domain.
    pub reputation: u64,
    /// What the message holds.
    pub content: u64,
    /// The set-up of either side: authentication, PTR, TLS, routing.
    pub infrastructure: u64,
    /// The reply does not tell.
    pub unknown: u64,
}

/// Shares, from 0 to 1; 0 when there is nothing to divide by.
#[derive(Object)]
#[oai(rename = "Rates", rename_all = "camelCase", example)]
#[expect(clippy::struct_field_names, reason = "the names are the contract's")]
pub(crate) struct RatesWire {
    /// Delivered of accepted.
    pub delivery_rate: f64,
    /// Bounced of accepted.
    pub bounce_rate: f64,
    /// Complained of delivered.
    pub complaint_rate: f64,
}

/// From acceptance, or from the time that you named, to delivery, in milliseconds; `null` when
/// nothing was delivered.
#[derive(Object)]
#[oai(rename = "Latency", rename_all = "camelCase", example)]
#[expect(clippy::struct_field_names, reason = "the names are the contract's")]
pub(crate) struct LatencyWire {
    /// Half were faster.
    #[oai(nullable)]
    pub p50_ms: Option<u64>,
    /// 95 of 100 were faster.
    #[oai(nullable)]
    pub p95_ms: Option<u64>,
    /// 99 of 100 were faster.
    #[oai(nullable)]
    pub p99_ms: Option<u64>,
}

/// The sums of an hour or a day.
#[derive(Object)]
#[oai(rename = "StatsBucket", rename_all = "camelCase", example)]
pub(crate) struct BucketWire {
    /// When it begins (UTC).
    pub start: Time,
    /// Recipients that have not ended.
    pub in_flight: u64,
    /// The sums.
    #[oai(flatten)]
    pub counts: CountsWire,
}

/// The sums of a group.
#[derive(Object)]
#[oai(rename = "StatsGroup", example)]
pub(crate) struct GroupWire {
    /// The domain or tag, or the template's id.
    pub key: String,
    /// The sums.
    #[oai(flatten)]
    pub counts: CountsWire,
}

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Interval", rename_all = "lowercase")]
pub(crate) enum IntervalName {
    Hour,
    Day,
}

/// What groups are made by: `domain` the sending domain, `recipientDomain` the recipients', `tag`
/// your labels, `template` the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "GroupBy", rename_all = "camelCase")]
pub(crate) enum GroupName {
    None,
    Domain,
    RecipientDomain,
    Tag,
    Template,
}

impl From<IntervalName> for Interval {
    fn from(name: IntervalName) -> Self {
        match name {
            IntervalName::Hour => Self::Hour,
            IntervalName::Day => Self::Day,
        }
    }
}

impl From<GroupName> for GroupBy {
    fn from(name: GroupName) -> Self {
        match name {
            GroupName::None => Self::None,
            GroupName::Domain => Self::Domain,
            GroupName::RecipientDomain => Self::RecipientDomain,
            GroupName::Tag => Self::Tag,
            GroupName::Template => Self::Template,
        }
    }
}

impl From<Counts> for CountsWire {
    fn from(counts: Counts) -> Self {
        Self {
            accepted: counts.accepted,
            delivered: counts.delivered,
            deferred: counts.deferred,
            bounced: counts.bounced,
            failed: counts.failed,
            suppressed: counts.suppressed,
            complained: counts.complained,
            canceled: counts.canceled,
        }
    }
}

impl From<&BTreeMap<BounceClass, u64>> for BounceClassesWire {
    fn from(classes: &BTreeMap<BounceClass, u64>) -> Self {
        let count = |class| classes.get(&class).copied().unwrap_or_default();
        Self {
            recipient: count(BounceClass::Recipient),
            mailbox_full: count(BounceClass::MailboxFull),
            policy: count(BounceClass::Policy),
            reputation: count(BounceClass::Reputation),
            content: count(BounceClass::Content),
            infrastructure: count(BounceClass::Infrastructure),
            unknown: count(BounceClass::Unknown),
        }
    }
}

impl From<Conservation> for ConservationWire {
    fn from(sums: Conservation) -> Self {
        Self {
            accepted: sums.accepted,
            ended: sums.ended,
            in_flight: sums.in_flight,
            difference: sums.difference(),
        }
    }
}

impl StatsAnswer {
    pub(crate) fn of(stats: Stats, conservation: Conservation) -> Self {
        let Counts { accepted, delivered, bounced, complained, .. } = stats.totals;
        let at = |pick: fn(&Latency) -> u64| stats.latency.as_ref().map(pick);
        Self {
            from: Time(stats.from),
            to: Time(stats.to),
            totals: stats.totals.into(),
            bounce_classes: (&stats.bounce_classes).into(),
            rates: RatesWire {
                delivery_rate: share(delivered, accepted),
                bounce_rate: share(bounced, accepted),
                complaint_rate: share(complained, delivered),
            },
            latency: LatencyWire {
                p50_ms: at(|latency| latency.p50_ms),
                p95_ms: at(|latency| latency.p95_ms),
                p99_ms: at(|latency| latency.p99_ms),
            },
            in_flight: stats.in_flight,
            conservation: conservation.into(),
            series: stats
                .series
                .into_iter()
                .map(|point| BucketWire {
                    start: Time(point.start),
                    in_flight: point.counts.in_flight(),
                    counts: point.counts.into(),
                })
                .collect(),
            groups: stats
                .groups
                .into_iter()
                .map(|group| GroupWire { key: group.key, counts: group.counts.into() })
                .collect(),
            groups_left_out: stats.groups_left_out,
        }
    }
}

/// A share of 0 to 1 in steps of a millionth, so that it reads well.
#[expect(clippy::cast_precision_loss, reason = "at most a million")]
fn share(part: u64, whole: u64) -> f64 {
    const STEPS: u128 = 1_000_000;
    let steps = (u128::from(part) * STEPS).checked_div(u128::from(whole)).unwrap_or_default();
    steps as f64 / STEPS as f64
}

impl Example for StatsAnswer {
    fn example() -> Self {
        Self {
            from: Time(EXAMPLE_DAY),
            to: Time(Timestamp::from_millis(EXAMPLE_DAY.as_millis() + DAY_MS)),
            totals: CountsWire::example(),
            bounce_classes: BounceClassesWire::example(),
            rates: RatesWire::example(),
            latency: LatencyWire::example(),
            in_flight: 2,
            conservation: ConservationWire::example(),
            series: vec![BucketWire::example()],
            groups: vec![GroupWire::example()],
            groups_left_out: 0,
        }
    }
}

impl Example for ConservationWire {
    fn example() -> Self {
        Self { accepted: 200, ended: 198, in_flight: 2, difference: 0 }
    }
}

impl Example for CountsWire {
    fn example() -> Self {
        Self {
            accepted: 200,
            delivered: 190,
            deferred: 7,
            bounced: 4,
            failed: 1,
            suppressed: 2,
            complained: 0,
            canceled: 1,
        }
    }
}

impl Example for BounceClassesWire {
    fn example() -> Self {
        Self { recipient: 3, mailbox_full: 0, policy: 1, ..Self::default() }
    }
}

impl Example for RatesWire {
    fn example() -> Self {
        Self { delivery_rate: 0.95, bounce_rate: 0.02, complaint_rate: 0.0 }
    }
}

impl Example for LatencyWire {
    fn example() -> Self {
        Self { p50_ms: Some(410), p95_ms: Some(1_900), p99_ms: Some(61_000) }
    }
}

impl Example for BucketWire {
    fn example() -> Self {
        Self { start: Time(EXAMPLE_DAY), in_flight: 2, counts: CountsWire::example() }
    }
}

impl Example for GroupWire {
    fn example() -> Self {
        Self { key: "mail.acme.com".into(), counts: CountsWire::example() }
    }
}
