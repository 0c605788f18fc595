//! Backups of a log in use, what is forgotten in them, what breaks them off, and putting them back.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use eventlog::{
    BackedUp, BackupError, BackupInfo, BackupPlan, ContentError, ContentLocation, EventLog,
    InstanceKey, KeepJournal, Log, LogOptions, Notary, OpenError, Position, Recorded, RestoreError,
    Restoring, SignedCheckpoint, VerifyError, back_up, backup_piece, check_backup,
};
use model::Timestamp;

use crate::support::{NOON, append, block_on, eventually, everything, options, sealed};

/// A log in use, whose journal does not reach back to its beginning.
struct Source {
    dir: tempfile::TempDir,
    log: Arc<dyn EventLog>,
    notary: Notary,
    appended: u64,
}

fn key() -> InstanceKey {
    InstanceKey::from_seed(&[9; 32]).unwrap()
}

fn forgetful() -> LogOptions {
    let keep_journal = KeepJournal::Within { age: Duration::ZERO, bytes: 0 };
    LogOptions { keep_journal, segment_bytes: 4 * 1024, ..options() }
}

impl Source {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = Arc::new(Log::open(dir.path(), forgetful()).unwrap());
        let notary = Notary::open(dir.path(), Arc::clone(&log), key(), None).unwrap();
        Self { dir, log, notary, appended: 0 }
    }

    /// Appends of three events, each to a stream of its own, with content.
    fn add(&mut self, count: u64) {
        for _ in 0..count {
            let number = self.appended;
            let mut append = append(number, 0, number * 3..number * 3 + 3);
            // Another hour for each forty.
            append.at = Timestamp::from_millis(NOON + number / 40 * 3_600_000);
            append.content = vec![sealed(&text(number))];
            block_on(self.log.append(append)).unwrap();
            self.appended += 1;
        }
    }

    fn signed(&self) -> SignedCheckpoint {
        let head = *self.log.head().borrow();
        eventually("sealed", || self.log.tree_size() == head);
        self.notary.sign(Timestamp::from_millis(NOON)).unwrap().unwrap()
    }

    fn back_up(&self, to: &Path) -> Result<BackedUp, BackupError> {
        self.copy(to, u64::MAX, Duration::ZERO)
    }

    fn broken_off(&self, to: &Path, pieces: u64) -> Result<BackedUp, BackupError> {
        self.copy(to, pieces, Duration::ZERO)
    }

    /// In pieces of fifty events, of which so many come; as if it were so much later.
    fn copy(&self, to: &Path, pieces: u64, later: Duration) -> Result<BackedUp, BackupError> {
        let mut left = pieces;
        let mut read = |after: Position, through: Position| {
            left = left.checked_sub(1).ok_or("broken off")?;
            let through = through.min(after.plus(50));
            Ok(backup_piece(self.log.as_ref(), after, through).unwrap())
        };
        let signed = self.signed();
        let key = key();
        let plan = BackupPlan {
            log: self.dir.path(),
            destination: to,
            checkpoint: &signed,
            key: key.verifier(),
            files: &[],
            compare_all: false,
            now: present().plus(later),
        };
        back_up(&plan, &mut read, &mut |_| {})
    }

    fn content(&self) -> Vec<ContentLocation> {
        everything(self.log.as_ref()).iter().flat_map(|event| event.content.to_vec()).collect()
    }
}

/// By the clock of the files.
fn present() -> Timestamp {
    let modified = tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn text(number: u64) -> String {
    format!("content of {number}")
}

fn check(backup: &Path) -> Result<u64, RestoreError> {
    check_backup(backup, key().verifier(), &mut |_| {}).map(|report| report.head.get())
}

/// Puts it back, and gives what is there then, with all content that can be read.
fn restored(backup: &Path) -> (Vec<Recorded>, Vec<Option<Vec<u8>>>) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("log");
    let restoring = Restoring::begin(backup, &target, key().verifier(), &mut |_| {}).unwrap();
    let log = restoring.open(options()).unwrap();
    let events = everything(&log);
    let content = events.iter().flat_map(|event| event.content.to_vec());
    let content = content.map(|location| match log.read_content(&location) {
        Ok(sealed) => Some(sealed.as_bytes().to_vec()),
        Err(ContentError::Forgotten) => None,
        Err(error) => panic!("{error}"),
    });
    let content = content.collect();
    block_on(log.close()).unwrap();
    drop(log);
    restoring.verify(key().verifier(), &mut |_, _| {}).unwrap();
    restoring.finish().unwrap();
    drop(Log::open(&target, options()).unwrap());
    (events, content)
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

#[test]
fn a_log_in_use_is_copied_and_a_second_time_only_what_is_new() {
    let mut source = Source::new();
    source.add(100);
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("a/b");
    // Old segments go once what they hold is sealed and synced.
    eventually("the journal does not reach back", || {
        let journal = fs::read_dir(source.dir.path().join("journal")).unwrap();
        let names = journal.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.min().unwrap().as_str() > "00000000000000000100"
    });
    let first = source.back_up(&backup).unwrap();
    assert_eq!((first.from.get(), first.position.get(), first.segments_read), (0, 300, 3));
    assert_eq!(check(&backup).unwrap(), 300);

    // What nothing happens to for a while is not looked at again.
    let later = Duration::from_secs(10);
    let settling = source.copy(&backup, u64::MAX, later).unwrap();
    assert_eq!((settling.position.get(), settling.content_bytes), (300, 0));
    assert_eq!((settling.segments_kept, settling.segments_read), (0, 3), "it was just written");
    source.add(1);
    let second = source.copy(&backup, u64::MAX, later).unwrap();
    assert_eq!((second.from.get(), second.position.get()), (300, 303));
    assert_eq!((second.segments_kept, second.segments_read), (2, 1));
    assert!((1..=256 * 1024).contains(&second.content_bytes), "{second:?}");
    let info = BackupInfo::read(&backup).unwrap();
    assert_eq!(info.position.get(), 303);
    assert!(info.at >= present());
    assert_eq!(info.key, *key().verifier());

    let (events, content) = restored(&backup);
    assert_eq!(events, everything(source.log.as_ref()));
    let known = source.content();
    let known = known.iter().map(|at| source.log.read_content(at).unwrap().as_bytes().to_vec());
    assert_eq!(content, known.map(Some).collect::<Vec<_>>());
}

#[test]
fn what_was_forgotten_since_is_forgotten_in_the_next_backup() {
    let mut source = Source::new();
    source.add(100);
    let backup = tempfile::tempdir().unwrap();
    source.back_up(backup.path()).unwrap();
    let locations = source.content();
    let erased = source.log.read_content(&locations[50]).unwrap().as_bytes().to_vec();
    let lies_in_it = || {
        let files = files_below(backup.path());
        let holds =
            |path: &PathBuf| fs::read(path).unwrap().windows(20).any(|w| w == &erased[..20]);
        files.iter().any(holds)
    };
    assert!(lies_in_it());
    source.log.erase(&locations[50]).unwrap();
    let dropped = source.log.drop_content_before(locations[40].segment).unwrap();
    assert_eq!(dropped, 1);
    assert!(lies_in_it(), "a copy knows nothing of what comes later");
    let done = source.back_up(backup.path()).unwrap();
    assert_eq!((done.segments_dropped, done.from, done.position), (1, done.position, done.from));
    assert!(!lies_in_it());
    assert_eq!(check(backup.path()).unwrap(), 300);
    let (_, content) = restored(backup.path());
    let gone: Vec<usize> = (0..100).filter(|place| content[*place].is_none()).collect();
    assert_eq!(gone, (0..40).chain([50]).collect::<Vec<_>>());
}

#[test]
fn wherever_it_is_broken_off_it_can_be_put_back_and_goes_on() {
    let mut source = Source::new();
    source.add(100);
    let place = tempfile::tempdir().unwrap();
    for pieces in 0..9 {
        let backup = place.path().join(pieces.to_string());
        let whole = source.broken_off(&backup, pieces).is_ok();
        assert_eq!(whole, pieces == 8 || pieces == 7, "{pieces} pieces");
        if !whole {
            // Never the first one; not even begun, as far as it says.
            assert!(matches!(check(&backup), Err(RestoreError::Empty { .. })), "{pieces}");
        }
        assert_eq!(source.back_up(&backup).unwrap().position.get(), 300);
        assert_eq!(check(&backup).unwrap(), 300, "{pieces}");
    }
    // One that is there stays good while the next one is brought.
    let backup = place.path().join("8");
    source.add(100);
    for pieces in 1..8 {
        assert!(source.broken_off(&backup, pieces % 3).is_err());
        let reached = check(&backup).unwrap();
        assert!((300..600).contains(&reached), "{pieces}: {reached}");
        let (events, content) = restored(&backup);
        assert_eq!(events.len() as u64, reached);
        assert!(content.iter().all(Option::is_some), "content comes before the events");
    }
    // A frame of which a power cut left a part.
    let before = check(&backup).unwrap();
    let segments = files_below(&backup.join("log/journal"));
    let last = segments.iter().max().unwrap();
    let bytes = fs::read(last).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(last, &bytes[..written - 700]).unwrap();
    assert!((300..before).contains(&check(&backup).unwrap()));
    assert_eq!(source.back_up(&backup).unwrap().position.get(), 600);
    assert_eq!(check(&backup).unwrap(), 600);
}

#[test]
fn another_history_another_instance_and_another_directory_are_refused() {
    let mut source = Source::new();
    source.add(20);
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    source.back_up(&backup).unwrap();
    let before = files_below(&backup);
    // As long, and longer; the same key, as after an older backup was put back.
    for count in [10, 20, 30] {
        let mut other = Source::new();
        other.add(1);
        block_on(other.log.append(append(7_000, 0, [77_777]))).unwrap();
        other.add(count);
        let refused = other.back_up(&backup);
        assert!(matches!(refused, Err(BackupError::OtherHistory { .. })), "{count}: {refused:?}");
    }
    assert_eq!(files_below(&backup), before);
    assert_eq!(check(&backup).unwrap(), 60);
    fs::write(place.path().join("else"), "something").unwrap();
    let refused = source.back_up(place.path());
    assert!(matches!(refused, Err(BackupError::NotABackup { .. })), "{refused:?}");
    let stranger = InstanceKey::from_seed(&[8; 32]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(Log::open(dir.path(), options()).unwrap());
    block_on(log.append(append(1, 0, [1]))).unwrap();
    eventually("sealed", || log.tree_size().get() == 1);
    let verifier = stranger.verifier().clone();
    let notary = Notary::open(dir.path(), Arc::clone(&log), stranger, None).unwrap();
    let signed = notary.sign(Timestamp::from_millis(NOON)).unwrap().unwrap();
    let plan = BackupPlan {
        log: dir.path(),
        destination: &backup,
        checkpoint: &signed,
        key: &verifier,
        files: &[],
        compare_all: false,
        now: Timestamp::from_millis(NOON),
    };
    let refused = back_up(&plan, &mut |_, _| panic!("nothing is read"), &mut |_| {});
    assert!(matches!(refused, Err(BackupError::OtherInstance { .. })), "{refused:?}");
    let refused = check_backup(&backup, &verifier, &mut |_| {});
    assert!(refused.is_err(), "another key signed it");
}

#[test]
fn every_changed_byte_of_a_backup_is_found() {
    let mut source = Source::new();
    source.add(9);
    let backup = tempfile::tempdir().unwrap();
    source.back_up(backup.path()).unwrap();
    assert_eq!(check(backup.path()).unwrap(), 27);
    let untouched = ["lock", "instance.pub"];
    for path in files_below(backup.path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if untouched.contains(&name.as_str()) {
            continue;
        }
        let whole = fs::read(&path).unwrap();
        // Zeros behind the records belong to nobody, and content begins with a mark.
        let content = name.ends_with(".content");
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for place in (if content { 8 } else { 0 }..end).step_by(13) {
            let mut changed = whole.clone();
            changed[place] ^= 0x20;
            fs::write(&path, &changed).unwrap();
            let found = check(backup.path());
            // A record whose first byte is zero was erased; none here becomes so.
            assert!(found.is_err(), "{name}, byte {place}");
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(check(backup.path()).unwrap(), 27);
    // The first position that does not hold is the one that is named.
    let content = source.content()[4];
    let path = backup.path().join(format!("log/content/{:08}.content", content.segment.get()));
    let mut changed = fs::read(&path).unwrap();
    changed[usize::try_from(content.offset).unwrap() + 9] ^= 1;
    fs::write(&path, &changed).unwrap();
    let found = check(backup.path());
    let Err(RestoreError::Bad(VerifyError::Bad { position, .. })) = found else {
        panic!("{found:?}")
    };
    assert_eq!(position.get(), 13, "the first event of the fifth append");
}

#[test]
fn a_restore_that_was_broken_off_opens_for_nobody_and_begins_anew() {
    let mut source = Source::new();
    source.add(20);
    let place = tempfile::tempdir().unwrap();
    let (backup, target) = (place.path().join("backup"), place.path().join("log"));
    source.back_up(&backup).unwrap();
    let begin =
        |target: &Path| Restoring::begin(&backup, target, key().verifier(), &mut |_| {}).map(drop);
    begin(&target).unwrap();
    for refused in [
        Log::open(&target, options()).map(drop),
        eventlog::rebuild(&target, &options(), &mut |_| {}).map(drop),
    ] {
        assert!(matches!(refused, Err(OpenError::Restoring { .. })), "{refused:?}");
    }
    let refused = eventlog::verify(&target, &mut |_, _| {});
    assert!(matches!(refused, Err(VerifyError::Open(OpenError::Restoring { .. }))));
    begin(&target).unwrap();
    // A log that is one is never written over.
    let refused = begin(source.dir.path());
    assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })), "{refused:?}");
    // Content that no event of the backup names is left behind: nobody could erase it.
    let stray = backup.join("log/content").join(format!("{:08}.content", NOON / 3_600_000));
    let mut bytes = fs::read(&stray).unwrap();
    let end = source.content().last().map(|at| at.offset + u64::from(at.len)).unwrap();
    bytes.truncate(usize::try_from(end).unwrap());
    bytes.extend_from_slice(b"written for a later event");
    fs::write(&stray, &bytes).unwrap();
    begin(&target).unwrap();
    let put = fs::read(target.join("content").join(stray.file_name().unwrap())).unwrap();
    assert_eq!(put.len() as u64, end);
}
