//! What each event of a message comes of.

use model::{
    After, By, Cause, RecipientIndex,
    message::{Command, MessageEvent},
    pause::Who,
};

use crate::scenario::{
    EXPIRE_AFTER, Given, NOW, accept, bounced, came_back, deferred, delivered, draft, later,
    taking, tried,
};

/// The versions that the events follow from that a command leads to, which is `by` somebody or something.
fn causes(given: &Given, at: model::Timestamp, command: &Command, by: By) -> Vec<Option<u64>> {
    let then = given.clone().when(at, command);
    let told = |event: &MessageEvent| {
        let Cause { by: named, after } = given.state.cause(event, by);
        assert_eq!(named, by);
        after.map(|after| match after {
            After::Own(version) => version,
            After::Other(..) => panic!("it is of the same stream"),
        })
    };
    then.events().iter().map(told).collect()
}

const KEY: By = By::Key(model::ApiKeyId::from_bytes([3; 16]));

#[test]
fn a_message_comes_of_nothing_but_the_request() {
    let mut scheduled = draft(2);
    scheduled.scheduled_at = Some(later(60));
    let begun = causes(&Given::nothing(), NOW, &taking(scheduled), KEY);
    assert_eq!(begun, [None, None]);
    assert_eq!(causes(&Given::nothing(), NOW, &accept(1), KEY), [None]);
    let mut scheduled = draft(2);
    scheduled.scheduled_at = Some(later(60));
    let scheduled = Given::nothing().when(NOW, &taking(scheduled)).happens();
    assert_eq!(causes(&scheduled, NOW, &Command::Cancel, KEY), [None, None]);
}

#[test]
fn a_first_attempt_follows_from_the_message_or_from_the_time_that_was_named() {
    let first = tried([(0, delivered()), (1, bounced())]);
    assert_eq!(causes(&Given::accepted(2), NOW, &first, By::Attempt), [Some(1), Some(1)]);
    let mut scheduled = draft(2);
    scheduled.scheduled_at = Some(later(60));
    let scheduled = Given::nothing().when(NOW, &taking(scheduled)).happens();
    assert_eq!(causes(&scheduled, later(60), &first, By::Attempt), [Some(2), Some(2)]);
}

#[test]
fn a_later_attempt_follows_from_the_one_before_at_the_same_recipient() {
    // 1 accepted, 2 and 3 the first attempts, 4 the second at one of them.
    let given = Given::accepted(3)
        .when(NOW, &tried([(0, deferred()), (1, deferred())]))
        .happens()
        .when(later(5), &tried([(1, deferred())]))
        .happens();
    let next = tried([(0, delivered()), (1, delivered()), (2, delivered())]);
    assert_eq!(causes(&given, later(20), &next, By::Attempt), [Some(2), Some(4), Some(1)]);
}

#[test]
fn an_attempt_that_was_asked_for_follows_from_that() {
    let given = Given::accepted(2).when(NOW, &tried([(0, deferred()), (1, delivered())])).happens();
    let retry = Command::RetryNow(Who::Operator);
    assert_eq!(causes(&given, later(1), &retry, By::Operator), [None]);
    let asked = given.when(later(1), &retry).happens();
    assert_eq!(causes(&asked, later(1), &tried([(0, delivered())]), By::Attempt), [Some(4)]);
}

#[test]
fn an_expiry_follows_from_the_last_attempt() {
    let given = Given::accepted(2).when(NOW, &tried([(0, deferred())])).happens();
    let end = NOW.plus(EXPIRE_AFTER);
    assert_eq!(causes(&given, end, &Command::Expire, By::Alarm), [Some(2), Some(1)]);
}

#[test]
fn a_report_is_about_the_attempt_that_delivered() {
    let given =
        Given::accepted(2).when(NOW, &tried([(0, delivered()), (1, delivered())])).happens();
    assert_eq!(causes(&given, later(1), &came_back(vec![1]), By::Report), [Some(3)]);
    let complaint = Command::RecordComplaint(vec![RecipientIndex(0)]);
    assert_eq!(causes(&given, later(1), &complaint, By::Report), [Some(2)]);
    // Who complains after all came back: that is the last that was heard.
    let given = given.when(later(1), &came_back(vec![0])).happens();
    assert_eq!(causes(&given, later(2), &complaint, By::Report), [Some(4)]);
}
