//! Suppression lists, page by page, while somebody is put on them and taken off.

use std::{collections::BTreeSet, time::Duration};

use model::{
    AppId, By, StreamId, SuppressionId, TenantId, Timestamp,
    event::{KeyedHash, RecipientHash},
    message::SuppressionReason,
    suppression::{SuppressionAdded, SuppressionEvent, SuppressionRemoved},
};
use projections::SuppressionCursor;

use crate::support::{Random, World, follow};

/// Somebody on a list: each since another time.
#[derive(Debug, Clone, Copy)]
struct Listed {
    stream: StreamId,
    recipient: RecipientHash,
    since: Timestamp,
}

fn put(world: &mut World, (tenant, app): (TenantId, AppId)) -> Listed {
    world.pass(Duration::from_secs(1));
    let stream = StreamId::Suppression(SuppressionId::from_bytes(world.random.bytes()));
    let recipient = KeyedHash(world.random.bytes());
    let reason = SuppressionReason::Bounce;
    let added = SuppressionAdded { tenant, app, recipient, reason, address: None };
    world.append(stream, SuppressionEvent::from(added).encode(&By::CommandLine.into()));
    let since = world.events().last().unwrap().at;
    Listed { stream, recipient, since }
}

fn take_off(world: &mut World, (tenant, app): (TenantId, AppId), listed: Listed) {
    let removed = SuppressionRemoved { tenant, app, recipient: listed.recipient };
    world.append(listed.stream, SuppressionEvent::from(removed).encode(&By::CommandLine.into()));
}

/// Whoever is on the list from the first page to the last is on one page, once; who comes later is on
/// none; who is taken off meanwhile may be on one or not.
#[test]
fn nobody_who_stays_is_missed_or_told_twice_whatever_comes_and_goes_between_pages() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let mut world = World::with_app(seed);
        world.add_app(0, "other");
        let whose = (world.apps[0].tenant, world.apps[0].id);
        let other = (world.apps[1].tenant, world.apps[1].id);
        let dir = tempfile::tempdir().unwrap();
        let read = world.open(dir.path());
        read.start();
        let mut on_it: Vec<Listed> = Vec::new();
        for _ in 0..40 {
            on_it.push(put(&mut world, whose));
            put(&mut world, other);
        }
        follow(&read, world.head());
        let first: BTreeSet<Timestamp> = on_it.iter().map(|listed| listed.since).collect();
        let (mut told, mut gone, mut cursor) = (Vec::new(), BTreeSet::new(), None);
        loop {
            let limit = 1 + random.below(9) as usize;
            let (rows, next) = read.suppressions().page(whose.1, cursor, limit).unwrap();
            assert!(rows.len() <= limit);
            told.extend(rows.iter().map(|row| row.created_at));
            let Some(next) = next else { break };
            // What a client holds is the text.
            cursor = SuppressionCursor::parse(&next.to_string());
            assert_eq!(cursor, Some(next));
            for _ in 0..random.below(4) {
                on_it.push(put(&mut world, whose));
            }
            for _ in 0..random.below(3) {
                let place = random.below(on_it.len() as u64) as usize;
                let listed = on_it.swap_remove(place);
                gone.insert(listed.since);
                take_off(&mut world, whose, listed);
            }
            follow(&read, world.head());
        }
        let mut newest_first = told.clone();
        newest_first.sort_unstable_by(|one, other| other.cmp(one));
        newest_first.dedup();
        assert_eq!(told, newest_first, "seed {seed}: in order, and nobody twice");
        let told: BTreeSet<Timestamp> = told.into_iter().collect();
        assert!(told.is_subset(&first), "seed {seed}: who came later is told of");
        let missed: Vec<_> = first.difference(&told).filter(|one| !gone.contains(one)).collect();
        assert!(missed.is_empty(), "seed {seed}: missed {missed:?}");
    }
}
