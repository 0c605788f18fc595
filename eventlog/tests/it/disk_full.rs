//! A full disk loses nothing, and the log goes on once there is space. A failing disk ends it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use eventlog::{Append, AppendError, Cause, EventLog, Log, LogOptions, Sealed, verify};

use crate::{
    mounts::{ext4_image, mount_image, mount_memory, or_skip, run},
    support::{append, assert_in_order, block_on, everything, open, options},
};

/// Takes all space that is left but `leave` bytes; gives the file.
fn take_space(dir: &Path, leave: u64) -> PathBuf {
    let path = dir.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let piece = vec![1; 64 * 1024];
    while file.write_all(&piece).is_ok() {}
    // What ext4 promised and not yet placed counts as well.
    let _full = file.sync_all();
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(leave)).unwrap();
    file.sync_all().unwrap();
    path
}

fn large(number: u64, content: usize) -> Append {
    let mut append = append(number, 0, [number]);
    append.events[0].data = [b"{\"x\":\"", "x".repeat(30_000).as_bytes(), b"\"}"].concat().into();
    if content > 0 {
        append.content = vec![Sealed::from_bytes(vec![7; content]).unwrap()];
    }
    append
}

/// Appends until the log says that there is no space; gives how many it took.
fn append_until_full(log: &dyn EventLog, from: u64, content: usize) -> u64 {
    for number in from..from + 100_000 {
        match block_on(log.append(large(number, content))) {
            Ok(_) => {}
            Err(AppendError::NotWritten(Cause::StorageFull)) => return number - from,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let made = ext4_image(&image, 192);
    let Some(mounted) = or_skip(made.and_then(|()| mount_image(&image, &dir.path().join("disk"))))
    else {
        return;
    };
    let log_dir = mounted.at.join("log");
    let log = open(&log_dir);
    let mut count = 0;
    for round in 0..3 {
        let filler = take_space(&mounted.at, 3 * 1024 * 1024);
        // First content no longer fits, then events alone do not either.
        count += append_until_full(&log, count, 300_000);
        count += append_until_full(&log, count, 0);
        assert!(log.health().writable, "round {round}");
        let refused = block_on(log.append(large(1_000_000, 0)));
        assert_eq!(refused, Err(AppendError::NotWritten(Cause::StorageFull)));
        std::fs::remove_file(filler).unwrap();
        block_on(log.append(large(count, 100_000))).unwrap();
        count += 1;
        let events = everything(&log);
        assert_in_order(&events);
        assert_eq!(events.len() as u64, count, "round {round}");
    }
    block_on(log.close()).unwrap();
    drop(log);
    let log = open(&log_dir);
    let events = everything(&log);
    assert_eq!(events.len() as u64, count);
    for location in events.iter().flat_map(|event| event.content.iter()) {
        log.read_content(location).unwrap();
    }
    drop(log);
    verify(&log_dir, &mut |_, _| {}).unwrap();
}

#[test]
fn below_the_low_water_mark_content_is_refused_and_outcomes_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { low_water_bytes: u64::MAX, ..options() }).unwrap();
    let refused = block_on(log.append(large(1, 100)));
    assert_eq!(refused, Err(AppendError::NotWritten(Cause::StorageFull)));
    block_on(log.append(large(2, 0))).unwrap();
    assert_eq!(everything(&log).len(), 1);
}

#[test]
fn a_log_opens_on_a_full_disk_by_giving_up_its_ballast() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let made = ext4_image(&image, 320);
    let Some(mounted) = or_skip(made.and_then(|()| mount_image(&image, &dir.path().join("disk"))))
    else {
        return;
    };
    let log_dir = mounted.at.join("log");
    let options = LogOptions {
        ballast_bytes: 48 * 1024 * 1024,
        low_water_bytes: 16 * 1024 * 1024,
        ..options()
    };
    let log = Log::open(&log_dir, options.clone()).unwrap();
    for number in 0..100 {
        block_on(log.append(append(number, 0, 0..20))).unwrap();
    }
    drop(log);
    let ballast = log_dir.join("ballast");
    assert!(ballast.exists());
    take_space(&mounted.at, 0);
    let log = Log::open(&log_dir, options).unwrap();
    assert!(!ballast.exists());
    assert_eq!(everything(&log).len(), 2000);
    block_on(log.append(append(500, 0, [1]))).unwrap();
}

/// The disk under the file system has less room than it says: a write is taken, and its sync fails.
#[test]
fn a_failed_sync_ends_the_log_and_what_was_acknowledged_is_there_when_it_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let Some(below) = or_skip(mount_memory(&dir.path().join("below"), 24)) else { return };
    let image = below.at.join("image");
    let made = ext4_image(&image, 512);
    let Some(mounted) = or_skip(made.and_then(|()| mount_image(&image, &dir.path().join("disk"))))
    else {
        return;
    };
    let log_dir = mounted.at.join("log");
    // One segment, so that no other sync than that of a commit fails first.
    let log = Log::open(&log_dir, LogOptions { segment_bytes: 1 << 30, ..options() }).unwrap();
    let mut acknowledged = 0;
    let failed = loop {
        match block_on(log.append(large(acknowledged, 0))) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100_000, "the disk never fails");
    };
    println!("after {acknowledged} appends: {failed}");
    assert!(
        matches!(
            failed,
            AppendError::Unknown(_) | AppendError::NotWritten(Cause::Io(_) | Cause::Unwritable(_))
        ),
        "{failed:?}"
    );
    assert!(!log.health().writable);
    let again = block_on(log.append(large(1_000_000, 0)));
    assert!(matches!(again, Err(AppendError::NotWritten(Cause::Unwritable(_)))), "{again:?}");
    drop(log);
    mounted.unmount();

    // More room below, and the file system as it stands there.
    run("mount", &["-o", "remount,size=900m", below.at.to_str().unwrap()]).unwrap();
    let mounted = mount_image(&image, &dir.path().join("again")).unwrap();
    let log = open(&mounted.at.join("log"));
    let events = everything(&log);
    assert_in_order(&events);
    assert!(events.len() as u64 >= acknowledged, "{} of {acknowledged}", events.len());
    block_on(log.append(large(2_000_000, 0))).unwrap();
}
