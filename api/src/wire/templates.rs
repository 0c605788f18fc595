//! Templates as they are written and read.

use std::collections::BTreeMap;

use actors::{Rendered, Source, TemplateRef};
use model::template::MAX_VERSIONS;
use poem_openapi::{
    ApiResponse, Enum, Object,
    payload::Json,
    registry::{MetaSchema, MetaSchemaRef},
    types::{Any, Example},
};
use projections::TemplateView;
use serde_json::{Value, json};

use super::{Time, time::EXAMPLE_TIME};
use crate::params::Asked;

pub(crate) const EXAMPLE_TEMPLATE: &str = "tpl_01kb05yt7qe5tvnr4w8jhjkz2r";
const EXAMPLE_SLUG: &str = "welcome";

/// A template to be written. It needs `html` or `text`. Unknown fields are refused, `null` counts
/// as absent.
#[derive(Object)]
#[oai(rename = "NewTemplate", skip_serializing_if_is_none, example)]
pub(crate) struct NewTemplateBody {
    /// Its name in requests: 1 to 100 lower-case letters, digits, `-`, `_` and `.`, beginning with
    /// a letter or digit. Unique among the templates of the app; it never changes.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[a-z0-9][a-z0-9._-]*$"))]
    pub slug: String,
    /// What people call it. No control characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// The subject line, in the language of Jinja: `{{ name }}` puts a variable in. Without it
    /// every send has to bring one.
    pub subject: Option<String>,
    /// The message as HTML. Every variable is escaped.
    pub html: Option<String>,
    /// The message as plain text. Without it, it is made from what the HTML becomes.
    pub text: Option<String>,
}

/// What a new version changes. What is absent stays as it was; `null` takes it away.
#[derive(Object)]
#[oai(rename = "TemplateChange", skip_serializing_if_is_none, example)]
pub(crate) struct TemplateChangeBody {
    /// What people call it. No control characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: Option<String>,
    /// The subject line.
    pub subject: Option<String>,
    /// The message as HTML.
    pub html: Option<String>,
    /// The message as plain text.
    pub text: Option<String>,
}

/// What to try a template with. Unknown fields are refused, `null` counts as absent.
#[derive(Object)]
#[oai(rename = "TemplatePreviewRequest", skip_serializing_if_is_none, example)]
pub(crate) struct PreviewBody {
    /// What is put into it, by name: strings, numbers, booleans, lists and objects, with at most
    /// 256 KiB of text.
    pub variables: Option<BTreeMap<String, Any<Value>>>,
    /// Which version; the newest if absent.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    pub version: Option<u32>,
}

/// A template.
#[derive(Object)]
#[oai(rename = "Template", rename_all = "camelCase", example)]
pub(crate) struct TemplateWire {
    /// Its id.
    pub id: String,
    /// Its name in requests.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// How it stands.
    pub status: TemplateStatus,
    /// Its newest version, from 1.
    pub version: u32,
    /// When it was created.
    pub created_at: Time,
    /// When its newest version was written.
    pub updated_at: Time,
}

/// A template with what one of its versions says.
#[derive(Object)]
#[oai(rename = "TemplateDetails", rename_all = "camelCase", example)]
pub(crate) struct TemplateAnswer {
    /// Its id.
    pub id: String,
    /// Its name in requests.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// How it stands.
    pub status: TemplateStatus,
    /// The version that is shown.
    pub version: u32,
    /// When it was created.
    pub created_at: Time,
    /// When its newest version was written.
    pub updated_at: Time,
    /// The subject line; `null` when it has none.
    #[oai(nullable)]
    pub subject: Option<String>,
    /// The message as HTML; `null` when it has none.
    #[oai(nullable)]
    pub html: Option<String>,
    /// The message as plain text; `null` when it is made from the HTML.
    #[oai(nullable)]
    pub text: Option<String>,
}

/// One page of templates, the newest first.
#[derive(Object)]
#[oai(rename = "TemplatePage", rename_all = "camelCase", example)]
pub(crate) struct TemplatesAnswer {
    /// The templates.
    pub data: Vec<TemplateWire>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Give it as `cursor` to get them; absent when there are none.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// What a template becomes.
#[derive(Object)]
#[oai(rename = "TemplatePreview", example)]
pub(crate) struct PreviewAnswer {
    /// The subject line; `null` when the template has none.
    #[oai(nullable)]
    pub subject: Option<String>,
    /// The message as HTML; `null` when the template has none.
    #[oai(nullable)]
    pub html: Option<String>,
    /// The message as plain text: the template's own, else made from the HTML.
    #[oai(nullable)]
    pub text: Option<String>,
}

/// How a template stands. One that is deleted is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "TemplateStatus", rename_all = "snake_case")]
pub(crate) enum TemplateStatus {
    Active,
}

/// The answer to a new template.
#[derive(ApiResponse)]
pub(crate) enum TemplateCreated {
    /// Written: it can be sent with.
    #[oai(status = 201)]
    Created(Json<TemplateWire>),
}

/// Nothing more to say.
#[derive(ApiResponse)]
pub(crate) enum Deleted {
    /// Done. There is nothing to say.
    #[oai(status = 204)]
    Done,
}

impl From<&TemplateView> for TemplateWire {
    fn from(view: &TemplateView) -> Self {
        Self {
            id: view.id.to_string(),
            slug: view.slug.to_string(),
            name: view.name.clone(),
            status: TemplateStatus::Active,
            version: view.version,
            created_at: Time(view.created_at),
            updated_at: Time(view.updated_at),
        }
    }
}

impl TemplateAnswer {
    /// A template with what this version of it says.
    pub(crate) fn new(view: &TemplateView, version: u32, source: Source) -> Self {
        let TemplateWire { id, slug, name, status, created_at, updated_at, .. } = view.into();
        let Source { subject, html, text } = source;
        Self { id, slug, name, status, version, created_at, updated_at, subject, html, text }
    }
}

impl From<Rendered> for PreviewAnswer {
    fn from(Rendered { subject, html, text }: Rendered) -> Self {
        Self { subject, html, text }
    }
}

impl Asked for TemplateRef {
    fn schema() -> MetaSchemaRef {
        let example = Some(json!(EXAMPLE_SLUG));
        MetaSchemaRef::Inline(Box::new(MetaSchema { example, ..MetaSchema::new("string") }))
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        Self::parse(text).ok_or("must be the id or the slug of a template")
    }
}

/// A version of a template.
pub(crate) struct TemplateVersion(pub u32);

impl Asked for TemplateVersion {
    fn schema() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            minimum: Some(1.0),
            maximum: Some(f64::from(MAX_VERSIONS)),
            example: Some(json!(1)),
            ..MetaSchema::new_with_format("integer", "int32")
        }))
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let number = text.parse().ok().filter(|number| (1..=MAX_VERSIONS).contains(number));
        number.map(Self).ok_or("must be a whole number from 1 to 10000")
    }
}

impl Example for NewTemplateBody {
    fn example() -> Self {
        Self {
            slug: EXAMPLE_SLUG.into(),
            name: "Welcome".into(),
            subject: Some("Welcome, {{ user.name }}".into()),
            html: Some("<p>Hello {{ user.name }}, it is good to have you.</p>".into()),
            text: Some("Hello {{ user.name }}, it is good to have you.".into()),
        }
    }
}

impl Example for TemplateChangeBody {
    fn example() -> Self {
        let NewTemplateBody { subject, html, text, .. } = NewTemplateBody::example();
        Self { name: Some("Welcome".into()), subject, html, text }
    }
}

impl Example for PreviewBody {
    fn example() -> Self {
        let variables = [("user".to_owned(), Any(json!({ "name": "Ada" })))];
        Self { variables: Some(variables.into()), version: None }
    }
}

impl Example for TemplateWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_TEMPLATE.into(),
            slug: EXAMPLE_SLUG.into(),
            name: "Welcome".into(),
            status: TemplateStatus::Active,
            version: 1,
            created_at: Time(EXAMPLE_TIME),
            updated_at: Time(EXAMPLE_TIME),
        }
    }
}

impl Example for TemplateAnswer {
    fn example() -> Self {
        let TemplateWire { id, slug, name, status, version, created_at, updated_at } =
            TemplateWire::example();
        let NewTemplateBody { subject, html, text, .. } = NewTemplateBody::example();
        Self { id, slug, name, status, version, created_at, updated_at, subject, html, text }
    }
}

impl Example for TemplatesAnswer {
    fn example() -> Self {
        let next_cursor = Some(EXAMPLE_TEMPLATE.into());
        Self { data: vec![TemplateWire::example()], has_more: true, next_cursor }
    }
}

impl Example for PreviewAnswer {
    fn example() -> Self {
        Self {
            subject: Some("Welcome, Ada".into()),
            html: Some("<p>Hello Ada, it is good to have you.</p>".into()),
            text: Some("Hello Ada, it is good to have you.".into()),
        }
    }
}
