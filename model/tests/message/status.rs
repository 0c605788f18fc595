//! How a message stands, from how its recipients stand.

use model::{
    RecipientIndex,
    message::{
        Bounced, Canceled, Deferred, Delivered, Failed, FailureReason, MessageEvent, MessageStatus,
        RecipientStatus, Suppressed, SuppressionReason,
    },
};

use crate::scenario::{Given, NOW, attempt, bounced, deferred, delivered, later};

const ALL: [RecipientStatus; 7] = [
    RecipientStatus::Queued,
    RecipientStatus::Deferred,
    RecipientStatus::Delivered,
    RecipientStatus::Bounced,
    RecipientStatus::Failed,
    RecipientStatus::Suppressed,
    RecipientStatus::Canceled,
];

fn becoming(index: u8, status: RecipientStatus) -> Option<MessageEvent> {
    let recipient = RecipientIndex(index);
    Some(match status {
        RecipientStatus::Queued => return None,
        RecipientStatus::Deferred => Deferred {
            attempt: attempt(index, 1, &deferred()),
            next_attempt_at: later(5),
            outcome_unknown: false,
            trouble: None,
        }
        .into(),
        RecipientStatus::Delivered => Delivered { attempt: attempt(index, 1, &delivered()) }.into(),
        RecipientStatus::Bounced => Bounced {
            attempt: attempt(index, 1, &bounced()),
            class: model::delivery::BounceClass::Recipient,
            rules: None,
            trouble: None,
        }
        .into(),
        RecipientStatus::Failed => {
            Failed { recipient, attempt: 0, reason: FailureReason::Expired }.into()
        }
        RecipientStatus::Suppressed => {
            Suppressed { recipient, reason: SuppressionReason::Bounce }.into()
        }
        RecipientStatus::Canceled => Canceled { recipient, reason: None }.into(),
    })
}

fn status(recipients: &[RecipientStatus]) -> MessageStatus {
    let mut given = Given::accepted(recipients.len());
    for (index, status) in (0..).zip(recipients) {
        if let Some(event) = becoming(index, *status) {
            given = given.and(NOW, &event);
        }
    }
    let found: Vec<_> = given.state.recipients().iter().map(|one| one.status).collect();
    assert_eq!(found, recipients);
    let open = recipients.iter().any(|status| !status.is_final());
    assert_eq!(given.state.next_alarm().is_some(), open);
    given.state.status(later(1))
}

#[test]
fn one_recipient_gives_the_message_its_status() {
    let table = [
        (RecipientStatus::Queued, MessageStatus::Queued),
        (RecipientStatus::Deferred, MessageStatus::Sending),
        (RecipientStatus::Delivered, MessageStatus::Delivered),
        (RecipientStatus::Bounced, MessageStatus::Bounced),
        (RecipientStatus::Failed, MessageStatus::Failed),
        (RecipientStatus::Suppressed, MessageStatus::Failed),
        (RecipientStatus::Canceled, MessageStatus::Canceled),
    ];
    for (recipient, message) in table {
        assert_eq!(status(&[recipient]), message, "{recipient:?}");
        assert_eq!(status(&[recipient, recipient]), message, "twice {recipient:?}");
    }
}

#[test]
fn two_recipients_give_the_message_its_status() {
    use RecipientStatus as R;
    for one in ALL {
        for other in ALL {
            let either = |wanted: R| one == wanted || other == wanted;
            let tried = [one, other]
                .iter()
                .any(|status| matches!(status, R::Deferred | R::Delivered | R::Bounced));
            let open = either(R::Queued) || either(R::Deferred);
            let expected = if open && tried {
                MessageStatus::Sending
            } else if open {
                MessageStatus::Queued
            } else if one == R::Delivered && other == R::Delivered {
                MessageStatus::Delivered
            } else if either(R::Delivered) {
                MessageStatus::PartiallyDelivered
            } else if either(R::Bounced) {
                MessageStatus::Bounced
            } else if either(R::Canceled) {
                MessageStatus::Canceled
            } else {
                MessageStatus::Failed
            };
            assert_eq!(status(&[one, other]), expected, "{one:?} and {other:?}");
        }
    }
}

#[test]
fn events_of_nobody_change_nothing() {
    let given = Given::accepted(1);
    let before = given.state.clone();
    let mut given = given;
    for status in ALL {
        if let Some(event) = becoming(9, status) {
            given = given.and(later(1), &event);
        }
    }
    assert_eq!(given.state.recipients(), before.recipients());
    assert_eq!(given.state.accepted(), before.accepted());
    assert_eq!(given.state.status(later(1)), before.status(later(1)));
}
