//! Every event tells what it came of: who asked, or what happened, and the event before it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actors::{AppChange, Clock as _, NewApiKey, Password, Source, TemplateDraft, TemplateRef};
use eventlog::{EventLog as _, Position, Recorded};
use mail::sink::{Action, Asked, Policy, SinkReply};
use model::{
    After, By, Cause, Event, StreamId, UserId,
    address::{DomainName, EmailAddress},
    message::SuppressionReason,
    pause::Who,
    template::Slug,
    tenant::Scope,
};
use projections::Paused;

use crate::world::{World, request, until};

/// Refuses who is gone, puts off the slow once.
#[derive(Default)]
struct Mixed(parking_lot::Mutex<u32>);

impl Policy for Mixed {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        match asked.recipient.split('@').next() {
            Some("gone") => Action::Reply(SinkReply::new(550, "5.1.1 no such user")),
            Some("slow") => {
                let mut asked = self.0.lock();
                *asked += 1;
                if *asked == 1 {
                    return Action::Reply(SinkReply::new(451, "4.3.0 not now"));
                }
                Action::Accept
            }
            _ => Action::Accept,
        }
    }
}

fn recorded(world: &World) -> Vec<Recorded> {
    world.memory.read_all(Position::START, 8_000).unwrap()
}

fn cause(recorded: &Recorded) -> Cause {
    let kind = Event::decode(recorded.stream, &recorded.data).unwrap().kind();
    let cause = Cause::read(&recorded.data).unwrap();
    cause.unwrap_or_else(|| panic!("{kind} tells no cause"))
}

fn kind(recorded: &Recorded) -> &'static str {
    Event::decode(recorded.stream, &recorded.data).unwrap().kind()
}

/// Who or what events of a kind came of, each once.
fn told(all: &[Recorded], wanted: &str) -> Vec<By> {
    let mut told: Vec<By> = Vec::new();
    for one in all.iter().filter(|one| kind(one) == wanted) {
        let Cause { by, .. } = cause(one);
        if !told.contains(&by) {
            told.push(by);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_comes_to_is_told_back_to_the_key() {
    let world = World::start().await;
    let (_sink, _inbox) = world.ground.receiver(2, Arc::new(Mixed::default())).await;
    world.ground.mail_goes_to("example.com", 2);
    let caller = world.account.caller;
    let message = world.send(request(&["gone@example.com", "slow@example.com"])).await;
    world.until_kinds(message, &["accepted", "bounced", "deferred", "delivered"]).await;

    let all = recorded(&world);
    let own: Vec<&Recorded> =
        all.iter().filter(|one| one.stream == StreamId::Message(message)).collect();
    let causes: Vec<Cause> = own.iter().map(|one| cause(one)).collect();
    let attempt = |version| Cause { by: By::Attempt, after: Some(After::Own(version)) };
    assert_eq!(causes, [By::Key(caller.key).into(), attempt(1), attempt(1), attempt(3)]);

    // Listed before the bounce is recorded, and it names that bounce.
    let listed = all.iter().find(|one| kind(one) == "suppression.added").unwrap();
    let bounce = After::Other(StreamId::Message(message), own[1].id);
    assert!(listed.position < own[1].position);
    assert_eq!(cause(listed), Cause { by: By::Attempt, after: Some(bounce) });

    let again = world.send(request(&["gone@example.com"])).await;
    world.until_kinds(again, &["accepted", "suppressed"]).await;
    let all = recorded(&world);
    assert_eq!(told(&all, "message.suppressed"), [By::Key(caller.key)]);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_in_tells_who_asked() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, world.account.caller);
    let tenant = caller.tenant;
    let user = UserId::from_bytes([7; 16]);
    let by = By::User(user);
    let key = By::Key(caller.key);

    let new = NewApiKey::new("more", &[Scope::EmailSend], 60);
    let made = platform.create_api_key(by, tenant, caller.app, new).await.unwrap();
    platform.revoke_api_key(by, tenant, caller.app, made.id).await.unwrap();
    let change = AppChange { name: Some("Other".to_owned()), ..AppChange::default() };
    platform.update_app(by, tenant, caller.app, change).await.unwrap();
    let name = DomainName::parse("more.example").unwrap();
    let domain = platform.add_domain(by, tenant, name).await.unwrap();
    platform.verify_domain(by, tenant, domain).await.unwrap();
    platform.rotate_dkim(by, tenant, world.account.domain).await.unwrap();
    platform.pause(&Paused::Domain(domain), Who::User(user), None).await.unwrap();
    platform.resume(&Paused::Domain(domain), Who::Operator).await.unwrap();
    platform.remove_domain(by, tenant, domain).await.unwrap();
    let site = Paused::Site(DomainName::parse("x.example").unwrap());
    platform.pause(&site, Who::Operator, None).await.unwrap();

    let slug = Slug::parse("welcome").unwrap();
    let source = Source { subject: Some("Hi".to_owned()), html: None, text: Some("x".to_owned()) };
    let draft = TemplateDraft { slug: slug.clone(), name: "Welcome".to_owned(), source };
    platform.create_template(&caller, draft).await.unwrap();
    platform.delete_template(&caller, &TemplateRef::Slug(slug)).await.unwrap();
    let address = EmailAddress::parse("ada@example.com").unwrap();
    platform.suppress(&caller, address.clone(), SuppressionReason::Manual).await.unwrap();
    platform.unsuppress(&caller, &address).await.unwrap();
    let mut later = request(&["ada@example.com"]);
    later.scheduled_at = Some(world.ground.clock.now().plus(Duration::from_hours(1)));
    let scheduled = world.send(later).await;
    platform.cancel(&caller, scheduled).await.unwrap();

    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    let email = EmailAddress::parse("eve@other.example").unwrap();
    let secret = "correct horse battery staple";
    let began = platform.register("Eve", email, Password::new(secret), here).await.unwrap();
    platform.sign_out(began.secret.reveal()).await.unwrap();

    let all = recorded(&world);
    for one in &all {
        cause(one);
    }
    let operator = [By::CommandLine];
    let expected: HashMap<&str, Vec<By>> = HashMap::from([
        ("tenant.created", vec![By::CommandLine, By::Registration]),
        ("tenant.user_added", vec![By::CommandLine, By::Registration]),
        ("tenant.app_created", operator.to_vec()),
        ("tenant.app_updated", vec![by]),
        ("tenant.api_key_created", vec![By::CommandLine, by]),
        ("tenant.api_key_revoked", vec![by]),
        ("domain.added", vec![By::CommandLine, by]),
        ("domain.dkim_key_added", vec![By::CommandLine, by]),
        ("domain.checked", vec![By::CommandLine, by]),
        ("domain.paused", vec![by]),
        ("domain.resumed", vec![By::Operator]),
        ("domain.removed", vec![by]),
        ("instance.site_paused", vec![By::Operator]),
        ("template.created", vec![key]),
        ("template.version_added", vec![key]),
        ("template.deleted", vec![key]),
        ("suppression.added", vec![key]),
        ("suppression.removed", vec![key]),
        ("message.accepted", vec![key]),
        ("message.scheduled", vec![key]),
        ("message.canceled", vec![key]),
        ("user.session_started", vec![By::User(began.user)]),
        ("user.session_ended", vec![By::User(began.user)]),
    ]);
    for (kind, expected) in expected {
        assert_eq!(told(&all, kind), expected, "{kind}");
    }
    world.running.stop().await;
}

/// The schedule looks again at a domain: that is nobody's doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_on_schedule_comes_of_the_dns() {
    let world = World::start().await;
    let looked = || told(&recorded(&world), "domain.checked").contains(&By::Dns);
    world.ground.clock.advance(Duration::from_hours(25));
    until("the schedule looked", looked).await;
    world.running.stop().await;
}
