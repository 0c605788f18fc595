//! API keys, as their owner sees them.

use poem_openapi::{ApiResponse, Enum, Object, payload::Json, types::Example};

use super::{Time, apps::Scopes, time::EXAMPLE_TIME};

pub(crate) const EXAMPLE_KEY: &str = "key_01kb05yt7qe5tvnr4w8jhjkz2q";

/// What an API key is made of. Unknown fields are refused.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct NewKeyBody {
    /// What it is called.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// Requests that it may make in a minute; 600 if absent.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub rate_limit_per_minute: Option<u32>,
    /// What it may do: at least one, and nothing that its app may not.
    pub scopes: Scopes,
    /// When it stops working by itself (RFC 3339); never if absent.
    pub expires_at: Option<Time>,
    /// The only domains of authors that it may send as; all verified ones if absent.
    #[oai(validator(max_items = 50))]
    pub allowed_domains: Option<Vec<String>>,
    /// The only addresses that it may be used from: single ones, or networks such as
    /// `192.0.2.0/24`; everywhere if absent.
    #[oai(validator(max_items = 50))]
    pub allowed_addresses: Option<Vec<String>>,
}

/// An API key that was just made.
#[derive(Object)]
#[oai(rename = "NewKey", rename_all = "camelCase", example)]
pub(crate) struct NewKeyWire {
    /// The key.
    #[oai(flatten)]
    pub key: KeyWire,
    /// Its secret: in this answer and never again.
    pub secret: String,
}

/// An API key.
#[derive(Object)]
#[oai(rename = "Key", rename_all = "camelCase", example)]
pub(crate) struct KeyWire {
    /// Which key.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The first characters of its secret, by which people recognise it.
    pub prefix: String,
    /// Whether it opens anything.
    pub status: KeyState,
    /// What it may do.
    pub scopes: Scopes,
    /// Requests that it may make in a minute.
    pub rate_limit_per_minute: u32,
    /// When it was made.
    pub created_at: Time,
    /// When it was last used, to the hour; `null` when it never was. Uses that sent nothing are
    /// known since the server started.
    #[oai(nullable)]
    pub last_used_at: Option<Time>,
    /// When it stops working by itself; `null`: never.
    #[oai(nullable)]
    pub expires_at: Option<Time>,
    /// The only domains of authors that it may send as; empty: all verified ones.
    pub allowed_domains: Vec<String>,
    /// The only networks that it may be used from; empty: everywhere.
    pub allowed_addresses: Vec<String>,
}

/// An app's API keys, oldest first, those that were taken back too.
#[derive(Object)]
#[oai(rename = "KeyList", example)]
pub(crate) struct KeysAnswer {
    /// The keys.
    pub data: Vec<KeyWire>,
}

/// How a key stands: `active` works, `revoked` was taken back, `expired` has had its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "KeyStatus", rename_all = "lowercase")]
pub(crate) enum KeyState {
    Active,
    Revoked,
    Expired,
}

/// The answer to a new key.
#[derive(ApiResponse)]
pub(crate) enum NewKeyAnswer {
    /// The key works. Keep the secret: it is not shown again.
    #[oai(status = 201)]
    Created(Json<NewKeyWire>),
}

/// The answer to the revocation of a key.
#[derive(ApiResponse)]
pub(crate) enum RevokedAnswer {
    /// The key opens nothing any more.
    #[oai(status = 204)]
    Revoked,
}

impl Example for NewKeyBody {
    fn example() -> Self {
        Self {
            name: "production".into(),
            rate_limit_per_minute: Some(600),
            scopes: Scopes::example(),
            expires_at: None,
            allowed_domains: None,
            allowed_addresses: None,
        }
    }
}

impl Example for NewKeyWire {
    fn example() -> Self {
        Self {
            key: KeyWire { last_used_at: None, ..KeyWire::example() },
            secret: "lum_sk_3fJq8Zr0Xk2mTn7Vb5Yc1Ws9Dg4Hp6La0QeRuIoN".into(),
        }
    }
}

impl Example for KeyWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_KEY.into(),
            name: "production".into(),
            prefix: "lum_sk_3fJq8".into(),
            status: KeyState::Active,
            scopes: Scopes::example(),
            rate_limit_per_minute: 600,
            created_at: Time(EXAMPLE_TIME),
            last_used_at: Some(Time(EXAMPLE_TIME)),
            expires_at: None,
            allowed_domains: vec!["mail.acme.com".into()],
            allowed_addresses: vec!["192.0.2.0/24".into()],
        }
    }
}

impl Example for KeysAnswer {
    fn example() -> Self {
        Self { data: vec![KeyWire::example()] }
    }
}
