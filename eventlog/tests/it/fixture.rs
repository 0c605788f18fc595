//! A log that was written in November 2026 still opens.
//!
//! `tests/fixtures/log-2026-11` was made by [`make`]:
//! `LUMORA_MAKE_FIXTURE=<new directory> cargo test -p eventlog --test it fixture::make`
//! and is never made anew: every later version must read it. A new format gets a fixture of its
//! own beside it.

use std::path::{Path, PathBuf};

use eventlog::{ContentError, EventLog as _, Purpose, rebuild, verify};

use crate::{
    recovery::copy,
    support::{assert_in_order, event, everything, fill, open, options, stream, vault},
};

const EVENTS: u64 = 300;

/// Not a test: makes the fixture, where the variable says so.
#[test]
fn make() {
    let Some(dir) = std::env::var_os("LUMORA_MAKE_FIXTURE") else { return };
    let dir = PathBuf::from(dir);
    fill(&dir, EVENTS);
    let log = open(&dir);
    let first = everything(&log)[0].content[0];
    log.erase(&first).unwrap();
    drop(log);
    // 16 MiB, nearly all zeros.
    let db = dir.join("sled/db");
    let compressed = zstd::bulk::compress(&std::fs::read(&db).unwrap(), 19).unwrap();
    std::fs::write(dir.join("sled/db.zst"), compressed).unwrap();
    std::fs::remove_file(db).unwrap();
    std::fs::remove_file(dir.join("lock")).unwrap();
}

fn fixture() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-2026-11"), &log);
    let compressed = log.join("sled/db.zst");
    let db = zstd::bulk::decompress(&std::fs::read(&compressed).unwrap(), 1 << 25).unwrap();
    std::fs::write(log.join("sled/db"), db).unwrap();
    std::fs::remove_file(compressed).unwrap();
    (dir, log)
}

fn check(dir: &Path) {
    let log = open(dir);
    assert_eq!(log.recovery(), &eventlog::Recovery::default());
    let events = everything(&log);
    assert_eq!(events.len() as u64, EVENTS);
    assert_in_order(&events);
    for (number, recorded) in (0..).zip(&events) {
        assert_eq!(recorded.stream, stream(number / 3 % 50));
        assert_eq!((recorded.id, &*recorded.data), (event(number).id, &*event(number).data));
    }
    assert_eq!(
        events.last().unwrap().hash.to_string(),
        "ff72cf138a56fbfe292e1cd434329fd519c97a30378797442fa64aba44149bd7"
    );
    // Made when it was opened: the log was written before there was a tree.
    let head = log.tree_head(log.tree_size()).unwrap().unwrap();
    assert_eq!(head.root.to_string(), "TTWIVLeWVnKlHLJ81g0J4XA8wltNJ0yWD9uBsWBCKmY=");
    let locations: Vec<_> = events.iter().flat_map(|event| event.content.iter()).collect();
    assert_eq!(locations.len(), 3);
    assert!(matches!(log.read_content(locations[0]), Err(ContentError::Forgotten)));
    for (location, number) in locations[1..].iter().zip([40, 80]) {
        let sealed = log.read_content(location).unwrap();
        let text = vault().open(Purpose::MessageBody, b"test", &sealed).unwrap();
        assert_eq!(text, format!("content of {number}").into_bytes());
    }
}

#[test]
fn an_old_log_still_opens() {
    let (_kept, dir) = fixture();
    verify(&dir, &mut |_, _| {}).unwrap();
    check(&dir);
}

#[test]
fn an_old_journal_still_gives_the_whole_log() {
    let (_kept, dir) = fixture();
    rebuild(&dir, &options(), &mut |_| {}).unwrap();
    check(&dir);
}
