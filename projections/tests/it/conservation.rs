//! Nobody is lost: three counts that share no code agree, whatever happens.

use std::collections::BTreeMap;

use eventlog::{Batch, Scan};
use model::{
    Event, StreamId,
    conservation::{Account, Balance, Ledger},
    message::MessageEvent,
};
use projections::{Conservation, Counts, OVERDUE_AFTER, ReadModels};

use crate::support::{Draft, World, delivered, follow, tables};

/// By the log alone.
fn balances(world: &World) -> BTreeMap<Account, Balance> {
    let mut ledger = Ledger::default();
    let mut earlier: BTreeMap<_, Vec<(MessageEvent, _)>> = BTreeMap::new();
    for (recorded, event) in world.decoded() {
        let (StreamId::Message(id), Event::Message(event)) = (recorded.stream, event) else {
            continue;
        };
        let events = earlier.entry(id).or_default();
        if ledger.take(id, &event, recorded.at).is_err() {
            ledger.recall(id, events.iter().map(|(event, at)| (event, *at)));
            ledger.take(id, &event, recorded.at).unwrap();
        }
        events.push((event, recorded.at));
    }
    ledger.balances().clone()
}

fn assert_agree(world: &World, read: &ReadModels) {
    let by_log = balances(world);
    let by_stats = read.stats().by_day().unwrap();
    let by_alarms = read.alarms().conservation_by_day().unwrap();
    assert!(by_log.values().all(Balance::holds), "{by_log:?}");
    assert_eq!(by_log.keys().collect::<Vec<_>>(), by_alarms.keys().collect::<Vec<_>>());
    assert_eq!(by_log.len(), by_stats.len());
    let mut total = Conservation::default();
    for (account, balance) in &by_log {
        let Counts { accepted, delivered, bounced, failed, suppressed, canceled, .. } =
            by_stats[&(account.app, account.day)];
        let in_flight = by_stats[&(account.app, account.day)].in_flight();
        let counted =
            Balance { accepted, delivered, bounced, failed, suppressed, canceled, in_flight };
        assert_eq!(*balance, counted, "{account:?}");
        let alarms = by_alarms[account];
        assert_eq!(alarms.difference(), 0);
        assert_eq!(
            (alarms.accepted, alarms.ended, alarms.in_flight),
            (balance.accepted, balance.ended(), balance.in_flight),
            "{account:?}"
        );
        total.accepted += alarms.accepted;
        total.ended += alarms.ended;
        total.in_flight += alarms.in_flight;
        let (from, to) = (account.day.start(), account.day.after().start());
        assert_eq!(read.alarms().conservation_of(account.app, from, to).unwrap(), alarms);
    }
    assert_eq!(read.alarms().conservation().unwrap(), total);
}

#[test]
fn three_counts_agree_whatever_happens() {
    for seed in 31..=34 {
        let mut world = World::with_app(seed);
        let dir = tempfile::tempdir().unwrap();
        let read = world.open(dir.path());
        read.start();
        for step in 0..900 {
            world.step();
            if step % 300 == 77 {
                follow(&read, world.head());
                assert_agree(&world, &read);
            }
        }
        follow(&read, world.head());
        assert_agree(&world, &read);
        let balances = balances(&world);
        let sums = |pick: fn(&Balance) -> u64| balances.values().map(pick).sum::<u64>();
        for pick in [
            (|b| b.delivered) as fn(&Balance) -> u64,
            |b| b.bounced,
            |b| b.failed,
            |b| b.suppressed,
            |b| b.canceled,
            |b| b.in_flight,
        ] {
            assert!(sums(pick) > 0, "every end was there: {balances:?}");
        }
    }
}

#[test]
fn an_end_that_is_recorded_twice_is_a_difference() {
    let mut world = World::with_app(8);
    let message = world.send(&Draft { recipients: 2, ..Draft::default() });
    world.attempt(message, &[(0, delivered())]);
    // The rules forbid it; a fault in them would write it.
    let twice = world.events().last().unwrap().data.clone();
    world.append(StreamId::Message(world.messages[message].id), Box::from(&*twice));
    let sums = *balances(&world).values().next().unwrap();
    assert_eq!((sums.accepted, sums.delivered, sums.in_flight), (2, 2, 1));
    assert!(!sums.holds());
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let all = read.alarms().conservation().unwrap();
    assert_eq!(all, Conservation { accepted: 2, ended: 2, in_flight: 1 });
    assert_eq!(all.difference(), 1);
}

#[test]
fn who_is_not_ended_long_after_the_expiry_is_overdue() {
    let mut world = World::with_app(9);
    let late = world.send(&Draft { recipients: 3, ..Draft::default() });
    world.pass(std::time::Duration::from_hours(1));
    let later = world.send(&Draft::default());
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    follow(&read, world.head());
    let tenant = world.apps[0].tenant;
    let expires_at = |message: usize| {
        let id = world.messages[message].id;
        read.messages().get(id).unwrap().unwrap().accepted.expires_at
    };
    let (first, second) = (expires_at(late), expires_at(later));
    let overdue = |now| read.alarms().overdue(now).unwrap();
    // Late is not overdue.
    assert!(overdue(first.plus(OVERDUE_AFTER)).is_empty());
    let found = overdue(first.plus(OVERDUE_AFTER).plus(std::time::Duration::from_millis(1)));
    assert_eq!((found.len(), found[&tenant].count), (1, 1));
    assert_eq!(found[&tenant].oldest.alarm.message, world.messages[late].id);
    let long_after = second.plus(std::time::Duration::from_hours(1));
    assert_eq!(overdue(long_after)[&tenant].count, 2);
    assert_eq!(overdue(long_after)[&tenant].oldest.alarm.message, world.messages[late].id);
    // Who has ended is none.
    world.now = long_after;
    world.expire(late);
    follow(&read, world.head());
    let found = overdue(long_after);
    assert_eq!(found[&tenant].count, 1);
    assert_eq!(found[&tenant].oldest.alarm.message, world.messages[later].id);
    world.expire(later);
    follow(&read, world.head());
    assert!(overdue(long_after).is_empty());
}

#[test]
fn a_count_that_was_changed_on_the_disk_is_seen() {
    let mut world = World::with_app(10);
    let message = world.send(&Draft { recipients: 2, ..Draft::default() });
    world.attempt(message, &[(0, delivered())]);
    let dir = tempfile::tempdir().unwrap();
    drop(world.open(dir.path()));
    {
        let store = tables(dir.path());
        let table = store.table("stats").unwrap();
        let mut batch = Batch::new();
        // Dimension 0: the whole. Its row: a name of no octets, then accepted, delivered, …
        for row in table.scan(Scan::prefix([1])) {
            let (key, mut value) = row.unwrap();
            if key[17] == 0 {
                assert_eq!(value[..3], [0, 2, 1]);
                value[2] = 2;
                batch.put(key, value);
            }
        }
        assert_eq!(batch.len(), 1);
        table.apply(batch).unwrap();
        store.flush().unwrap();
    }
    let read = world.open(dir.path());
    let stats = read.stats().by_day().unwrap();
    let by_log = balances(&world);
    assert_eq!(stats.values().next().unwrap().delivered, 2);
    assert_eq!(by_log.values().next().unwrap().delivered, 1);
}
