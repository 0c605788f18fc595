//! One of each thing that a path can name.

use actors::NewApiKey;
use eventlog::{Append, EventLog as _, NewEvent, Version};
use model::{
    DomainId, EventId, LetterId, StreamId,
    address::{DomainName, EmailAddress},
    event::KeyedHash,
    letter::{LetterEvent, LetterReceived, Office},
    pause::Who,
    tenant::Scope,
};
use poem::http::Method;
use serde_json::{Value, json};

use crate::world::{START, World, email};

/// What belongs to the world's app.
pub(crate) struct Objects {
    message: String,
    template: String,
    app: String,
    key: String,
    domain: String,
    letter: String,
    erasure: String,
}

/// An address on the world's suppression list, as it stands in a path.
const SUPPRESSED: &str = "grace%2Bnews@reader.test";

impl Objects {
    pub(crate) async fn of(world: &World) -> Self {
        let template = json!({ "slug": "known", "name": "Known", "text": "Hi {{ user.name }}" });
        let template = world.post("/v1/templates", &template).await.expect(201).json;
        let suppressed = json!({ "email": "grace+news@reader.test" });
        world.post("/v1/suppressions", &suppressed).await.expect(201);
        let key = NewApiKey::new("of objects", &[Scope::EmailRead], 10);
        let key = world
            .platform
            .create_api_key(model::By::CommandLine, world.tenant, world.app, key)
            .await
            .unwrap();
        let name = DomainName::parse(&format!("d{}.objects.test", key.prefix[7..].to_lowercase()));
        let domain = world
            .platform
            .add_domain(model::By::CommandLine, world.tenant, name.unwrap())
            .await
            .unwrap();
        let person = EmailAddress::parse("nobody@objects.test").unwrap();
        let erasure = world.platform.erase(world.tenant, &person, Who::Operator).await.unwrap();
        Self {
            erasure: erasure.id.to_string(),
            letter: letter_to(world, domain).await.to_string(),
            app: world.app.to_string(),
            key: key.id.to_string(),
            domain: domain.to_string(),
            message: world.accepted(&email()).await,
            template: template["id"].as_str().unwrap().to_owned(),
        }
    }

    /// The same once more, after somebody changed or deleted some of it.
    pub(crate) async fn again(world: &World) -> Self {
        world
            .call(crate::world::request(Method::DELETE, "/v1/templates/known", &world.key).finish())
            .await;
        world
            .call(
                crate::world::request(Method::DELETE, "/v1/templates/welcome", &world.key).finish(),
            )
            .await;
        world
            .call(
                crate::world::request(
                    Method::DELETE,
                    "/v1/suppressions/grace%2Bnews@reader.test",
                    &world.key,
                )
                .finish(),
            )
            .await;
        Self::of(world).await
    }

    /// The path with its parameters filled in. One that is not known here fails: whoever adds it
    /// says what it names.
    pub(crate) fn path(&self, template: &str) -> String {
        filled(template, |name| match name {
            "messageId" => self.message.clone(),
            "idOrSlug" => self.template.clone(),
            "email" => SUPPRESSED.to_owned(),
            "appId" => self.app.clone(),
            "keyId" => self.key.clone(),
            "domainId" => self.domain.clone(),
            "letterId" => self.letter.clone(),
            "erasureId" => self.erasure.clone(),
            other => panic!("a path parameter that is not known here: {other}"),
        })
    }
}

/// A letter to an office of the domain, whose content was forgotten.
async fn letter_to(world: &World, domain: DomainId) -> LetterId {
    let id = LetterId::from_bytes(*domain.as_bytes());
    let received = LetterReceived {
        tenant: Some(world.tenant),
        domain: Some(domain),
        at: DomainName::parse("bounces.objects.test").unwrap(),
        office: Office::Abuse,
        octets: 100,
        hash: KeyedHash([7; 16]),
        cut: false,
    };
    let event = LetterEvent::LetterReceived(received);
    let events = vec![NewEvent {
        id: EventId::from_bytes(*id.as_bytes()),
        data: event.encode(&model::By::CommandLine.into()),
    }];
    let (stream, expected) = (StreamId::Letter(id), Version::NONE);
    let append = Append { stream, expected, at: START, events, content: Vec::new() };
    world.log.append(append).await.unwrap();
    id
}

/// The path with each parameter as an id that nobody has.
pub(crate) fn missing(template: &str) -> String {
    filled(template, |name| match name {
        "messageId" => "msg_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        "idOrSlug" => "tpl_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        "email" => "nobody@elsewhere.test".to_owned(),
        "appId" => "app_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        "keyId" => "key_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        "domainId" => "dom_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        "letterId" => "let_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        "erasureId" => "era_01kb05yt7qe5tvnr4w8jhjkz2m".to_owned(),
        other => panic!("a path parameter that is not known here: {other}"),
    })
}

/// The path with each parameter filled in by its name.
pub(crate) fn filled(template: &str, mut value: impl FnMut(&str) -> String) -> String {
    let segments = template.split('/').map(|segment| {
        let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        name.map_or_else(|| segment.to_owned(), &mut value)
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A body that an operation takes: the example of the document. `None` for one that takes none.
pub(crate) fn body(operation: &Value, document: &Value) -> Option<Value> {
    let schema = operation.pointer("/requestBody/content/application~1json/schema")?;
    Some(example(schema, document))
}

fn example(schema: &Value, document: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return example(document.pointer(name.strip_prefix('#').unwrap()).unwrap(), document);
    }
    match schema.get("example") {
        Some(example) => example.clone(),
        None if schema["type"] == "array" => vec![example(&schema["items"], document)].into(),
        None => panic!("a body without an example: {schema}"),
    }
}
