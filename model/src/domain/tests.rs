use super::*;
use crate::{event::SealedText, ids::TenantId};

fn added() -> DomainAdded {
    DomainAdded {
        tenant: TenantId::from_bytes([1; 16]),
        name: DomainName::parse("mail.acme.com").unwrap(),
        ownership_token: "token".into(),
    }
}

fn key() -> DkimKeyAdded {
    DkimKeyAdded {
        selector: Selector::parse("lum1").unwrap(),
        algorithm: DkimAlgorithm::Rsa2048,
        public_record: "v=DKIM1; k=rsa; p=AA".into(),
        private_key: SealedText("sealed".into()),
    }
}

fn found(purpose: RecordPurpose, status: RecordStatus, required: bool) -> CheckedRecord {
    CheckedRecord {
        purpose,
        name: "_lumora.mail.acme.com".into(),
        status,
        required,
        found: vec![],
        problem: None,
    }
}

fn fold(given: &[DomainEvent]) -> Domain {
    let stream = crate::StreamId::Domain(crate::DomainId::from_bytes([9; 16]));
    let mut domain = Domain::default();
    for event in given {
        let crate::Event::Domain(read) =
            crate::Event::decode(stream, &event.encode(&crate::By::CommandLine.into())).unwrap()
        else {
            panic!("a domain's event")
        };
        assert_eq!(&read, event);
        domain.evolve(&read, Timestamp::default());
    }
    domain
}

const HOUR: Duration = Duration::from_hours(1);

fn at(hours: u64) -> Timestamp {
    Timestamp::from_millis(hours * 3_600_000)
}

fn check(domain: &mut Domain, records: Vec<CheckedRecord>, hours: u64) -> Vec<DomainEvent> {
    let events = decide(domain, &Command::RecordCheck(records), at(hours)).unwrap();
    for event in &events {
        domain.evolve(event, at(hours));
    }
    events
}

/// The status after checks, an hour apart.
fn status(checks: &[&[RecordStatus]]) -> DomainStatus {
    let mut domain = fold(&[added().into(), key().into()]);
    for (hour, statuses) in checks.iter().enumerate() {
        let records = statuses.iter().map(|s| found(RecordPurpose::Dkim, *s, true)).collect();
        check(&mut domain, records, hour as u64);
    }
    domain.status()
}

fn shown(selectors: &[(&str, RecordStatus)]) -> Vec<CheckedRecord> {
    let record = |(selector, status): &(&str, RecordStatus)| CheckedRecord {
        name: format!("{selector}._domainkey.mail.acme.com").into(),
        required: *status == RecordStatus::Verified,
        ..found(RecordPurpose::Dkim, *status, true)
    };
    selectors.iter().map(record).collect()
}

fn named(selector: &str) -> DkimKeyAdded {
    DkimKeyAdded { selector: Selector::parse(selector).unwrap(), ..key() }
}

#[test]
fn a_domain_is_added_once_and_with_a_key() {
    let add = Command::Add(added(), vec![key()]);
    let events = decide(&Domain::default(), &add, at(0)).unwrap();
    assert_eq!(events, vec![added().into(), key().into()]);
    assert_eq!(decide(&fold(&events), &add, at(0)), Err(Refusal::AlreadyExists));
    let keyless = Command::Add(added(), vec![]);
    assert_eq!(decide(&Domain::default(), &keyless, at(0)), Err(Refusal::NoKey));
}

#[test]
fn all_required_records_verify_a_domain() {
    use RecordStatus::{Mismatch, Missing, TemporaryFailure, Verified};
    assert_eq!(status(&[]), DomainStatus::Pending);
    assert_eq!(status(&[&[Verified, Verified]]), DomainStatus::Verified);
    assert_eq!(status(&[&[Verified, Missing]]), DomainStatus::Pending);
    assert_eq!(status(&[&[Mismatch]]), DomainStatus::Pending);
    assert_eq!(status(&[&[TemporaryFailure]]), DomainStatus::TemporaryFailure);
    assert_eq!(status(&[&[]]), DomainStatus::TemporaryFailure);
}

#[test]
fn a_silent_dns_does_not_demote() {
    use RecordStatus::{Missing, TemporaryFailure, Verified};
    assert_eq!(status(&[&[Verified], &[TemporaryFailure]]), DomainStatus::Verified);
    assert_eq!(status(&[&[Verified], &[Missing]]), DomainStatus::Verified, "within the grace");
    assert_eq!(status(&[&[Verified], &[Missing], &[Verified]]), DomainStatus::Verified);
}

#[test]
fn a_vanished_record_demotes_after_the_grace_and_no_sooner() {
    use RecordStatus::{Missing, TemporaryFailure, Verified};
    let one = |status| vec![found(RecordPurpose::Ownership, status, true)];
    let mut domain = fold(&[added().into(), key().into()]);
    check(&mut domain, one(Verified), 0);
    check(&mut domain, one(Missing), 10);
    assert_eq!(domain.failing_since, Some(at(10)));
    // An outage in between neither ends nor restarts the grace.
    check(&mut domain, one(TemporaryFailure), 40);
    check(&mut domain, one(Missing), 81);
    assert_eq!((domain.status(), domain.failing_since), (DomainStatus::Verified, Some(at(10))));
    check(&mut domain, one(Missing), 82);
    assert_eq!((domain.status(), domain.failing_since), (DomainStatus::Failed, None));
    // A failed domain is verified again as soon as its records are back.
    check(&mut domain, one(TemporaryFailure), 83);
    assert_eq!(domain.status(), DomainStatus::Failed);
    check(&mut domain, one(Verified), 84);
    assert_eq!(domain.status(), DomainStatus::Verified);
    // A record that came back in time begins a new grace when it goes again.
    check(&mut domain, one(Missing), 90);
    check(&mut domain, one(Verified), 91);
    check(&mut domain, one(Missing), 170);
    assert_eq!((domain.status(), domain.failing_since), (DomainStatus::Verified, Some(at(170))));
}

#[test]
fn a_look_that_finds_nothing_new_is_recorded_once_a_day() {
    let verified = || vec![found(RecordPurpose::Dkim, RecordStatus::Verified, true)];
    let mut domain = fold(&[added().into(), key().into()]);
    assert_eq!(check(&mut domain, verified(), 0).len(), 1);
    assert!(check(&mut domain, verified(), 23).is_empty());
    assert_eq!(check(&mut domain, verified(), 24).len(), 1);
    let other = vec![found(RecordPurpose::Dkim, RecordStatus::TemporaryFailure, true)];
    assert_eq!(check(&mut domain, other, 25).len(), 1);
}

#[test]
fn a_new_key_takes_over_once_it_is_seen_and_the_old_one_retires_a_week_later() {
    use RecordStatus::{Missing, Verified};
    let rotate = Command::Rotate(vec![named("lum2")]);
    let mut domain = fold(&[added().into(), key().into()]);
    assert_eq!(decide(&domain, &rotate, at(0)), Err(Refusal::KeyNotShown));
    check(&mut domain, shown(&[("lum1", Verified)]), 0);
    for event in decide(&domain, &rotate, at(1)).unwrap() {
        domain.evolve(&event, at(1));
    }
    assert_eq!(domain.pending_key(), Some(&named("lum2")));
    // Asked again, the new key is the one that waits.
    let again = Command::Rotate(vec![named("lum3")]);
    assert_eq!(decide(&domain, &again, at(1)), Ok(vec![]));
    let waiting = shown(&[("lum1", Verified), ("lum2", Missing)]);
    check(&mut domain, waiting, 500);
    assert_eq!((domain.status(), domain.keys().len()), (DomainStatus::Verified, 2));
    check(&mut domain, shown(&[("lum1", Verified), ("lum2", Verified)]), 501);
    assert_eq!(domain.pending_key(), None);
    let week = 7 * 24;
    check(&mut domain, shown(&[("lum1", Missing), ("lum2", Verified)]), 500 + week);
    assert_eq!(domain.keys().len(), 2, "what it signed may still be under way");
    let events = check(&mut domain, shown(&[("lum2", Verified)]), 501 + week);
    assert_eq!(events.len(), 2);
    assert_eq!(domain.keys(), [named("lum2")]);
    // Nothing retires the key that signs.
    check(&mut domain, shown(&[("lum2", Verified)]), 502 + 3 * week);
    assert_eq!(domain.keys(), [named("lum2")]);
}

#[test]
fn a_domain_is_looked_at_often_at_first_and_rarely_later() {
    let next = |status, failing, checked: u64| {
        next_check_at(status, failing, at(0), Some(at(checked))).since(at(checked))
    };
    assert_eq!(next(DomainStatus::Pending, None, 0), Duration::from_mins(5));
    assert_eq!(next(DomainStatus::Pending, None, 2), Duration::from_mins(30));
    assert_eq!(next(DomainStatus::TemporaryFailure, None, 30), 6 * HOUR);
    assert_eq!(next(DomainStatus::Pending, None, 1_000), 24 * HOUR);
    assert_eq!(next(DomainStatus::Verified, None, 5), 24 * HOUR);
    assert_eq!(next(DomainStatus::Verified, Some(at(5)), 5), HOUR);
    assert_eq!(next(DomainStatus::Failed, None, 5), 6 * HOUR);
    assert_eq!(
        next_check_at(DomainStatus::Pending, None, at(1), None).since(at(1)),
        Duration::from_mins(5)
    );
}

#[test]
fn what_is_nobody_s_own_is_refused() {
    let refused = |name: &str| check_name(&DomainName::parse(name).unwrap()).unwrap_err();
    for suffix in ["co.uk", "github.io", "xn--55qx5d.cn"] {
        assert_eq!(refused(suffix), Refusal::PublicSuffix, "{suffix}");
    }
    for provider in ["gmail.com", "outlook.com", "web.de", "yahoo.co.uk", "a.b.gmail.com"] {
        assert_eq!(refused(provider), Refusal::Freemail, "{provider}");
    }
    for own in [
        "acme.com",
        "mail.acme.co.uk",
        "me.github.io",
        "demo.lumora.test",
        "shop.example",
        "mail.gmail.com.acme.com",
        "xn--bcher-kva.example",
        "notgmail.com",
    ] {
        assert_eq!(check_name(&DomainName::parse(own).unwrap()), Ok(()), "{own}");
    }
}

#[test]
fn a_name_leaves_room_for_those_of_its_records() {
    let name = |octets: usize| {
        let label = "a".repeat(63);
        let last = "b".repeat(octets - 3 * 64 - ".example".len());
        DomainName::parse(&format!("{label}.{label}.{label}.{last}.example")).unwrap()
    };
    assert_eq!(name(MAX_NAME_OCTETS).as_str().len(), MAX_NAME_OCTETS);
    assert_eq!(check_name(&name(MAX_NAME_OCTETS)), Ok(()));
    assert_eq!(check_name(&name(MAX_NAME_OCTETS + 1)), Err(Refusal::TooLong));
}

#[test]
fn who_signs_is_chosen_by_what_the_dns_shows_and_not_by_its_silence() {
    use RecordStatus::{Missing, TemporaryFailure, Verified};
    let signs = |domain: &Domain| {
        let signers = domain.signers().into_iter();
        signers.map(|key| key.selector.as_str().to_owned()).collect::<Vec<_>>()
    };
    let mut domain = fold(&[added().into(), key().into()]);
    assert_eq!(signs(&domain), ["lum1"], "before anything was asked");
    check(&mut domain, shown(&[("lum1", Verified)]), 0);
    domain.evolve(&named("lum2").into(), at(1));
    check(&mut domain, shown(&[("lum1", Verified), ("lum2", Missing)]), 2);
    assert_eq!(signs(&domain), ["lum1"]);
    check(&mut domain, shown(&[("lum1", Verified), ("lum2", Verified)]), 3);
    assert_eq!(signs(&domain), ["lum2"]);
    // The old record is taken away, and then nothing answers: the old key must not sign again.
    check(&mut domain, shown(&[("lum1", Missing), ("lum2", TemporaryFailure)]), 4);
    assert_eq!(signs(&domain), ["lum2"]);
    check(&mut domain, shown(&[("lum1", Missing), ("lum2", Missing)]), 5);
    assert_eq!(signs(&domain), ["lum2"]);
    // The new one's is gone and the old one's is there.
    check(&mut domain, shown(&[("lum1", Verified), ("lum2", Missing)]), 6);
    assert_eq!(signs(&domain), ["lum1"]);
    // Of each kind one.
    let second = DkimKeyAdded { algorithm: DkimAlgorithm::Ed25519, ..named("lum3") };
    domain.evolve(&second.into(), at(7));
    assert_eq!(signs(&domain), ["lum1"]);
    check(&mut domain, shown(&[("lum1", Verified), ("lum3", Verified)]), 8);
    assert_eq!(signs(&domain), ["lum1", "lum3"]);
    check(&mut domain, shown(&[("lum1", TemporaryFailure), ("lum3", Verified)]), 9);
    assert_eq!(signs(&domain), ["lum1", "lum3"], "one kind's silence");
    check(&mut domain, shown(&[("lum1", Verified), ("lum3", Missing)]), 10);
    assert_eq!(signs(&domain), ["lum1"]);
}

#[test]
fn where_bounces_go_is_not_changed_by_silence() {
    use RecordStatus::{Mismatch, TemporaryFailure, Verified};
    let mut domain = fold(&[added().into(), key().into()]);
    for (hour, (status, returns)) in
        [(TemporaryFailure, false), (Verified, true), (TemporaryFailure, true), (Mismatch, false)]
            .into_iter()
            .enumerate()
    {
        check(&mut domain, vec![found(RecordPurpose::ReturnPath, status, false)], hour as u64);
        assert_eq!(domain.returns_bounces, returns, "{status:?}");
    }
}

#[test]
fn records_that_are_merely_wise_do_not_hold_a_domain_up() {
    let records = vec![
        found(RecordPurpose::Ownership, RecordStatus::Verified, true),
        found(RecordPurpose::Dmarc, RecordStatus::Missing, false),
    ];
    assert_eq!(status_after(&Domain::default(), &records, at(0)), (DomainStatus::Verified, None));
}

#[test]
fn a_removed_domain_is_unknown() {
    let removed = fold(&[added().into(), key().into(), DomainRemoved {}.into()]);
    assert_eq!(decide(&removed, &Command::Remove, at(0)), Err(Refusal::Unknown));
    assert_eq!(removed.added(), None);
}

#[test]
fn selectors_are_single_labels() {
    for text in ["", "-a", "a-", "a.b", "A", "a_b", &"a".repeat(64)] {
        assert_eq!(Selector::parse(text), None, "{text}");
    }
}

#[test]
fn a_domain_is_paused_until_it_is_resumed_by_whom_it_may_be_or_removed() {
    use crate::pause::Who;
    let user = Who::User(crate::UserId::from_bytes([3; 16]));
    let paused = |by| DomainPaused { by, reason: None };
    let resumed = |by| DomainResumed { by };
    let decided = |given: &[DomainEvent], command| decide(&fold(given), &command, at(1));
    let (pause, resume) = (|by| Command::Pause(paused(by)), |by| Command::Resume(resumed(by)));
    assert_eq!(decided(&[], pause(user)), Err(Refusal::Unknown));
    assert_eq!(decided(&[], resume(user)), Err(Refusal::Unknown));
    let alive = [added().into(), key().into()];
    assert_eq!(decided(&alive, pause(user)), Ok(vec![paused(user).into()]));
    assert_eq!(decided(&alive, resume(user)), Ok(vec![]));
    let held = [added().into(), paused(user).into()];
    assert_eq!(decided(&held, pause(user)), Ok(vec![]));
    assert_eq!(decided(&held, resume(user)), Ok(vec![resumed(user).into()]));
    let held = [added().into(), paused(Who::Operator).into()];
    assert_eq!(decided(&held, resume(user)), Err(PausedByOperator.into()));
    assert_eq!(decided(&held, Command::Remove), Ok(vec![DomainRemoved {}.into()]));
    let gone = [added().into(), paused(user).into(), DomainRemoved {}.into()];
    assert_eq!(decided(&gone, resume(user)), Err(Refusal::Unknown));
}
