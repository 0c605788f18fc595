//! What happens when the log does not write, or does not say whether it did.

use std::{sync::Arc, time::Duration};

use actors::{CancelError, IdempotencyKey, SendError, SendRequest};
use eventlog::{EventLog, Fault};
use mail::sink::AcceptAll;
use model::message::MessageStatus;

use crate::world::{World, request, until};

fn keyed(key: &str) -> SendRequest {
    SendRequest { idempotency_key: IdempotencyKey::parse(key), ..request(&["ada@example.com"]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_not_written_may_be_sent_again() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let platform = &world.running.platform;
    for fault in [Fault::Lost, Fault::StorageFull] {
        world.memory.inject([fault]);
        let failed = platform.send(&world.account.caller, keyed("k")).await;
        assert_eq!(failed, Err(SendError::Unavailable));
        assert!(world.ground.messages().is_empty());
    }
    let sent = platform.send(&world.account.caller, keyed("k")).await.unwrap();
    assert!(!sent.idempotent_replay);
    world.until_kinds(sent.message, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_of_acceptance_is_answered_truthfully() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    // It was written: the message is ours, and the caller is told so.
    world.memory.inject([Fault::UnknownWritten]);
    let sent = platform.send(caller, keyed("one")).await.unwrap();
    world.until_kinds(sent.message, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();

    // It was not, as far as can be seen: nobody is told that it was, nor that it was not.
    world.memory.inject([Fault::UnknownLost]);
    assert_eq!(platform.send(caller, keyed("two")).await, Err(SendError::Unknown));
    let again = platform.send(caller, keyed("two")).await.unwrap();
    world.until_kinds(again.message, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

/// The receiver has the message; its record must come to be, and only once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_is_appended_until_it_is_written() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let troubles: [&[Fault]; 5] = [
        &[Fault::Lost, Fault::StorageFull, Fault::Lost],
        &[Fault::UnknownWritten],
        &[Fault::UnknownLost, Fault::UnknownLost],
        &[Fault::UnknownLost, Fault::Lost, Fault::UnknownWritten],
        &[Fault::Lost, Fault::UnknownWritten],
    ];
    for trouble in troubles {
        world.memory.inject([Fault::Pass]);
        world.memory.inject(trouble.iter().copied());
        let message = world.send(request(&["ada@example.com"])).await;
        world.until_kinds(message, &["accepted", "delivered"]).await;
        inbox.recv().await.unwrap();
        assert!(inbox.try_recv().is_err(), "delivered once: {trouble:?}");
    }
    until("all left", || world.running.platform.figures().live_messages == 0).await;
    world.ground.messages();
    world.running.stop().await;
}

/// A disk that fails stops the log; what is owed to it is written once it is opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_stopped_writing_is_waited_for() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.memory.inject([Fault::Pass, Fault::SyncFailed]);
    let message = world.send(request(&["ada@example.com"])).await;
    inbox.recv().await.unwrap();
    until("the log stopped", || !world.memory.health().writable).await;
    let platform = &world.running.platform;
    let refused = platform.send(&world.account.caller, request(&["ada@example.com"])).await;
    assert_eq!(refused, Err(SendError::Unavailable));
    assert_eq!(world.ground.kinds(message), ["accepted"]);
    world.memory.reopen();
    world.until_kinds(message, &["accepted", "delivered"]).await;
    assert!(inbox.try_recv().is_err(), "and it is not delivered again");
    world.running.stop().await;
}

/// What cannot be recorded is not begun: delivered and then forgotten, it would be delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_space_for_its_record_nothing_is_delivered_until_there_is_some() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.memory.have_room(false);
    let message = world.send(request(&["ada@example.com"])).await;
    let start = actors::Clock::now(&world.ground.clock);
    let passed = || actors::Clock::now(&world.ground.clock).since(start);
    // It is woken again and again, and goes back.
    until("a minute has passed", || passed() > Duration::from_mins(1)).await;
    assert!(inbox.try_recv().is_err(), "it was delivered though it cannot be recorded");
    assert_eq!(world.ground.kinds(message), ["accepted"]);
    world.memory.have_room(true);
    world.until_kinds(message, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_is_not_written_can_be_asked_for_again() {
    let world = World::start().await;
    let later = actors::Clock::now(&world.ground.clock).plus(Duration::from_secs(86_400));
    let message = world.send(SendRequest { scheduled_at: Some(later), ..keyed("k") }).await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    for fault in [Fault::Lost, Fault::UnknownLost] {
        world.memory.inject([fault]);
        assert_eq!(platform.cancel(caller, message).await, Err(CancelError::Unavailable));
    }
    world.memory.inject([Fault::UnknownWritten]);
    platform.cancel(caller, message).await.unwrap();
    assert_eq!(world.ground.kinds(message), ["accepted", "scheduled", "canceled"]);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_race_with_one_key_make_one_message() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let racing: Vec<_> = (0..64)
        .map(|_| {
            let (platform, caller) = (world.running.platform.clone(), world.account.caller);
            tokio::spawn(async move { platform.send(&caller, keyed("order 4711")).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for racer in racing {
        answers.push(racer.await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer.message == answers[0].message));
    assert!(answers.iter().all(|answer| answer.status == MessageStatus::Queued));
    assert_eq!(answers.iter().filter(|answer| !answer.idempotent_replay).count(), 1);
    world.until_kinds(answers[0].message, &["accepted", "delivered"]).await;

    // Long after, and for another request under the same key.
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let replay = platform.send(caller, keyed("order 4711")).await.unwrap();
    assert!(replay.idempotent_replay && replay.status == MessageStatus::Queued);
    let other = SendRequest { subject: "Another".into(), ..keyed("order 4711") };
    let conflict = platform.send(caller, other).await;
    assert_eq!(conflict, Err(model::message::Refusal::IdempotencyConflict.into()));
    inbox.recv().await.unwrap();
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

/// A refused request does not use its key up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_the_idempotency_key_free() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let refused = SendRequest { to: Vec::new(), ..keyed("k") };
    let refused = platform.send(caller, refused).await;
    assert_eq!(refused, Err(model::message::Refusal::NoRecipient.into()));
    assert!(!platform.send(caller, keyed("k")).await.unwrap().idempotent_replay);
    world.running.stop().await;
}

/// A stop waits for the record of what a receiver has taken, and gives up on it in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_record_that_cannot_be_written_yet() {
    for mended in [true, false] {
        let world = World::start().await;
        let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
        world.ground.mail_goes_to("example.com", 2);
        world.memory.inject([Fault::Pass, Fault::SyncFailed]);
        let message = world.send(request(&["ada@example.com"])).await;
        inbox.recv().await.unwrap();
        until("the log stopped", || !world.memory.health().writable).await;
        let platform = world.running.platform.clone();
        let drain = Duration::from_secs(if mended { 60 } else { 1 });
        let stopping = tokio::spawn(async move { platform.stop(drain).await });
        until("it stops", || !world.running.platform.is_open()).await;
        if mended {
            world.memory.reopen();
            assert_eq!(stopping.await.unwrap().left_behind, 0);
            assert_eq!(world.ground.kinds(message), ["accepted", "delivered"]);
        } else {
            assert_eq!(stopping.await.unwrap().left_behind, 1);
            assert_eq!(world.ground.kinds(message), ["accepted"]);
            until("it gave up", || world.running.platform.figures().live_messages == 0).await;
        }
    }
}
