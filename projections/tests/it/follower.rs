//! Following the log.

use std::{sync::Arc, time::Duration};

use eventlog::{Append, EventLog, NewEvent, Position, Version};
use model::{EventId, MessageId, StreamId};
use projections::{Halt, OpenError, ReadModels};

use crate::support::{Draft, World, assert_same, follow, now, vault};

const MINUTE: Duration = Duration::from_mins(1);

/// The result of a future that may wait.
pub(crate) fn waits<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future)
}

fn append_raw(world: &World, stream: StreamId, data: &[u8]) {
    let event = NewEvent { id: EventId::from_bytes([1; 16]), data: data.into() };
    let append = Append {
        stream,
        expected: Version::NONE,
        at: world.now,
        events: vec![event],
        content: Vec::new(),
    };
    now(world.log.append(append)).unwrap();
}

#[test]
fn who_waits_reads_what_was_written() {
    let mut world = World::with_app(1);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    assert_eq!(read.position(), world.head());
    read.start();
    read.start();
    for _ in 0..50 {
        let message = world.send(&Draft::default());
        assert!(waits(read.caught_up(world.head(), MINUTE)));
        assert!(read.messages().get(world.messages[message].id).unwrap().is_some());
    }
    // What does not come is not waited for longer than asked.
    assert!(!waits(read.caught_up(world.head().next(), Duration::from_millis(1))));
}

#[test]
fn stopped_it_stands_still_and_started_again_it_goes_on() {
    let mut world = World::with_app(2);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    follow(&read, world.head());
    read.stop();
    read.stop();
    let before = read.position();
    let message = world.send(&Draft::default());
    assert_eq!(read.position(), before);
    assert_eq!(read.health().head, world.head());
    read.start();
    follow(&read, world.head());
    assert!(read.messages().get(world.messages[message].id).unwrap().is_some());
    let fresh_dir = tempfile::tempdir().unwrap();
    assert_same(&world, &read, &world.open(fresh_dir.path()), "stopped and started");
}

#[test]
fn the_last_handle_ends_the_thread_and_frees_the_directory() {
    let world = World::with_app(3);
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let read = world.open(dir.path());
        let other = read.clone();
        read.start();
        drop(read);
        assert_eq!(other.position(), world.head());
    }
    // The log is let go as well: only the world holds it.
    assert_eq!(Arc::strong_count(&world.log), 1);
}

#[test]
fn a_directory_in_use_is_refused_not_deleted() {
    let world = World::grown(4, 50);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let error = ReadModels::open(dir.path(), world.dyn_log(), vault()).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    read.stop();
    drop(read);
    assert_eq!(world.open(dir.path()).position(), world.head());
}

#[test]
fn an_event_that_cannot_be_read_stops_everything_before_it() {
    let unreadable: [(&[u8], &str); 4] = [
        (br#"{"type":"message.teleported","v":1}"#, "message.teleported"),
        (br#"{"type":"message.accepted","v":2}"#, "version 2"),
        (br#"{"type":"message.canceled","v":1}"#, "recipient"),
        (br#"{"type":"message.canceled","v":1,"recipient":0}"#, "never accepted"),
    ];
    for (data, word) in unreadable {
        let mut world = World::with_app(5);
        let dir = tempfile::tempdir().unwrap();
        let read = world.open(dir.path());
        read.start();
        follow(&read, world.head());
        read.stop();
        let message = world.send(&Draft::default());
        let good = world.head();
        append_raw(&world, StreamId::Message(MessageId::from_bytes([3; 16])), data);
        let later = world.send(&Draft::default());
        read.start();

        // Told at once, not after a minute; all before it is there, and nothing after it.
        assert!(!waits(read.caught_up(world.head(), MINUTE)));
        let health = read.health();
        assert_eq!(health.position, good, "{word}");
        let halt = health.halted.unwrap();
        assert!(halt.to_string().contains(word), "{halt}");
        assert!(halt.to_string().contains(&format!("position {}", good.next())), "{halt}");
        assert!(read.messages().get(world.messages[message].id).unwrap().is_some());
        assert!(read.messages().get(world.messages[later].id).unwrap().is_none());
        assert!(waits(read.caught_up(good, MINUTE)));
        drop(read);

        // Nor does it open again as if nothing were.
        let opened = ReadModels::open(dir.path(), world.dyn_log(), vault());
        let Err(OpenError::Halted(Halt::Undecodable { .. } | Halt::Impossible { .. })) = opened
        else {
            panic!("{word}: {opened:?}")
        };
    }
}

#[test]
fn a_message_without_content_beside_it_is_no_message() {
    let mut world = World::with_app(6);
    let message = world.send(&Draft::default());
    let id = world.messages[message].id;
    let accepted = world.log.read_stream(StreamId::Message(id), Version::NONE, 1).unwrap();
    append_raw(&world, StreamId::Message(MessageId::from_bytes([3; 16])), &accepted[0].data);
    let dir = tempfile::tempdir().unwrap();
    let error = ReadModels::open(dir.path(), world.dyn_log(), vault()).unwrap_err();
    assert!(error.to_string().contains("no content"), "{error}");
    assert_ne!(world.head(), Position::START);
}
