//! Messages on their way: what is delivered, deferred, refused, expired and taken back.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actors::{CancelError, Clock, NewApp, SendError, SendRefusal, SendRequest};
use mail::sink::{AcceptAll, Action, Asked, MessageAction, Policy, Received, SinkReply};
use model::{
    delivery::{Fault, Stage},
    message::{FailureReason, MessageEvent, MessageStatus, RecordedAnswer, Refusal},
    routing::{Label, Routes, WayOut, Ways},
};

use crate::world::{SENDING_DOMAIN, World, mailbox, request, until};

/// Defers the first `0` recipients that it is asked for, as a greylist does.
struct Greylist(AtomicU32);

impl Policy for Greylist {
    fn recipient(&self, _asked: Asked<'_>) -> Action {
        let left =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Action::Reply(SinkReply::new(451, "4.7.1 come back later")),
            Err(_) => Action::Accept,
        }
    }
}

/// Knows nobody called `nobody`.
struct SomeUnknown;

impl Policy for SomeUnknown {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        if asked.recipient.starts_with("nobody@") {
            return Action::Reply(SinkReply::new(550, "5.1.1 no such user"));
        }
        Action::Accept
    }
}

/// Takes the first message and closes without a word, then takes all.
struct Speechless(AtomicU32);

impl Policy for Speechless {
    fn message(&self, _message: &Received) -> MessageAction {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return MessageAction::AcceptAndDisconnect;
        }
        MessageAction::Accept
    }
}

/// Closes its door with 421 to the first connections.
struct Closed(AtomicU32);

impl Policy for Closed {
    fn connection(&self, _from: std::net::SocketAddr) -> Action {
        let left =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Action::Reply(SinkReply::new(421, "4.3.2 too busy")),
            Err(_) => Action::Accept,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_signed_delivered_and_forgotten_by_memory() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);

    let sent = world.running.platform.send(&world.account.caller, request(&["ada@example.com"]));
    let sent = sent.await.unwrap();
    assert_eq!((sent.status, sent.idempotent_replay), (MessageStatus::Queued, false));

    let received = inbox.recv().await.unwrap();
    let text = String::from_utf8(received.data).unwrap();
    assert!(text.starts_with("DKIM-Signature: "), "{text}");
    assert!(text.contains(&format!("d={SENDING_DOMAIN}")), "{text}");
    assert!(text.contains(&format!("Message-ID: <{}@{SENDING_DOMAIN}>", sent.message)), "{text}");
    assert_eq!(received.recipients, ["ada@example.com"]);
    // The domain's bounces come back to it, so the sender names the message.
    let (local, domain) = received.mail_from.split_once('@').unwrap();
    assert_eq!(domain, format!("bounces.{SENDING_DOMAIN}"));
    assert!(local.starts_with("bounce+") && local.len() <= 64, "{local}");

    world.until_kinds(sent.message, &["accepted", "delivered"]).await;
    let history = world.ground.history(sent.message);
    let MessageEvent::Delivered(delivered) = &history[1] else { panic!("{history:?}") };
    assert_eq!((delivered.attempt.attempt, delivered.attempt.stage), (1, Stage::EndOfData));
    let RecordedAnswer::Reply { code: 250, text, .. } = &delivered.attempt.answer else {
        panic!("{history:?}")
    };
    assert!(text.0.len() > 20, "the reply's text is kept, sealed");
    until("nobody is in memory", || world.running.platform.figures().live_messages == 0).await;
    assert_eq!(world.running.platform.figures().content_bytes, 0);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_of_one_site_share_a_transaction_and_get_the_same_bytes_as_the_others() {
    let world = World::start().await;
    let (_one, mut first) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    let (_two, mut second) = world.ground.receiver(3, Arc::new(AcceptAll)).await;
    // Two domains with the same mail host are one site.
    world.ground.mail_goes_to("a.example", 2);
    world.ground.mail_goes_to("b.example", 2);
    world.ground.mail_goes_to("c.example", 3);
    let mut wanted = request(&["x@a.example", "y@b.example", "z@c.example"]);
    wanted.cc = vec![mailbox("v@a.example"), mailbox("X@A.Example")];
    wanted.bcc = vec![mailbox("w@c.example")];
    let message = world.send(wanted).await;
    world.all_ended().await;

    let (at_first, at_second) = (first.recv().await.unwrap(), second.recv().await.unwrap());
    let people = |received: &Received| received.recipients.iter().cloned().collect::<HashSet<_>>();
    let expect = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    // Who stands in two fields gets one copy.
    assert_eq!(people(&at_first), expect(&["x@a.example", "y@b.example", "v@a.example"]));
    assert_eq!(people(&at_second), expect(&["z@c.example", "w@c.example"]));
    assert_eq!(at_first.data, at_second.data, "composed and signed once");
    assert!(!String::from_utf8(at_first.data).unwrap().contains("w@c.example"));
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    let ended = &world.ground.messages()[&message];
    assert_eq!(ended.status(world.ground.clock.now()), MessageStatus::Delivered);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_message_leaves_memory_and_is_woken_by_its_alarm() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(Greylist(AtomicU32::new(2)))).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let message = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(message, &["accepted", "deferred"]).await;
    until("it left", || world.running.platform.figures().live_messages == 0).await;
    // Nothing happens before its time.
    world.ground.clock.advance(Duration::from_secs(20));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.ground.kinds(message).len(), 2);
    for _ in 0..30 {
        world.ground.clock.advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.until_kinds(message, &["accepted", "deferred", "deferred", "delivered"]).await;
    assert_eq!(inbox.recv().await.unwrap().recipients, ["ada@example.com"]);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_recipient_does_not_hold_the_others_up() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(SomeUnknown)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.ground.dns.add_null_mx("null.example").unwrap();
    let to = ["ada@example.com", "nobody@example.com", "x@null.example", "x@gone.invalid"];
    let message = world.send(request(&to)).await;
    world.all_ended().await;
    assert_eq!(inbox.recv().await.unwrap().recipients, ["ada@example.com"]);
    let mut kinds = world.ground.kinds(message);
    kinds.sort_unstable();
    assert_eq!(kinds, ["accepted", "bounced", "bounced", "bounced", "delivered"]);
    let ended = &world.ground.messages()[&message];
    assert_eq!(ended.status(world.ground.clock.now()), MessageStatus::PartiallyDelivered);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_the_final_dot_is_tried_again_later_with_the_same_message_id() {
    let world = World::start().await;
    let (_sink, mut inbox) =
        world.ground.receiver(2, Arc::new(Speechless(AtomicU32::new(0)))).await;
    world.ground.mail_goes_to("example.com", 2);
    let message = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(message, &["accepted", "deferred", "delivered"]).await;
    let history = world.ground.history(message);
    let MessageEvent::Deferred(deferred) = &history[1] else { panic!("{history:?}") };
    assert!(deferred.outcome_unknown);
    assert_eq!(deferred.attempt.answer, RecordedAnswer::Fault(Fault::OutcomeUnknown));
    let id = |received: Received| {
        let text = String::from_utf8(received.data).unwrap();
        text.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned()
    };
    let (first, second) = (inbox.recv().await.unwrap(), inbox.recv().await.unwrap());
    assert_eq!(id(first), id(second));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_closes_its_door_is_left_in_peace_for_a_while() {
    let world = World::start().await;
    let closed = Arc::new(Closed(AtomicU32::new(3)));
    let (_sink, _inbox) = world.ground.receiver(2, closed.clone()).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let first = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(first, &["accepted", "deferred"]).await;
    for number in 0..20 {
        world.send(request(&[&format!("u{number}@example.com")])).await;
    }
    // They wait in the lane: the pause is short, and nobody knocks meanwhile.
    until("they wait", || world.running.platform.figures().waiting == 20).await;
    assert_eq!(closed.0.load(Ordering::SeqCst), 2, "one connection was tried");
    // Time goes on: one of them knocks, is turned away, the pause doubles, and so on.
    let ended = || {
        let messages = world.ground.messages();
        messages.values().all(|message| message.open().next().is_none())
    };
    until("all ended", || {
        world.ground.clock.advance(Duration::from_millis(500));
        ended()
    })
    .await;
    assert_eq!(closed.0.load(Ordering::SeqCst), 0);
    world.running.stop().await;
}

/// Nobody waits in memory for a site that has been unreachable for long, and nobody dials it for
/// each of their messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_to_a_site_in_a_long_pause_are_deferred_at_once() {
    let world = World::start().await;
    let always = Arc::new(Closed(AtomicU32::new(u32::MAX)));
    let (_sink, _inbox) = world.ground.receiver(2, always.clone()).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let knocks = || u32::MAX - always.0.load(Ordering::SeqCst);
    // Each of these waits for the end of the pause before it: 5, 10, 20, 40 seconds and more.
    for number in 0..5 {
        let message = world.send(request(&[&format!("u{number}@example.com")])).await;
        until("deferred", || {
            world.ground.clock.advance(Duration::from_millis(250));
            world.ground.kinds(message).len() > 1
        })
        .await;
    }
    // Whether the fifth was itself turned away or came within the long pause: it is on.
    let before = knocks();
    for number in 0..10 {
        let message = world.send(request(&[&format!("v{number}@example.com")])).await;
        world.until_kinds(message, &["accepted", "deferred"]).await;
        let history = world.ground.history(message);
        let MessageEvent::Deferred(deferred) = &history[1] else { panic!("{history:?}") };
        assert_eq!(deferred.attempt.stage, Stage::Greeting);
        assert!(matches!(deferred.attempt.answer, RecordedAnswer::Reply { code: 421, .. }));
    }
    assert_eq!(knocks(), before, "nobody knocked");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_mail_host_is_tried_when_the_first_is_dead() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(3, Arc::new(AcceptAll)).await;
    let dead = std::net::IpAddr::from([127, 0, 0, 99]);
    world.ground.dns.add_address("dead.receivers.example", dead).unwrap();
    world.ground.dns.add_mx("example.com", 5, "dead.receivers.example").unwrap();
    world.ground.mail_goes_to("example.com", 3);
    let message = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(message, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reused_and_bounded() {
    let world = World::with(|options| actors::PlatformOptions {
        per_destination: 3,
        max_per_connection: 10,
        ..options
    })
    .await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    for number in 0..100 {
        world.send(request(&[&format!("u{number}@example.com")])).await;
    }
    world.all_ended().await;
    let mut connections = HashSet::new();
    for _ in 0..100 {
        let received = inbox.recv().await.unwrap();
        assert!(received.nth_on_connection < 10, "a connection carries ten");
        connections.insert(received.connection);
    }
    assert!((10..40).contains(&connections.len()), "{} connections", connections.len());
    world.running.stop().await;
}

/// A kept connection that the receiver closed meanwhile costs nothing but a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_while_it_was_kept_is_replaced_at_once() {
    let world = World::start().await;
    let (sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let first = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(first, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();
    sink.stop().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    let second = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(second, &["accepted", "delivered"]).await;
    inbox.recv().await.unwrap();
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_delivered_expires() {
    let world = World::start().await;
    let always = Greylist(AtomicU32::new(u32::MAX));
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(always)).await;
    world.ground.mail_goes_to("example.com", 2);
    let message = world.send(request(&["ada@example.com", "b@unreachable.example"])).await;
    world.ground.dns.add_mx("unreachable.example", 10, "mx2.receivers.example").unwrap();
    world.running.hold_time();
    until("all ended", || {
        world.ground.clock.advance(Duration::from_secs(5));
        let ended = world.ground.messages();
        ended.get(&message).is_some_and(|message| message.open().next().is_none())
    })
    .await;
    let history = world.ground.history(message);
    let expired = |event: &&MessageEvent| matches!(event, MessageEvent::Failed(failed) if failed.reason == FailureReason::Expired);
    assert!(history.iter().filter(expired).count() >= 1, "{history:?}");
    let attempts = world.ground.messages()[&message].recipients()[0].attempts;
    assert!((20..200).contains(&attempts), "{attempts} attempts in an hour");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_message_waits_and_can_be_taken_back() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let hour = Duration::from_secs(3_600);
    let scheduled = |text| SendRequest {
        scheduled_at: Some(world.ground.clock.now().plus(hour)),
        ..request(&[text])
    };
    let (taken_back, kept) = (scheduled("a@example.com"), scheduled("b@example.com"));
    let platform = &world.running.platform;
    let caller = world.account.caller;
    let sent = platform.send(&caller, taken_back).await.unwrap();
    assert_eq!(sent.status, MessageStatus::Scheduled);
    let kept = platform.send(&caller, kept).await.unwrap().message;
    until("they left memory", || platform.figures().live_messages == 0).await;

    let stranger = actors::Caller { app: model::AppId::from_bytes([9; 16]), ..caller };
    assert_eq!(platform.cancel(&stranger, sent.message).await, Err(CancelError::Unknown));
    let nothing = model::MessageId::from_bytes([9; 16]);
    assert_eq!(platform.cancel(&caller, nothing).await, Err(CancelError::Unknown));
    platform.cancel(&caller, sent.message).await.unwrap();
    assert_eq!(platform.cancel(&caller, sent.message).await, Err(CancelError::NotCancelable));
    assert_eq!(world.ground.kinds(sent.message), ["accepted", "scheduled", "canceled"]);

    world.ground.clock.advance(hour);
    world.until_kinds(kept, &["accepted", "scheduled", "delivered"]).await;
    assert_eq!(inbox.recv().await.unwrap().recipients, ["b@example.com"]);
    assert_eq!(platform.cancel(&caller, kept).await, Err(CancelError::NotCancelable));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_for_a_retry_can_be_taken_back() {
    let world = World::start().await;
    let always = Greylist(AtomicU32::new(u32::MAX));
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(always)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let message = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(message, &["accepted", "deferred"]).await;
    world.running.platform.cancel(&world.account.caller, message).await.unwrap();
    assert_eq!(world.ground.kinds(message), ["accepted", "deferred", "canceled"]);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rule_forbids_is_refused_before_anything_is_stored() {
    let world = World::start().await;
    let before = world.ground.events().len();
    let platform = &world.running.platform;
    let caller = world.account.caller;
    let refused = |request| async move { platform.send(&caller, request).await.unwrap_err() };
    let foreign =
        SendRequest { from: Some(mailbox("ceo@bank.example")), ..request(&["ada@example.com"]) };
    let below = SendRequest {
        from: Some(mailbox(&format!("x@sub.{SENDING_DOMAIN}"))),
        ..request(&["ada@example.com"])
    };
    for request in [foreign, below] {
        assert_eq!(refused(request).await, SendError::from(Refusal::SenderDomainNotVerified));
    }
    assert_eq!(refused(request(&[])).await, SendError::from(Refusal::NoRecipient));
    let many: Vec<String> = (0..51).map(|number| format!("u{number}@example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(refused(request(&many)).await, SendError::from(Refusal::TooManyRecipients));
    let far = SendRequest {
        scheduled_at: Some(world.ground.clock.now().plus(Duration::from_secs(31 * 86_400))),
        ..request(&["ada@example.com"])
    };
    assert_eq!(refused(far).await, SendError::from(Refusal::ScheduledTooFarAhead));

    let plain = platform
        .create_app(model::By::CommandLine, caller.tenant, NewApp::new("No default"))
        .await
        .unwrap();
    let nameless = actors::Caller { app: plain, ..caller };
    let refused = platform.send(&nameless, request(&["ada@example.com"])).await;
    assert_eq!(refused, Err(SendError::Refused(SendRefusal::NoDefaultSender)));
    assert_eq!(world.ground.events().len(), before + 1, "the app alone");
    world.running.stop().await;
}

/// Removing a domain stops new mail from it; what was accepted is still signed and delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_given_up_still_signs_what_was_accepted_from_it() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(Greylist(AtomicU32::new(1)))).await;
    world.ground.mail_goes_to("example.com", 2);
    let message = world.send(request(&["ada@example.com"])).await;
    let (platform, account) = (&world.running.platform, world.account);
    platform
        .remove_domain(model::By::CommandLine, account.caller.tenant, account.domain)
        .await
        .unwrap();
    let refused = platform.send(&account.caller, request(&["ada@example.com"])).await;
    assert_eq!(refused, Err(Refusal::SenderDomainNotVerified.into()));
    world.until_kinds(message, &["accepted", "deferred", "delivered"]).await;
    let text = String::from_utf8(inbox.recv().await.unwrap().data).unwrap();
    assert!(text.starts_with("DKIM-Signature: ") && text.contains(&format!("d={SENDING_DOMAIN}")));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_mail_goes_to_the_smarthost_where_there_is_one() {
    let world = World::with(|options| {
        let port = options.smtp_port;
        let relay = format!("smtp://127.0.0.2:{port}").parse().unwrap();
        let name = Label::parse("smarthost").unwrap();
        actors::PlatformOptions {
            routes: Routes::all_by(Ways::only(WayOut::Relay(name.clone()))),
            relays: [(name, relay)].into(),
            allow_private_networks: false,
            ..options
        }
    })
    .await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    let message = world.send(request(&["a@one.example", "b@two.example"])).await;
    world.until_kinds(message, &["accepted", "delivered", "delivered"]).await;
    assert_eq!(inbox.recv().await.unwrap().recipients, ["a@one.example", "b@two.example"]);
    for event in world.ground.history(message) {
        if let MessageEvent::Delivered(delivered) = event {
            assert!(delivered.attempt.peer.unwrap().relay, "no host of the receiver's");
        }
    }
    world.running.stop().await;
}
