//! History that was rewritten with care, every checksum and hash made anew, is found by what was
//! signed of it; and proofs from the tree hold.

use std::{path::Path, sync::Arc};

use eventlog::{
    Append, Checkpoints, EventLog, InstanceKey, NewEvent, Notary, NotaryError, Position, Recorded,
    Signed, SignedCheckpoint, VerifyError, Version, verify, verify_inclusion, verify_signed,
};
use model::Timestamp;

use crate::support::{NOON, append, block_on, everything, open};

fn key() -> InstanceKey {
    InstanceKey::from_seed(&[9; 32]).unwrap()
}

fn notary(dir: &Path, log: &Arc<dyn EventLog>) -> Result<Notary, NotaryError> {
    Notary::open(dir, Arc::clone(log), key(), None)
}

fn opened(dir: &Path) -> Arc<dyn EventLog> {
    Arc::new(open(dir))
}

/// Waits until all that was appended is sealed, then signs.
fn sign(notary: &Notary, log: &Arc<dyn EventLog>) -> SignedCheckpoint {
    let head = *log.head().borrow();
    crate::support::eventually("sealed", || log.tree_size() == head);
    let signed = notary.sign(Timestamp::from_millis(NOON)).unwrap().unwrap();
    assert_eq!(signed.head().position, head);
    signed
}

/// A log of 900 events, signed after each 300 and at its end.
fn signed_log(dir: &Path) -> Vec<Recorded> {
    let log = opened(dir);
    let notary = notary(dir, &log).unwrap();
    for number in 0..300_u64 {
        let (to, expected) = (number % 50, number / 50 * 3);
        let append = append(to, expected, number * 3..number * 3 + 3);
        block_on(log.append(append)).unwrap();
        if number % 100 == 99 {
            sign(&notary, &log);
        }
    }
    let events = everything(log.as_ref());
    block_on(log.close()).unwrap();
    events
}

fn check(dir: &Path, from: Option<SignedCheckpoint>) -> Result<Position, (u64, String)> {
    let signed = Signed { key: Some(key().verifier().clone()), kept: Vec::new(), from };
    match verify_signed(dir, &signed, &mut |_, _| {}) {
        Ok(report) => Ok(report.signed),
        Err(VerifyError::Bad { position, what }) => Err((position.get(), what.to_string())),
        Err(other) => panic!("{other}"),
    }
}

/// Writes another history, with the means of the log itself: all its hashes are right. Then puts
/// the signed checkpoints of the true one beside it.
fn forge(truth: &Path, events: &[Recorded]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut versions = std::collections::HashMap::new();
    for event in events {
        let version = versions.entry(event.stream).or_insert(Version::NONE);
        let append = Append {
            stream: event.stream,
            expected: *version,
            at: event.at,
            events: vec![NewEvent { id: event.id, data: event.data.as_ref().into() }],
            content: Vec::new(),
        };
        *version = version.next();
        block_on(log.append(append)).unwrap();
    }
    block_on(log.close()).unwrap();
    drop(log);
    std::fs::copy(truth.join("checkpoints"), dir.path().join("checkpoints")).unwrap();
    // Nothing but what was signed can tell.
    verify(dir.path(), &mut |_, _| {}).unwrap();
    dir
}

#[test]
fn a_forged_history_is_found_whatever_was_done_to_it() {
    let truth = tempfile::tempdir().unwrap();
    let events = signed_log(truth.path());
    assert_eq!(check(truth.path(), None), Ok(Position::new(900)));
    let same = forge(truth.path(), &events);
    assert_eq!(check(same.path(), None), Ok(Position::new(900)), "the same history is no forgery");

    let mut edited = events.clone();
    edited[449].data = b"{\"type\":\"test.happened\",\"v\":1,\"number\":0}".as_slice().into();
    let mut removed = events.clone();
    removed.remove(449);
    let mut swapped = events.clone();
    swapped.swap(449, 450);
    let mut added = events.clone();
    added.insert(449, events[0].clone());
    for (what, forged) in
        [("edited", edited), ("removed", removed), ("swapped", swapped), ("added", added)]
    {
        let forged = forge(truth.path(), &forged);
        let (position, found) = check(forged.path(), None).expect_err(what);
        // The first that the checkpoint before does not vouch for.
        assert_eq!(position, 301, "{what}: {found}");
        assert!(found.contains("from here to 600"), "{what}: {found}");
        let log = opened(forged.path());
        let refused = notary(forged.path(), &log).unwrap_err();
        assert!(matches!(refused, NotaryError::NotWhatWasSigned { .. }), "{what}: {refused}");
    }
}

#[test]
fn a_tail_that_was_cut_off_is_missed() {
    let truth = tempfile::tempdir().unwrap();
    let events = signed_log(truth.path());
    for left in [899, 600, 300, 1] {
        let cut = forge(truth.path(), &events[..left]);
        let (position, found) = check(cut.path(), None).unwrap_err();
        assert_eq!(position, left as u64 + 1);
        assert!(found.contains("held 900 events"), "{found}");
        let log = opened(cut.path());
        let refused = notary(cut.path(), &log).unwrap_err();
        assert!(matches!(refused, NotaryError::NotWhatWasSigned { .. }), "{refused}");
    }
}

/// Who cuts the log cuts the checkpoints beside it too: one that was kept elsewhere tells.
#[test]
fn a_checkpoint_kept_elsewhere_tells_when_those_beside_the_log_were_cut_as_well() {
    let truth = tempfile::tempdir().unwrap();
    let events = signed_log(truth.path());
    let kept = tempfile::tempdir().unwrap();
    let elsewhere = kept.path().join("kept");
    std::fs::copy(truth.path().join("checkpoints"), &elsewhere).unwrap();
    let cut = forge(truth.path(), &events[..600]);
    let beside = cut.path().join("checkpoints");
    let two: Vec<_> = Checkpoints::open(&beside).unwrap().take(2).map(Result::unwrap).collect();
    std::fs::write(&beside, format!("{}\n{}\n", two[0], two[1])).unwrap();
    assert_eq!(check(cut.path(), None), Ok(Position::new(600)));
    let signed = Signed {
        key: Some(key().verifier().clone()),
        kept: vec![elsewhere.clone()],
        ..Signed::default()
    };
    let found = verify_signed(cut.path(), &signed, &mut |_, _| {}).unwrap_err().to_string();
    assert!(found.contains("position 601") && found.contains("held 900 events"), "{found}");
    let newest = Checkpoints::newest(&elsewhere).unwrap();
    let (position, _) = check(cut.path(), newest).unwrap_err();
    assert_eq!(position, 601);
}

#[test]
fn a_check_can_begin_at_a_checkpoint_and_reads_only_what_came_after() {
    let truth = tempfile::tempdir().unwrap();
    let events = signed_log(truth.path());
    let all: Vec<_> =
        Checkpoints::open(&truth.path().join("checkpoints")).unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), 3);
    for from in &all {
        assert_eq!(check(truth.path(), Some(from.clone())), Ok(Position::new(900)));
    }
    let mut edited = events;
    edited[449].data = b"{\"type\":\"test.happened\",\"v\":1,\"number\":0}".as_slice().into();
    let edited = forge(truth.path(), &edited);
    // What was changed after it is found; one that covers the change does not fit.
    assert_eq!(check(edited.path(), Some(all[0].clone())).unwrap_err().0, 301);
    assert_eq!(check(edited.path(), Some(all[1].clone())).unwrap_err().0, 1);
}

#[test]
fn what_another_key_signed_counts_for_nothing() {
    let truth = tempfile::tempdir().unwrap();
    signed_log(truth.path());
    let other = InstanceKey::from_seed(&[10; 32]).unwrap();
    let signed = Signed { key: Some(other.verifier().clone()), ..Signed::default() };
    let found = verify_signed(truth.path(), &signed, &mut |_, _| {}).unwrap_err().to_string();
    assert!(found.contains("did not sign"), "{found}");
    let log = opened(truth.path());
    let refused = Notary::open(truth.path(), Arc::clone(&log), other, None).unwrap_err();
    assert!(matches!(refused, NotaryError::OtherKey { .. }), "{refused}");
    // With its own key it goes on, and has no news.
    let notary = notary(truth.path(), &log).unwrap();
    let newest = notary.newest();
    assert_eq!(notary.sign(Timestamp::from_millis(NOON)).unwrap(), newest);
    assert_eq!(Checkpoints::open(&truth.path().join("checkpoints")).unwrap().count(), 3);
}

#[test]
fn checkpoints_are_anchored_where_they_are_wanted_and_signing_goes_on_where_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir().unwrap();
    let anchor = kept.path().join("anchor");
    let log = opened(dir.path());
    for (round, anchor) in [anchor.clone(), kept.path().join("gone/anchor")].into_iter().enumerate()
    {
        block_on(log.append(append(round as u64, 0, 0..2))).unwrap();
        let notary = Notary::open(dir.path(), Arc::clone(&log), key(), Some(anchor)).unwrap();
        sign(&notary, &log);
        let at = Timestamp::from_millis(NOON);
        assert_eq!(notary.covering(Position::new(1), at).unwrap(), notary.newest());
        assert_eq!(notary.covering(Position::new(99), at).unwrap(), None);
    }
    let anchored: Vec<_> = Checkpoints::open(&anchor).unwrap().map(Result::unwrap).collect();
    let beside = dir.path().join("checkpoints");
    let beside: Vec<_> = Checkpoints::open(&beside).unwrap().map(Result::unwrap).collect();
    assert_eq!((beside.len(), anchored.as_slice()), (2, &beside[..1]));
}

/// Whoever asks often does not fill the file: two a second, and the first at once.
#[test]
fn checkpoints_on_demand_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let log = opened(dir.path());
    let notary = notary(dir.path(), &log).unwrap();
    let at = Timestamp::from_millis(NOON);
    let begun = std::time::Instant::now();
    for number in 0..12 {
        block_on(log.append(append(number, 0, 0..2))).unwrap();
        let position = Position::new(number * 2 + 2);
        crate::support::eventually("sealed", || log.tree_size() == position);
        let covering = notary.covering(position, at).unwrap();
        assert!(covering.is_none_or(|signed| Some(signed) == notary.newest()));
    }
    let most = begun.elapsed().as_millis() / 500 + 1;
    let signed = Checkpoints::open(&dir.path().join("checkpoints")).unwrap().count();
    assert!(signed > 0 && signed as u128 <= most, "{signed} of {most}");
}

/// The tree of a log that is opened, sealed in pieces and rebuilt is always the tree over its
/// events.
#[test]
fn proofs_hold_across_restarts_and_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let mut known = Vec::new();
    for round in 0..9_u64 {
        let log = open(dir.path());
        if round > 0 {
            assert_eq!(log.tree_size().get(), round * 75, "sealed at the start");
        }
        for number in 0..25 {
            block_on(log.append(append(round * 100 + number, 0, 0..3))).unwrap();
        }
        block_on(log.close()).unwrap();
        known.push(log.tree_head(log.tree_size()).unwrap().unwrap());
    }
    let check = || {
        let log = open(dir.path());
        let events = everything(&log);
        for head in &known {
            assert_eq!(log.tree_head(head.position).unwrap().as_ref(), Some(head));
            for event in events.iter().step_by(13) {
                let (at, size) = (event.position.get() - 1, head.position.get());
                let proof = log.inclusion(event.position, head.position).unwrap();
                let holds = verify_inclusion(event.leaf(), at, size, &proof, head.root);
                assert_eq!(holds, at < size);
            }
        }
        for pair in known.windows(2) {
            let proof = log.consistency(pair[0].position, pair[1].position).unwrap();
            let (before, after) = (pair[0].position.get(), pair[1].position.get());
            let (before_root, root) = (pair[0].root, pair[1].root);
            assert!(eventlog::verify_consistency(before, before_root, after, root, &proof));
        }
        assert_eq!(log.tree_head(Position::new(676)).unwrap(), None);
        assert!(log.inclusion(Position::START, Position::new(675)).unwrap().is_empty());
    };
    check();
    eventlog::rebuild(dir.path(), &crate::support::options(), &mut |_| {}).unwrap();
    check();
}
