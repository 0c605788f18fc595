//! Suppression lists: who is on one is not written to, and that is on record.

use std::sync::Arc;

use actors::{Caller, ChangeError, Clock as _, SendRequest};
use mail::sink::{AcceptAll, Action, Asked, Policy, SinkReply};
use model::{
    AppId,
    address::EmailAddress,
    message::{MessageStatus, SuppressionReason},
    suppression::Refusal,
};

use crate::world::{World, mailbox, request, until};

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_listed_is_recorded_as_suppressed_and_the_others_get_it() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let (view, fresh) = platform
        .suppress(caller, email("Bounced@EXAMPLE.com"), SuppressionReason::Manual)
        .await
        .unwrap();
    assert!(fresh);
    assert_eq!(view.reason, SuppressionReason::Manual);
    let to = ["ada@example.com", "bounced@example.com"];
    let message = world.send(request(&to)).await;
    let received = inbox.recv().await.unwrap();
    assert_eq!(received.recipients.len(), 1);
    world.until_kinds(message, &["accepted", "suppressed", "delivered"]).await;
    let states = world.ground.messages();
    assert_eq!(
        states[&message].status(world.ground.clock.now()),
        MessageStatus::PartiallyDelivered
    );
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_nobody_else_ends_at_once() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    for name in ["a@example.com", "b@example.com"] {
        platform.suppress(caller, email(name), SuppressionReason::Complaint).await.unwrap();
    }
    let message = world.send(request(&["a@example.com", "b@example.com"])).await;
    let kinds = ["accepted", "suppressed", "suppressed"];
    world.until_kinds(message, &kinds).await;
    until("it left memory", || world.running.platform.figures().live_messages == 0).await;
    assert_eq!(world.ground.messages()[&message].next_alarm(), None);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_one_app_s_and_who_is_taken_off_is_written_to() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let listed = email("ada@example.com");
    let add = async |reason| platform.suppress(caller, listed.clone(), reason).await.unwrap();
    assert!(add(SuppressionReason::Bounce).await.1);
    // Who is there already stays for the first reason.
    let (view, fresh) = add(SuppressionReason::Manual).await;
    assert_eq!((view.reason, fresh), (SuppressionReason::Bounce, false));
    let other = Caller { app: AppId::from_bytes([7; 16]), ..*caller };
    let unknown = platform.unsuppress(&other, &listed).await;
    assert_eq!(unknown, Err(ChangeError::Suppression(Refusal::Unknown)));
    platform.unsuppress(caller, &listed).await.unwrap();
    assert_eq!(
        platform.unsuppress(caller, &listed).await,
        Err(ChangeError::Suppression(Refusal::Unknown))
    );
    let message = world.send(request(&["ada@example.com"])).await;
    assert_eq!(world.ground.kinds(message)[0], "accepted");
    assert!(!world.ground.kinds(message).contains(&"suppressed"));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_read_page_by_page_the_newest_first() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    for number in 0..25 {
        let address = email(&format!("u{number}@example.com"));
        platform.suppress(caller, address, SuppressionReason::Manual).await.unwrap();
    }
    platform.unsuppress(caller, &email("u20@example.com")).await.unwrap();
    let lists = world.running.read.suppressions();
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let (page, next) = lists.page(caller.app, cursor, 7).unwrap();
        seen.extend(page.into_iter().map(|view| view.email.unwrap().to_string()));
        // Who comes while pages are read changes none of those that follow.
        let newcomer = email(&format!("late{}@example.com", seen.len()));
        platform.suppress(caller, newcomer, SuppressionReason::Manual).await.unwrap();
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> =
        (0..25).rev().filter(|n| *n != 20).map(|n| format!("u{n}@example.com")).collect();
    assert_eq!(seen, expected);
    world.running.stop().await;
}

/// Refuses everybody, in the words that the name before the `@` stands for.
struct Refuses;

impl Policy for Refuses {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        Action::Reply(match asked.recipient.split('@').next() {
            Some("gone") => SinkReply::new(550, "5.1.1 no such user"),
            Some("policy") => SinkReply::new(550, "5.7.1 not from you"),
            Some("listed") => SinkReply::new(550, "blocked using zen.spamhaus.org"),
            _ => SinkReply::new(550, "5.7.26 unauthenticated"),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_gone_is_listed_and_nobody_for_what_is_not_theirs() {
    let world = World::start().await;
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(Refuses)).await;
    world.ground.mail_goes_to("example.com", 2);
    let all = ["gone@example.com", "policy@example.com", "listed@example.com", "spf@example.com"];
    let message = world.send(request(&all)).await;
    let bounced = ["accepted", "bounced", "bounced", "bounced", "bounced"];
    world.until_kinds(message, &bounced).await;
    // It was listed before that was recorded.
    let events = world.ground.events();
    let place = |kind| events.iter().position(|(_, _, event)| event.kind() == kind).unwrap();
    assert!(place("suppression.added") < place("message.bounced"));
    let app = world.account.caller.app;
    let listed = || world.running.read.suppressions().page(app, None, 10).unwrap().0;
    until("the list shows it", || listed().len() == 1).await;
    let again = world.send(request(&all)).await;
    until("all ended again", || world.ground.kinds(again).len() == 5).await;
    let kinds = world.ground.kinds(again);
    assert_eq!(kinds[1..], ["suppressed", "bounced", "bounced", "bounced"]);

    let (platform, caller) = (&world.running.platform, &world.account.caller);
    platform.unsuppress(caller, &email("gone@example.com")).await.unwrap();
    assert!(listed().is_empty());
    let third = world.send(request(&["gone@example.com"])).await;
    world.until_kinds(third, &["accepted", "bounced"]).await;
    world.running.stop().await;
}

/// Plus-addresses are people's own: each stands for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_with_a_tag_is_another_address() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    platform
        .suppress(caller, email("ada+news@example.com"), SuppressionReason::Manual)
        .await
        .unwrap();
    let both = SendRequest {
        cc: vec![mailbox("Ada <ada+NEWS@example.com>")],
        ..request(&["ada@example.com", "ada+news@example.com"])
    };
    let message = world.send(both).await;
    until("it is recorded", || !world.ground.kinds(message).is_empty()).await;
    let suppressed =
        world.ground.kinds(message).iter().filter(|kind| **kind == "suppressed").count();
    assert_eq!(suppressed, 1);
    world.running.stop().await;
}
