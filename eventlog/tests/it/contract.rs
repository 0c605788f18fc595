//! The contract of `EventLog`: one suite, run on every implementation.

use std::{collections::HashSet, sync::Arc};

use eventlog::{
    Append, AppendError, Bound, Cause, ContentError, EventLog, Fault, Hour, MemoryLog, Position,
    TreeHash, Version, verify_consistency, verify_inclusion,
};
use model::Timestamp;

use crate::support::{
    NOON, append, assert_in_order, block_on, eventually, everything, open, runtime, sealed, stream,
};

type Shared = Arc<dyn EventLog>;

fn on_each(check: impl Fn(Shared)) {
    check(Arc::new(MemoryLog::new()));
    let dir = tempfile::tempdir().unwrap();
    check(Arc::new(open(dir.path())));
}

#[test]
fn an_append_is_read_back_and_announced() {
    on_each(|log| {
        let head = log.head();
        assert_eq!(*head.borrow(), Position::START);
        let appended = block_on(log.append(append(1, 0, [10, 11]))).unwrap();
        assert_eq!(appended.last_position, Position::new(2));
        assert_eq!(appended.last_version, Version::new(2));
        assert_eq!(*head.borrow(), Position::new(2));
        let events = log.read_stream(stream(1), Version::NONE, 10).unwrap();
        assert_eq!(events, log.read_all(Position::START, 10).unwrap());
        assert_eq!(*events[1].data, *crate::support::event(11).data);
        assert_eq!(events[1].id, crate::support::event(11).id);
        assert_eq!(log.read_stream(stream(1), Version::new(1), 10).unwrap(), events[1..]);
        assert_eq!(log.read_all(Position::new(1), 10).unwrap(), events[1..]);
        assert_eq!(log.read_all(Position::START, 1).unwrap(), events[..1]);
        assert!(log.read_all(Position::new(2), 10).unwrap().is_empty());
        assert!(log.read_all(Position::new(99), 10).unwrap().is_empty());
        assert!(log.read_stream(stream(2), Version::NONE, 10).unwrap().is_empty());
        assert!(log.read_stream(stream(1), Version::new(9), 10).unwrap().is_empty());
        let health = log.health();
        assert!(health.writable);
        assert_eq!((health.head, health.appends, health.events), (Position::new(2), 1, 2));
    });
}

#[test]
fn every_event_is_proved_to_be_in_the_tree() {
    on_each(|log| {
        assert_eq!(log.tree_head(Position::START).unwrap().unwrap().root, TreeHash::of_nothing());
        for number in 0..70 {
            block_on(log.append(append(number, 0, 0..2))).unwrap();
        }
        eventually("the tree has come to the head", || log.tree_size() == Position::new(140));
        let events = everything(log.as_ref());
        let head = |at| log.tree_head(Position::new(at)).unwrap().unwrap();
        for size in [1, 2, 100, 127, 128, 129, 140] {
            let (head, position) = (head(size), Position::new(size));
            let last = events.iter().find(|event| event.position == position).unwrap();
            assert_eq!((head.position, head.chain), (position, last.hash));
            for (index, event) in (0..).zip(&events) {
                let proof = log.inclusion(event.position, position).unwrap();
                let holds = verify_inclusion(event.leaf(), index, size, &proof, head.root);
                assert_eq!(holds, index < size, "{index} of {size}");
            }
            let proof = log.consistency(Position::new(1), position).unwrap();
            let first = events[0].leaf();
            assert!(verify_consistency(1, first, size, head.root, &proof), "{size}");
        }
        assert_eq!(log.tree_head(Position::new(141)).unwrap(), None);
    });
}

#[test]
fn another_version_than_expected_is_a_conflict_and_writes_nothing() {
    on_each(|log| {
        block_on(log.append(append(1, 0, [1, 2]))).unwrap();
        for expected in [0, 1, 3] {
            let refused = block_on(log.append(append(1, expected, [9])));
            assert_eq!(refused, Err(AppendError::Conflict { actual: Version::new(2) }));
        }
        let refused = block_on(log.append(append(2, 1, [9])));
        assert_eq!(refused, Err(AppendError::Conflict { actual: Version::NONE }));
        block_on(log.append(append(1, 2, [3]))).unwrap();
        assert_eq!(everything(log.as_ref()).len(), 3);
        assert_eq!(log.health().conflicts, 4);
    });
}

#[test]
fn of_those_who_race_for_a_version_one_wins() {
    on_each(|log| {
        let runtime = runtime();
        for round in 0..20 {
            let tasks: Vec<_> = (0..32)
                .map(|racer| {
                    let log = Arc::clone(&log);
                    runtime.spawn(async move { log.append(append(7, round, [racer])).await })
                })
                .collect();
            let won: usize = tasks
                .into_iter()
                .map(|task| match runtime.block_on(task).unwrap() {
                    Ok(appended) => {
                        assert_eq!(appended.last_version, Version::new(round + 1));
                        1
                    }
                    Err(AppendError::Conflict { actual }) => {
                        // Whoever is told of a version can read it.
                        let read = log.read_stream(stream(7), Version::NONE, 100).unwrap();
                        assert!(read.len() as u64 >= actual.get());
                        0
                    }
                    Err(other) => panic!("{other}"),
                })
                .sum();
            assert_eq!(won, 1);
        }
        assert_in_order(&everything(log.as_ref()));
    });
}

#[test]
fn many_writers_leave_no_gap_and_lose_nothing() {
    on_each(|log| {
        let runtime = runtime();
        let tasks: Vec<_> = (0..64)
            .map(|writer| {
                let log = Arc::clone(&log);
                runtime.spawn(async move {
                    let mut ids = Vec::new();
                    for number in 0..20 {
                        let id = writer * 1000 + number;
                        log.append(append(writer, number, [id])).await.unwrap();
                        ids.push(crate::support::event(id).id);
                    }
                    ids
                })
            })
            .collect();
        let mut sent: HashSet<_> = HashSet::new();
        for task in tasks {
            sent.extend(runtime.block_on(task).unwrap());
        }
        let events = everything(log.as_ref());
        assert_in_order(&events);
        assert_eq!(events.iter().map(|event| event.id).collect::<HashSet<_>>(), sent);
        assert_eq!(events.len(), 64 * 20);
        // Group commit: far fewer syncs than appends, on the log that has any.
        assert!(log.health().journal_syncs <= 64 * 20);
    });
}

#[test]
fn content_is_kept_erased_and_dropped() {
    on_each(|log| {
        let (one, two) = (sealed("the first"), sealed("the second"));
        let mut with = append(1, 0, [1, 2]);
        with.content = vec![one.clone(), two.clone()];
        block_on(log.append(with)).unwrap();
        let events = everything(log.as_ref());
        let locations = events[0].content.clone();
        assert_eq!(locations.len(), 2);
        assert!(events[1].content.is_empty());
        assert_eq!(locations[0].hash, one.hash());
        assert_eq!(log.read_content(&locations[0]).unwrap(), one);
        assert_eq!(log.read_content(&locations[1]).unwrap(), two);

        log.erase(&locations[0]).unwrap();
        log.erase(&locations[0]).unwrap();
        assert!(matches!(log.read_content(&locations[0]), Err(ContentError::Forgotten)));
        assert_eq!(log.read_content(&locations[1]).unwrap(), two);

        let hour = Hour::of(Timestamp::from_millis(NOON));
        assert_eq!(log.drop_content_before(hour).unwrap(), 0);
        let mut later = append(2, 0, [3]);
        later.at = Timestamp::from_millis(NOON + 3_600_000);
        later.content = vec![one.clone()];
        block_on(log.append(later)).unwrap();
        assert_eq!(log.drop_content_before(Hour::new(hour.get() + 1)).unwrap(), 1);
        assert!(matches!(log.read_content(&locations[1]), Err(ContentError::Forgotten)));
        let kept = everything(log.as_ref())[2].content[0];
        assert_eq!(log.read_content(&kept).unwrap(), one);

        let elsewhere = eventlog::ContentLocation { offset: 1 << 30, ..kept };
        assert!(matches!(log.read_content(&elsewhere), Err(ContentError::Damaged { .. })));
        assert!(log.erase(&elsewhere).is_err());
    });
}

#[test]
fn what_breaks_a_bound_is_invalid_and_harms_nobody() {
    on_each(|log| {
        let none = block_on(log.append(append(1, 0, [])));
        assert_eq!(none, Err(AppendError::Invalid(Bound::EventCount { count: 0 })));
        let many = block_on(log.append(append(1, 0, 0..1001)));
        assert_eq!(many, Err(AppendError::Invalid(Bound::EventCount { count: 1001 })));
        let mut long = append(1, 0, [1]);
        long.events[0].data = [b"{\"x\":\"", "x".repeat(40_000).as_bytes(), b"\"}"].concat().into();
        assert!(matches!(
            block_on(log.append(long)),
            Err(AppendError::Invalid(Bound::EventBytes { bytes: 40_008 }))
        ));
        let appended = block_on(log.append(append(1, 0, 0..1000))).unwrap();
        assert_eq!(appended.last_position, Position::new(1000));
        assert_in_order(&everything(log.as_ref()));
    });
}

#[test]
fn the_largest_events_come_back_page_by_page() {
    on_each(|log| {
        let mut large = append(1, 0, 0..200);
        for event in &mut large.events {
            event.data = [b"{\"x\":\"", "x".repeat(32_000).as_bytes(), b"\"}"].concat().into();
        }
        block_on(log.append(large)).unwrap();
        let page = log.read_all(Position::START, 1000).unwrap();
        assert!(!page.is_empty() && page.len() < 200, "{}", page.len());
        assert_eq!(everything(log.as_ref()).len(), 200);
        let mut read = Vec::new();
        while read.len() < 200 {
            let after = Version::new(read.len() as u64);
            let page = log.read_stream(stream(1), after, 1000).unwrap();
            assert!(!page.is_empty());
            read.extend(page);
        }
        assert_in_order(&read);
    });
}

#[test]
fn times_never_go_backwards() {
    on_each(|log| {
        let mut late = append(1, 0, [1]);
        late.at = Timestamp::from_millis(NOON + 5000);
        block_on(log.append(late)).unwrap();
        let appended = block_on(log.append(append(2, 0, [2]))).unwrap();
        assert_eq!(appended.at, Timestamp::from_millis(NOON + 5000));
    });
}

#[test]
fn a_closed_log_refuses_appends_and_still_reads() {
    on_each(|log| {
        block_on(log.append(append(1, 0, [1]))).unwrap();
        block_on(log.close()).unwrap();
        block_on(log.close()).unwrap();
        let refused = block_on(log.append(append(1, 1, [2])));
        assert!(matches!(refused, Err(AppendError::NotWritten(_))), "{refused:?}");
        assert!(!log.health().writable);
        assert_eq!(everything(log.as_ref()).len(), 1);
    });
}

#[test]
fn both_implementations_make_the_same_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, disk) = (MemoryLog::new(), open(dir.path()));
    for log in [&memory as &dyn EventLog, &disk] {
        for number in 0..30 {
            block_on(log.append(append(number % 7, number / 7, [number]))).unwrap();
        }
    }
    assert_eq!(everything(&memory), everything(&disk));
}

#[test]
fn injected_faults_do_what_they_say() {
    let log = Arc::new(MemoryLog::new());
    let written = || everything(log.as_ref()).len();
    log.inject([
        Fault::Pass,
        Fault::Lost,
        Fault::StorageFull,
        Fault::UnknownLost,
        Fault::UnknownWritten,
    ]);
    block_on(log.append(append(1, 0, [1]))).unwrap();
    let lost = block_on(log.append(append(1, 1, [2])));
    assert!(matches!(lost, Err(AppendError::NotWritten(Cause::Io(_)))));
    let full = block_on(log.append(append(1, 1, [2])));
    assert_eq!(full, Err(AppendError::NotWritten(Cause::StorageFull)));
    let unknown = block_on(log.append(append(1, 1, [2])));
    assert!(matches!(unknown, Err(AppendError::Unknown(_))));
    assert_eq!(written(), 1);
    let unknown = block_on(log.append(append(1, 1, [2])));
    assert!(matches!(unknown, Err(AppendError::Unknown(_))));
    assert_eq!(written(), 2);
    log.inject([Fault::SyncFailed]);
    assert!(block_on(log.append(append(1, 2, [3]))).is_err());
    assert!(!log.health().writable);
    let refused = block_on(log.append(append(1, 2, [3])));
    assert!(matches!(refused, Err(AppendError::NotWritten(Cause::Unwritable(_)))));
    log.reopen();
    block_on(log.append(append(1, 2, [3]))).unwrap();
    assert_eq!(written(), 3);
}

#[test]
fn a_held_answer_comes_when_it_is_released() {
    let log = Arc::new(MemoryLog::new());
    log.inject([Fault::Held]);
    let runtime = runtime();
    let waiting = Arc::clone(&log);
    let task = runtime.spawn(async move { waiting.append(append(1, 0, [1])).await });
    let mut head = log.head();
    runtime.block_on(head.wait_for(|head| *head == Position::new(1))).unwrap();
    assert!(!task.is_finished());
    log.release_held();
    assert!(runtime.block_on(task).unwrap().is_ok());
}

#[test]
fn appends_together_are_written_together() {
    on_each(|log| {
        let first = Append { content: vec![sealed("one")], ..append(1, 0, [1, 2]) };
        let second = Append { content: vec![sealed("two"), sealed("three")], ..append(2, 0, [3]) };
        let answered = block_on(log.append_all(vec![first, second, append(3, 0, [4])])).unwrap();
        let last: Vec<_> = answered.iter().map(|appended| appended.last_position.get()).collect();
        assert_eq!(last, [2, 3, 4]);
        let read = everything(&*log);
        let streams: Vec<_> = read.iter().map(|event| event.stream).collect();
        assert_eq!(streams, [stream(1), stream(1), stream(2), stream(3)]);
        let texts: Vec<_> = read
            .iter()
            .flat_map(|event| &event.content)
            .map(|location| log.read_content(location).unwrap())
            .collect();
        assert_eq!(texts.len(), 3);
        assert_eq!(*log.head().borrow(), Position::new(4));
    });
}

#[test]
fn a_conflict_of_one_is_the_conflict_of_all() {
    on_each(|log| {
        block_on(log.append(append(2, 0, [1]))).unwrap();
        let together = vec![append(1, 0, [2]), append(2, 0, [3]), append(3, 0, [4])];
        let refused = block_on(log.append_all(together));
        assert_eq!(refused, Err(AppendError::Conflict { actual: Version::new(1) }));
        assert_eq!(everything(&*log).len(), 1);
        // Nothing of it stands in the way of the next.
        block_on(log.append_all(vec![append(1, 0, [2]), append(2, 1, [3])])).unwrap();
        assert_eq!(everything(&*log).len(), 3);
    });
}

#[test]
fn appends_together_keep_within_bounds() {
    on_each(|log| {
        let invalid = |appends: Vec<Append>| match block_on(log.append_all(appends)) {
            Err(AppendError::Invalid(bound)) => bound,
            other => panic!("{other:?}"),
        };
        assert_eq!(invalid(vec![]), Bound::AppendCount { count: 0 });
        let many = (0..257).map(|number| append(number, 0, [number])).collect();
        assert_eq!(invalid(many), Bound::AppendCount { count: 257 });
        assert_eq!(invalid(vec![append(1, 0, [1]), append(1, 1, [2])]), Bound::StreamTwice);
        let events = |to| append(to, 0, 0..600);
        assert_eq!(invalid(vec![events(1), events(2)]), Bound::EventCount { count: 1200 });
        assert!(everything(&*log).is_empty());
    });
}

/// Those who append together and alone at once: each group shows whole, in one piece.
#[test]
fn groups_are_never_mixed() {
    on_each(|log| {
        let writers: Vec<_> = (0..8_u64)
            .map(|writer| {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    for round in 0..20 {
                        let to = |place| 1_000 * writer + 10 * round + place;
                        let group = (0..5).map(|place| append(to(place), 0, [to(place)]));
                        block_on(log.append_all(group.collect())).unwrap();
                        block_on(log.append(append(to(9), 0, [to(9)]))).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        let streams: Vec<_> = everything(&*log).iter().map(|event| event.stream).collect();
        assert_eq!(streams.len(), 8 * 20 * 6);
        for writer in 0..8 {
            for round in 0..20 {
                let to = |place: u64| stream(1_000 * writer + 10 * round + place);
                let at = streams.iter().position(|known| *known == to(0)).unwrap();
                for place in 0..5 {
                    assert_eq!(streams[at + usize::try_from(place).unwrap()], to(place));
                }
            }
        }
    });
}
