//! A flipped or cut byte is found and named, or does no harm; never is anything else read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use eventlog::{
    ContentError, EventLog as _, Log, OpenError, Position, Recorded, VerifyError, verify,
};

use crate::{
    kill::Random,
    recovery::{copy, journal_files},
    support::{everything, fill, open, options},
};

fn checked(dir: &Path) -> Result<(), VerifyError> {
    verify(dir, &mut |_, _| {}).map(|_| ())
}

fn filled() -> (tempfile::TempDir, Vec<Recorded>) {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 900);
    let events = everything(&open(dir.path()));
    checked(dir.path()).unwrap();
    (dir, events)
}

#[test]
fn a_flipped_or_cut_byte_in_the_journal_is_named() {
    let (dir, events) = filled();
    let files = journal_files(dir.path());
    assert!(files.len() >= 3);
    let mut random = Random(0x5eed_0003);
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        let first: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        for _ in 0..8 {
            let at = usize::try_from(random.below(whole.len() as u64)).unwrap();
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << random.below(8);
            let mut cut = whole.clone();
            cut.remove(at);
            for bytes in [flipped, cut, whole[..at].to_vec()] {
                std::fs::write(file, bytes).unwrap();
                let found = checked(dir.path()).expect_err("damage");
                if let VerifyError::Open(OpenError::Journal { position, .. }) = &found {
                    assert!(position.get() >= first, "{found}");
                }
                assert!(found.to_string().contains("position"), "{found}");
            }
        }
        std::fs::write(file, whole).unwrap();
    }
    checked(dir.path()).unwrap();
    assert_eq!(everything(&open(dir.path())), events);
}

#[test]
fn a_missing_segment_is_named() {
    let (dir, _) = filled();
    let files = journal_files(dir.path());
    std::fs::rename(&files[1], dir.path().join("away")).unwrap();
    let found = checked(dir.path()).unwrap_err();
    assert!(found.to_string().contains("does not go on"), "{found}");
}

/// Whatever happens to sled's files: the log opens to the same events, or says what is wrong.
#[test]
fn damage_in_sleds_files_is_mended_or_named() {
    let (dir, events) = filled();
    let kept = tempfile::tempdir().unwrap();
    copy(&dir.path().join("sled"), &kept.path().join("sled"));
    let files: Vec<PathBuf> = std::fs::read_dir(kept.path().join("sled"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    let mut random = Random(0x5eed_0004);
    let (mut mended, mut named, mut harmless) = (0, 0, 0);
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        // Where nothing was written there is nothing to damage.
        let used = whole.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            continue;
        }
        for round in 0..16 {
            let at = usize::try_from(random.below(used as u64)).unwrap();
            let mut bytes = whole.clone();
            match round % 4 {
                0..=1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes[at..used.min(at + 4096)].fill(0),
                _ => bytes.truncate(at),
            }
            let sled = dir.path().join("sled");
            std::fs::remove_dir_all(&sled).unwrap();
            copy(&kept.path().join("sled"), &sled);
            std::fs::write(sled.join(file.file_name().unwrap()), bytes).unwrap();
            let log = open(dir.path());
            let read: Result<Vec<_>, _> = eventlog::export(&log, Position::START).collect();
            match read {
                Ok(read) => {
                    assert_eq!(read, events, "{} at {at}", file.display());
                    if log.recovery().rebuilt.is_some() { mended += 1 } else { harmless += 1 }
                }
                Err(error) => {
                    println!("{error}");
                    named += 1;
                }
            }
        }
    }
    println!("{mended} mended at open, {named} named when read, {harmless} without effect");
    assert!(mended > 0);
}

#[test]
fn a_damaged_checkpoint_file_is_named_and_mended() {
    let (dir, events) = filled();
    let file = dir.path().join("checkpoint");
    let whole = std::fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        for bytes in [flipped, whole[..at].to_vec()] {
            std::fs::write(&file, bytes).unwrap();
            let found = checked(dir.path()).unwrap_err();
            assert!(found.to_string().contains("checkpoint file is damaged"), "{found}");
        }
    }
    let log = open(dir.path());
    assert!(log.recovery().rebuilt.as_ref().unwrap().contains("checkpoint file is damaged"));
    assert_eq!(everything(&log), events);
    drop(log);
    checked(dir.path()).unwrap();
}

#[test]
fn damaged_content_is_named_with_its_event() {
    let (dir, events) = filled();
    let with = events.iter().filter(|event| !event.content.is_empty()).nth(3).unwrap();
    let location = with.content[0];
    let file = dir.path().join(format!("content/{:08}.content", location.segment.get()));
    let whole = std::fs::read(&file).unwrap();
    let start = usize::try_from(location.offset).unwrap();
    let mut flipped = whole.clone();
    flipped[start + 20] ^= 2;
    for bytes in [flipped, whole[..=start].to_vec()] {
        std::fs::write(&file, bytes).unwrap();
        match checked(dir.path()) {
            Err(VerifyError::Bad { position, what }) => {
                assert_eq!(position, with.position, "{what}");
                assert!(what.contains("damaged content"), "{what}");
            }
            other => panic!("{other:?}"),
        }
        let log = open(dir.path());
        let read = log.read_content(&location);
        assert!(matches!(read, Err(ContentError::Damaged { .. })), "{read:?}");
    }
    std::fs::write(&file, whole).unwrap();
    let log = Arc::new(open(dir.path()));
    log.erase(&location).unwrap();
    let report = log.verify(&mut |_, _| {}).unwrap();
    assert_eq!(report.forgotten, 1);
    assert!(report.content > 3);
}

/// Someone rewrites history in sled, checksums and all: the journal knows better.
#[test]
fn a_log_put_together_from_two_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(one.path(), 90);
    let log = open(two.path());
    crate::support::block_on(async {
        for number in 0..30 {
            let append = crate::support::append(number + 500, 0, 0..3);
            log.append(append).await.unwrap();
        }
    });
    drop(log);
    for part in ["sled", "checkpoint"] {
        crate::mounts::run("rm", &["-r", one.path().join(part).to_str().unwrap()]).unwrap();
        copy(&two.path().join(part), &one.path().join(part));
    }
    let refused = Log::open(one.path(), options()).unwrap_err();
    assert!(matches!(refused, OpenError::Chain { position, .. } if position == Position::new(90)));
    assert!(checked(one.path()).unwrap_err().to_string().contains("differ"));
}

/// The stream index holds no hash of its own: each entry is held against the event it names.
#[test]
fn an_entry_of_the_stream_index_that_is_missing_wrong_or_too_many_is_named() {
    let (dir, events) = filled();
    let index = || {
        // sled opens its files only with the segment size that they were made with.
        let config = sled::Config::new().segment_size(16 * 1024 * 1024);
        config.path(dir.path().join("sled")).open().unwrap()
    };
    let event = &events[449];
    let key = {
        let version = event.version.get().to_be_bytes();
        [b"s", event.stream.to_bytes().as_slice(), &version].concat()
    };
    let mut beyond = key.clone();
    beyond[26 - 8..].copy_from_slice(&u64::MAX.to_be_bytes());
    let named = |position: Position| position.get().to_be_bytes().to_vec();
    let (own, another) = (named(event.position), named(events[500].position));
    for (key, there, put) in
        [(&key, Some(&own), None), (&key, Some(&own), Some(&another)), (&beyond, None, Some(&own))]
    {
        let write = |value: Option<&Vec<u8>>| {
            let index = index();
            let before = match value {
                Some(value) => index.insert(key, value.as_slice()),
                None => index.remove(key),
            };
            index.flush().unwrap();
            before.unwrap().map(|value| value.to_vec())
        };
        assert_eq!(write(put).as_ref(), there);
        match checked(dir.path()) {
            Err(VerifyError::Bad { position, what }) => {
                assert_eq!(position, event.position, "{what}");
                assert!(what.contains("the stream index"), "{what}");
            }
            other => panic!("{put:?}: {other:?}"),
        }
        assert_eq!(write(there).as_ref(), put);
        checked(dir.path()).unwrap();
    }
}
