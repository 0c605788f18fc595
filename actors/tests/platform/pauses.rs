//! Delivery that is paused, for a tenant, a sending domain or a receiver, and resumed: nothing is
//! lost, nothing is sent meanwhile, and nothing twice afterwards.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actors::{CancelError, ChangeError, Clock as _, QueueFilter, SendRequest, Waits};
use mail::sink::{AcceptAll, Action, Asked, Policy, Received, SinkReply};
use model::{
    MessageId, UserId,
    address::DomainName,
    message::{MessageStatus, RecipientStatus},
    pause::{PausedByOperator, Reason, Who},
    retry::Lifetime,
    tenant,
};
use parking_lot::Mutex;
use projections::Paused;
use tokio::sync::mpsc;

use crate::world::{Account, Ground, Running, World, request, until};

const MESSAGES: usize = 30;

fn site(name: &str) -> Paused {
    Paused::Site(DomainName::parse(name).unwrap())
}

fn why() -> Reason {
    Reason::parse("listed at a blocklist").unwrap()
}

/// Everything that came in by now, by recipient.
fn received(inbox: &mut mpsc::Receiver<Received>) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    while let Ok(message) = inbox.try_recv() {
        for recipient in message.recipients {
            *copies.entry(recipient).or_default() += 1;
        }
    }
    copies
}

fn is_delivered(ground: &Ground, message: MessageId) -> bool {
    ground.messages()[&message].status(ground.clock.now()) == MessageStatus::Delivered
}

/// The alarm goes round: what another tenant sends to another receiver fails once, waits for its
/// alarm, and is delivered.
async fn the_alarm_goes_round(ground: &Ground, running: &Running, other: Account, number: usize) {
    let to = format!("later{number}@beside.example");
    let sent = running.platform.send(&other.caller, request(&[&to])).await.unwrap();
    until("the other tenant's mail is delivered", || is_delivered(ground, sent.message)).await;
}

/// Refuses everybody once.
#[derive(Default)]
struct Greylist(Mutex<Vec<String>>);

impl Policy for Greylist {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        let mut seen = self.0.lock();
        if seen.iter().any(|known| known == asked.recipient) {
            return Action::Accept;
        }
        seen.push(asked.recipient.to_owned());
        Action::Reply(SinkReply::new(451, "4.7.1 greylisted"))
    }
}

/// What is to be paused is paused while messages flow; then nothing is delivered, not after a
/// restart either; then it is resumed, and each is delivered once.
async fn paused_and_resumed(what: impl Fn(&Account) -> Paused) {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    let (_beside, _others) = world.ground.receiver(3, Arc::new(Greylist::default())).await;
    world.ground.mail_goes_to("example.com", 2);
    world.ground.mail_goes_to("beside.example", 3);
    let other = world.another("mail.other.example").await;
    let what = what(&world.account);
    let (caller, platform) = (world.account.caller, &world.running.platform);
    let flow = async {
        let mut sent = Vec::new();
        for number in 0..MESSAGES {
            let to = format!("u{number}@example.com");
            sent.push(platform.send(&caller, request(&[&to])).await.unwrap().message);
        }
        sent
    };
    let reason = why();
    let pause = world.running.platform.pause(&what, Who::Operator, Some(&reason));
    let (sent, paused) = tokio::join!(flow, pause);
    paused.unwrap();
    let last = world.send(request(&["last@example.com"])).await;
    until("what was under way has ended", || world.running.platform.figures().live_messages == 0)
        .await;
    let mut copies = received(&mut inbox);

    let World { ground, running, .. } = world;
    let before = ground.messages();
    the_alarm_goes_round(&ground, &running, other, 1).await;
    running.stop().await;
    let running = ground.platform(ground.options()).await;
    until("the policies are read", || running.read.policies().pauses().of(&what).is_some()).await;
    for number in 2..4 {
        the_alarm_goes_round(&ground, &running, other, number).await;
    }
    assert_eq!(received(&mut inbox), BTreeMap::new(), "nothing is sent while it is paused");
    for message in sent.iter().chain([&last]) {
        let (now, before) = (&ground.messages()[message], &before[message]);
        assert_eq!(now, before, "a pause writes nothing");
        let alarm = running.read.alarms().of(*message).unwrap().map(|alarm| alarm.at);
        assert_eq!(alarm, now.next_alarm(), "exactly one alarm");
    }
    assert!(!is_delivered(&ground, last));
    let page = running.platform.queue(&QueueFilter::default(), None, 100).unwrap();
    let row = page.rows.iter().find(|row| row.waiting.alarm.message == last).unwrap();
    let Waits::Paused(by, view) = &row.waits else { panic!("{:?}", row.waits) };
    assert_eq!((by, view.reason.as_deref()), (&what, Some(why().as_str())));

    running.platform.resume(&what, Who::Operator).await.unwrap();
    until("all are delivered", || {
        sent.iter().chain([&last]).all(|message| is_delivered(&ground, *message))
    })
    .await;
    for (recipient, count) in received(&mut inbox) {
        *copies.entry(recipient).or_default() += count;
    }
    assert_eq!(copies.len(), MESSAGES + 1);
    assert!(copies.values().all(|count| *count == 1), "{copies:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_paused_across_a_restart_and_nothing_is_lost() {
    paused_and_resumed(|account| Paused::Tenant(account.caller.tenant)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sending_domain_is_paused_across_a_restart_and_nothing_is_lost() {
    paused_and_resumed(|account| Paused::Domain(account.domain)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receivers_domain_is_paused_across_a_restart_and_nothing_is_lost() {
    paused_and_resumed(|_| site("example.com")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_host_is_paused_across_a_restart_and_nothing_is_lost() {
    paused_and_resumed(|_| site("mx2.receivers.example")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_message_only_recipients_at_a_paused_receiver_wait() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    // One mail host for both: they would share a transaction.
    world.ground.mail_goes_to("example.com", 2);
    world.ground.mail_goes_to("beside.example", 2);
    let platform = &world.running.platform;
    platform.pause(&site("beside.example"), Who::Operator, None).await.unwrap();
    let message = world.send(request(&["ada@example.com", "bob@beside.example"])).await;
    world.until_kinds(message, &["accepted", "delivered"]).await;
    let message_now = &world.ground.messages()[&message];
    let status: Vec<_> = message_now.recipients().iter().map(|one| one.status).collect();
    assert_eq!(status, [RecipientStatus::Delivered, RecipientStatus::Queued]);
    platform.resume(&site("beside.example"), Who::Operator).await.unwrap();
    world.all_ended().await;
    let copies = received(&mut inbox);
    assert_eq!(copies.values().sum::<usize>(), 2, "{copies:?}");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_is_paused_counts_and_what_is_paused_can_be_taken_back() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let platform = &world.running.platform;
    let what = Paused::Tenant(world.account.caller.tenant);
    platform.pause(&what, Who::Operator, None).await.unwrap();
    let lifetime = Some(Lifetime::parse("1m").unwrap());
    let short = SendRequest { expires_after: lifetime, ..request(&["ada@example.com"]) };
    let expires = world.send(short).await;
    world.until_kinds(expires, &["accepted", "failed"]).await;

    let canceled = world.send(request(&["bob@example.com"])).await;
    until("it has left memory", || platform.figures().live_messages == 0).await;
    platform.cancel(&world.account.caller, canceled).await.unwrap();
    assert_eq!(world.ground.kinds(canceled), ["accepted", "canceled"]);
    platform.resume(&what, Who::Operator).await.unwrap();
    let after = world.send(request(&["cyd@example.com"])).await;
    world.until_kinds(after, &["accepted", "delivered"]).await;
    assert_eq!(received(&mut inbox).len(), 1);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_paused_a_user_does_not_resume() {
    let world = World::start().await;
    let platform = &world.running.platform;
    let what = Paused::Tenant(world.account.caller.tenant);
    let user = Who::User(UserId::from_bytes([3; 16]));
    platform.pause(&what, user, Some(&why())).await.unwrap();
    platform.pause(&what, Who::Operator, None).await.unwrap();
    let refused = ChangeError::Tenant(tenant::Refusal::PausedByOperator(PausedByOperator));
    assert_eq!(platform.resume(&what, user).await, Err(refused));
    let view = world.running.read.policies().pauses().of(&what).unwrap();
    assert_eq!((view.by, view.reason.as_deref()), (Who::Operator, None));
    platform.resume(&what, Who::Operator).await.unwrap();
    assert!(world.running.read.policies().pauses().is_empty());
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_removed_holds_nothing_back() {
    let world = World::start().await;
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let platform = &world.running.platform;
    platform.pause(&Paused::Domain(world.account.domain), Who::Operator, None).await.unwrap();
    let message = world.send(request(&["ada@example.com"])).await;
    platform
        .remove_domain(model::By::CommandLine, world.account.caller.tenant, world.account.domain)
        .await
        .unwrap();
    world.until_kinds(message, &["accepted", "delivered"]).await;
    world.running.stop().await;
}

/// Puts everybody off until it is told not to.
struct Closed(Mutex<bool>);

impl Policy for Closed {
    fn recipient(&self, _asked: Asked<'_>) -> Action {
        if *self.0.lock() {
            Action::Reply(SinkReply::new(452, "4.2.2 <ada@example.com> is over quota"))
        } else {
            Action::Accept
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_retry_is_explained_and_has_it_at_once_when_asked() {
    let world = World::start().await;
    let closed = Arc::new(Closed(Mutex::new(true)));
    let (_sink, _inbox) = world.ground.receiver(2, closed.clone()).await;
    world.ground.mail_goes_to("example.com", 2);
    // Time stands still: nobody's time comes by itself.
    world.running.hold_time();
    let platform = &world.running.platform;
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(world.send(request(&[&format!("u{number}@example.com")])).await);
    }
    for message in &sent {
        world.until_kinds(*message, &["accepted", "deferred"]).await;
    }
    until("the read models follow", || {
        let page = platform.queue(&QueueFilter::default(), None, 10).unwrap();
        page.rows.len() == 5 && page.rows.iter().all(|row| row.waits == Waits::Time)
    })
    .await;
    let explained = platform.explain(sent[0]).unwrap().unwrap();
    assert_eq!((explained.status, explained.paused), (MessageStatus::Sending, None));
    assert_eq!(explained.recipients[0].attempts, 1);
    assert_eq!(explained.recipients[0].site.as_deref(), Some("mx2.receivers.example"));
    let sites = platform.sites(10).unwrap();
    let [report] = &*sites else { panic!("{sites:?}") };
    assert_eq!((report.site.as_str(), report.waiting, report.due), ("mx2.receivers.example", 5, 0));
    let reply = report.last_reply.as_ref().unwrap();
    assert_eq!((reply.code, reply.enhanced.as_deref()), (Some(452), Some("4.2.2")));
    assert_eq!(reply.words, "…@… is over quota");

    *closed.0.lock() = false;
    let nobody = MessageId::from_bytes([9; 16]);
    assert_eq!(platform.retry(nobody, Who::Operator).await, Err(CancelError::Unknown));
    assert_eq!(platform.retry(sent[0], Who::Operator).await, Ok(true));
    // The alarm rests a second between passes.
    let pass = || world.ground.clock.advance(Duration::from_millis(100));
    until("it is delivered", || {
        pass();
        is_delivered(&world.ground, sent[0])
    })
    .await;
    let kinds = world.ground.kinds(sent[0]);
    assert_eq!(kinds, ["accepted", "deferred", "retry_requested", "delivered"]);
    let elsewhere =
        QueueFilter { site: DomainName::parse("a.example").ok(), ..QueueFilter::default() };
    let retried = platform.retry_all(&elsewhere, None, Who::Operator).await.unwrap();
    assert_eq!((retried.retried, retried.next), (0, None));
    let site = DomainName::parse("mx2.receivers.example").ok();
    let filter = QueueFilter { site, ..QueueFilter::default() };
    let retried = platform.retry_all(&filter, None, Who::Operator).await.unwrap();
    assert_eq!((retried.retried, retried.next), (4, None));
    until("all are delivered", || {
        pass();
        sent.iter().all(|message| is_delivered(&world.ground, *message))
    })
    .await;
    world.running.stop().await;
}
