//! The state as it was.

use std::sync::Arc;

use projections::{KeyView, LastUse, Past, ReadModels, Until};

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

/// What is folded of one stream is what the read models of that time held.
#[test]
fn a_look_back_shows_what_the_read_models_showed() {
    let world = World::grown(44, 400);
    let (log, mut looked) = (world.dyn_log(), 0);
    let live_dir = tempfile::tempdir().unwrap();
    let live = world.open(live_dir.path());
    let events = world.events();
    // The last event of its moment: all of that moment is taken in.
    let ends = events.windows(2).filter(|pair| pair[0].at < pair[1].at).map(|pair| &pair[0]);
    for end in ends.step_by(60) {
        let dir = tempfile::tempdir().unwrap();
        let until = Until::Position(end.position);
        let then = ReadModels::replay(dir.path(), world.dyn_log(), vault(), until, &mut |_| {});
        let then = then.unwrap();
        for tenant in &world.tenants {
            let past = Past::of_tenant(log.as_ref(), &vault(), *tenant, end.at).unwrap();
            let apps = then.policies().apps_of(*tenant);
            assert_eq!(past.policies().apps_of(*tenant), apps);
            for app in apps {
                // When keys were used stands in messages, not with the tenant.
                let unused = |keys: Vec<Arc<KeyView>>| -> Vec<KeyView> {
                    let unused = |key: &Arc<_>| KeyView {
                        last_use: LastUse::default(),
                        ..KeyView::clone(key)
                    };
                    keys.iter().map(unused).collect()
                };
                let keys = then.keys().of_app(app.id);
                assert_eq!(unused(past.keys().of_app(app.id)), unused(keys));
                looked += 1;
            }
        }
        for view in then.policies().domains() {
            let past = Past::of_domain(log.as_ref(), &vault(), view.id, end.at).unwrap();
            assert_eq!(past.policies().domain(view.id), Some(view));
            looked += 1;
        }
        for sent in &world.messages {
            let seen = then.messages().get(sent.id).unwrap();
            assert_eq!(live.messages().get_at(sent.id, end.at).unwrap(), seen);
        }
    }
    assert!(looked > 20, "{looked}");
}
