//! A full disk below the read models.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::{
    follower::waits,
    mounts::{mount_memory, or_skip},
    support::{Draft, World, assert_same, follow},
};

const DISK_MIB: u64 = 160;
/// Less than is wanted before anything is written.
const LEFT: u64 = 8 * 1024 * 1024;
/// More rows than a table keeps in memory before it must be written.
const MESSAGES: usize = 13_000;
/// Several looks for space.
const A_WHILE: Duration = Duration::from_secs(1);

/// A file that takes all space but little.
fn take_space(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let file = File::create(&path).unwrap();
    let stat = statvfs(disk).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    fallocate(&file, FallocateFlags::empty(), 0, free.checked_sub(LEFT).unwrap()).unwrap();
    path
}

#[test]
fn on_a_full_disk_they_wait_are_read_and_go_on_once_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = or_skip(mount_memory(&dir.path().join("disk"), DISK_MIB)) else { return };
    let mut world = World::with_app(11);
    let early = world.send(&Draft::default());
    let read = world.open(&disk.at.join("read"));
    read.start();
    follow(&read, world.head());
    let filler = take_space(&disk.at);
    for _ in 0..MESSAGES {
        world.send(&Draft::default());
    }
    // As far as memory may go, they follow; then they stand, and nothing is wrong with them.
    assert!(!waits(read.caught_up(world.head(), A_WHILE)));
    let stands = read.position();
    assert!(!waits(read.caught_up(world.head(), A_WHILE)));
    let health = read.health();
    assert_eq!(health.position, stands, "they go on without space");
    assert!(health.halted.is_none(), "{:?}", health.halted);
    assert!(read.messages().get(world.messages[early].id).unwrap().is_some());
    // A stop does not wait for space either, and what was not written is folded again.
    read.stop();
    drop(read);
    std::fs::remove_file(filler).unwrap();
    let read = world.open(&disk.at.join("read"));
    read.start();
    follow(&read, world.head());
    let fresh = tempfile::tempdir().unwrap();
    assert_same(&world, &read, &world.open(fresh.path()), "stopped on a full disk");

    // And without a stop they go on by themselves.
    let filler = take_space(&disk.at);
    for _ in 0..MESSAGES {
        world.send(&Draft::default());
    }
    assert!(!waits(read.caught_up(world.head(), A_WHILE)));
    std::fs::remove_file(filler).unwrap();
    follow(&read, world.head());
    let fresh = tempfile::tempdir().unwrap();
    assert_same(&world, &read, &world.open(fresh.path()), "space again");
}
