//! Templates: written, changed, sent with.

use actors::{
    Field, IdempotencyKey, SendError, SendRefusal, SendRequest, Source, TemplateCall,
    TemplateChange, TemplateDraft, TemplateError, TemplateRef,
};
use mail::sink::AcceptAll;
use model::{
    AppId,
    content::Body,
    message::{MessageEvent, TemplateUse},
    template::{Refusal, Slug},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::world::{World, mailbox, request};

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn draft(name: &str) -> TemplateDraft {
    TemplateDraft {
        slug: slug(name),
        name: "Welcome".into(),
        source: Source {
            subject: Some("Welcome, {{ name }}".into()),
            html: Some("<p>Hello {{ name }}</p>".into()),
            text: None,
        },
    }
}

fn variables(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn call(name: &str, version: Option<u32>, given: Value) -> TemplateCall {
    TemplateCall { template: TemplateRef::Slug(slug(name)), version, variables: variables(given) }
}

fn templated(call: TemplateCall) -> SendRequest {
    SendRequest {
        subject: String::new(),
        body: Body::default(),
        template: Some(call),
        ..request(&["ada@example.com"])
    }
}

fn used(world: &World, message: model::MessageId) -> Option<TemplateUse> {
    world.ground.history(message).into_iter().find_map(|event| match event {
        MessageEvent::Accepted(accepted) => accepted.template,
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_made_with_a_template_and_says_so() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let view = platform.create_template(caller, draft("welcome")).await.unwrap();
    assert_eq!((view.version, view.name.as_str()), (1, "Welcome"));
    let message = world.send(templated(call("welcome", None, json!({ "name": "Ada & co" })))).await;
    let received = inbox.recv().await.unwrap();
    let text = String::from_utf8_lossy(&received.data).into_owned();
    assert!(text.contains("Subject: Welcome, Ada & co"), "{text}");
    assert!(text.contains("<p>Hello Ada &amp; co</p>"), "{text}");
    assert!(text.contains("Hello Ada & co"), "a text is made from the HTML: {text}");
    assert_eq!(used(&world, message), Some(TemplateUse { id: view.id, version: 1 }));
    // By its id, with the request's own subject.
    let by_id = TemplateCall {
        template: TemplateRef::Id(view.id),
        ..call("welcome", Some(1), json!({ "name": "Bo" }))
    };
    world.send(SendRequest { subject: "Mine".into(), ..templated(by_id) }).await;
    let text = String::from_utf8_lossy(&inbox.recv().await.unwrap().data).into_owned();
    assert!(text.contains("Subject: Mine"), "{text}");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_a_new_version_and_the_old_one_stays() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let view = platform.create_template(caller, draft("welcome")).await.unwrap();
    let by_slug = TemplateRef::Slug(slug("welcome"));
    let change = TemplateChange {
        name: Some("Greeting".into()),
        subject: Some(Some("Hi {{ name }}".into())),
        ..TemplateChange::default()
    };
    let changed = platform.update_template(caller, &by_slug, change).await.unwrap();
    assert_eq!((changed.id, changed.version, changed.name.as_str()), (view.id, 2, "Greeting"));
    let rendered = async |version| {
        let call = call("welcome", version, json!({ "name": "Ada" }));
        let (used, rendered) = platform.render_template(caller, call).await.unwrap();
        (used.version, rendered.subject.unwrap())
    };
    assert_eq!(rendered(None).await, (2, "Hi Ada".into()));
    assert_eq!(rendered(Some(1)).await, (1, "Welcome, Ada".into()));
    let source = platform.template_source(&changed, 2).await.unwrap();
    assert_eq!(source.html.as_deref(), Some("<p>Hello {{ name }}</p>"), "what is absent stays");
    let unknown = call("welcome", Some(3), json!({ "name": "Ada" }));
    let refused = platform.render_template(caller, unknown).await.unwrap_err();
    assert_eq!(refused, SendError::Refused(SendRefusal::TemplateNotFound));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_rendered_is_refused_and_names_the_variable() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    platform.create_template(caller, draft("welcome")).await.unwrap();
    let before = world.ground.messages().len();
    let refused = async |request| match platform.send(caller, request).await.unwrap_err() {
        SendError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let SendRefusal::TemplateRender(failure) =
        refused(templated(call("welcome", None, json!({ "nam": 1 })))).await
    else {
        panic!("a failure to render")
    };
    assert_eq!((failure.field, failure.variable.as_deref()), (Field::Subject, Some("name")));
    let unknown = refused(templated(call("nosuch", None, json!({})))).await;
    assert_eq!(unknown, SendRefusal::TemplateNotFound);
    let silent = TemplateDraft {
        source: Source { text: Some("x".into()), ..Source::default() },
        ..draft("silent")
    };
    platform.create_template(caller, silent).await.unwrap();
    let no_subject = refused(templated(call("silent", None, json!({})))).await;
    assert_eq!(no_subject, SendRefusal::NoSubject);
    assert_eq!(world.ground.messages().len(), before, "nothing was stored");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_template_of_one_app() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let view = platform.create_template(caller, draft("welcome")).await.unwrap();
    let again = platform.create_template(caller, draft("welcome")).await;
    assert_eq!(again.unwrap_err(), TemplateError::from(Refusal::AlreadyExists));
    // Another app sees nothing of it, and has names of its own.
    let other = actors::Caller { app: AppId::from_bytes([7; 16]), ..*caller };
    assert_eq!(platform.template(&other, &TemplateRef::Id(view.id)), None);
    let gone = platform.delete_template(&other, &TemplateRef::Id(view.id)).await;
    assert_eq!(gone.unwrap_err(), Refusal::Unknown.into());
    platform.create_template(&other, draft("welcome")).await.unwrap();
    // Once it is deleted its name is free.
    platform.delete_template(caller, &TemplateRef::Id(view.id)).await.unwrap();
    let refused = platform.send(caller, templated(call("welcome", None, json!({})))).await;
    assert_eq!(refused.unwrap_err(), SendError::Refused(SendRefusal::TemplateNotFound));
    platform.create_template(caller, draft("welcome")).await.unwrap();
    let faulty = TemplateDraft {
        source: Source { html: Some("{% if %}".into()), ..Source::default() },
        ..draft("faulty")
    };
    let Err(TemplateError::Faulty(faults)) = platform.create_template(caller, faulty).await else {
        panic!("faults")
    };
    assert_eq!((faults[0].field, faults[0].line), (Some(Field::Html), Some(1)));
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_is_known_by_what_was_asked() {
    let world = World::start().await;
    let (platform, caller) = (&world.running.platform, &world.account.caller);
    let view = platform.create_template(caller, draft("welcome")).await.unwrap();
    let keyed = |given: Value| SendRequest {
        idempotency_key: IdempotencyKey::parse("order 1"),
        to: vec![mailbox("ada@example.com")],
        ..templated(call("welcome", None, given))
    };
    let first = platform.send(caller, keyed(json!({ "name": "Ada" }))).await.unwrap();
    let change = TemplateChange { name: Some("Other".into()), ..TemplateChange::default() };
    platform.update_template(caller, &TemplateRef::Id(view.id), change).await.unwrap();
    let second = platform.send(caller, keyed(json!({ "name": "Ada" }))).await.unwrap();
    assert_eq!((second.message, second.idempotent_replay), (first.message, true));
    assert_eq!(used(&world, first.message).unwrap().version, 1);
    let other = platform.send(caller, keyed(json!({ "name": "Bo" }))).await.unwrap_err();
    let conflict = model::message::Refusal::IdempotencyConflict;
    assert_eq!(other, SendError::from(conflict));
    // Even when it is gone: the message is on record.
    platform.delete_template(caller, &TemplateRef::Id(view.id)).await.unwrap();
    let third = platform.send(caller, keyed(json!({ "name": "Ada" }))).await.unwrap();
    assert!(third.idempotent_replay);
    world.running.stop().await;
}

/// A source of the greatest length goes through the log and back, over a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_template_survives_a_restart() {
    let World { ground, running, account, .. } = World::start().await;
    // Random, so that no compression makes it small.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap())
    });
    let long: String = noise.take(200 * 1024).collect();
    let source = Source { text: Some(long.clone()), ..Source::default() };
    let large = TemplateDraft { source: source.clone(), ..draft("large") };
    let view = running.platform.create_template(&account.caller, large).await.unwrap();
    let options = ground.options();
    running.stop().await;
    std::fs::remove_dir_all(ground.dir.path().join("read")).unwrap();
    let running = ground.platform(options).await;
    let read = running.platform.template_source(&view, 1).await.unwrap();
    assert_eq!(read, source);
    let again = running.platform.template(&account.caller, &TemplateRef::Slug(slug("large")));
    assert_eq!(again.unwrap(), view);
    running.stop().await;
}
