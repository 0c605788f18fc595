//! Read models made anew beside those that serve.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use projections::{RebuildError, Rebuilding};

use crate::support::{Draft, World, assert_same, dumps, follow};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn those_that_serve_answer_all_the_time_and_what_takes_their_place_is_the_same() {
    let (mut world, place) = (World::grown(31, 1_000), dir());
    let read = world.open(place.path());
    read.start();
    let (app, done) = (world.apps[0].id, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut asked, mut last) = (0, read.position());
            while !done.load(Ordering::Acquire) {
                let position = read.position();
                assert!(position >= last, "the past after the present");
                last = position;
                let page = read
                    .logs()
                    .page(app, &projections::LogQuery { limit: 10, ..Default::default() });
                assert_eq!(page.unwrap().rows.len(), 10);
                assert!(read.stats().overall().unwrap().accepted > 0);
                assert!(read.alarms().len().is_ok() && read.health().halted.is_none());
                asked += 1;
            }
            asked
        });
        let rebuilding = scope.spawn(|| {
            for _ in 0..3 {
                read.rebuild_beside(&mut |_| {}).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        // Meanwhile the log goes on.
        while !rebuilding.is_finished() {
            world.send(&Draft::default());
            world.step();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        rebuilding.join().unwrap();
        assert!(asking.join().unwrap() > 10);
    });
    assert!(matches!(read.rebuilding(), Rebuilding::Done(_)));
    for _ in 0..100 {
        world.step();
    }
    follow(&read, world.head());
    let fresh_dir = dir();
    assert_same(&world, &read, &world.open(fresh_dir.path()), "made beside, and gone on");
    assert_eq!(names(place.path()), ["current", "made-3"]);
    let serving = dumps(&read);
    drop(read);
    let again = world.open(place.path());
    assert!(serving == dumps(&again), "what takes their place is found at the next start");
}

#[test]
fn what_a_crash_left_half_made_is_removed_and_what_served_goes_on() {
    let (world, place) = (World::grown(32, 500), dir());
    let read = world.open(place.path());
    let before = dumps(&read);
    drop(read);
    // Killed in the middle of making, and in the middle of naming.
    fs::create_dir_all(place.path().join("made-1/tables")).unwrap();
    fs::write(place.path().join("made-1/tables/db"), vec![0xaa; 4096]).unwrap();
    fs::write(place.path().join("current.new"), "made-1").unwrap();
    let read = world.open(place.path());
    assert!(before == dumps(&read));
    assert_eq!(names(place.path()), ["current.new", "tables"]);
    // Killed after naming, before what was is removed.
    read.rebuild_beside(&mut |_| {}).unwrap();
    drop(read);
    fs::create_dir_all(place.path().join("tables")).unwrap();
    let read = world.open(place.path());
    assert!(before == dumps(&read));
    assert_eq!(names(place.path()), ["current", "made-1"]);
    drop(read);
    // What is named and is not there: the record has everything.
    fs::remove_dir_all(place.path().join("made-1")).unwrap();
    assert!(before == dumps(&world.open(place.path())));
}

#[test]
fn one_at_a_time() {
    let (world, place) = (World::grown(33, 200), dir());
    let read = world.open(place.path());
    let mut refused = None;
    let other = read.clone();
    read.rebuild_beside(&mut |_| {
        refused.get_or_insert_with(|| other.rebuild_beside(&mut |_| {}));
    })
    .unwrap();
    assert!(matches!(refused, Some(Err(RebuildError::UnderWay))), "{refused:?}");
}
