//! Readers that follow while events move from memory into sled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use eventlog::{EventLog as _, Position, Version};

use crate::support::{append, assert_in_order, eventually, everything, open, runtime, stream};

#[test]
fn readers_never_miss_an_event_while_it_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()));
    let done = AtomicBool::new(false);
    let runtime = runtime();
    let (read, of_stream) = thread::scope(|scope| {
        let follow = scope.spawn(|| {
            let mut read = Vec::new();
            loop {
                // The order matters: what is announced before a read is in it.
                let last = done.load(Ordering::Acquire);
                let head = *log.head().borrow();
                let after =
                    read.last().map_or(Position::START, |e: &eventlog::Recorded| e.position);
                let page = log.read_all(after, 77).unwrap();
                assert!(after >= head || !page.is_empty(), "nothing after {after}, head {head}");
                if last && page.is_empty() {
                    return read;
                }
                read.extend(page);
            }
        });
        let follow_stream = scope.spawn(|| {
            let mut version = Version::NONE;
            loop {
                let last = done.load(Ordering::Acquire);
                // Once from the beginning of what is new, once all of it.
                let new = log.read_stream(stream(0), version, 50).unwrap();
                let all = log.read_stream(stream(0), Version::NONE, 8000).unwrap();
                let versions: Vec<u64> = all.iter().map(|event| event.version.get()).collect();
                assert_eq!(versions, (1..=all.len() as u64).collect::<Vec<_>>());
                assert!(all.len() as u64 >= version.get());
                if last && new.is_empty() {
                    return version;
                }
                version = new.last().map_or(version, |event| event.version);
            }
        });
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let log = Arc::clone(&log);
                runtime.spawn(async move {
                    let mut version = 0;
                    for number in 0..400 {
                        let append = append(writer, version, number * 4..number * 4 + 4);
                        version = log.append(append).await.unwrap().last_version.get();
                    }
                })
            })
            .collect();
        for writer in writers {
            runtime.block_on(writer).unwrap();
        }
        eventually("everything is sealed", || {
            let health = log.health();
            health.sealed == health.head
        });
        done.store(true, Ordering::Release);
        (follow.join().unwrap(), follow_stream.join().unwrap())
    });
    assert_in_order(&read);
    assert_eq!(read.len(), 8 * 400 * 4);
    assert_eq!(of_stream, Version::new(1600));
    assert_eq!(everything(log.as_ref()), read);
    assert_eq!(log.health().tail_bytes, 0);
}

/// A block that was read while it was still being filled goes on where it ended then.
#[test]
fn a_block_read_half_full_is_read_on_when_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for number in 0..12 {
        crate::support::block_on(log.append(append(number, 0, 0..10))).unwrap();
        eventually("it is sealed", || log.health().sealed == *log.head().borrow());
        // From the block as it was cached the last time into what it has now.
        let all = log.read_all(Position::START, 1000).unwrap();
        assert_eq!(all.len() as u64, number * 10 + 10);
        assert_in_order(&all);
        // Into the middle of the open block.
        let after = Position::new(number * 10 + 5);
        assert_eq!(log.read_all(after, 100).unwrap().len(), 5);
    }
}
