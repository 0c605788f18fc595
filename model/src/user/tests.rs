use super::*;
use crate::{Event, StreamId, UserId, event::KeyedHash};

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const TENANT: TenantId = TenantId::from_bytes([1; 16]);

fn hash(number: u8) -> SecretHash {
    KeyedHash([number; 32])
}

fn started(number: u8, at: Timestamp) -> UserEvent {
    SessionStarted {
        tenant: TENANT,
        session: hash(number),
        idle_until: at.plus(SESSION_IDLE),
        expires_at: at.plus(SESSION_LIFETIME),
        refused: 0,
    }
    .into()
}

fn ended(number: u8, reason: SessionEnd) -> UserEvent {
    SessionEnded { session: hash(number), reason }.into()
}

fn changed(number: u32) -> PasswordChanged {
    PasswordChanged { tenant: TENANT, number, profile: SealedText("sealed".into()) }
}

fn sign_in(session: u8, replaces: Option<u8>) -> Command {
    Command::SignIn {
        tenant: TENANT,
        session: hash(session),
        replaces: replaces.map(hash),
        number: 0,
        refused: 0,
    }
}

/// Folds what was given, through its JSON.
fn user(given: &[(Timestamp, UserEvent)]) -> User {
    let stream = StreamId::User(UserId::from_bytes([9; 16]));
    let mut user = User::default();
    for (at, event) in given {
        let Event::User(read) =
            Event::decode(stream, &event.encode(&crate::By::CommandLine.into())).unwrap()
        else {
            panic!("a user's event")
        };
        assert_eq!(&read, event);
        user.evolve(&read, *at);
    }
    user
}

fn decided(
    given: &[(Timestamp, UserEvent)],
    when: &Command,
    now: Timestamp,
) -> Result<Vec<UserEvent>, Refusal> {
    decide(&user(given), when, now)
}

#[test]
fn a_session_begins_with_both_its_times() {
    assert_eq!(decided(&[], &sign_in(1, None), NOW), Ok(vec![started(1, NOW)]));
}

#[test]
fn a_session_is_over_when_it_was_idle_or_has_had_its_time() {
    let user = user(&[(NOW, started(1, NOW))]);
    let at = |after| user.session(&hash(1), NOW.plus(after)).is_some();
    assert!(at(SESSION_IDLE.saturating_sub(Duration::from_millis(1))));
    assert!(!at(SESSION_IDLE));
    assert!(user.session(&hash(2), NOW).is_none());
}

#[test]
fn a_use_is_recorded_once_an_hour_and_never_beyond_the_whole_time() {
    let mut given = vec![(NOW, started(1, NOW))];
    let extend = Command::Extend(hash(1));
    let early = NOW.plus(SESSION_EXTENDED_EVERY).minus(Duration::from_millis(1));
    assert_eq!(decided(&given, &extend, early), Ok(vec![]));
    let mut now = NOW;
    let end = NOW.plus(SESSION_LIFETIME);
    // Somebody at work without a break.
    for _ in 0..(7 * 24 - 1) {
        now = now.plus(SESSION_EXTENDED_EVERY);
        let events = decided(&given, &extend, now).unwrap();
        let last = now.plus(SESSION_IDLE).min(end);
        let recorded: UserEvent = SessionExtended { session: hash(1), idle_until: last }.into();
        let before = now.minus(SESSION_EXTENDED_EVERY).plus(SESSION_IDLE);
        assert_eq!(events, if before < end { vec![recorded] } else { vec![] }, "{now}");
        given.extend(events.into_iter().map(|event| (now, event)));
    }
    assert!(user(&given).session(&hash(1), end.minus(Duration::from_millis(1))).is_some());
    assert_eq!(decided(&given, &extend, end), Err(Refusal::Unknown));
}

#[test]
fn who_signs_in_again_gets_another_session_and_loses_the_one_before() {
    let given = [(NOW, started(1, NOW)), (NOW, started(2, NOW))];
    assert_eq!(
        decided(&given, &sign_in(3, Some(1)), NOW),
        Ok(vec![ended(1, SessionEnd::Rotated), started(3, NOW)])
    );
    // What is not a session of this user, or not any more, ends nothing.
    assert_eq!(decided(&given, &sign_in(3, Some(7)), NOW), Ok(vec![started(3, NOW)]));
    let later = NOW.plus(SESSION_IDLE);
    assert_eq!(decided(&given, &sign_in(3, Some(1)), later), Ok(vec![started(3, later)]));
}

#[test]
fn the_session_that_was_used_least_recently_makes_room() {
    let minute = |number: u8| NOW.plus(Duration::from_mins(number.into()));
    let most = u8::try_from(MAX_SESSIONS).unwrap();
    let mut given: Vec<_> =
        (0..most).map(|number| (minute(number), started(number, minute(number)))).collect();
    let used = SessionExtended { session: hash(0), idle_until: minute(200).plus(SESSION_IDLE) };
    given.push((minute(200), used.into()));
    let now = minute(201);
    assert_eq!(
        decided(&given, &sign_in(100, None), now),
        Ok(vec![ended(1, SessionEnd::Displaced), started(100, now)])
    );
    // The one that is replaced leaves room enough.
    assert_eq!(
        decided(&given, &sign_in(100, Some(5)), now),
        Ok(vec![ended(5, SessionEnd::Rotated), started(100, now)])
    );
}

#[test]
fn who_signed_out_is_out() {
    let mut given = vec![(NOW, started(1, NOW))];
    let out = Command::SignOut(hash(1));
    assert_eq!(decided(&given, &out, NOW), Ok(vec![ended(1, SessionEnd::SignedOut)]));
    given.push((NOW, ended(1, SessionEnd::SignedOut)));
    assert_eq!(decided(&given, &out, NOW), Err(Refusal::Unknown));
    assert_eq!(decided(&given, &Command::Extend(hash(1)), NOW), Err(Refusal::Unknown));
}

#[test]
fn another_password_ends_the_other_sessions() {
    let given = [(NOW, started(1, NOW)), (NOW, started(2, NOW)), (NOW, started(3, NOW))];
    let change = Command::ChangePassword { changed: changed(1), keep: hash(2) };
    assert_eq!(
        decided(&given, &change, NOW),
        Ok(vec![
            changed(1).into(),
            ended(1, SessionEnd::PasswordChanged),
            ended(3, SessionEnd::PasswordChanged),
        ])
    );
    let change = Command::ChangePassword { changed: changed(1), keep: hash(4) };
    assert_eq!(decided(&given, &change, NOW), Err(Refusal::Unknown));
}

#[test]
fn a_password_that_was_changed_meanwhile_opens_nothing() {
    let given = [(NOW, started(1, NOW)), (NOW, changed(1).into())];
    assert_eq!(decided(&given, &sign_in(2, None), NOW), Err(Refusal::Outdated));
    let again = Command::ChangePassword { changed: changed(1), keep: hash(1) };
    assert_eq!(decided(&given, &again, NOW), Err(Refusal::Outdated));
    let rehash = |number| {
        let profile = SealedText("sealed".into());
        PasswordRehashed { tenant: TENANT, number, profile }
    };
    assert_eq!(decided(&given, &Command::Rehash(rehash(0)), NOW), Err(Refusal::Outdated));
    assert_eq!(decided(&given, &Command::Rehash(rehash(1)), NOW), Ok(vec![rehash(1).into()]));
    let change = Command::ChangePassword { changed: changed(2), keep: hash(1) };
    assert_eq!(decided(&given, &change, NOW), Ok(vec![changed(2).into()]));
}

#[test]
fn a_refused_password_is_told_and_changes_nothing() {
    let refused: UserEvent = PasswordRefused { tenant: TENANT, others: 3 }.into();
    let refuse = Command::Refuse(PasswordRefused { tenant: TENANT, others: 3 });
    assert_eq!(decided(&[], &refuse, NOW), Ok(vec![refused.clone()]));
    assert_eq!(user(&[(NOW, started(1, NOW)), (NOW, refused)]), user(&[(NOW, started(1, NOW))]));
    let Command::SignIn { tenant, session, replaces, number, .. } = sign_in(1, None) else {
        panic!("a sign-in")
    };
    let when = Command::SignIn { tenant, session, replaces, number, refused: 7 };
    let [UserEvent::SessionStarted(began)] = &decided(&[], &when, NOW).unwrap()[..] else {
        panic!("a session")
    };
    assert_eq!(began.refused, 7, "what no event told of");
}
