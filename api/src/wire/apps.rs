//! Apps, and what they and their keys may do.

use model::{address::Mailbox, tenant::Scope};
use poem_openapi::{ApiResponse, Object, payload::Json, types::Example};

use super::{Time, send::Sender, time::EXAMPLE_TIME};

pub(crate) const EXAMPLE_APP: &str = "app_01kb05yt7qe5tvnr4w8jhjkz2p";

/// What an app is made of. Unknown fields are refused.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct NewAppBody {
    /// What it is called.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// The author of its messages that name none. Its domain must be verified before they are
    /// sent.
    pub default_sender: Option<Sender>,
    /// The most that its keys may do; everything if absent.
    pub permissions: Option<Scopes>,
}

/// What is to change in an app. What is absent stays; unknown fields are refused.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct AppChangeBody {
    /// What it is called from now on.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: Option<String>,
    /// The author of its messages that name none; `null` takes it away.
    pub default_sender: Option<Sender>,
    /// The most that its keys may do. What is taken away here, keys that have it lose at once.
    pub permissions: Option<Scopes>,
}

/// An app: owns API keys, templates, messages and a suppression list.
#[derive(Object)]
#[oai(rename = "App", rename_all = "camelCase", example)]
pub(crate) struct AppWire {
    /// Which app.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The author of its messages that name none; `null` when there is none.
    #[oai(nullable)]
    pub default_sender: Option<Sender>,
    /// The most that its keys may do.
    pub permissions: Scopes,
    /// When it was made.
    pub created_at: Time,
}

/// The tenant's apps, oldest first.
#[derive(Object)]
#[oai(rename = "AppList", example)]
pub(crate) struct AppsAnswer {
    /// The apps.
    pub data: Vec<AppWire>,
}

/// What may be done: each scope by its name, `true` for granted. In a request, what is absent,
/// `false` or `null` is not granted; answers name what is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(crate) struct Scopes {
    /// Send and cancel messages.
    #[oai(rename = "email:send")]
    pub email_send: Option<bool>,
    /// Read messages, logs and statistics.
    #[oai(rename = "email:read")]
    pub email_read: Option<bool>,
    /// Read templates.
    #[oai(rename = "template:read")]
    pub template_read: Option<bool>,
    /// Create and change templates.
    #[oai(rename = "template:write")]
    pub template_write: Option<bool>,
    /// Read the suppression list.
    #[oai(rename = "suppression:read")]
    pub suppression_read: Option<bool>,
    /// Change the suppression list.
    #[oai(rename = "suppression:write")]
    pub suppression_write: Option<bool>,
}

/// The answer to a new app.
#[derive(ApiResponse)]
pub(crate) enum NewAppAnswer {
    /// The app exists.
    #[oai(status = 201)]
    Created(Json<AppWire>),
}

impl Scopes {
    /// As an answer names them.
    pub(crate) fn of<'a>(granted: impl IntoIterator<Item = &'a Scope>) -> Self {
        let mut scopes = Self::default();
        for scope in granted {
            *match scope {
                Scope::EmailSend => &mut scopes.email_send,
                Scope::EmailRead => &mut scopes.email_read,
                Scope::TemplateRead => &mut scopes.template_read,
                Scope::TemplateWrite => &mut scopes.template_write,
                Scope::SuppressionRead => &mut scopes.suppression_read,
                Scope::SuppressionWrite => &mut scopes.suppression_write,
            } = Some(true);
        }
        scopes
    }
}

impl From<&Mailbox> for Sender {
    fn from(mailbox: &Mailbox) -> Self {
        Self {
            email: mailbox.email.to_string(),
            name: mailbox.name.as_ref().map(ToString::to_string),
        }
    }
}

impl Example for NewAppBody {
    fn example() -> Self {
        let sender = Sender { email: "hello@mail.acme.com".into(), name: Some("Acme".into()) };
        Self { name: "Shop".into(), default_sender: Some(sender), permissions: None }
    }
}

impl Example for AppChangeBody {
    fn example() -> Self {
        let NewAppBody { default_sender, .. } = NewAppBody::example();
        Self { name: Some("Web shop".into()), default_sender, permissions: None }
    }
}

impl Example for AppWire {
    fn example() -> Self {
        let NewAppBody { name, default_sender, .. } = NewAppBody::example();
        Self {
            id: EXAMPLE_APP.into(),
            name,
            default_sender,
            permissions: Scopes::of(&Scope::ALL),
            created_at: Time(EXAMPLE_TIME),
        }
    }
}

impl Example for AppsAnswer {
    fn example() -> Self {
        Self { data: vec![AppWire::example()] }
    }
}

impl Example for Scopes {
    fn example() -> Self {
        Self::of(&[Scope::EmailSend, Scope::EmailRead])
    }
}
