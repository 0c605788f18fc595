//! How long a message is worth sending, and how soon a greylist is tried again.

use std::{collections::HashSet, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use actors::{PlatformOptions, SendRequest};
use mail::sink::{AcceptAll, Action, Asked, Policy, SinkReply};
use model::{
    Event, MessageId, StreamId, Timestamp,
    message::{FailureReason, MessageEvent},
    retry::{Lifetime, RetryPolicy},
    shaping::{Pattern, Rule, Setting},
};
use parking_lot::Mutex;

use crate::{
    ways::{pool, pools},
    world::{World, request, until},
};

/// Lets an address in when it comes a second time, as greylists do.
#[derive(Default)]
struct Greylist(Mutex<HashSet<IpAddr>>);

impl Policy for Greylist {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        if self.0.lock().insert(asked.from.ip()) {
            return Action::Reply(SinkReply::new(451, "4.7.1 come back later"));
        }
        Action::Accept
    }
}

/// Never lets anybody in.
struct Closed;

impl Policy for Closed {
    fn recipient(&self, _asked: Asked<'_>) -> Action {
        Action::Reply(SinkReply::new(451, "4.3.0 not today"))
    }
}

fn lasting(text: &str, to: &str) -> SendRequest {
    SendRequest { expires_after: Some(Lifetime::parse(text).unwrap()), ..request(&[to]) }
}

/// When each event of a message was decided.
fn times(world: &World, message: MessageId) -> Vec<(MessageEvent, Timestamp)> {
    let own = |(stream, at, event)| match event {
        Event::Message(event) if stream == StreamId::Message(message) => Some((event, at)),
        _ => None,
    };
    world.ground.events().into_iter().filter_map(own).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_wants_any_more_fails_as_expired_and_is_not_tried_again() {
    let world = World::start().await;
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(Closed)).await;
    world.ground.mail_goes_to("example.com", 2);
    let short = world.send(lasting("2m", "ada@example.com")).await;
    let long = world.send(request(&["ada@example.com"])).await;
    until("it failed", || world.ground.kinds(short).last() == Some(&"failed")).await;
    let history = times(&world, short);
    let accepted_at = history[0].1;
    let (MessageEvent::Failed(failed), failed_at) = &history[history.len() - 1] else {
        panic!("{history:?}")
    };
    assert_eq!(failed.reason, FailureReason::Expired);
    assert!(failed_at.since(accepted_at) >= Duration::from_mins(2));
    for (event, at) in &history[1..history.len() - 1] {
        assert!(matches!(event, MessageEvent::Deferred(_)), "{event:?}");
        assert!(at.since(accepted_at) < Duration::from_mins(2), "tried after its end");
    }
    assert_ne!(world.ground.kinds(long).last(), Some(&"failed"), "others have longer");
    world.running.stop().await;
}

/// It waits its turn for longer than it is worth anything: then it is not sent any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_in_the_lane_is_not_sent() {
    let setting = Setting { per_minute: NonZeroU32::new(1), ..Setting::default() };
    let patterns = vec![Pattern::hosts("*.receivers.example").unwrap()];
    let shaping = vec![Rule { patterns, setting }];
    let world = World::with(|options| PlatformOptions {
        shaping,
        idle_message_actor: Duration::from_hours(1),
        ..options
    })
    .await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let first = world.send(lasting("1m", "first@example.com")).await;
    world.until_kinds(first, &["accepted", "delivered"]).await;
    let second = world.send(lasting("1m", "second@example.com")).await;
    until("it waits", || world.running.platform.figures().waiting == 1).await;
    until("it expired", || {
        world.ground.clock.advance(Duration::from_secs(1));
        world.ground.kinds(second) == ["accepted", "failed"]
    })
    .await;
    assert_eq!(inbox.recv().await.unwrap().recipients, ["first@example.com"]);
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

/// Long before the schedule's first delay, and from the address that the greylist knows by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greylist_is_tried_again_early_and_from_the_same_address() {
    let hour = Duration::from_hours(1);
    let world = World::with(|options| PlatformOptions {
        pools: pools(vec![pool("all", 11..19)], Some("all")),
        retry: RetryPolicy::new(vec![hour], 24 * hour).unwrap(),
        ..options
    })
    .await;
    for host in 2..6 {
        let (_sink, _inbox) = world.ground.receiver(host, Arc::new(Greylist::default())).await;
        let domain = format!("d{host}.example");
        world.ground.mail_goes_to(&domain, host);
        let message = world.send(request(&[&format!("ada@{domain}")])).await;
        world.until_kinds(message, &["accepted", "deferred", "delivered"]).await;
        let history = times(&world, message);
        let (MessageEvent::Deferred(deferred), at) = &history[1] else { panic!("{history:?}") };
        let wait = deferred.next_attempt_at.since(*at).as_secs();
        assert!((48..=72).contains(&wait), "{wait} s");
    }
    world.running.stop().await;
}
