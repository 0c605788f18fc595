//! Bounds: beyond them a caller is told to come back, and a message waits on disk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actors::{PlatformOptions, SendError, SendRequest};
use eventlog::Fault;
use mail::sink::{AcceptAll, Action, Asked, Policy};
use model::content::Body;

use crate::world::{PATIENCE, World, request, until};

/// Does not answer while it is told so.
struct Slow(AtomicBool);

impl Policy for Slow {
    fn recipient(&self, _asked: Asked<'_>) -> Action {
        if self.0.load(Ordering::SeqCst) { Action::Stall } else { Action::Accept }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_what_may_be_recorded_at_once_callers_are_told_to_come_back() {
    let world = World::with(|options| PlatformOptions { max_admitted: 4, ..options }).await;
    let (platform, caller) = (world.running.platform.clone(), world.account.caller);
    world.memory.inject([Fault::Held; 4]);
    let held: Vec<_> = (0..4)
        .map(|_| {
            let platform = platform.clone();
            tokio::spawn(async move { platform.send(&caller, request(&["a@example.com"])).await })
        })
        .collect();
    until("four are being recorded", || world.ground.messages().len() == 4).await;
    let refused = platform.send(&caller, request(&["a@example.com"])).await;
    let Err(SendError::Overloaded { retry_after }) = refused else { panic!("{refused:?}") };
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&retry_after));
    world.memory.release_held();
    for held in held {
        held.await.unwrap().unwrap();
    }
    platform.send(&caller, request(&["a@example.com"])).await.unwrap();
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_in_memory_is_bounded_by_octets() {
    let bound = 64 * 1024 * 1024;
    let world =
        World::with(|options| PlatformOptions { max_admitted_bytes: bound, ..options }).await;
    let (platform, caller) = (world.running.platform.clone(), world.account.caller);
    let large = || SendRequest {
        body: Body { text: Some("x".repeat(30 * 1024 * 1024)), ..Body::default() },
        ..request(&["a@example.com"])
    };
    world.memory.inject([Fault::Held, Fault::Held]);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (platform, large) = (platform.clone(), large());
            tokio::spawn(async move { platform.send(&caller, large).await })
        })
        .collect();
    until("two are being recorded", || world.ground.messages().len() == 2).await;
    assert!(platform.figures().content_bytes <= bound);
    let refused = platform.send(&caller, large()).await;
    assert!(matches!(refused, Err(SendError::Overloaded { .. })), "{refused:?}");
    // What is small still gets in.
    platform.send(&caller, request(&["a@example.com"])).await.unwrap();
    world.memory.release_held();
    for held in held {
        held.await.unwrap().unwrap();
    }
    until("it is given back", || platform.figures().content_bytes == 0).await;
    world.running.stop().await;
}

/// A site that answers nobody: its lane fills, the others wait on disk, new mail to others goes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_site_holds_neither_memory_nor_other_sites() {
    let world = World::with(|options| PlatformOptions {
        per_destination: 2,
        lane_depth: 10,
        max_live_messages: 40,
        ..options
    })
    .await;
    let slow = Arc::new(Slow(AtomicBool::new(true)));
    let (slow_sink, mut stuck) = world.ground.receiver(2, slow.clone()).await;
    let (_quick, mut quick) = world.ground.receiver(3, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("slow.example", 2);
    world.ground.mail_goes_to("quick.example", 3);
    for number in 0..100 {
        let to = format!("u{number}@slow.example");
        // Beyond the room for live messages, callers come back.
        while world.running.platform.send(&world.account.caller, request(&[&to])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(world.running.platform.figures().live_messages <= 40);
    }
    until("the lane alone is in memory", || world.running.platform.figures().live_messages <= 30)
        .await;
    for number in 0..20 {
        let to = format!("u{number}@quick.example");
        while world.running.platform.send(&world.account.caller, request(&[&to])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        quick.recv().await.unwrap();
    }
    slow.0.store(false, Ordering::SeqCst);
    // The ones that were stalled are stuck until their receiver gives up; dropping it ends them.
    slow_sink.stop().await;
    let (_slow, mut healed) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.all_ended().await;
    let mut count = 0;
    while healed.try_recv().is_ok() || stuck.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 100, "each once");
    world.running.stop().await;
}

/// Time stands still, so no alarm brings them back: the site does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_found_the_lane_full_is_called_in_when_there_is_room() {
    let world =
        World::with(|options| PlatformOptions { per_destination: 1, lane_depth: 4, ..options })
            .await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let burst = (0..60).map(|number| async move {
        platform.send(caller, request(&[&format!("u{number}@example.com")])).await.unwrap();
    });
    futures_util::future::join_all(burst).await;
    for _ in 0..60 {
        tokio::time::timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
    }
    world.all_ended().await;
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_what_is_under_way_end_and_begins_nothing_new() {
    let world = World::with(|options| PlatformOptions { per_destination: 1, ..options }).await;
    let slow = Arc::new(Slow(AtomicBool::new(true)));
    let (sink, _inbox) = world.ground.receiver(2, slow.clone()).await;
    world.ground.mail_goes_to("example.com", 2);
    for number in 0..10 {
        world.send(request(&[&format!("u{number}@example.com")])).await;
    }
    let platform = world.running.platform.clone();
    until("one is under way", || platform.figures().in_flight == 1).await;
    let stopping = {
        let platform = platform.clone();
        tokio::spawn(async move { platform.stop(Duration::from_secs(60)).await })
    };
    until("it takes nothing", || !platform.is_open()).await;
    let refused = platform.send(&world.account.caller, request(&["a@example.com"])).await;
    assert!(matches!(refused, Err(SendError::Overloaded { .. })), "{refused:?}");
    until("the waiting ones left", || platform.figures().live_messages == 1).await;
    assert!(!stopping.is_finished(), "it waits for the one under way");
    sink.stop().await;
    assert_eq!(stopping.await.unwrap().left_behind, 0);
    let tried: usize = world
        .ground
        .messages()
        .values()
        .filter(|message| message.recipients()[0].attempts > 0)
        .count();
    assert_eq!(tried, 1, "the one that was under way is recorded, the others wait");
    world.running.stop().await;
}
