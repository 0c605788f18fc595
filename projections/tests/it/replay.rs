//! The state as it was.

use projections::{ReadModels, Until};

use crate::support::{World, assert_same, vault};

#[test]
fn a_replay_until_a_position_is_the_state_at_that_position() {
    let world = World::grown(41, 300);
    for position in [1, 7, world.head().get() / 2, world.head().get()] {
        let (scratch, then_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let until = Until::Position(eventlog::Position::new(position));
        let replayed =
            ReadModels::replay(scratch.path(), world.dyn_log(), vault(), until, &mut |_| {});
        let replayed = replayed.unwrap();
        let then = ReadModels::open(then_dir.path(), world.prefix(position), vault()).unwrap();
        assert_same(&world, &replayed, &then, &format!("position {position}"));
        assert_eq!(replayed.summary().unwrap(), then.summary().unwrap());
        assert_eq!(replayed.summary().unwrap()["position"], position);
    }
}

#[test]
fn a_replay_until_a_time_takes_in_what_happened_by_then() {
    let world = World::grown(42, 200);
    let events = world.events();
    let middle = events[events.len() / 2].at;
    let last = events.iter().filter(|event| event.at <= middle).count() as u64;
    let scratch = tempfile::tempdir().unwrap();
    let until = Until::Time(middle);
    let replayed =
        ReadModels::replay(scratch.path(), world.dyn_log(), vault(), until, &mut |_| {}).unwrap();
    assert_eq!(replayed.position().get(), last);
    assert!(last < world.head().get());
}

#[test]
fn a_summary_counts_what_is_there() {
    let world = World::grown(43, 300);
    let dir = tempfile::tempdir().unwrap();
    let summary = world.open(dir.path()).summary().unwrap();
    assert_eq!(summary["tenants"], world.tenants.len());
    assert_eq!(summary["apps"], world.apps.len());
    assert_eq!(summary["domains"], world.domains.len());
    assert_eq!(summary["messages"], world.messages.len());
    let recipients: usize = world.messages.iter().map(|sent| sent.state.recipients().len()).sum();
    assert_eq!(summary["recipients"]["accepted"], recipients);
    assert_eq!(summary["digests"].as_object().unwrap().len(), ReadModels::names().len());
}
