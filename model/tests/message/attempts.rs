//! What attempts come to.

use model::{
    RecipientIndex,
    delivery::{
        Answer, BounceClass, BounceRules, Fault, Outcome, Peer, Stage, Tls, Trouble, Verdict,
        Verification,
    },
    message::{
        Bounced, Deferred, Delivered, Failed, FailureReason, MessageEvent, RecipientStatus, Refusal,
    },
    retry::RetryPolicy,
};

use crate::scenario::{
    EXPIRE_AFTER, Given, Known, NOW, attempt, bounced, deferred, delivered, faulted, later,
    replied, tried,
};

const FAULTS: [Fault; 17] = [
    Fault::NoSuchDomain,
    Fault::NoMailHost,
    Fault::NullMx,
    Fault::DnsUnavailable,
    Fault::MxIsSelf,
    Fault::PrivateAddress,
    Fault::Unreachable,
    Fault::Timeout,
    Fault::Disconnected,
    Fault::Protocol,
    Fault::TlsRequired,
    Fault::AuthRefused,
    Fault::TooLarge,
    Fault::Smtputf8Unsupported,
    Fault::OutcomeUnknown,
    Fault::ContentGone,
    Fault::ContentInvalid,
];

const STAGES: [Stage; 11] = [
    Stage::Dns,
    Stage::Connect,
    Stage::Greeting,
    Stage::Hello,
    Stage::StartTls,
    Stage::Auth,
    Stage::MailFrom,
    Stage::RcptTo,
    Stage::Data,
    Stage::Transfer,
    Stage::EndOfData,
];

fn deferral(recipient: u8, number: u16, outcome: &Outcome, minutes: u64) -> MessageEvent {
    let attempt = attempt(recipient, number, outcome);
    let next_attempt_at = later(minutes);
    Deferred { attempt, next_attempt_at, outcome_unknown: false, trouble: None }.into()
}

#[test]
fn a_message_that_was_never_accepted_has_no_attempts() {
    Given::nothing().when(NOW, &tried([(0, delivered())])).then_refused(Refusal::Unknown);
}

fn refused(recipient: u8) -> MessageEvent {
    Bounced {
        attempt: attempt(recipient, 1, &bounced()),
        class: BounceClass::Recipient,
        rules: Some(BounceRules::shipped().version),
        trouble: None,
    }
    .into()
}

#[test]
fn each_recipient_gets_its_own_end() {
    let given = Given::accepted(3)
        .when(NOW, &tried([(0, delivered()), (1, bounced()), (2, deferred())]))
        .then(&[
            Delivered { attempt: attempt(0, 1, &delivered()) }.into(),
            refused(1),
            deferral(2, 1, &deferred(), 5),
        ]);
    let statuses: Vec<_> = given.state.recipients().iter().map(|one| one.status).collect();
    let expected =
        [RecipientStatus::Delivered, RecipientStatus::Bounced, RecipientStatus::Deferred];
    assert_eq!(statuses, expected);
    assert_eq!(given.state.next_alarm(), Some(later(5)));
    assert!(given.state.due(later(4)).is_empty());
    assert_eq!(given.state.due(later(5)), [RecipientIndex(2)]);
}

#[test]
fn every_verdict_has_its_event() {
    let every_fault = FAULTS.map(faulted);
    let every_reply = STAGES
        .into_iter()
        .flat_map(|stage| [250, 354, 421, 450, 550, 552, 554, 999].map(|code| (stage, code)))
        .flat_map(|(stage, code)| {
            ["", "5.7.26", "5.1.1", "5.2.2", "4.7.1"].map(|enhanced| replied(stage, code, enhanced))
        });
    let mut seen = [false; 5];
    for outcome in every_fault.into_iter().chain(every_reply) {
        let then = Given::accepted(1).when(NOW, &tried([(0, outcome.clone())]));
        let [event] = then.events() else { panic!("{outcome:?}: {:?}", then.events()) };
        let attempt = attempt(0, 1, &outcome);
        let rules = Some(BounceRules::shipped().version);
        let trouble = Trouble::of(&outcome);
        let (place, expected): (usize, MessageEvent) = match outcome.verdict() {
            Verdict::Delivered => (0, Delivered { attempt }.into()),
            Verdict::Bounced(class) => (1, Bounced { attempt, class, rules, trouble }.into()),
            Verdict::Failed => {
                let reason = match outcome.answer {
                    Answer::Fault(Fault::ContentGone) => FailureReason::ContentGone,
                    _ => FailureReason::ContentInvalid,
                };
                (2, Failed { recipient: RecipientIndex(0), attempt: 1, reason }.into())
            }
            verdict @ (Verdict::Deferred | Verdict::OutcomeUnknown) => {
                let known = Known::default();
                let next_attempt_at = known.retry.next_attempt_at(1, &outcome, NOW, known.jitter);
                assert!(next_attempt_at > NOW);
                let outcome_unknown = verdict == Verdict::OutcomeUnknown;
                let place = if outcome_unknown { 4 } else { 3 };
                (place, Deferred { attempt, next_attempt_at, outcome_unknown, trouble }.into())
            }
        };
        assert_eq!(event, &expected, "{outcome:?}");
        seen[place] = true;
        let ended = then.happens().state.next_alarm().is_none();
        assert_eq!(ended, place < 3, "{outcome:?}");
    }
    assert_eq!(seen, [true; 5]);
}

#[test]
fn who_answered_is_recorded_and_the_text_only_sealed() {
    let tls = Tls {
        version: "TLSv1.3".into(),
        cipher: "AES".into(),
        verified: true,
        verification: Some(Verification::MtaSts),
        certificate_sha256: Some("00ff".into()),
    };
    let ip = Some("2001:db8::25".parse().unwrap());
    let peer = Peer { tls: Some(tls), ..Peer::new("mx.d0.example", ip) };
    let outcome = Outcome { peer: Some(peer.clone()), ..delivered() };
    let then = Given::accepted(1).when(NOW, &tried([(0, outcome)]));
    let [MessageEvent::Delivered(event)] = then.events() else { panic!("{then:?}") };
    assert_eq!(event.attempt.peer, Some(peer));
    let json =
        String::from_utf8(then.events()[0].encode(&model::By::CommandLine.into()).into()).unwrap();
    assert!(!json.contains("in clear"), "{json}");
}

#[test]
fn attempts_are_counted_and_delays_grow() {
    let mut given = Given::accepted(1);
    let mut at = 0;
    for (number, delay) in (1..).zip([5, 15, 30, 60, 120, 240, 480, 480]) {
        given = given.when(later(at), &tried([(0, deferred())])).then(&[deferral(
            0,
            number,
            &deferred(),
            at + delay,
        )]);
        at += delay;
        assert_eq!(given.state.next_alarm(), Some(later(at)));
    }
    let given = given.when(later(at), &tried([(0, delivered())]));
    given.then(&[Delivered { attempt: attempt(0, 9, &delivered()) }.into()]);
}

#[test]
fn no_attempt_is_put_off_beyond_the_expiry() {
    let known = Known {
        retry: RetryPolicy::new(vec![EXPIRE_AFTER * 2], EXPIRE_AFTER).unwrap(),
        ..Known::default()
    };
    let then = Given::accepted(1).when_knowing(later(1), &tried([(0, deferred())]), &known);
    let [MessageEvent::Deferred(event)] = then.events() else { panic!("{then:?}") };
    assert_eq!(event.next_attempt_at, NOW.plus(EXPIRE_AFTER));
    assert_eq!(then.happens().state.next_alarm(), Some(NOW.plus(EXPIRE_AFTER)));
}

#[test]
fn a_message_is_looked_at_when_it_expires_whatever_an_event_says() {
    let given = Given::accepted(1).and(NOW, &deferral(0, 1, &deferred(), 60 * 24 * 30));
    assert_eq!(given.state.next_alarm(), Some(NOW.plus(EXPIRE_AFTER)));
}

#[test]
fn a_report_twice_counts_once_and_the_first_one_counts() {
    Given::accepted(2)
        .when(NOW, &tried([(1, bounced()), (1, delivered()), (1, deferred())]))
        .then(&[refused(1)]);
}

#[test]
fn a_report_of_somebody_who_is_not_in_the_message_is_left_out() {
    Given::accepted(1).when(NOW, &tried([(1, delivered()), (255, bounced())])).then_nothing();
    Given::accepted(1).when(NOW, &tried([])).then_nothing();
}

#[test]
fn who_has_ended_does_not_end_again() {
    for first in [delivered(), bounced(), faulted(Fault::ContentGone)] {
        for late in [delivered(), bounced(), deferred(), faulted(Fault::OutcomeUnknown)] {
            Given::accepted(2)
                .when(NOW, &tried([(0, first.clone())]))
                .happens()
                .when(later(1), &tried([(0, late)]))
                .then_nothing();
        }
    }
}
