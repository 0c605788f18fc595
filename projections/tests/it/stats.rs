//! The statistics, against a count through every event.

use std::{collections::BTreeMap, time::Duration};

use model::{AppId, Event, MessageId, StreamId, Timestamp, message::MessageEvent};
use projections::{Counts, GroupBy, Interval, QueryError, Stats, StatsQuery};
use proptest::prelude::*;

use crate::support::{Draft, START, World, bounced, deferred, delivered};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// What became of the recipients of messages accepted in whole hours from `from` to `to`, told
/// apart by `key`.
fn counted(
    world: &World,
    app: AppId,
    from: u64,
    to: u64,
    key: impl Fn(&model::message::Accepted, usize) -> Vec<String>,
) -> BTreeMap<String, Counts> {
    let mut messages = BTreeMap::<MessageId, (bool, model::message::Accepted)>::new();
    let mut sums = BTreeMap::<String, Counts>::new();
    for (recorded, event) in world.decoded() {
        let (StreamId::Message(id), Event::Message(event)) = (recorded.stream, event) else {
            continue;
        };
        if let MessageEvent::Accepted(accepted) = &event {
            let hour = recorded.at.as_millis() / HOUR;
            let inside = accepted.app == app && (from / HOUR..to.div_ceil(HOUR)).contains(&hour);
            messages.insert(id, (inside, accepted.clone()));
        }
        let (inside, accepted) = &messages[&id];
        if !inside {
            continue;
        }
        if let MessageEvent::Returned(e) = &event
            && e.was_delivered
        {
            for key in key(accepted, e.recipient.as_usize()) {
                sums.entry(key).or_default().delivered -= 1;
            }
        }
        let mut count = |recipient: usize, field: fn(&mut Counts) -> &mut u64| {
            for key in key(accepted, recipient) {
                *field(sums.entry(key).or_default()) += 1;
            }
        };
        match &event {
            MessageEvent::Accepted(accepted) => {
                (0..accepted.recipients.len()).for_each(|index| count(index, |c| &mut c.accepted));
            }
            MessageEvent::Suppressed(e) => count(e.recipient.as_usize(), |c| &mut c.suppressed),
            MessageEvent::Delivered(e) => {
                count(e.attempt.recipient.as_usize(), |c| &mut c.delivered);
            }
            MessageEvent::Deferred(e) if e.attempt.attempt == 1 => {
                count(e.attempt.recipient.as_usize(), |c| &mut c.deferred);
            }
            MessageEvent::Scheduled(_)
            | MessageEvent::Deferred(_)
            | MessageEvent::RetryRequested(_) => {}
            MessageEvent::Bounced(e) => count(e.attempt.recipient.as_usize(), |c| &mut c.bounced),
            MessageEvent::Failed(e) => count(e.recipient.as_usize(), |c| &mut c.failed),
            MessageEvent::Canceled(e) => count(e.recipient.as_usize(), |c| &mut c.canceled),
            MessageEvent::Returned(e) => count(e.recipient.as_usize(), |c| &mut c.bounced),
            MessageEvent::Complained(e) => count(e.recipient.as_usize(), |c| &mut c.complained),
        }
    }
    sums
}

fn query(from: u64, to: u64, interval: Interval, group_by: GroupBy) -> StatsQuery {
    let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
    StatsQuery { from, to, interval, group_by }
}

fn conserved(counts: &Counts, in_flight: u64) -> bool {
    let Counts { delivered, bounced, failed, suppressed, canceled, .. } = *counts;
    counts.accepted == delivered + bounced + failed + suppressed + canceled + in_flight
}

fn sum(series: &Stats) -> Counts {
    let mut sum = Counts::default();
    for point in &series.series {
        sum.accepted += point.counts.accepted;
        sum.delivered += point.counts.delivered;
        sum.deferred += point.counts.deferred;
        sum.bounced += point.counts.bounced;
        sum.failed += point.counts.failed;
        sum.suppressed += point.counts.suppressed;
        sum.canceled += point.counts.canceled;
        sum.complained += point.counts.complained;
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_in_any_range(
        seed in any::<u64>(),
        steps in 10_usize..250,
        ranges in proptest::collection::vec((0_u64..12 * HOUR, 0_u64..12 * HOUR), 6),
    ) {
        let world = World::grown(seed, steps);
        let dir = tempfile::tempdir().unwrap();
        let read = world.open(dir.path());
        let ranges = ranges.into_iter().map(|(a, b)| (START + a.min(b), START + a.max(b)));
        for (from, to) in ranges.chain([(START - DAY, START + 30 * DAY)]) {
            for app in &world.apps {
                let ask = |interval, group_by| {
                    read.stats().query(app.id, &query(from, to, interval, group_by)).unwrap()
                };
                let found = ask(Interval::Hour, GroupBy::None);
                let whole = counted(&world, app.id, from, to, |_, _| vec![String::new()]);
                let whole = whole.get("").copied().unwrap_or_default();
                prop_assert_eq!(found.totals, whole);
                prop_assert!(conserved(&found.totals, found.in_flight));
                prop_assert_eq!(sum(&found), whole);
                prop_assert_eq!(sum(&ask(Interval::Day, GroupBy::None)), whole);
                prop_assert!(found.series.iter().all(|p| conserved(&p.counts, p.counts.in_flight())));
                // Who came back had been delivered, and took its time.
                prop_assert!(found.latency.is_some() || whole.delivered == 0);
                prop_assert_eq!(found.bounce_classes.values().sum::<u64>(), whole.bounced);

                let groups = |group_by| {
                    let found = ask(Interval::Day, group_by);
                    assert!(found.groups.is_sorted_by_key(|group| u64::MAX - group.counts.accepted));
                    found.groups.into_iter().map(|group| (group.key, group.counts)).collect()
                };
                let by_recipient: BTreeMap<_, _> = groups(GroupBy::RecipientDomain);
                prop_assert_eq!(by_recipient, counted(&world, app.id, from, to, |accepted, index| {
                    vec![accepted.recipients[index].domain.as_str().to_owned()]
                }));
                let by_domain: BTreeMap<_, _> = groups(GroupBy::Domain);
                prop_assert_eq!(by_domain, counted(&world, app.id, from, to, |accepted, _| {
                    vec![accepted.from.as_str().to_owned()]
                }));
                let by_tag: BTreeMap<_, _> = groups(GroupBy::Tag);
                prop_assert_eq!(by_tag, counted(&world, app.id, from, to, |accepted, _| {
                    let mut tags: Vec<_> =
                        accepted.tags.iter().map(|tag| tag.as_str().to_owned()).collect();
                    tags.sort();
                    tags.dedup();
                    tags
                }));
                let by_template: BTreeMap<_, _> = groups(GroupBy::Template);
                prop_assert_eq!(by_template, counted(&world, app.id, from, to, |accepted, _| {
                    accepted.template.iter().map(|used| used.id.to_string()).collect()
                }));
            }
        }
    }
}

#[test]
fn what_happens_later_counts_in_the_hour_of_acceptance() {
    let mut world = World::with_app(1);
    let app = world.apps[0].id;
    let midnight = START - START % DAY + DAY;
    world.now = Timestamp::from_millis(midnight - 1_000);
    let message = world.send(&Draft { recipients: 3, ..Draft::default() });
    world.pass(Duration::from_hours(1));
    world.attempt(message, &[(0, deferred()), (1, bounced())]);
    world.pass(Duration::from_hours(1));
    world.attempt(message, &[(0, deferred())]);
    world.pass(Duration::from_mins(10));
    world.attempt(message, &[(0, delivered())]);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());

    let before = query(midnight - HOUR, midnight, Interval::Hour, GroupBy::None);
    let found = read.stats().query(app, &before).unwrap();
    let expected =
        Counts { accepted: 3, delivered: 1, deferred: 1, bounced: 1, ..Counts::default() };
    assert_eq!((found.totals, found.in_flight), (expected, 1));
    let after = query(midnight, midnight + DAY, Interval::Hour, GroupBy::None);
    let found = read.stats().query(app, &after).unwrap();
    assert_eq!((found.totals, found.in_flight, found.latency), (Counts::default(), 0, None));
    assert_eq!(found.series.len(), 24);
}

#[test]
fn a_begun_hour_counts_whole_and_days_begin_at_midnight() {
    let mut world = World::with_app(2);
    let midnight = START - START % DAY + DAY;
    world.now = Timestamp::from_millis(midnight + 30 * 60_000);
    world.send(&Draft::default());
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let narrow =
        query(midnight + 45 * 60_000, midnight + 46 * 60_000, Interval::Day, GroupBy::None);
    let found = read.stats().query(world.apps[0].id, &narrow).unwrap();
    assert_eq!(found.totals.accepted, 1);
    assert_eq!((found.from.as_millis(), found.to.as_millis()), (midnight, midnight + HOUR));
    assert_eq!(found.series[0].start.as_millis(), midnight);
}

#[test]
fn latency_runs_from_acceptance_or_the_time_that_was_named() {
    let mut world = World::with_app(3);
    let slow = world.send(&Draft::default());
    let scheduled =
        world.send(&Draft { scheduled_in: Some(Duration::from_hours(2)), ..Draft::default() });
    world.pass(Duration::from_secs(100));
    world.attempt(slow, &[(0, delivered())]);
    world.pass(Duration::from_hours(2) - Duration::from_secs(90));
    world.attempt(scheduled, &[(0, delivered())]);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let range = query(START, START + DAY, Interval::Day, GroupBy::None);
    let latency = read.stats().query(world.apps[0].id, &range).unwrap().latency.unwrap();
    // 100 s after acceptance, and 10 s after the time that was named.
    assert!(latency.p50_ms.abs_diff(10_000) <= 300, "{latency:?}");
    assert!(latency.p99_ms.abs_diff(100_000) <= 3_000, "{latency:?}");
}

#[test]
fn a_question_that_covers_too_much_is_refused() {
    let world = World::with_app(4);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let app = world.apps[0].id;
    let wide = query(0, u64::MAX, Interval::Hour, GroupBy::None);
    assert!(matches!(read.stats().query(app, &wide), Err(QueryError::TooWide)));
    let backwards = query(START, START - DAY, Interval::Day, GroupBy::None);
    let found = read.stats().query(app, &backwards).unwrap();
    assert_eq!(found.totals, Counts::default());
    assert!(found.series.is_empty());
}
