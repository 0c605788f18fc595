//! A message in detail.

use std::time::Duration;

use model::{Event, MessageId, StreamId};

use crate::support::{Draft, World, deferred, delivered};

#[test]
fn a_message_is_what_its_events_make_of_it() {
    let world = World::grown(31, 500);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let events = world.decoded();
    assert!(world.messages.len() > 100);
    for sent in &world.messages {
        let view = read.messages().get(sent.id).unwrap().unwrap();
        assert_eq!(view.state, sent.state);
        assert_eq!((view.id, view.app), (sent.id, sent.app));
        let own = events.iter().filter(|(event, _)| event.stream == StreamId::Message(sent.id));
        assert_eq!(own.clone().count(), view.events.len());
        for ((recorded, event), view) in own.clone().zip(&view.events) {
            assert_eq!((recorded.id, recorded.at), (view.id, view.at));
            assert_eq!(recorded.position, view.position);
            assert_eq!(*event, Event::Message(view.event.clone()));
            assert_eq!(event.kind(), view.kind);
        }
        let (first, _) = own.clone().next().unwrap();
        assert_eq!([view.head, view.body], *first.content);
        assert_eq!(view.accepted_at, first.at);
    }
    assert_eq!(read.messages().get(MessageId::from_bytes([9; 16])).unwrap(), None);
    assert_eq!(read.messages().count().unwrap(), world.messages.len() as u64);
}

#[test]
fn a_message_with_thousands_of_events_is_read_whole() {
    let mut world = World::with_app(32);
    let message = world.send(&Draft { recipients: 50, ..Draft::default() });
    for attempt in 0..60 {
        world.pass(Duration::from_mins(1));
        let last = attempt == 59;
        let outcome = if last { delivered() } else { deferred() };
        let all: Vec<_> = (0..50).map(|index| (index, outcome.clone())).collect();
        assert!(world.attempt(message, &all));
    }
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let view = read.messages().get(world.messages[message].id).unwrap().unwrap();
    assert_eq!(view.events.len(), 1 + 60 * 50);
    assert_eq!(view.state, world.messages[message].state);
    assert_eq!(read.messages().count().unwrap(), 1);
    assert_eq!(read.alarms().len().unwrap(), 0);
}
