//! Batches: all are taken over, or none is.

use std::{collections::HashSet, sync::Arc};

use actors::{
    BatchError, Clock as _, IdempotencyKey, MAX_BATCH, SendError, SendRefusal, SendRequest,
};
use eventlog::Fault;
use mail::sink::AcceptAll;
use model::message::{MessageStatus, Refusal, SuppressionReason};

use crate::world::{World, mailbox, request};

fn batch(count: usize) -> Vec<SendRequest> {
    (0..count).map(|number| request(&[&format!("u{number}@example.com")])).collect()
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_batch_is_delivered_once() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let later = world.ground.clock.now().plus(std::time::Duration::from_secs(60));
    let mut requests = batch(MAX_BATCH);
    requests[7].scheduled_at = Some(later);
    let sent = platform.send_all(caller, requests, None).await.unwrap();
    assert_eq!(sent.len(), MAX_BATCH);
    for (place, sent) in sent.iter().enumerate() {
        let scheduled = place == 7;
        assert_eq!(sent.status == MessageStatus::Scheduled, scheduled, "{place}");
        assert!(!sent.idempotent_replay);
    }
    let ids: HashSet<_> = sent.iter().map(|sent| sent.message).collect();
    assert_eq!(ids.len(), MAX_BATCH);
    let mut to = HashSet::new();
    for _ in 0..MAX_BATCH {
        let received = inbox.recv().await.unwrap();
        assert!(to.insert(received.recipients[0].clone()), "{:?} again", received.recipients);
    }
    world.all_ended().await;
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_refuses_the_batch_and_each_is_named() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let mut requests = batch(5);
    requests[1].from = Some(mailbox("x@not-ours.example"));
    requests[3].to.clear();
    let BatchError::Refused(refused) = platform.send_all(caller, requests, None).await.unwrap_err()
    else {
        panic!("refused")
    };
    let expected = [
        (1, SendRefusal::Message(Refusal::SenderDomainNotVerified)),
        (3, SendRefusal::Message(Refusal::NoRecipient)),
    ];
    assert_eq!(refused, expected);
    assert!(world.ground.messages().is_empty(), "nothing was stored");
    assert_eq!(platform.figures().content_bytes, 0, "room is given back");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_batch_again_is_answered_as_the_first_was() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let first = platform.send_all(caller, batch(3), Some(&key("b1"))).await.unwrap();
    let second = platform.send_all(caller, batch(3), Some(&key("b1"))).await.unwrap();
    for (first, second) in first.iter().zip(&second) {
        assert_eq!((first.message, first.status), (second.message, second.status));
        assert!(!first.idempotent_replay && second.idempotent_replay);
    }
    for other in [batch(2), batch(4), batch(3).into_iter().rev().collect()] {
        let refused = platform.send_all(caller, other, Some(&key("b1"))).await.unwrap_err();
        let conflict = SendRefusal::Message(Refusal::IdempotencyConflict);
        assert_eq!(refused, BatchError::Whole(SendError::Refused(conflict)));
    }
    world.running.stop().await;
    assert_eq!(world.ground.messages().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_for_one_request_be_it_a_batch_or_not() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let alone = |with| SendRequest { idempotency_key: Some(key(with)), ..batch(1).remove(0) };
    let conflict = || SendError::Refused(SendRefusal::Message(Refusal::IdempotencyConflict));
    platform.send_all(caller, batch(1), Some(&key("batch"))).await.unwrap();
    assert_eq!(platform.send(caller, alone("batch")).await.unwrap_err(), conflict());
    platform.send(caller, alone("alone")).await.unwrap();
    for count in [1, 3] {
        let refused = platform.send_all(caller, batch(count), Some(&key("alone"))).await;
        assert_eq!(refused.unwrap_err(), BatchError::Whole(conflict()));
    }
    world.running.stop().await;
    assert_eq!(world.ground.messages().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_race_one_is_carried_out() {
    let world = World::start().await;
    let (platform, caller) = (world.running.platform.clone(), world.account.caller);
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let platform = platform.clone();
            tokio::spawn(async move { platform.send_all(&caller, batch(4), Some(&key("r"))).await })
        })
        .collect();
    let mut fresh = 0;
    for one in racing {
        let sent = one.await.unwrap().unwrap();
        fresh += usize::from(!sent[0].idempotent_replay);
    }
    assert_eq!(fresh, 1);
    assert_eq!(world.ground.messages().len(), 4);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_write_loses_the_whole_batch_or_nothing() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    world.memory.inject([Fault::Lost]);
    let failed = platform.send_all(caller, batch(3), Some(&key("k"))).await;
    assert_eq!(failed.unwrap_err(), BatchError::Whole(SendError::Unavailable));
    assert!(world.ground.messages().is_empty());
    world.memory.inject([Fault::UnknownWritten]);
    let unknown = platform.send_all(caller, batch(3), Some(&key("k"))).await;
    assert_eq!(unknown.unwrap_err(), BatchError::Whole(SendError::Unknown));
    // Asked again, it turns out to be there.
    let again = platform.send_all(caller, batch(3), Some(&key("k"))).await.unwrap();
    assert!(again.iter().all(|sent| sent.idempotent_replay));
    assert_eq!(world.ground.messages().len(), 3);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suppressed_recipients_of_a_batch_are_recorded() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let listed = model::address::EmailAddress::parse("u1@example.com").unwrap();
    platform.suppress(caller, listed, SuppressionReason::Manual).await.unwrap();
    let sent = platform.send_all(caller, batch(2), None).await.unwrap();
    let kinds = ["accepted", "suppressed"];
    world.until_kinds(sent[1].message, &kinds).await;
    world.running.stop().await;
}
