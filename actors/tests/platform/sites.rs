//! What receivers are given: limits by rule, less when they ask for it, and to each tenant its turn.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actors::PlatformOptions;
use mail::sink::{AcceptAll, Action, Asked, MessageAction, Policy, Received, SinkReply};
use model::{
    address::DomainName,
    shaping::{Pattern, Rule, Setting},
};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::world::{PATIENCE, World, request, until};

/// How long the receivers below take for a message.
const SERVICE: Duration = Duration::from_millis(20);

/// Takes its time for each message, and notes how many it is at.
#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    /// How many messages were under way when each one came.
    seen: Mutex<Vec<usize>>,
    /// Recipients that it refuses with this before it takes any.
    refuses: AtomicU32,
    told: Option<mpsc::UnboundedSender<String>>,
}

impl Policy for Busy {
    fn recipient(&self, _asked: Asked<'_>) -> Action {
        let left = self
            .refuses
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Action::Reply(SinkReply::new(451, "4.7.652 too many connections")),
            Err(_) => Action::Accept,
        }
    }

    fn message(&self, message: &Received) -> MessageAction {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.lock().push(now);
        tokio::task::block_in_place(|| std::thread::sleep(SERVICE));
        self.now.fetch_sub(1, Ordering::SeqCst);
        if let Some(told) = &self.told {
            told.send(message.recipients.join(",")).ok();
        }
        MessageAction::Accept
    }
}

impl Busy {
    fn most(&self) -> usize {
        self.seen.lock().iter().copied().max().unwrap_or(0)
    }
}

fn rule(pattern: Pattern, setting: Setting) -> Vec<Rule> {
    vec![Rule { patterns: vec![pattern], setting }]
}

fn receivers(setting: Setting) -> Vec<Rule> {
    rule(Pattern::hosts("*.receivers.example").unwrap(), setting)
}

/// Two mail hosts of one receiver have one bound, and an open connection that one of them keeps
/// does not shut the other out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_hosts_of_one_receiver_share_its_connections() {
    let setting = Setting { connections: NonZeroU32::new(2), ..Setting::default() };
    let shaping = receivers(setting);
    let world = World::with(|options| PlatformOptions { shaping, ..options }).await;
    let busy = Arc::new(Busy::default());
    let (_one, _first) = world.ground.receiver(2, busy.clone()).await;
    let (_two, _second) = world.ground.receiver(3, busy.clone()).await;
    world.ground.mail_goes_to("one.example", 2);
    world.ground.mail_goes_to("two.example", 3);
    // Time stands still, so nothing that is kept is given up for its age.
    world.running.hold_time();
    let sent = (0..40).map(|number| {
        let to = format!("u{number}@{}.example", if number % 2 == 0 { "one" } else { "two" });
        let world = &world;
        async move { world.send(request(&[&to])).await }
    });
    futures_util::future::join_all(sent).await;
    world.all_ended().await;
    assert_eq!(busy.most(), 2);
    world.running.stop().await;
}

/// Every connection is an open file: no more are kept for all receivers together than are used at
/// once at most. Who finds no room does without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_as_long_as_there_is_room_for_them() {
    let world = World::with(|options| PlatformOptions { max_in_flight: 1, ..options }).await;
    let (_one, mut first) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    let (_two, mut second) = world.ground.receiver(3, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("one.example", 2);
    world.ground.mail_goes_to("two.example", 3);
    world.running.hold_time();
    let mut places = Vec::new();
    for to in ["a@one.example", "b@two.example", "c@two.example", "d@one.example"] {
        world.send(request(&[to])).await;
        let inbox = if to.ends_with("one.example") { &mut first } else { &mut second };
        places.push(inbox.recv().await.unwrap().nth_on_connection);
        world.all_ended().await;
    }
    assert_eq!(places, [0, 0, 0, 1], "the first is kept, and the other site's are not");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_no_more_than_the_rule_says() {
    let setting = Setting { messages_per_connection: NonZeroU32::new(3), ..Setting::default() };
    let shaping = receivers(setting);
    let world = World::with(|options| PlatformOptions { shaping, ..options }).await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    for number in 0..20 {
        world.send(request(&[&format!("u{number}@example.com")])).await;
    }
    world.all_ended().await;
    for _ in 0..20 {
        assert!(inbox.recv().await.unwrap().nth_on_connection < 3);
    }
    world.running.stop().await;
}

/// A domain with a rule of its own is held to its rate, by the clock; its neighbour at the same
/// mail host is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_for_whom_it_is_set_and_for_nobody_else() {
    let own = Pattern::Domain(DomainName::parse("slow.example").unwrap());
    let shaping = rule(own, Setting { per_minute: NonZeroU32::new(6), ..Setting::default() });
    let world = World::with(|options| PlatformOptions { shaping, ..options }).await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let busy = Busy { told: Some(told), ..Busy::default() };
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(busy)).await;
    world.ground.mail_goes_to("slow.example", 2);
    world.ground.mail_goes_to("quick.example", 2);
    world.running.hold_time();
    for number in 0..4 {
        world.send(request(&[&format!("u{number}@slow.example")])).await;
    }
    for number in 0..10 {
        world.send(request(&[&format!("u{number}@quick.example")])).await;
    }
    let mut slow = 0;
    for _ in 0..11 {
        let recipient = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        slow += usize::from(recipient.ends_with("@slow.example"));
    }
    assert_eq!(slow, 1);
    for _ in 0..3 {
        world.ground.clock.advance(Duration::from_secs(9));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(heard.try_recv().is_err(), "not before its time");
        world.ground.clock.advance(Duration::from_secs(1));
        tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    }
    world.all_ended().await;
    world.running.stop().await;
}

/// 4.7.x halves the connections, and each success gives a hundredth back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_less_gets_less_until_all_goes_well() {
    let world = World::with(|options| PlatformOptions { per_destination: 8, ..options }).await;
    let busy = Arc::new(Busy { refuses: AtomicU32::new(1), ..Busy::default() });
    let (_sink, _inbox) = world.ground.receiver(2, busy.clone()).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let refused = world.send(request(&["first@example.com"])).await;
    world.until_kinds(refused, &["accepted", "deferred"]).await;
    let sent = (0..120).map(|number| {
        let (world, to) = (&world, format!("u{number}@example.com"));
        async move { world.send(request(&[&to])).await }
    });
    futures_util::future::join_all(sent).await;
    until("the others are delivered", || busy.seen.lock().len() == 120).await;
    let seen = busy.seen.lock().clone();
    // The fifth connection comes with the 13th success; until then four at the most.
    assert_eq!(seen.iter().take(12).max(), Some(&4), "{seen:?}");
    let most = seen.iter().max().copied().unwrap_or(0);
    assert!((5..=8).contains(&most), "{seen:?}");
    world.running.stop().await;
}

/// The wait of each of `count` messages that are sent one after the other, in order of length.
async fn waits(
    world: &World,
    caller: actors::Caller,
    heard: &mut mpsc::UnboundedReceiver<String>,
    name: &str,
    count: usize,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    for number in 0..count {
        let to = format!("{name}{number}@example.com");
        let begun = Instant::now();
        world.running.platform.send(&caller, request(&[&to])).await.unwrap();
        while tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap() != to {}
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    waits
}

/// One tenant's backlog at a slow site does not hold another's mail to it up. Both are measured in
/// one run, so the ratio says it: without turns the second tenant waits for the whole backlog,
/// which is a hundred times as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenants_backlog_is_not_anothers_delay() {
    const STATED_RATIO: f64 = 8.0;
    let world =
        World::with(|options| PlatformOptions { per_destination: 2, lane_depth: 2_000, ..options })
            .await;
    let second = world.another("mail.second.example").await.caller;
    let (told, mut heard) = mpsc::unbounded_channel();
    let busy = Arc::new(Busy { told: Some(told), ..Busy::default() });
    let (_sink, mut inbox) = world.ground.receiver(2, busy.clone()).await;
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let alone = waits(&world, second, &mut heard, "alone", 120).await;
    let sent = (0..900).map(|number| {
        let (world, to) = (&world, format!("u{number}@example.com"));
        async move { world.send(request(&[&to])).await }
    });
    futures_util::future::join_all(sent).await;
    let beside = waits(&world, second, &mut heard, "beside", 120).await;
    assert!(world.running.platform.figures().waiting > 100, "the backlog is still there");
    let p99 = |waits: &[Duration]| waits[waits.len() * 99 / 100].as_secs_f64();
    let ratio = p99(&beside) / p99(&alone);
    println!("p99 beside another tenant's backlog is {ratio:.2} times that of an idle site");
    assert!(ratio < STATED_RATIO, "{ratio:.1}: {alone:?} against {beside:?}");
    world.running.stop().await;
}

/// However much one tenant brings, it does not take every place of a lane: another's message is
/// not sent to the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_has_a_place_for_who_comes_new() {
    let world =
        World::with(|options| PlatformOptions { per_destination: 1, lane_depth: 16, ..options })
            .await;
    let second = world.another("mail.second.example").await.caller;
    let (told, mut heard) = mpsc::unbounded_channel();
    let busy = Arc::new(Busy { told: Some(told), ..Busy::default() });
    let (_sink, _inbox) = world.ground.receiver(2, busy.clone()).await;
    world.ground.mail_goes_to("example.com", 2);
    // No alarm brings anybody back: who is not in the lane, nor called in to it, stays away.
    world.running.hold_time();
    let sent = (0..100).map(|number| {
        let (world, to) = (&world, format!("u{number}@example.com"));
        async move { world.send(request(&[&to])).await }
    });
    futures_util::future::join_all(sent).await;
    world.running.platform.send(&second, request(&["new@example.com"])).await.unwrap();
    let mut before = 0;
    while tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap() != "new@example.com"
    {
        before += 1;
    }
    assert!(before < 60, "{before} came first");
    world.all_ended().await;
    world.running.stop().await;
}
