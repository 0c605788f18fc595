//! A power cut loses nothing that was acknowledged.
//!
//! Simulated: the log lies on an ext4 in an image file. All threads of the writing process are
//! stopped, the image is copied as it is at that moment, without what the kernel still holds back,
//! and the copy is mounted and opened.

use std::{
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use eventlog::verify;

use crate::{
    kill::Random,
    mounts::{ext4_image, mount_image, or_skip, run},
    support::{eventually, everything, open},
    writer,
};

/// `LUMORA_POWER_CUT_ROUNDS` sets how often; 10 times if not set.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let rounds: u64 =
        std::env::var("LUMORA_POWER_CUT_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let seed = 0x5eed_0002;
    println!("seed {seed:#x}, {rounds} rounds");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut image = dir.path().join("image-0");
    let made = ext4_image(&image, 768);
    if or_skip(made.and_then(|()| mount_image(&image, &dir.path().join("probe")))).is_none() {
        return;
    }
    let mut acknowledged = Vec::new();
    let (mut torn, mut rebuilt) = (0, 0);
    for round in 0..rounds {
        let mounted = mount_image(&image, &dir.path().join(format!("before-{round}"))).unwrap();
        let mut child = writer::start(&mounted.at.join("log"), round);
        let deadline = Instant::now() + Duration::from_millis(200 + random.below(2500));
        let cut = dir.path().join(format!("image-{}", round + 1));
        let acks = writer::acknowledged(
            &mut child,
            |have| have > 0 && Instant::now() >= deadline,
            |child| {
                freeze(child);
                let (from, to) = (image.to_str().unwrap(), cut.to_str().unwrap());
                run("cp", &["--sparse=always", from, to]).unwrap();
                child.kill().unwrap();
            },
        );
        acknowledged.extend(acks);
        mounted.unmount();
        std::fs::remove_file(&image).unwrap();
        image = cut;

        let mounted = mount_image(&image, &dir.path().join(format!("after-{round}"))).unwrap();
        let log = open(&mounted.at.join("log"));
        torn += u64::from(log.recovery().torn_bytes > 0);
        rebuilt += u64::from(log.recovery().rebuilt.is_some());
        let events = everything(&log);
        writer::assert_all_there(&log, &events, &acknowledged);
        drop(log);
        verify(&mounted.at.join("log"), &mut |_, _| {}).unwrap();
    }
    let count = acknowledged.len();
    println!("{count} appends acknowledged, {torn} torn frames, {rebuilt} rebuilds");
    assert!(count > 0);
}

/// Stops all threads of the process and waits until they stand.
fn freeze(child: &Child) {
    let pid = child.id().to_string();
    run("kill", &["-STOP", &pid]).unwrap();
    let tasks = Path::new("/proc").join(&pid).join("task");
    eventually("all threads stand", || {
        std::fs::read_dir(&tasks).unwrap().all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            // The state follows the name, which is in parentheses. A thread in the middle of a
            // write stands only once that is done.
            stat.rsplit(") ").next().unwrap().starts_with('T')
        })
    });
}
