//! Deleting read models loses nothing.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use eventlog::{Batch, Position, Scan, Store};
use projections::{ReadModels, event_kinds};
use tempfile::TempDir;

use crate::support::{
    Draft, World, assert_same, bounced, deferred, delivered, dumps, follow, tables, vault,
};

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Puts the rows of `table` as they are in `from` into `to`.
fn transplant(from: &Store, to: &Store, table: &str) {
    let (from, to) = (from.table(table).unwrap(), to.table(table).unwrap());
    to.clear().unwrap();
    let mut batch = Batch::new();
    for row in from.scan(Scan::all()) {
        let (key, value) = row.unwrap();
        batch.put(key, value);
        if batch.len() == 1000 {
            to.apply(std::mem::take(&mut batch)).unwrap();
        }
    }
    to.apply(batch).unwrap();
}

#[test]
fn made_anew_a_read_model_has_the_same_bytes() {
    let mut kinds = BTreeSet::new();
    for seed in 1..=4 {
        let live_dir = dir();
        let mut world = World::with_app(seed);
        let live = world.open(live_dir.path());
        live.start();
        for step in 0..700 {
            world.step();
            if step % 20 == 0 {
                world.beside();
                world.passwords(step);
            }
            if step % 97 == 0 {
                follow(&live, world.head());
            }
            // Written down in between, at places that differ.
            if step % 131 == 17 * seed as usize {
                live.stop();
                live.start();
            }
        }
        follow(&live, world.head());
        kinds.extend(world.decoded().iter().map(|(_, event)| event.kind()));

        let fresh_dir = dir();
        let fresh = world.open(fresh_dir.path());
        assert_same(&world, &live, &fresh, &format!("seed {seed}"));
        assert!(dumps(&fresh).values().all(|rows| rows.len() > 60));
    }
    // A type that is new fails here until the histories have it.
    let all: BTreeSet<_> = event_kinds().iter().copied().collect();
    let missing: Vec<_> = all.difference(&kinds).collect();
    assert!(missing.is_empty(), "of these there was no event: {missing:?}");
}

/// The register of types is whole: each that was ever shipped is in it, as the model's golden files
/// tell, which have every type that the model knows.
#[test]
fn every_type_that_was_shipped_is_registered() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden");
    let names = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().file_name());
    let shipped: BTreeSet<String> = names
        .map(|name| {
            let name = name.into_string().unwrap();
            let name = name.trim_end_matches(".json");
            name.split('+').next().unwrap().to_owned()
        })
        .collect();
    let registered = event_kinds().iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(shipped, registered);
}

#[test]
fn far_behind_it_reads_ahead_and_makes_the_same() {
    let mut world = World::with_app(21);
    let live_dir = dir();
    let live = world.open(live_dir.path());
    live.start();
    for round in 0..260 {
        let tags = vec![["welcome", "receipt"][round % 2]];
        let message = world.send(&Draft { recipients: 50, tags, ..Draft::default() });
        let all: Vec<_> = (0..50)
            .map(|index| (index, [delivered(), deferred(), bounced()][round % 3].clone()))
            .collect();
        world.attempt(message, &all);
        world.pass(std::time::Duration::from_mins(6));
        world.attempt(message, &all);
        // It is never far behind.
        follow(&live, world.head());
    }
    assert!(world.head() > Position::new(16_384), "{}", world.head());
    let fresh_dir = dir();
    assert_same(&world, &live, &world.open(fresh_dir.path()), "read ahead");
}

#[test]
fn one_table_or_all_can_be_deleted() {
    let (world, place) = (World::grown(11, 400), dir());
    let fresh_dir = dir();
    let fresh = world.open(fresh_dir.path());
    drop(world.open(place.path()));
    for name in ReadModels::names() {
        let store = tables(place.path());
        store.table(name).unwrap().clear().unwrap();
        drop(store);
        assert_same(&world, &world.open(place.path()), &fresh, name);
        let rebuilt =
            ReadModels::rebuild(place.path(), world.dyn_log(), vault(), Some(name), &mut |_| {});
        assert_same(&world, &rebuilt.unwrap(), &fresh, name);
    }
    fs::remove_dir_all(place.path()).unwrap();
    assert_same(&world, &world.open(place.path()), &fresh, "all");
    let mut told = Vec::new();
    let rebuilt =
        ReadModels::rebuild(place.path(), world.dyn_log(), vault(), None, &mut |progress| {
            told.push(progress.position);
            assert_eq!(progress.head, world.head());
        });
    assert_same(&world, &rebuilt.unwrap(), &fresh, "all");
    assert_eq!(told.last(), Some(&world.head()));
    let unknown =
        ReadModels::rebuild(place.path(), world.dyn_log(), vault(), Some("log"), &mut |_| {});
    assert!(unknown.unwrap_err().to_string().contains("messages"));
}

#[test]
fn read_models_ahead_of_the_log_are_made_anew() {
    let (world, place) = (World::grown(12, 300), dir());
    drop(world.open(place.path()));
    let shorter = world.prefix(world.head().get() / 2);
    let read = ReadModels::open(place.path(), Arc::clone(&shorter), vault()).unwrap();
    assert_eq!(read.position(), *shorter.head().borrow());
    let fresh_dir = dir();
    let fresh = ReadModels::open(fresh_dir.path(), shorter, vault()).unwrap();
    assert_same(&world, &read, &fresh, "behind");
}

#[test]
fn read_models_of_another_history_are_made_anew() {
    let (one, other, place) = (World::grown(13, 100), World::grown(14, 150), dir());
    // Of the same length, so that the position alone tells nothing.
    let length = one.head().min(other.head()).get();
    drop(ReadModels::open(place.path(), one.prefix(length), vault()).unwrap());
    let read = ReadModels::open(place.path(), other.prefix(length), vault()).unwrap();
    let fresh_dir = dir();
    let fresh = ReadModels::open(fresh_dir.path(), other.prefix(length), vault()).unwrap();
    assert_same(&other, &read, &fresh, "another history");
}

#[test]
fn a_crash_between_the_batches_of_a_round_changes_nothing() {
    let world = World::grown(15, 400);
    let (early_dir, late_dir, fresh_dir) = (dir(), dir(), dir());
    drop(ReadModels::open(early_dir.path(), world.prefix(300), vault()).unwrap());
    drop(ReadModels::open(late_dir.path(), world.prefix(500), vault()).unwrap());
    let fresh = world.open(fresh_dir.path());
    let names = ReadModels::names();
    // The batches up to each one were written, those after it were not.
    for written in 1..names.len() {
        let torn_dir = dir();
        copy(early_dir.path(), torn_dir.path());
        let late = tables(late_dir.path());
        let torn = tables(torn_dir.path());
        for table in &names[..written] {
            transplant(&late, &torn, table);
        }
        drop((late, torn));
        assert_same(&world, &world.open(torn_dir.path()), &fresh, names[written]);
    }
}

#[test]
fn whatever_a_crash_leaves_on_the_disk_is_mended() {
    let (mut world, place) = (World::with_app(16), dir());
    let read = world.open(place.path());
    read.start();
    let mut copies = Vec::new();
    for round in 0..6 {
        for _ in 0..80 {
            world.step();
        }
        // Not waited for: the copy is taken while batches are written, and nothing is flushed.
        let taken = dir();
        copy(place.path(), taken.path());
        copies.push((round, taken));
    }
    follow(&read, world.head());
    for (round, taken) in copies {
        assert_same(&world, &world.open(taken.path()), &read, &format!("copy {round}"));
    }
}

#[test]
fn a_table_of_another_version_is_made_anew() {
    let (world, place) = (World::grown(17, 200), dir());
    let before = dumps(&world.open(place.path()));
    let store = tables(place.path());
    let table = store.table("stats").unwrap();
    let mut checkpoint = table.get([0]).unwrap().unwrap();
    checkpoint[0] += 1;
    let mut batch = Batch::new();
    batch.put([0], checkpoint);
    batch.put(b"\x01old rows of another form", b"");
    table.apply(batch).unwrap();
    drop((store, table));
    assert_eq!(dumps(&world.open(place.path())), before);
}

#[test]
fn a_damaged_row_condemns_the_tables_and_the_next_start_mends_them() {
    let (mut world, place) = (World::with_app(18), dir());
    let message = world.send(&Draft::default());
    drop(world.open(place.path()));
    let store = tables(place.path());
    let table = store.table("alarms").unwrap();
    for row in table.scan(Scan::prefix([2])) {
        let mut batch = Batch::new();
        batch.put(row.unwrap().0, b"short");
        table.apply(batch).unwrap();
    }
    drop((store, table));

    let read = world.open(place.path());
    read.start();
    world.attempt(message, &[(0, delivered())]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let minute = std::time::Duration::from_mins(1);
    assert!(!runtime.block_on(read.caught_up(world.head(), minute)));
    let halted = read.health().halted.unwrap().to_string();
    assert!(halted.contains("alarms"), "{halted}");
    drop(read);

    let fresh_dir = dir();
    assert_same(&world, &world.open(place.path()), &world.open(fresh_dir.path()), "mended");
}

#[test]
fn damage_met_while_opening_is_mended_at_once() {
    let (world, place) = (World::grown(19, 200), dir());
    drop(world.open(place.path()));
    let store = tables(place.path());
    let mut batch = Batch::new();
    batch.put([1, 2, 3], b"no row of ours");
    store.table("keys").unwrap().apply(batch).unwrap();
    drop(store);
    let fresh_dir = dir();
    assert_same(&world, &world.open(place.path()), &world.open(fresh_dir.path()), "mended");
    // Files that sled does not open at all.
    fs::remove_dir_all(place.path().join("tables")).unwrap();
    fs::create_dir_all(place.path().join("tables")).unwrap();
    fs::write(place.path().join("tables/conf"), b"nonsense").unwrap();
    fs::write(place.path().join("tables/db"), vec![0xaa; 4096]).unwrap();
    let again_dir = dir();
    assert_same(&world, &world.open(place.path()), &world.open(again_dir.path()), "no sled files");
}

#[test]
fn an_empty_log_has_empty_read_models() {
    let (world, place) = (World::new(20), dir());
    let read = world.open(place.path());
    assert_eq!(read.position(), Position::START);
    assert!(read.alarms().is_empty().unwrap());
    assert!(read.keys().is_empty());
}
