//! Taking a message over, or not.

use std::time::Duration;

use model::{
    RecipientIndex, Timestamp,
    delivery::TlsDemand,
    event::KeyedHash,
    message::{
        Accepted, MAX_RECIPIENTS, MAX_SCHEDULE_AHEAD, MAX_TAGS, MessageEvent, MessageStatus,
        Refusal, Scheduled, SenderStanding, Suppressed, SuppressionReason, Tag,
    },
    retry::Lifetime,
};

use crate::scenario::{DOMAIN, EXPIRE_AFTER, Given, Known, NOW, accept, draft, later, taking};

fn accepted_as(draft: &model::message::Accept, expires_at: Timestamp) -> MessageEvent {
    Accepted {
        tenant: draft.tenant,
        app: draft.app,
        key: draft.key,
        domain: DOMAIN,
        from: draft.from.clone(),
        recipients: draft.recipients.clone(),
        tags: draft.tags.clone(),
        template: None,
        tls: draft.tls,
        bulk: draft.bulk,
        size: draft.size,
        expires_at,
        request: draft.request,
    }
    .into()
}

#[test]
fn a_message_is_accepted_as_it_was_given() {
    let mut draft = draft(3);
    draft.tags = vec![Tag::parse("welcome").unwrap()];
    draft.request = Some(KeyedHash([5; 16]));
    draft.tls = TlsDemand::Required;
    let given = Given::nothing()
        .when(NOW, &taking(draft.clone()))
        .then(&[accepted_as(&draft, NOW.plus(EXPIRE_AFTER))]);
    assert_eq!(given.state.due(NOW).len(), 3);
    assert_eq!(given.state.next_alarm(), Some(NOW));
    assert_eq!(given.state.status(NOW), MessageStatus::Queued);
}

#[test]
fn a_sender_that_is_not_verified_is_refused_before_anything_else() {
    let known = Known { sender: SenderStanding::NotVerified, ..Known::default() };
    for recipients in [0, 1, MAX_RECIPIENTS + 1] {
        Given::nothing()
            .when_knowing(NOW, &accept(recipients), &known)
            .then_refused(Refusal::SenderDomainNotVerified);
    }
}

#[test]
fn numbers_of_recipients_and_tags_are_bounded() {
    Given::nothing().when(NOW, &accept(0)).then_refused(Refusal::NoRecipient);
    Given::nothing().when(NOW, &accept(MAX_RECIPIENTS)).happens();
    Given::nothing()
        .when(NOW, &accept(MAX_RECIPIENTS + 1))
        .then_refused(Refusal::TooManyRecipients);
    let mut tagged = draft(1);
    tagged.tags = vec![Tag::parse("t").unwrap(); MAX_TAGS];
    Given::nothing().when(NOW, &taking(tagged.clone())).happens();
    tagged.tags.push(Tag::parse("t").unwrap());
    Given::nothing().when(NOW, &taking(tagged)).then_refused(Refusal::TooManyTags);
}

#[test]
fn a_scheduled_message_waits_for_its_time_and_expires_counted_from_it() {
    let mut draft = draft(2);
    draft.scheduled_at = Some(later(90));
    let given = Given::nothing().when(NOW, &taking(draft.clone())).then(&[
        accepted_as(&draft, later(90).plus(EXPIRE_AFTER)),
        Scheduled { until: later(90) }.into(),
    ]);
    assert_eq!(given.state.next_alarm(), Some(later(90)));
    assert!(given.state.due(later(89)).is_empty());
    assert_eq!(given.state.due(later(90)).len(), 2);
    assert_eq!(given.state.status(later(89)), MessageStatus::Scheduled);
    assert_eq!(given.state.status(later(90)), MessageStatus::Queued);
}

#[test]
fn a_message_is_worth_sending_as_long_as_its_caller_says() {
    let mut draft = draft(1);
    for (text, wait) in [("10m", 600), ("7d", 7 * 86_400)] {
        draft.expires_after = Some(Lifetime::parse(text).unwrap());
        let event = accepted_as(&draft, NOW.plus(Duration::from_secs(wait)));
        Given::nothing().when(NOW, &taking(draft.clone())).then(&[event]);
    }
    draft.expires_after = Some(Lifetime::parse("10m").unwrap());
    draft.scheduled_at = Some(later(90));
    let given = Given::nothing().when(NOW, &taking(draft.clone())).then(&[
        accepted_as(&draft, later(90).plus(Duration::from_mins(10))),
        Scheduled { until: later(90) }.into(),
    ]);
    assert_eq!(given.state.next_alarm(), Some(later(90)));
}

#[test]
fn a_time_that_has_passed_means_now_and_one_too_far_ahead_is_refused() {
    let mut draft = draft(1);
    for passed in [NOW, NOW.minus(Duration::from_hours(1)), Timestamp::from_millis(0)] {
        draft.scheduled_at = Some(passed);
        let event = accepted_as(&draft, NOW.plus(EXPIRE_AFTER));
        Given::nothing().when(NOW, &taking(draft.clone())).then(&[event]);
    }
    draft.scheduled_at = Some(NOW.plus(MAX_SCHEDULE_AHEAD));
    Given::nothing().when(NOW, &taking(draft.clone())).happens();
    draft.scheduled_at = Some(NOW.plus(MAX_SCHEDULE_AHEAD + Duration::from_millis(1)));
    Given::nothing().when(NOW, &taking(draft)).then_refused(Refusal::ScheduledTooFarAhead);
}

#[test]
fn the_same_request_again_is_recognised_and_another_one_is_a_conflict() {
    let with = |request: Option<u8>| {
        let mut draft = draft(1);
        draft.request = request.map(|byte| KeyedHash([byte; 16]));
        taking(draft)
    };
    let table = [
        (Some(1), Some(1), Refusal::AlreadyAccepted),
        (Some(1), Some(2), Refusal::IdempotencyConflict),
        (Some(1), None, Refusal::IdempotencyConflict),
        (None, Some(1), Refusal::IdempotencyConflict),
        (None, None, Refusal::IdempotencyConflict),
    ];
    for (first, second, refusal) in table {
        let given = Given::nothing().when(NOW, &with(first)).happens();
        given.when(later(1), &with(second)).then_refused(refusal);
    }
    // What the tenant lost since does not change the answer to what was done before.
    let known = Known { sender: SenderStanding::NotVerified, ..Known::default() };
    Given::nothing()
        .when(NOW, &with(Some(1)))
        .happens()
        .when_knowing(later(1), &with(Some(1)), &known)
        .then_refused(Refusal::AlreadyAccepted);
}

#[test]
fn suppressed_recipients_get_nothing_and_the_others_do() {
    let reasons =
        [SuppressionReason::Bounce, SuppressionReason::Complaint, SuppressionReason::Manual];
    let suppressed = (0..3).map(RecipientIndex).zip(reasons).collect();
    let known = Known { suppressed, ..Known::default() };
    let then = Given::nothing().when_knowing(NOW, &accept(4), &known);
    let expected: Vec<MessageEvent> = (0..3)
        .map(RecipientIndex)
        .zip(reasons)
        .map(|(recipient, reason)| Suppressed { recipient, reason }.into())
        .collect();
    assert_eq!(then.events()[1..], expected);
    let given = then.happens();
    assert_eq!(given.state.due(NOW), [RecipientIndex(3)]);

    // All of them, and one that is not in the message.
    let suppressed = [0, 1, 7].map(|n| (RecipientIndex(n), SuppressionReason::Bounce)).into();
    let known = Known { suppressed, ..Known::default() };
    let then = Given::nothing().when_knowing(NOW, &accept(2), &known);
    assert_eq!(then.events().len(), 3);
    let given = then.happens();
    assert_eq!(given.state.next_alarm(), None);
    assert_eq!(given.state.status(NOW), MessageStatus::Failed);
}

#[test]
fn who_is_listed_for_two_reasons_ends_once() {
    let reasons = [SuppressionReason::Complaint, SuppressionReason::Bounce];
    let suppressed = reasons.map(|reason| (RecipientIndex(1), reason)).into();
    let known = Known { suppressed, ..Known::default() };
    let then = Given::nothing().when_knowing(NOW, &accept(2), &known);
    let first = Suppressed { recipient: RecipientIndex(1), reason: SuppressionReason::Complaint };
    assert_eq!(then.events()[1..], [first.into()]);
}

#[test]
fn bulk_mail_goes_to_one_and_to_nobody_who_unsubscribed() {
    let mut several = draft(2);
    several.bulk = true;
    Given::nothing().when(NOW, &taking(several)).then_refused(Refusal::BulkToSeveral);

    let mut one = draft(1);
    let suppressed = vec![(RecipientIndex(0), SuppressionReason::Unsubscribe)];
    let known = Known { suppressed: suppressed.clone(), ..Known::default() };
    let accepted = |draft: &_| accepted_as(draft, NOW.plus(EXPIRE_AFTER));
    // Other mail goes on.
    Given::nothing().when_knowing(NOW, &taking(one.clone()), &known).then(&[accepted(&one)]);
    one.bulk = true;
    let (recipient, reason) = suppressed[0];
    Given::nothing()
        .when_knowing(NOW, &taking(one.clone()), &known)
        .then(&[accepted(&one), Suppressed { recipient, reason }.into()]);
}
