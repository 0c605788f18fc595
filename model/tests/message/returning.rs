//! What comes back after a message was handed over.

use model::{
    RecipientIndex,
    delivery::{BounceClass, BounceRules, EnhancedCode},
    message::{
        Command, Complained, MessageEvent, MessageStatus, RecipientStatus, Refusal, Returned,
    },
};

use crate::scenario::{Given, NOW, bounced, came_back, deferred, delivered, later, sealed, tried};

fn returned(recipient: u8, was_delivered: bool) -> MessageEvent {
    Returned {
        recipient: RecipientIndex(recipient),
        class: BounceClass::Recipient,
        rules: Some(BounceRules::shipped().version),
        trouble: None,
        code: Some(550),
        enhanced: EnhancedCode::parse("5.1.1"),
        text: sealed(),
        was_delivered,
    }
    .into()
}

fn complained(recipient: u8) -> MessageEvent {
    Complained { recipient: RecipientIndex(recipient) }.into()
}

fn complaint(recipients: &[u8]) -> Command {
    Command::RecordComplaint(recipients.iter().copied().map(RecipientIndex).collect())
}

#[test]
fn who_was_delivered_and_came_back_has_bounced_and_once() {
    let given = Given::accepted(2)
        .when(NOW, &tried([(0, delivered()), (1, delivered())]))
        .happens()
        .when(later(1), &came_back(vec![1, 1]))
        .then(&[returned(1, true)]);
    assert_eq!(given.state.recipients()[1].status, RecipientStatus::Bounced);
    assert_eq!(given.state.status(later(1)), MessageStatus::PartiallyDelivered);
    // The same report again, or another one.
    let given = given.when(later(2), &came_back(vec![1])).then_nothing();
    let given = given.when(later(3), &came_back(vec![0])).then(&[returned(0, true)]);
    assert_eq!(given.state.status(later(3)), MessageStatus::Bounced);
}

#[test]
fn a_report_ends_who_is_open_and_a_late_answer_changes_nothing() {
    let given = Given::accepted(2)
        .when(NOW, &tried([(0, deferred())]))
        .happens()
        .when(later(1), &came_back(vec![0, 1]))
        .then(&[returned(0, false), returned(1, false)]);
    assert_eq!(given.state.next_alarm(), None);
    given.when(later(2), &tried([(0, delivered()), (1, delivered())])).then_nothing();
}

#[test]
fn who_ended_otherwise_or_is_not_in_it_does_not_come_back() {
    let given = Given::accepted(1).when(NOW, &tried([(0, bounced())])).happens();
    given.when(later(1), &came_back(vec![0, 7])).then_nothing();
    let given = Given::accepted(1).when(later(60 * 48), &Command::Expire).happens();
    given.when(later(60 * 49), &came_back(vec![0])).then_nothing();
    Given::nothing().when(NOW, &came_back(vec![0])).then_refused(Refusal::Unknown);
}

#[test]
fn a_complaint_counts_once_and_ends_nothing() {
    let given = Given::accepted(2)
        .when(NOW, &tried([(0, delivered()), (1, deferred())]))
        .happens()
        .when(later(1), &complaint(&[0, 0, 9]))
        .then(&[complained(0)]);
    assert_eq!(given.state.recipients()[0].status, RecipientStatus::Delivered);
    let given = given.when(later(2), &complaint(&[0])).then_nothing();
    let given = given.when(later(2), &complaint(&[1])).then(&[complained(1)]);
    assert!(given.state.next_alarm().is_some());
}

#[test]
fn nobody_complains_about_what_was_never_sent() {
    let given = Given::accepted(1)
        .and(NOW, &model::message::Canceled { recipient: RecipientIndex(0), reason: None }.into());
    given.when(later(1), &complaint(&[0])).then_nothing();
    Given::nothing().when(NOW, &complaint(&[0])).then_refused(Refusal::Unknown);
}
