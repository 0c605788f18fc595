//! Read models of a log that was pruned: those that are made anew have the bytes of those that were
//! there before, and what is gone is told.

use std::{path::Path, sync::Arc, time::Duration};

use eventlog::{
    Append, EventLog, Hour, InstanceKey, KeepJournal, Log, LogOptions, NewEvent, Notary, Position,
    Pruning, Recorded, Version,
};
use model::{Event, StreamId, Timestamp, message::Message};
use projections::{
    GroupBy, Interval, LogQuery, MAX_FEED_PAGE, MAX_PAGE, OpenError, Past, QueryError, ReadModels,
    RebuildError, StatsQuery, Until,
};

use crate::support::{World, dumps, vault};

fn key() -> InstanceKey {
    InstanceKey::from_seed(&[9; 32]).unwrap()
}

fn open(dir: &Path) -> Arc<Log> {
    let options = LogOptions {
        keep_journal: KeepJournal::Within { age: Duration::ZERO, bytes: 0 },
        segment_bytes: 4 * 1024,
        low_water_bytes: 0,
        ballast_bytes: 0,
    };
    Arc::new(Log::open(dir, options).unwrap())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Appends to a log what another holds from a position on, as it stands there but for the content,
/// which is as good as dropped.
fn copy(from: &World, after: u64, to: &Log) {
    let mut appends: Vec<Append> = Vec::new();
    for recorded in from.events().into_iter().skip(after as usize) {
        let content = recorded.content.iter().map(|at| from.dyn_log().read_content(at).unwrap());
        appends.push(Append {
            stream: recorded.stream,
            expected: Version::new(recorded.version.get() - 1),
            at: recorded.at,
            content: content.collect(),
            events: vec![NewEvent { id: recorded.id, data: recorded.data.as_ref().into() }],
        });
    }
    for append in appends {
        block_on(to.append(append)).unwrap();
    }
}

fn is_over(events: &[Recorded]) -> bool {
    let mut state = Message::default();
    for recorded in events {
        let Ok(Event::Message(event)) = Event::decode(recorded.stream, &recorded.data) else {
            panic!("an event of a message");
        };
        state.evolve(&event, recorded.at);
    }
    state.open().next().is_none()
}

/// Prunes what was recorded before a time; gives the position up to which.
fn prune(log: &Arc<Log>, before: Timestamp) -> Position {
    let up_to = log.prunable(before).unwrap().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let whole: Arc<dyn EventLog> = Arc::clone(log) as Arc<dyn EventLog>;
    let until = Until::Position(up_to.last);
    let then = ReadModels::replay(scratch.path(), whole, vault(), until, &mut |_| {}).unwrap();
    let pruned = log.prune(Pruning {
        up_to,
        is_over: &is_over,
        carried: &mut then.carried().unwrap(),
        key: &key(),
        now: before,
        rest: Duration::ZERO,
    });
    let pruned = pruned.unwrap();
    assert!(pruned.messages > 10, "{pruned:?}");
    pruned.last
}

fn read_models(dir: &Path, log: &Arc<Log>) -> ReadModels {
    ReadModels::open(dir, Arc::clone(log) as Arc<dyn EventLog>, vault()).unwrap()
}

#[test]
fn made_anew_from_a_pruned_log_read_models_have_the_same_bytes() {
    for seed in [3, 5] {
        let mut world = World::grown(seed, 900);
        let dirs = tempfile::tempdir().unwrap();
        let dir = |name: &str| dirs.path().join(name);
        let log = open(&dir("log"));
        copy(&world, 0, &log);
        let whole: Arc<dyn EventLog> = Arc::clone(&log) as Arc<dyn EventLog>;
        let notary = Notary::open(&dir("log"), whole, key(), None).unwrap();
        let head = *log.head().borrow();
        while log.tree_size() < head {
            std::thread::sleep(Duration::from_millis(10));
        }
        notary.sign(world.now).unwrap();
        block_on(log.close()).unwrap();
        drop((notary, log));

        let log = open(&dir("log"));
        let live = read_models(&dir("live"), &log);
        let all = dumps(&live);
        let times: Vec<_> = world.events().iter().map(|event| event.at).collect();
        let hour = Hour::of(times[times.len() - 1]);
        log.drop_content_before(hour).unwrap();
        let mut grown = world.head().get();
        for (round, part) in [2, 3].into_iter().enumerate() {
            // Whole hours, or their content would be there.
            let cut = times[times.len() * part / 5];
            let last = prune(&log, cut);
            assert!(last > Position::new(times.len() as u64 / 10));
            let fresh = read_models(&dir(&format!("fresh {round}")), &log);
            let made = dumps(&fresh);
            for (name, rows) in if round == 0 { all.clone() } else { dumps(&live) } {
                assert!(rows == made[name], "seed {seed}, round {round}: {name} differs");
            }
            told_what_is_gone(&world, &log, &fresh, last);
            drop(fresh);
            let again = ReadModels::rebuild(
                &dir(&format!("fresh {round}")),
                Arc::clone(&log) as Arc<dyn EventLog>,
                vault(),
                None,
                &mut |_| {},
            );
            assert_eq!(dumps(&again.unwrap()), made);
            // Both go on alike.
            for _ in 0..100 {
                world.step();
            }
            copy_rest(&mut world, &mut grown, &log);
            live.follow_here();
            let fresh = read_models(&dir(&format!("later {round}")), &log);
            assert_eq!(dumps(&live), dumps(&fresh));
        }
    }
}

/// Tables that are made while events go may lack what they told: they do not take anybody's place.
#[test]
fn what_was_made_while_the_log_was_pruned_serves_nobody() {
    let world = World::grown(7, 900);
    let dirs = tempfile::tempdir().unwrap();
    let dir = |name: &str| dirs.path().join(name);
    let log = open(&dir("log"));
    copy(&world, 0, &log);
    let whole: Arc<dyn EventLog> = Arc::clone(&log) as Arc<dyn EventLog>;
    let notary = Notary::open(&dir("log"), whole, key(), None).unwrap();
    let head = *log.head().borrow();
    while log.tree_size() < head {
        std::thread::sleep(Duration::from_millis(10));
    }
    notary.sign(world.now).unwrap();
    block_on(log.close()).unwrap();
    drop((notary, log));

    let log = open(&dir("log"));
    let live = read_models(&dir("live"), &log);
    let before = dumps(&live);
    let times: Vec<_> = world.events().iter().map(|event| event.at).collect();
    log.drop_content_before(Hour::of(times[times.len() - 1])).unwrap();
    let mut cut = Some(times[times.len() * 2 / 5]);
    let made = live.rebuild_beside(&mut |_| {
        if let Some(cut) = cut.take() {
            prune(&log, cut);
        }
    });
    assert!(matches!(made, Err(RebuildError::Pruned)), "{made:?}");
    assert!(before == dumps(&live));
    live.rebuild_beside(&mut |_| {}).unwrap();
    assert!(before == dumps(&live), "and the next one holds what was carried");
}

/// Messages that are gone are not gone on with.
fn copy_rest(world: &mut World, grown: &mut u64, log: &Log) {
    let events = world.events();
    let gone = |stream| {
        matches!(stream, StreamId::Message(_))
            && log.read_stream(stream, Version::NONE, 1).unwrap().is_empty()
    };
    for recorded in events.iter().skip(*grown as usize) {
        if recorded.version > Version::new(1) && gone(recorded.stream) {
            continue;
        }
        let content = recorded.content.iter().map(|at| world.dyn_log().read_content(at).unwrap());
        let append = Append {
            stream: recorded.stream,
            expected: Version::new(recorded.version.get() - 1),
            at: recorded.at,
            content: content.collect(),
            events: vec![NewEvent { id: recorded.id, data: recorded.data.as_ref().into() }],
        };
        block_on(log.append(append)).unwrap();
    }
    *grown = events.len() as u64;
}

fn told_what_is_gone(world: &World, log: &Arc<Log>, read: &ReadModels, last: Position) {
    for app in &world.apps {
        let app = app.id;
        let head = read.feed().head(app).unwrap();
        if head == 0 {
            continue;
        }
        // The feed: from the first number that is there all come, before it one is told which.
        let first = match read.feed().page(app, 0, MAX_FEED_PAGE) {
            Err(QueryError::Pruned { last }) => last,
            Ok(page) => {
                assert!(page.rows.first().is_none_or(|row| row.row.position > last));
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        let gone = read.feed().page(app, first - 1, 1);
        assert!(matches!(gone, Err(QueryError::Pruned { last }) if last == first));
        let page = read.feed().page(app, first, MAX_FEED_PAGE).unwrap();
        assert!(page.rows.iter().all(|row| row.row.position > last));
        assert_eq!(page.rows.len() as u64, (head - first).min(MAX_FEED_PAGE as u64));
        // The logs end there.
        let mut query = LogQuery { limit: MAX_PAGE, ..LogQuery::default() };
        let mut rows = 0;
        loop {
            let page = read.logs().page(app, &query).unwrap();
            assert!(page.rows.iter().all(|row| row.position > last));
            rows += page.rows.len() as u64;
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(rows, head - first, "the logs hold what the feed holds");
        // Statistics of the past follow from events.
        let pruned = log.pruned().unwrap().unwrap().at;
        let hours = |count: u64| Duration::from_secs(count * 3_600);
        for (from, is_there) in [(pruned, false), (pruned.plus(hours(2)), true)] {
            let (interval, group_by) = (Interval::Hour, GroupBy::None);
            let query = StatsQuery { from, to: from.plus(hours(1)), interval, group_by };
            let past = Past::statistics(log.as_ref(), read.logs(), app, &query, world.now);
            assert_eq!(past.is_ok(), is_there, "{past:?}");
            let told = matches!(past, Err(QueryError::PrunedUntil { at }) if at == pruned);
            assert_eq!(told, !is_there);
        }
    }
    // What was before cannot be shown; from there on it can.
    let replay = |until| {
        let scratch = tempfile::tempdir().unwrap();
        let log = Arc::clone(log) as Arc<dyn EventLog>;
        ReadModels::replay(scratch.path(), log, vault(), until, &mut |_| {}).map(|_| ())
    };
    let before = Position::new(last.get() - 1);
    let refused = replay(Until::Position(before)).unwrap_err();
    assert!(matches!(refused, OpenError::Pruned { position } if position == last));
    replay(Until::Position(last)).unwrap();
    replay(Until::Position(Position::new(last.get() + 20))).unwrap();
}
