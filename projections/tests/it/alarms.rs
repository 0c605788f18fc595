//! Every unfinished message has exactly one alarm.

use std::{collections::BTreeMap, time::Duration};

use model::{MessageId, Timestamp};
use projections::ReadModels;
use proptest::prelude::*;

use crate::support::{Draft, START, World, deferred, delivered, follow};

fn expected(world: &World) -> BTreeMap<MessageId, Timestamp> {
    world
        .messages
        .iter()
        .filter_map(|message| Some((message.id, message.state.next_alarm()?)))
        .collect()
}

fn found(read: &ReadModels, limit: usize) -> Vec<projections::Alarm> {
    let (mut alarms, mut after) = (Vec::new(), None);
    loop {
        let page = read.alarms().due(Timestamp::MAX, after, limit).unwrap();
        let Some(last) = page.last() else { return alarms };
        after = Some(last.cursor());
        alarms.extend(page);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn one_for_every_unfinished_message_and_none_for_others(
        seed in any::<u64>(),
        steps in 1_usize..250,
        limit in 1_usize..40,
    ) {
        let world = World::grown(seed, steps);
        let dir = tempfile::tempdir().unwrap();
        let read = world.open(dir.path());
        let alarms = found(&read, limit);
        prop_assert!(alarms.is_sorted());
        prop_assert_eq!(read.alarms().len().unwrap(), alarms.len() as u64);
        let by_message: BTreeMap<_, _> =
            alarms.iter().map(|alarm| (alarm.message, alarm.at)).collect();
        prop_assert_eq!(by_message.len(), alarms.len(), "one message has two alarms");
        prop_assert_eq!(by_message, expected(&world));
        let waiting = read.alarms().waiting(Timestamp::MAX, None, usize::MAX).unwrap();
        prop_assert_eq!(waiting.iter().map(|row| row.alarm).collect::<Vec<_>>(), alarms);
        for row in waiting {
            let message = world.messages.iter().find(|one| one.id == row.alarm.message).unwrap();
            let (_, accepted) = message.state.accepted().unwrap();
            let of = (row.tenant, row.domain, row.expires_at);
            prop_assert_eq!(of, (accepted.tenant, accepted.domain, accepted.expires_at));
            let mut receivers: BTreeMap<Box<str>, u64> = BTreeMap::new();
            for (index, _) in message.state.open() {
                let domain = accepted.recipients[index.as_usize()].domain.as_str();
                *receivers.entry(domain.into()).or_default() += 1;
            }
            prop_assert_eq!(row.receivers, receivers.into_iter().collect::<Vec<_>>());
        }
        for message in &world.messages {
            let alarm = read.alarms().of(message.id).unwrap().map(|alarm| alarm.at);
            prop_assert_eq!(alarm, message.state.next_alarm());
        }
    }
}

#[test]
fn what_is_due_follows_the_time() {
    let mut world = World::with_app(1);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    let later = Draft { scheduled_in: Some(Duration::from_hours(1)), ..Draft::default() };
    let (first, second) = (world.send(&Draft::default()), world.send(&later));
    follow(&read, world.head());
    let start = Timestamp::from_millis(START);
    let due = |now| {
        let due = read.alarms().due(now, None, 10).unwrap();
        due.into_iter().map(|alarm| alarm.message).collect::<Vec<_>>()
    };
    let (first_id, second_id) = (world.messages[first].id, world.messages[second].id);
    assert!(due(start.minus(Duration::from_millis(1))).is_empty());
    assert_eq!(due(start), [first_id]);
    let hour = start.plus(Duration::from_hours(1));
    assert_eq!(read.alarms().next_after(start).unwrap(), Some(hour));
    assert_eq!(read.alarms().next_after(hour).unwrap(), None);
    assert_eq!(due(hour), [first_id, second_id]);

    // A deferral moves the alarm, an end takes it away.
    world.attempt(first, &[(0, deferred())]);
    follow(&read, world.head());
    assert!(due(start).is_empty());
    let moved = world.messages[first].state.next_alarm().unwrap();
    assert_eq!(due(moved), [first_id]);
    world.pass(Duration::from_mins(1));
    world.attempt(first, &[(0, delivered())]);
    follow(&read, world.head());
    assert_eq!(due(Timestamp::MAX), [second_id]);
    assert_eq!(read.alarms().len().unwrap(), 1);
    assert_eq!(read.health().unfinished, Some(1));
}
