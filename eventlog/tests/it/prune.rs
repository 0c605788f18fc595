//! Pruning: what stays verifies and can be proved, what was pruned is gone from the disk as well,
//! and neither a crash nor somebody who takes events out leaves a log that passes for a pruned one.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use eventlog::{
    Append, EventLog, InstanceKey, KeepJournal, Log, LogOptions, NewEvent, Notary, Position,
    PruneError, Pruned, Pruning, ReadError, Recorded, Signed, SignedCheckpoint, VerifyError,
    VerifyReport, Version, backup_piece, rebuild, verify_consistency, verify_inclusion,
    verify_signed,
};
use model::{EventId, InstanceId, StreamId, Timestamp};

use crate::{
    kill::Random,
    recovery::copy,
    support::{NOON, block_on, event, everything, sealed, stream},
};

const HOUR: u64 = 3_600_000;

fn key() -> InstanceKey {
    InstanceKey::from_seed(&[9; 32]).unwrap()
}

/// The journal keeps as little as it may.
fn options() -> LogOptions {
    LogOptions {
        keep_journal: KeepJournal::Within { age: Duration::ZERO, bytes: 0 },
        segment_bytes: 4 * 1024,
        low_water_bytes: 0,
        ballast_bytes: 0,
    }
}

fn open(dir: &Path) -> Log {
    Log::open(dir, options()).unwrap()
}

fn at(hour: u64) -> Timestamp {
    Timestamp::from_millis(NOON + hour * HOUR)
}

fn appended(to: StreamId, expected: u64, hour: u64, events: Vec<NewEvent>) -> Append {
    Append {
        stream: to,
        expected: Version::new(expected),
        at: at(hour),
        events,
        content: Vec::new(),
    }
}

/// That a message has ended, as these tests write it.
fn ending(number: u64) -> NewEvent {
    let data = b"{\"type\":\"test.ended\",\"v\":1}".as_slice().into();
    NewEvent { data, ..event(number) }
}

fn is_over(events: &[Recorded]) -> bool {
    events.iter().any(|event| event.data.starts_with(b"{\"type\":\"test.ended\""))
}

/// A day by hours, of 40 messages in each: every 16th does not end, every 16th ends a day later,
/// and after every 20 something happens to the instance, which stays. Signed each third hour and
/// at the end.
fn write_day(dir: &Path, day: u64) {
    let log: Arc<dyn EventLog> = Arc::new(open(dir));
    let notary = Notary::open(dir, Arc::clone(&log), key(), None).unwrap();
    let mut of_instance = {
        let read = log.read_stream(StreamId::Instance(InstanceId::THIS), Version::NONE, 9999);
        read.unwrap().len() as u64
    };
    for hour in day * 24..day * 24 + 24 {
        for number in 0..40 {
            let message = hour * 40 + number;
            let mut first = appended(stream(message), 0, hour, vec![event(message * 10)]);
            if number == 0 {
                first.content = vec![sealed("what it said")];
            }
            block_on(log.append(first)).unwrap();
            let (end, into) = match number % 16 {
                3 => continue,
                7 if day == 0 => continue,
                7 => (message - 24 * 40, 1),
                _ => (message, 1),
            };
            block_on(log.append(appended(stream(end), into, hour, vec![ending(end * 10 + 1)])))
                .unwrap();
            if number % 20 == 19 {
                let to = StreamId::Instance(InstanceId::THIS);
                let event = event(9_000_000 + message);
                block_on(log.append(appended(to, of_instance, hour, vec![event]))).unwrap();
                of_instance += 1;
            }
        }
        if hour % 3 == 2 {
            let head = *log.head().borrow();
            crate::support::eventually("sealed", || log.tree_size() == head);
            notary.sign(at(hour)).unwrap();
        }
    }
    log.drop_content_before(eventlog::Hour::of(at(day * 24 + 24))).unwrap();
    block_on(log.close()).unwrap();
}

/// Three days.
fn written(dir: &Path) {
    (0..3).for_each(|day| write_day(dir, day));
}

fn rows() -> Vec<Result<eventlog::CarriedRow, ReadError>> {
    let row = |table: &str, key: u8, value: u8| {
        Ok((Box::from(table), Box::from([key].as_slice()), Box::from([value; 9].as_slice())))
    };
    vec![row("one", 1, 11), row("one", 2, 12), row("two", 1, 21)]
}

fn prune(log: &Log, before: Timestamp) -> Result<Option<Pruned>, PruneError> {
    let Some(up_to) = log.prunable(before)? else { return Ok(None) };
    let pruning = Pruning {
        up_to,
        is_over: &is_over,
        carried: &mut rows().into_iter(),
        key: &key(),
        now: at(99),
        rest: Duration::ZERO,
    };
    log.prune(pruning).map(Some)
}

fn check_with(dir: &Path, from: Option<SignedCheckpoint>) -> Result<VerifyReport, VerifyError> {
    let signed = Signed { key: Some(key().verifier().clone()), kept: Vec::new(), from };
    verify_signed(dir, &signed, &mut |_, _| {})
}

fn check(dir: &Path) -> VerifyReport {
    check_with(dir, None).unwrap()
}

fn checkpoints(dir: &Path) -> Vec<SignedCheckpoint> {
    let read = eventlog::Checkpoints::open(&dir.join("checkpoints")).unwrap();
    read.map(Result::unwrap).collect()
}

/// What of these events should stay after pruning up to a position.
fn staying(events: &[Recorded], last: Position) -> Vec<Recorded> {
    let of = |stream| events.iter().filter(move |event| event.stream == stream);
    let mut over: HashSet<StreamId> = events.iter().map(|event| event.stream).collect();
    over.retain(|stream| {
        let all: Vec<Recorded> = of(*stream).cloned().collect();
        matches!(stream, StreamId::Message(_))
            && is_over(&all)
            && all.iter().all(|event| event.position <= last)
    });
    events.iter().filter(|event| !over.contains(&event.stream)).cloned().collect()
}

/// Everything that could be read and proved before of what stays.
fn assert_stays(log: &Log, before: &[Recorded], stay: &[Recorded], signed: &[SignedCheckpoint]) {
    assert!(everything(log) == stay, "reading the whole log gives what stays, with its hashes");
    let kept: HashSet<Position> = stay.iter().map(|event| event.position).collect();
    for event in before.iter().step_by(3) {
        let stays = kept.contains(&event.position);
        assert_eq!(log.is_pruned(event.position).unwrap(), !stays);
        let read = log.read_stream(event.stream, Version::NONE, 1000).unwrap();
        assert_eq!(read.iter().any(|read| read == event), stays, "{}", event.position);
        if !stays {
            assert!(read.is_empty(), "a message is pruned as a whole");
        }
    }
    for head in signed.iter().map(SignedCheckpoint::head) {
        assert_eq!(log.tree_head(head.position).unwrap(), Some(head));
        for event in stay.iter().filter(|event| event.position <= head.position).step_by(61) {
            let (index, size) = (event.position.get() - 1, head.position.get());
            let proof = log.inclusion(event.position, head.position).unwrap();
            assert!(verify_inclusion(event.leaf(), index, size, &proof, head.root));
        }
    }
    for (number, earlier) in signed.iter().map(SignedCheckpoint::head).enumerate() {
        for later in signed.iter().skip(number + 1).map(SignedCheckpoint::head) {
            let proof = log.consistency(earlier.position, later.position).unwrap();
            let (one, other) = (earlier.position.get(), later.position.get());
            assert!(verify_consistency(one, earlier.root, other, later.root, &proof));
        }
    }
}

#[test]
fn what_stays_reads_verifies_and_is_proved_as_before() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let signed = checkpoints(dir.path());
    let events = everything(&open(dir.path()));
    let whole = check(dir.path());
    let mut last = Position::START;
    for hours in [7, 24, 24, 60] {
        let log = open(dir.path());
        let Some(up_to) = log.prunable(at(hours)).unwrap() else {
            assert_eq!(hours, 24, "nothing is pruned twice");
            continue;
        };
        assert!(up_to.last > last && up_to.at < at(hours));
        let pruned = prune(&log, at(hours)).unwrap().unwrap();
        last = up_to.last;
        let stay = staying(&events, last);
        assert!(stay.len() < events.len());
        assert_eq!(pruned.events, (events.len() - stay.len()) as u64);
        assert_eq!(log.pruned().unwrap(), Some(pruned));
        assert_stays(&log, &events, &stay, &signed);
        log.verify(&mut |_, _| {}).unwrap();
        // A backup has no place for gaps: one that was not begun before must not seem whole.
        let head = *log.head().borrow();
        let begun = backup_piece(&log, Position::START, head);
        assert!(matches!(begun, Err(ReadError::Pruned { last: at }) if at == last));
        let goes_on = backup_piece(&log, last, head).unwrap();
        assert_eq!(
            &goes_on[..32],
            events[usize::try_from(last.get()).unwrap() - 1].hash.as_bytes()
        );
        block_on(log.close()).unwrap();
        drop(log);

        let log = open(dir.path());
        assert_stays(&log, &events, &stay, &signed);
        let carried: Vec<_> = log.carried("one").map(Result::unwrap).collect();
        assert_eq!(carried.len(), 2);
        assert_eq!((&*carried[0].0, &*carried[0].1), (&[1_u8][..], &[11_u8; 9][..]));
        drop(log);
        let report = check(dir.path());
        assert_eq!((report.head, report.signed), (whole.head, whole.signed));
        assert_eq!(report.pruned, pruned.events);
        for from in signed.iter().step_by(6) {
            assert_eq!(check_with(dir.path(), Some(from.clone())).unwrap().signed, whole.signed);
        }
        rebuild(dir.path(), &options(), &mut |_| {}).unwrap();
        assert_eq!(check(dir.path()).pruned, pruned.events);
        assert_stays(&open(dir.path()), &events, &stay, &signed);
    }
}

#[test]
fn a_pruned_log_goes_on_and_a_pruned_message_may_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let log = open(dir.path());
    // So that the committer remembers it.
    let refused = block_on(log.append(appended(stream(0), 0, 99, vec![event(1)])));
    assert!(refused.is_err(), "it is there");
    prune(&log, at(24)).unwrap().unwrap();
    block_on(log.append(appended(stream(0), 0, 99, vec![event(1), event(2)]))).unwrap();
    // One that is not over, and began before.
    block_on(log.append(appended(stream(3), 1, 99, vec![ending(31)]))).unwrap();
    assert_eq!(log.read_stream(stream(0), Version::NONE, 9).unwrap().len(), 2);
    assert_eq!(log.read_stream(stream(3), Version::NONE, 9).unwrap().len(), 2);
    block_on(log.close()).unwrap();
    drop(log);
    check(dir.path());
    let log = open(dir.path());
    assert_eq!(log.read_stream(stream(0), Version::NONE, 9).unwrap().len(), 2);
}

#[test]
fn what_is_not_signed_still_in_the_journal_or_has_content_stays() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    // Without anything signed.
    let unsigned = tempfile::tempdir().unwrap();
    copy(dir.path(), &unsigned.path().join("log"));
    std::fs::remove_file(unsigned.path().join("log/checkpoints")).unwrap();
    assert_eq!(open(&unsigned.path().join("log")).prunable(at(60)).unwrap(), None);
    // With a journal that keeps everything.
    let whole = tempfile::tempdir().unwrap();
    let keeping = LogOptions { keep_journal: KeepJournal::Forever, ..options() };
    let log = Log::open(whole.path(), keeping).unwrap();
    block_on(log.append(appended(stream(1), 0, 0, vec![event(1), ending(2)]))).unwrap();
    assert_eq!(log.prunable(at(60)).unwrap(), None);
    // With content that can be read: nothing that is later.
    let log = open(dir.path());
    let mut one = appended(stream(77_777), 0, 90, vec![event(1), ending(2)]);
    one.content = vec![sealed("still there")];
    block_on(log.append(one)).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(log);
    let notary = Notary::open(dir.path(), Arc::clone(&log), key(), None).unwrap();
    for number in 0..200 {
        let other = appended(stream(88_000 + number), 0, 91 + number, vec![event(1), ending(2)]);
        block_on(log.append(other)).unwrap();
    }
    let head = *log.head().borrow();
    crate::support::eventually("sealed", || log.tree_size() == head);
    notary.sign(at(99)).unwrap();
    block_on(log.close()).unwrap();
    drop((notary, log));
    let log = open(dir.path());
    assert!(log.prunable(at(200)).unwrap().unwrap().at < at(90));
    prune(&log, at(200)).unwrap().unwrap();
    assert_eq!(log.read_stream(stream(77_777), Version::NONE, 9).unwrap().len(), 2);
    assert_eq!(log.read_stream(stream(88_001), Version::NONE, 9).unwrap().len(), 2);
    assert_eq!(log.prunable(at(200)).unwrap(), None);
    let read = log.read_stream(stream(77_777), Version::NONE, 9).unwrap();
    log.erase(&read[0].content[0]).unwrap();
    assert_eq!(log.prunable(at(200)).unwrap(), None, "its segment is there");
    log.drop_content_before(eventlog::Hour::of(at(91))).unwrap();
    prune(&log, at(200)).unwrap().unwrap();
    assert!(log.read_stream(stream(77_777), Version::NONE, 9).unwrap().is_empty());
    assert!(log.read_stream(stream(88_001), Version::NONE, 9).unwrap().is_empty());
}

/// Whoever writes goes on writing, and nothing of it is lost.
#[test]
fn a_log_that_is_written_to_is_pruned_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let log = Arc::new(open(dir.path()));
    let writing = std::thread::spawn({
        let log = Arc::clone(&log);
        move || {
            for number in 0..3_000 {
                let to = stream(500_000 + number / 3);
                block_on(log.append(appended(to, number % 3, 90, vec![event(number)]))).unwrap();
            }
        }
    });
    let pruned = [10, 24, 48].map(|hour| prune(&log, at(hour)).unwrap().unwrap());
    writing.join().unwrap();
    block_on(log.close()).unwrap();
    drop(log);
    assert_eq!(check(dir.path()).pruned, pruned[2].events);
    let log = open(dir.path());
    for number in 0..1_000 {
        assert_eq!(log.read_stream(stream(500_000 + number), Version::NONE, 9).unwrap().len(), 3);
    }
}

/// What somebody takes out by the log's own means, with another key or none, is told.
#[test]
fn events_that_somebody_took_out_do_not_pass_for_pruned_ones() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let log = open(dir.path());
    prune(&log, at(24)).unwrap().unwrap();
    drop(log);
    check(dir.path());
    // More is pruned, by somebody with another key: all hashes are right.
    let forged = tempfile::tempdir().unwrap();
    let path = forged.path().join("log");
    copy(dir.path(), &path);
    let log = open(&path);
    let up_to = log.prunable(at(48)).unwrap().unwrap();
    let other = InstanceKey::from_seed(&[10; 32]).unwrap();
    let pruning = Pruning {
        up_to,
        is_over: &|_| true,
        carried: &mut rows().into_iter(),
        key: &other,
        now: at(99),
        rest: Duration::ZERO,
    };
    log.prune(pruning).unwrap();
    drop(log);
    let found = check_with(&path, None).unwrap_err().to_string();
    assert!(found.contains("did not sign what was pruned"), "{found}");
    // Then the statement, the rows or a gap is exchanged for what was there before.
    for (what, tamper) in tampered() {
        let forged = tempfile::tempdir().unwrap();
        let path = forged.path().join("log");
        copy(dir.path(), &path);
        tamper(&path);
        let found = check_with(&path, None).expect_err(what).to_string();
        println!("{what}: {found}");
    }
}

type Tamper = (&'static str, fn(&Path));

fn tampered() -> [Tamper; 5] {
    fn sled(dir: &Path) -> sled::Db {
        let config = sled::Config::new().path(dir.join("sled.1")).segment_size(16 * 1024 * 1024);
        config.open().unwrap()
    }
    [
        ("no statement", |dir| {
            sled(dir).remove(b"p").unwrap().unwrap();
        }),
        ("a changed statement", |dir| {
            let db = sled(dir);
            let note = db.get(b"p").unwrap().unwrap();
            let note = std::str::from_utf8(&note).unwrap().replace("messages ", "messages 1");
            db.insert(b"p", note.as_bytes()).unwrap();
        }),
        ("a changed row", |dir| {
            assert!(sled(dir).insert(b"r\x03one\x01", b"more").unwrap().is_some());
        }),
        ("a row that was taken out", |dir| {
            assert!(sled(dir).remove(b"r\x03two\x01").unwrap().is_some());
        }),
        ("a cut", |dir| {
            // The blocks behind the gaps, and all that would tell of them.
            let db = sled(dir);
            let blocks: Vec<_> = db.scan_prefix(b"b").keys().map(Result::unwrap).collect();
            db.remove(blocks.last().unwrap()).unwrap().unwrap();
        }),
    ]
}

/// A message that goes on while it is being pruned is not.
#[test]
fn a_message_that_goes_on_meanwhile_stays() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let log = open(dir.path());
    let up_to = log.prunable(at(24)).unwrap().unwrap();
    let appending = std::cell::Cell::new(false);
    let mut going_on = rows().into_iter().inspect(|_| {
        if !appending.replace(true) {
            block_on(log.append(appended(stream(0), 2, 99, vec![event(1)]))).unwrap();
        }
    });
    let pruning = Pruning {
        up_to,
        is_over: &is_over,
        carried: &mut going_on,
        key: &key(),
        now: at(99),
        rest: Duration::ZERO,
    };
    let refused = log.prune(pruning).unwrap_err();
    assert!(matches!(refused, PruneError::WentOn), "{refused}");
    assert_eq!(log.read_stream(stream(0), Version::NONE, 9).unwrap().len(), 3);
    prune(&log, at(24)).unwrap().unwrap();
    assert_eq!(log.read_stream(stream(0), Version::NONE, 9).unwrap().len(), 3);
    drop(log);
    check(dir.path());
}

/// Nine tenths of a log are pruned: its files shrink to a part of what they were.
#[test]
fn disk_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(open(dir.path()));
    let notary = Notary::open(dir.path(), Arc::clone(&log), key(), None).unwrap();
    let mut random = Random(0x5eed_d15c);
    for round in 0..400_u64 {
        let appends = (0..100).map(|number| {
            // What does not compress well, as in life.
            let noise: Vec<u64> = (0..30).map(|_| random.below(1 << 24)).collect();
            let data = format!("{{\"type\":\"test.ended\",\"v\":1,\"noise\":{noise:?}}}");
            let id = EventId::from_bytes([7; 16]);
            let one = NewEvent { id, data: data.into_bytes().into() };
            appended(stream(round * 100 + number), 0, round, vec![one.clone(), one])
        });
        block_on(log.append_all(appends.collect())).unwrap();
    }
    let head = *log.head().borrow();
    crate::support::eventually("sealed", || log.tree_size() == head);
    notary.sign(at(400)).unwrap();
    block_on(log.close()).unwrap();
    drop((notary, log));
    let log = open(dir.path());
    let before = log.stats().unwrap();
    let pruned = prune(&log, at(360)).unwrap().unwrap();
    let after = log.stats().unwrap();
    println!("{before:?}\n{after:?}\n{pruned:?}");
    assert!(pruned.events * 10 >= head.get() * 8, "{} of {head}", pruned.events);
    assert!(after.sled_bytes * 2 < before.sled_bytes);
    assert!(after.indexed * 4 < before.indexed && after.blocks * 4 < before.blocks);
    assert!(!dir.path().join("sled").exists() && dir.path().join("sled.1").exists());
}

const PRUNED_DIR: &str = "LUMORA_PRUNE_DIR";

/// Not a test: what is killed. Prunes step by step for as long as there is something to prune.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(PRUNED_DIR) else { return };
    let dir = PathBuf::from(dir);
    let log = open(&dir);
    for hour in (1..=60).step_by(4) {
        if let Some(pruned) = prune(&log, at(hour)).unwrap() {
            println!("pruned {}", pruned.last);
        }
    }
}

fn pruning(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "prune::child", "--nocapture"])
        .env(PRUNED_DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// `LUMORA_PRUNE_ROUNDS` sets how often; 12 times if not set, and more until moments of all kinds
/// were met.
#[test]
fn killed_at_any_moment_of_pruning_a_log_opens_verifies_and_has_lost_nothing_else() {
    let rounds: u64 =
        std::env::var("LUMORA_PRUNE_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());
    let seed = 0x5eed_9204;
    println!("seed {seed:#x}, {rounds} rounds");
    let mut random = Random(seed);
    let whole = tempfile::tempdir().unwrap();
    written(whole.path());
    let signed = checkpoints(whole.path());
    let events = everything(&open(whole.path()));
    let (mut half, mut seen) = (0, HashSet::new());
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    // How long all of it takes here: moments are parts of that.
    copy(whole.path(), &dir);
    let begun = Instant::now();
    assert!(pruning(&dir).wait().unwrap().success());
    let all = u64::try_from(begun.elapsed().as_micros()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    for round in 0..10 * rounds {
        if round >= rounds && half > 0 && seen.len() > 2 {
            break;
        }
        if !dir.exists() || seen.len() % 8 == 7 {
            let _absent = std::fs::remove_dir_all(&dir);
            copy(whole.path(), &dir);
        }
        let mut child = pruning(&dir);
        std::thread::sleep(Duration::from_micros(random.below(all)));
        child.kill().unwrap();
        child.wait().unwrap();
        let generations = std::fs::read_dir(&dir).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("sled")
        });
        half += u64::from(generations.count() > 1);
        let log = open(&dir);
        assert!(log.recovery().rebuilt.is_none(), "{:?}", log.recovery());
        let last = log.pruned().unwrap().map_or(Position::START, |pruned| pruned.last);
        seen.insert(last);
        assert!(everything(&log) == staying(&events, last), "up to {last}");
        assert_stays(&log, &[], &staying(&events, last), &signed);
        drop(log);
        check(&dir);
    }
    println!("{half} times there were two generations, {} ends of pruning", seen.len());
    assert!(half > 0 && seen.len() > 2);
}
