//! Expiry, cancelling, and trying again now.

use std::time::Duration;

use model::{
    RecipientIndex,
    message::{
        CancelReason, Canceled, Command, Failed, FailureReason, MessageEvent, MessageStatus,
        Refusal, RetryRequested, SuppressionReason,
    },
    pause::Who,
};

use crate::scenario::{
    EXPIRE_AFTER, Given, Known, NOW, accept, bounced, deferred, delivered, draft, later, taking,
    tried,
};

fn expired(recipient: u8, attempt: u16) -> MessageEvent {
    let reason = FailureReason::Expired;
    Failed { recipient: RecipientIndex(recipient), attempt, reason }.into()
}

fn canceled(recipient: u8) -> MessageEvent {
    Canceled { recipient: RecipientIndex(recipient), reason: None }.into()
}

#[test]
fn what_does_not_exist_neither_expires_nor_is_canceled() {
    Given::nothing().when(NOW, &Command::Expire).then_refused(Refusal::Unknown);
    Given::nothing().when(NOW, &Command::Cancel).then_refused(Refusal::Unknown);
}

#[test]
fn what_is_open_at_its_expiry_has_failed_and_not_a_moment_before() {
    let end = NOW.plus(EXPIRE_AFTER);
    let given = Given::accepted(3)
        .when(later(1), &tried([(0, delivered()), (1, deferred())]))
        .happens()
        .when(end.minus(Duration::from_millis(1)), &Command::Expire)
        .then_nothing()
        .when(end, &Command::Expire)
        .then(&[expired(1, 1), expired(2, 0)]);
    assert_eq!(given.state.next_alarm(), None);
    assert_eq!(given.state.status(end), MessageStatus::PartiallyDelivered);
    given.when(end, &Command::Expire).then_nothing();
}

#[test]
fn a_scheduled_message_can_be_taken_back_until_its_time() {
    let mut scheduled = draft(2);
    scheduled.scheduled_at = Some(later(60));
    let given = Given::nothing().when(NOW, &taking(scheduled)).happens();
    let moment = Duration::from_millis(1);
    let then = given.clone().when(later(60).minus(moment), &Command::Cancel);
    let ended = then.then(&[canceled(0), canceled(1)]);
    assert_eq!(ended.state.status(later(60)), MessageStatus::Canceled);
    assert_eq!(ended.state.next_alarm(), None);
    ended.when(later(61), &Command::Cancel).then_refused(Refusal::NotCancelable);
    given.when(later(60), &Command::Cancel).then_refused(Refusal::NotCancelable);
}

#[test]
fn a_message_that_waits_for_a_retry_can_be_taken_back() {
    let given = Given::accepted(2).when(NOW, &tried([(0, delivered()), (1, deferred())])).happens();
    let ended = given.clone().when(later(4), &Command::Cancel).then(&[canceled(1)]);
    assert_eq!(ended.state.status(later(4)), MessageStatus::PartiallyDelivered);
    // Due again, it may be tried at any moment.
    given.clone().when(later(5), &Command::Cancel).then_refused(Refusal::NotCancelable);
    let known = Known { in_flight: true, ..Known::default() };
    given.when_knowing(later(4), &Command::Cancel, &known).then_refused(Refusal::NotCancelable);
}

#[test]
fn a_queued_message_and_one_that_has_ended_cannot_be_taken_back() {
    Given::accepted(1).when(later(1), &Command::Cancel).then_refused(Refusal::NotCancelable);
    for end in [delivered(), bounced()] {
        let given = Given::accepted(1).when(NOW, &tried([(0, end)])).happens();
        given.when(later(1), &Command::Cancel).then_refused(Refusal::NotCancelable);
    }
    let suppressed = vec![(RecipientIndex(0), SuppressionReason::Manual)];
    let known = Known { suppressed, ..Known::default() };
    let given = Given::nothing().when_knowing(NOW, &accept(1), &known).happens();
    given.when(later(1), &Command::Cancel).then_refused(Refusal::NotCancelable);
}

#[test]
fn late_reports_do_not_wake_what_was_taken_back_or_has_expired() {
    let waiting = Given::accepted(1).when(NOW, &tried([(0, deferred())])).happens();
    let end = NOW.plus(EXPIRE_AFTER);
    for ended in [
        waiting.clone().when(later(1), &Command::Cancel).happens(),
        waiting.when(end, &Command::Expire).happens(),
    ] {
        for late in [delivered(), bounced(), deferred()] {
            ended.clone().when(end, &tried([(0, late)])).then_nothing();
        }
    }
}

#[test]
fn what_is_paused_can_be_taken_back_although_it_is_due() {
    let paused = Known { paused: true, ..Known::default() };
    let given = Given::accepted(1);
    given.clone().when_knowing(later(1), &Command::Cancel, &paused).then(&[canceled(0)]);
    let known = Known { in_flight: true, ..paused };
    given.when_knowing(later(1), &Command::Cancel, &known).then_refused(Refusal::NotCancelable);
}

#[test]
fn what_waits_for_a_retry_is_due_at_once_when_somebody_asks() {
    let retry = Command::RetryNow(Who::Operator);
    Given::nothing().when(NOW, &retry).then_refused(Refusal::Unknown);
    // Nobody waits who is due, and nobody who has ended.
    Given::accepted(1).when(later(1), &retry).then_nothing();
    let ended = Given::accepted(1).when(NOW, &tried([(0, delivered())])).happens();
    ended.when(later(1), &retry).then_nothing();

    let outcomes = [(0, delivered()), (1, deferred()), (2, deferred())];
    let waiting = Given::accepted(3).when(NOW, &tried(outcomes)).happens();
    assert!(waiting.state.due(later(1)).is_empty());
    let asked = RetryRequested { by: Who::Operator }.into();
    let given = waiting.when(later(1), &retry).then(&[asked]);
    assert_eq!(given.state.due(later(1)), [RecipientIndex(1), RecipientIndex(2)]);
    assert_eq!(given.state.next_alarm(), Some(later(1)));
    given.when(later(1), &retry).then_nothing();
}

#[test]
fn a_scheduled_message_keeps_its_time_when_somebody_asks_for_a_retry() {
    let mut scheduled = draft(1);
    scheduled.scheduled_at = Some(later(60));
    let given = Given::nothing().when(NOW, &taking(scheduled)).happens();
    given.when(later(1), &Command::RetryNow(Who::Operator)).then_nothing();
}

#[test]
fn who_is_forgotten_gets_nothing_more_and_the_others_get_theirs() {
    let given = Given::accepted(2);
    let (_, accepted) = given.state.accepted().unwrap();
    let person = accepted.recipients[1].hash;
    let forget = Command::Forget(person);
    Given::nothing().when(NOW, &forget).then_refused(Refusal::Unknown);
    let reason = Some(CancelReason::Erasure);
    let ended = Canceled { recipient: RecipientIndex(1), reason }.into();
    // Also when it is due; but not while an attempt is under way.
    let known = Known { in_flight: true, ..Known::default() };
    given.clone().when_knowing(later(1), &forget, &known).then_refused(Refusal::NotCancelable);
    let given = given.when(later(1), &forget).then(&[ended]);
    assert_eq!(given.state.due(later(1)), [RecipientIndex(0)]);
    given.clone().when_knowing(later(1), &forget, &known).then_nothing();
    given
        .when(later(2), &tried([(0, delivered())]))
        .happens()
        .when(later(3), &forget)
        .then_nothing();
}
