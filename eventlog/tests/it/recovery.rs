//! Opening after anything that can have happened.

use std::{
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use eventlog::{EventLog as _, KeepJournal, Log, LogOptions, OpenError, Position, rebuild, verify};

use crate::{
    support::{append, block_on, eventually, everything, fill, open, options},
    writer::open_in_another_process,
};

pub(crate) fn journal_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    files.sort();
    files
}

/// The log as if nothing had been sealed yet: the journal alone.
fn forget_sealed(dir: &Path) {
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    std::fs::remove_file(dir.join("checkpoint")).unwrap();
}

/// A log of one segment: 20 small frames and a last one of `last` events, of two streams that were
/// appended to together.
fn one_segment(dir: &Path, last: u64) -> (PathBuf, usize, usize) {
    let options = LogOptions { segment_bytes: 1 << 30, ..options() };
    let log = Log::open(dir, options).unwrap();
    block_on(async {
        for number in 0..20 {
            log.append(append(number, 0, [number])).await.unwrap();
        }
    });
    let together = vec![append(99, 0, 0..last - 1), append(100, 0, [last - 1])];
    block_on(log.append_all(together)).unwrap();
    drop(log);
    forget_sealed(dir);
    let file = journal_files(dir).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let mark = [0xf7, 0xfe, 0x4c, 0x0a];
    let last_frame = bytes.windows(4).rposition(|window| window == mark).unwrap();
    (file, last_frame, bytes.len())
}

#[test]
fn a_torn_last_frame_is_cut_off_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (file, start, end) = one_segment(dir.path(), 3);
    let whole = std::fs::read(&file).unwrap();
    for cut in start..end {
        // Once the file ends there, once zeros that were written ahead follow.
        for zeros in [0, 5000] {
            // Of a frame whose very last bytes alone are missing, no write can be the cause: disks
            // write sectors. That is damage, below.
            if zeros > 0 && cut >= end - 8 {
                continue;
            }
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            std::fs::write(&file, &bytes).unwrap();
            if dir.path().join("sled").exists() {
                forget_sealed(dir.path());
            }
            let log = open(dir.path());
            assert_eq!(log.recovery().torn_bytes > 0, cut > start, "cut at {cut}");
            assert_eq!(everything(&log).len(), 20, "cut at {cut}");
            let appended = block_on(log.append(append(98, 0, [1]))).unwrap();
            assert_eq!(appended.last_position, Position::new(21));
            if cut % 16 == 0 {
                drop(log);
                assert_eq!(everything(&open(dir.path())).len(), 21, "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_last_frame_with_a_sector_missing_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (file, start, end) = one_segment(dir.path(), 100);
    let hole = (start / 512 + 4) * 512;
    assert!(hole + 512 < end);
    let handle = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    handle.write_all_at(&[0; 512], hole as u64).unwrap();
    let log = open(dir.path());
    assert!(log.recovery().torn_bytes > 0);
    assert_eq!(everything(&log).len(), 20);
}

#[test]
fn a_last_frame_that_is_whole_and_wrong_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (file, start, end) = one_segment(dir.path(), 3);
    let whole = std::fs::read(&file).unwrap();
    for at in start..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        match Log::open(dir.path(), options()) {
            Err(OpenError::Journal { position, offset, .. }) => {
                assert_eq!((position, offset), (Position::new(21), start as u64), "byte {at}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(everything(&open(dir.path())).len(), 23);
}

#[test]
fn a_journal_that_lost_what_was_sealed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 60);
    let file = journal_files(dir.path()).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let refused = Log::open(dir.path(), options()).unwrap_err();
    assert!(matches!(refused, OpenError::Journal { .. }), "{refused}");
    assert!(refused.to_string().contains("once held events up to 60"), "{refused}");
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert!(Log::open(dir.path(), options()).is_err());
}

#[test]
fn sleds_files_are_made_anew_when_they_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 600);
    let before = everything(&open(dir.path()));
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let log = open(dir.path());
    assert!(log.recovery().rebuilt.as_ref().unwrap().contains("held them up to 600"));
    assert_eq!(everything(&log), before);
    drop(log);
    verify(dir.path(), &mut |_, _| {}).unwrap();
}

#[test]
fn sleds_files_that_fell_behind_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 300);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("sled"), &old.path().join("sled"));
    let log = open(dir.path());
    block_on(log.append(append(7_000, 0, [1]))).unwrap();
    drop(log);
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(&old.path().join("sled"), &dir.path().join("sled"));
    let log = open(dir.path());
    assert!(log.recovery().rebuilt.is_some());
    assert_eq!(everything(&log).len(), 301);
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    crate::mounts::run("cp", &["-a", "--sparse=always", from, to]).unwrap();
}

#[test]
fn a_rebuild_gives_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 900);
    let before = everything(&open(dir.path()));
    let mut last = Position::START;
    let made = rebuild(dir.path(), &options(), &mut |reached| last = reached).unwrap();
    assert_eq!((made.events, last), (900, Position::new(900)));
    assert!(!dir.path().join("sled.aside").exists());
    assert_eq!(everything(&open(dir.path())), before);
    verify(dir.path(), &mut |_, _| {}).unwrap();
}

/// A crash at any moment of a rebuild: those that were set aside are still the only whole ones.
#[test]
fn a_rebuild_that_was_broken_off_is_begun_anew_from_what_was_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_short_journal(dir.path());
    let before = everything(&Log::open(dir.path(), options.clone()).unwrap());
    let sled = dir.path().join("sled");
    for begun in [false, true] {
        std::fs::rename(&sled, dir.path().join("sled.aside")).unwrap();
        if begun {
            // Files of the new ones, and nothing in them yet.
            let config = sled::Config::new().segment_size(16 * 1024 * 1024).path(&sled);
            config.open().unwrap().flush().unwrap();
        }
        let log = Log::open(dir.path(), options.clone()).unwrap();
        assert!(log.recovery().rebuilt.is_some());
        assert_eq!(everything(&log), before);
        drop(log);
        assert!(!dir.path().join("sled.aside").exists());
        verify(dir.path(), &mut |_, _| {}).unwrap();
    }
}

/// A log whose journal no longer reaches back to the first event.
fn with_short_journal(dir: &Path) -> LogOptions {
    let keep_journal =
        KeepJournal::Within { age: std::time::Duration::from_hours(1), bytes: 64 * 1024 };
    let options = LogOptions { keep_journal, segment_bytes: 16 * 1024, ..options() };
    let log = Log::open(dir, options.clone()).unwrap();
    block_on(async {
        for number in 0..150 {
            log.append(append(number, 0, number * 10..number * 10 + 10)).await.unwrap();
        }
    });
    let first = journal_files(dir)[0].clone();
    // What is sealed and durable goes at the next round of the sealer.
    let mut number = 1000;
    eventually("the first segment goes", || {
        number += 1;
        block_on(log.append(append(number, 0, [number]))).unwrap();
        !first.exists()
    });
    drop(log);
    options
}

#[test]
fn a_short_journal_rebuilds_with_what_sled_still_has() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_short_journal(dir.path());
    let before = everything(&Log::open(dir.path(), options.clone()).unwrap());
    rebuild(dir.path(), &options, &mut |_| {}).unwrap();
    let log = Log::open(dir.path(), options).unwrap();
    assert_eq!(everything(&log), before);
    assert!(log.stats().unwrap().journal_from > Position::new(1));
    drop(log);
    let report = verify(dir.path(), &mut |_, _| {}).unwrap();
    assert_eq!(report.head.get(), before.len() as u64);
    assert!(report.journal_from > Position::new(1));
}

#[test]
fn a_short_journal_without_sled_is_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_short_journal(dir.path());
    let kept = tempfile::tempdir().unwrap();
    copy(&dir.path().join("sled"), &kept.path().join("sled"));
    let db = dir.path().join("sled/db");
    let len = std::fs::metadata(&db).unwrap().len();
    std::fs::write(&db, vec![0; usize::try_from(len).unwrap()]).unwrap();
    for _ in 0..2 {
        match Log::open(dir.path(), options.clone()) {
            Err(OpenError::JournalTooShort { journal_from, .. }) => {
                assert!(journal_from > Position::new(1));
            }
            other => panic!("{other:?}"),
        }
        assert!(db.exists());
    }
    // The backup of sled's files is all it takes.
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(&kept.path().join("sled"), &dir.path().join("sled"));
    Log::open(dir.path(), options).unwrap();
}

#[test]
fn a_second_process_is_told_that_the_log_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let said = open_in_another_process(dir.path());
    assert!(said.contains("refused: ") && said.contains("in use by another process"), "{said}");
    assert!(matches!(
        verify(dir.path(), &mut |_, _| {}).unwrap_err(),
        eventlog::VerifyError::Open(OpenError::Locked { .. })
    ));
    drop(log);
    let said = open_in_another_process(dir.path());
    assert!(said.contains("opened"), "{said}");
}

#[test]
fn half_written_files_of_a_crash_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 60);
    std::fs::write(dir.path().join("sled/snap.0000000000000000.generating"), b"half").unwrap();
    std::fs::write(dir.path().join("journal/00000000000000000061.new"), b"half").unwrap();
    std::fs::write(dir.path().join("checkpoint.new"), b"half").unwrap();
    let log = open(dir.path());
    assert_eq!(log.recovery(), &eventlog::Recovery::default());
    assert_eq!(everything(&log).len(), 60);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 3);
    let file = journal_files(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..64]);
    bytes[64..68].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let refused = Log::open(dir.path(), options()).unwrap_err();
    assert!(matches!(refused, OpenError::Format { format: 2, .. }), "{refused}");
}
