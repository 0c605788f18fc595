//! What holds for every history.

use std::time::Duration;

use model::{
    RecipientIndex, Timestamp,
    delivery::{Fault, Outcome, Stage},
    message::{Command, Message, MessageEvent, RecipientStatus, SuppressionReason},
    pause::Who,
    retry::{Jitter, RetryPolicy},
};
use proptest::prelude::*;

use crate::scenario::{
    Given, Known, NOW, bounced, came_back, deferred, delivered, draft, faulted, replied, taking,
    tried,
};

#[derive(Debug, Clone)]
struct Step {
    wait: Duration,
    command: Command,
    jitter: u32,
    in_flight: bool,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        2 => Just(delivered()),
        2 => Just(bounced()),
        4 => Just(deferred()),
        1 => Just(replied(Stage::RcptTo, 451, "")),
        1 => Just(faulted(Fault::OutcomeUnknown)),
        1 => Just(faulted(Fault::ContentGone)),
        1 => Just(faulted(Fault::NullMx)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let reports = proptest::collection::vec((0_u8..7, outcome()), 0..6).prop_map(tried);
    let command = prop_oneof![
        6 => reports,
        1 => Just(Command::Expire),
        1 => Just(Command::Cancel),
        1 => Just(Command::RetryNow(Who::Operator)),
        1 => Just(taking(draft(2))),
        2 => proptest::collection::vec(0_u8..7, 0..4).prop_map(came_back),
        1 => proptest::collection::vec((0_u8..7).prop_map(RecipientIndex), 0..4)
            .prop_map(Command::RecordComplaint),
    ];
    (0_u64..200_000_000, command, any::<u32>(), any::<bool>()).prop_map(
        |(wait, command, jitter, in_flight)| Step {
            // Mostly short waits, now and then one beyond the expiry.
            wait: Duration::from_millis(if wait % 5 == 0 { wait } else { wait / 1_000 }),
            command,
            jitter,
            in_flight,
        },
    )
}

#[derive(Debug, Clone)]
struct Beginning {
    recipients: usize,
    scheduled_in: Option<Duration>,
    suppressed: Vec<u8>,
}

fn beginning() -> impl Strategy<Value = Beginning> {
    let scheduled_in = proptest::option::of((0_u64..30).prop_map(Duration::from_hours));
    let suppressed = proptest::collection::vec(0_u8..7, 0..3);
    (1_usize..7, scheduled_in, suppressed).prop_map(|(recipients, scheduled_in, suppressed)| {
        Beginning { recipients, scheduled_in, suppressed }
    })
}

fn known(step: &Step) -> Known {
    let schedule = vec![Duration::from_mins(5), Duration::from_mins(30)];
    Known {
        jitter: Jitter::from_random(step.jitter),
        in_flight: step.in_flight,
        retry: RetryPolicy::new(schedule, Duration::from_hours(10)).unwrap(),
        ..Known::default()
    }
}

fn begun(beginning: &Beginning) -> Given {
    let mut draft = draft(beginning.recipients);
    draft.scheduled_at = beginning.scheduled_in.map(|wait| NOW.plus(wait));
    let with = |index: &u8| (RecipientIndex(*index), SuppressionReason::Bounce);
    let suppressed = beginning.suppressed.iter().map(with).collect();
    let known = Known { suppressed, ..Known::default() };
    Given::nothing().when_knowing(NOW, &taking(draft), &known).happens()
}

/// The message after a step, unless the step is refused.
fn after(given: &Given, at: Timestamp, step: &Step) -> Option<Given> {
    let known = known(step);
    model::message::decide(&given.state, &step.command, &known.facts(), at).ok()?;
    Some(given.clone().when_knowing(at, &step.command, &known).happens())
}

/// Invariant 5: an unfinished message has a time at which it is looked at, never past its expiry;
/// one that has ended has none.
fn assert_alarm(message: &Message) -> Result<(), TestCaseError> {
    let open = message.open().count();
    let ended = message.recipients().iter().filter(|one| one.status.is_final()).count();
    prop_assert_eq!(open + ended, message.recipients().len());
    prop_assert_eq!(message.next_alarm().is_some(), open > 0);
    if let (Some(alarm), Some((_, accepted))) = (message.next_alarm(), message.accepted()) {
        prop_assert!(alarm <= accepted.expires_at);
        prop_assert!(message.open().any(|(_, one)| one.next_attempt_at >= alarm));
        // Whoever looks at that time finds something to do: an attempt, or the end.
        let due = !message.due(alarm).is_empty();
        prop_assert!(due || alarm == accepted.expires_at);
    }
    Ok(())
}

fn assert_terminal_stayed(before: &Message, after: &Message) -> Result<(), TestCaseError> {
    for (before, after) in before.recipients().iter().zip(after.recipients()) {
        // One end alone is corrected: who was delivered may come back.
        let came_back =
            (before.status, after.status) == (RecipientStatus::Delivered, RecipientStatus::Bounced);
        if before.status.is_final() && !came_back {
            prop_assert_eq!(before.status, after.status);
            prop_assert_eq!(before.attempts, after.attempts);
        }
        prop_assert!(after.complained || !before.complained);
        prop_assert!(after.attempts >= before.attempts);
    }
    Ok(())
}

fn ends(event: &MessageEvent) -> Option<RecipientIndex> {
    match event {
        MessageEvent::Accepted(_)
        | MessageEvent::Scheduled(_)
        | MessageEvent::Deferred(_)
        | MessageEvent::Complained(_)
        | MessageEvent::RetryRequested(_) => None,
        MessageEvent::Suppressed(event) => Some(event.recipient),
        MessageEvent::Delivered(event) => Some(event.attempt.recipient),
        MessageEvent::Bounced(event) => Some(event.attempt.recipient),
        MessageEvent::Failed(event) => Some(event.recipient),
        MessageEvent::Canceled(event) => Some(event.recipient),
        MessageEvent::Returned(event) => (!event.was_delivered).then_some(event.recipient),
    }
}

/// In how many events a recipient ends.
fn endings(given: &Given, recipient: RecipientIndex) -> usize {
    given.history.iter().filter(|(_, event)| ends(event) == Some(recipient)).count()
}

proptest! {
    #[test]
    fn every_history_keeps_the_invariants(
        beginning in beginning(),
        steps in proptest::collection::vec(step(), 0..25),
    ) {
        let mut given = begun(&beginning);
        let mut at = NOW;
        assert_alarm(&given.state)?;
        for step in &steps {
            at = at.plus(step.wait);
            let Some(next) = after(&given, at, step) else { continue };
            assert_terminal_stayed(&given.state, &next.state)?;
            assert_alarm(&next.state)?;
            given = next;
        }

        // Folded again from what was recorded, it is the same message.
        let mut replayed = Message::default();
        for (at, event) in &given.history {
            replayed.evolve(event, *at);
        }
        prop_assert_eq!(&replayed, &given.state);

        // Everyone ends at most once, and exactly once after the expiry at the latest.
        let indexes = || (0_u8..).map(RecipientIndex).take(beginning.recipients);
        for (index, recipient) in indexes().zip(given.state.recipients()) {
            prop_assert_eq!(endings(&given, index), usize::from(recipient.status.is_final()));
        }
        let (_, accepted) = given.state.accepted().unwrap();
        let expires_at = accepted.expires_at;
        let given = given.when(expires_at.max(at), &Command::Expire).happens();
        prop_assert_eq!(given.state.next_alarm(), None);
        for index in indexes() {
            prop_assert_eq!(endings(&given, index), 1);
        }
    }

    #[test]
    fn a_suppressed_recipient_is_never_tried(
        beginning in beginning(),
        steps in proptest::collection::vec(step(), 1..15),
    ) {
        let mut given = begun(&beginning);
        let mut at = NOW;
        for step in &steps {
            at = at.plus(step.wait);
            given = after(&given, at, step).unwrap_or(given);
        }
        for index in &beginning.suppressed {
            if let Some(recipient) = given.state.recipients().get(usize::from(*index)) {
                prop_assert_eq!(recipient.status, RecipientStatus::Suppressed);
                prop_assert_eq!(recipient.attempts, 0);
            }
        }
    }

    #[test]
    fn refused_is_not_changed_and_a_decision_is_always_the_same(
        beginning in beginning(),
        steps in proptest::collection::vec(step(), 1..10),
    ) {
        let mut given = begun(&beginning);
        let mut at = NOW;
        for step in &steps {
            at = at.plus(step.wait);
            let known = known(step);
            let decide = || model::message::decide(&given.state, &step.command, &known.facts(), at);
            prop_assert_eq!(decide(), decide());
            given = after(&given, at, step).unwrap_or(given);
        }
    }
}
