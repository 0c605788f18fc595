//! The feed, against a count of every event.

use std::collections::HashMap;

use model::{
    AppId, Event, EventId, MessageId, StreamId,
    message::{Accepted, MessageEvent},
};
use projections::{FeedRow, MAX_FEED_PAGE, ReadModels};

use crate::support::{Draft, Random, World, delivered, follow};

/// Every app's events in the order of the log, found the slow way.
fn counted(world: &World) -> HashMap<AppId, Vec<EventId>> {
    let mut apps: HashMap<MessageId, AppId> = HashMap::new();
    let mut found: HashMap<AppId, Vec<EventId>> = HashMap::new();
    for (recorded, event) in world.decoded() {
        let (StreamId::Message(message), Event::Message(event)) = (recorded.stream, event) else {
            continue;
        };
        if let MessageEvent::Accepted(Accepted { app, .. }) = &event {
            apps.insert(message, *app);
        }
        if !matches!(event, MessageEvent::RetryRequested(_)) {
            found.entry(apps[&message]).or_default().push(recorded.id);
        }
    }
    found
}

fn after(read: &ReadModels, app: AppId, seq: u64, limit: usize) -> Vec<FeedRow> {
    let page = read.feed().page(app, seq, limit).unwrap();
    assert_eq!(page.head, read.feed().head(app).unwrap());
    assert!(page.rows.len() <= limit.min(MAX_FEED_PAGE));
    page.rows
}

/// A client that remembers nothing but a number, and what it was given.
#[derive(Default)]
struct Client {
    remembered: u64,
    got: Vec<EventId>,
}

impl Client {
    /// Takes a page, and maybe loses its connection in the midst of it.
    fn take(&mut self, read: &ReadModels, app: AppId, random: &mut Random) {
        let limit = 1 + random.below(120) as usize;
        let rows = after(read, app, self.remembered, limit);
        let kept = random.below(rows.len() as u64 + 1) as usize;
        for row in rows.iter().take(kept) {
            assert_eq!(row.seq, self.remembered + 1, "gapless");
            self.remembered = row.seq;
            self.got.push(row.row.id);
        }
    }
}

#[test]
fn a_client_that_remembers_one_number_misses_and_repeats_nothing() {
    for seed in 1..=3 {
        let mut world = World::with_app(seed);
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut read = world.open(dir.path());
        read.start();
        let mut clients: HashMap<AppId, Client> = HashMap::new();
        for step in 0..4_000 {
            world.step();
            if step % 7 == 0 {
                follow(&read, world.head());
                for app in &world.apps {
                    clients.entry(app.id).or_default().take(&read, app.id, &mut random);
                }
            }
            if step % 200 == 150 {
                // The server stops and starts; every other time its read models are lost.
                read.stop();
                drop(read);
                if step % 400 == 150 {
                    std::fs::remove_dir_all(dir.path()).unwrap();
                }
                read = world.open(dir.path());
                read.start();
            }
        }
        follow(&read, world.head());
        let counted = counted(&world);
        let longest = counted.values().map(Vec::len).max();
        assert!(counted.len() > 1 && longest > Some(300), "seed {seed}: {longest:?}");
        for app in &world.apps {
            let client = clients.entry(app.id).or_default();
            let expected = counted.get(&app.id).cloned().unwrap_or_default();
            while client.got.len() < expected.len() {
                client.take(&read, app.id, &mut random);
            }
            assert_eq!(client.got, expected, "seed {seed}");
            assert!(after(&read, app.id, client.remembered, 100).is_empty());
        }
        // What has a number keeps it, wherever a page begins and whoever folds.
        let fresh_dir = tempfile::tempdir().unwrap();
        let fresh = world.open(fresh_dir.path());
        assert_eq!(fresh.dump("feed").unwrap(), read.dump("feed").unwrap());
    }
}

#[test]
fn what_one_app_does_gives_another_no_number() {
    let mut world = World::with_app(5);
    let other = world.add_app(0, "Other");
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    for _ in 0..3 {
        let message = world.send(&Draft::default());
        world.attempt(message, &[(0, delivered())]);
    }
    follow(&read, world.head());
    let rows = after(&read, world.apps[0].id, 0, 100);
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(after(&read, other, 0, 100).is_empty());
    assert_eq!(read.feed().head(other).unwrap(), 0);
}
