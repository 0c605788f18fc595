//! A tenant: its users, its apps and their API keys.
//!
//! Names and addresses of people and apps are sealed before they come here
//! ([`SealedText`]); the rules need none of them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    address::DomainName,
    event::{RecipientHash, SealedText, SecretHash, events},
    ids::{ApiKeyId, AppId, UserId},
    pause::{self, Pause, PausedByOperator, Who},
    time::Timestamp,
};

/// Most apps of one tenant.
pub const MAX_APPS: usize = 1_000;
/// Most keys of one app that are not revoked.
pub const MAX_KEYS_PER_APP: usize = 100;
/// Most domains, and most networks, that one key can be bound to: all of them fit into an event.
pub const MAX_ALLOWED: usize = 50;
/// Highest rate limit of a key, in requests per minute.
pub const MAX_RATE_LIMIT_PER_MINUTE: u32 = 1_000_000;

events! {
    /// An event of a tenant.
    TenantEvent {
        /// There is a new tenant.
        TenantCreated = "tenant.created" v 1,
        /// Somebody may sign in.
        UserAdded = "tenant.user_added" v 1,
        /// There is a new app.
        AppCreated = "tenant.app_created" v 1,
        /// An app has another name, default sender or permissions.
        AppUpdated = "tenant.app_updated" v 1,
        /// There is a new API key.
        ApiKeyCreated = "tenant.api_key_created" v 1,
        /// An API key opens nothing any more.
        ApiKeyRevoked = "tenant.api_key_revoked" v 1,
        /// Nothing of the tenant's is delivered for now.
        TenantPaused = "tenant.paused" v 1,
        /// Its mail is delivered again.
        TenantResumed = "tenant.resumed" v 1,
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Send and cancel messages.
    #[serde(rename = "email:send")]
    EmailSend,
    /// Read messages, logs and statistics.
    #[serde(rename = "email:read")]
    EmailRead,
    /// Read templates.
    #[serde(rename = "template:read")]
    TemplateRead,
    /// Create and change templates.
    #[serde(rename = "template:write")]
    TemplateWrite,
    /// Read the suppression list.
    #[serde(rename = "suppression:read")]
    SuppressionRead,
    /// Change the suppression list.
    #[serde(rename = "suppression:write")]
    SuppressionWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::EmailSend,
        Self::EmailRead,
        Self::TemplateRead,
        Self::TemplateWrite,
        Self::SuppressionRead,
        Self::SuppressionWrite,
    ];

    /// The name, such as `email:send`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmailSend => "email:send",
            Self::EmailRead => "email:read",
            Self::TemplateRead => "template:read",
            Self::TemplateWrite => "template:write",
            Self::SuppressionRead => "suppression:read",
            Self::SuppressionWrite => "suppression:write",
        }
    }

    /// The scope of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// See [`TenantEvent::TenantCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCreated {
    /// The tenant's name, sealed.
    pub profile: SealedText,
}

/// See [`TenantEvent::UserAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAdded {
    /// The new user.
    pub user: UserId,
    /// By which the user is found at login.
    pub email: RecipientHash,
    /// Address and password hash, sealed.
    pub profile: SealedText,
}

/// See [`TenantEvent::AppCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCreated {
    /// The new app.
    pub app: AppId,
    /// Its name and default sender, sealed.
    pub profile: SealedText,
    /// The most that its keys may do; absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Scope>>,
}

/// See [`TenantEvent::AppUpdated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppUpdated {
    /// Which app.
    pub app: AppId,
    /// Its name and default sender from now on, sealed.
    pub profile: SealedText,
    /// The most that its keys may do from now on; absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Scope>>,
}

/// See [`TenantEvent::ApiKeyCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyCreated {
    /// The app that it belongs to.
    pub app: AppId,
    /// The new key.
    pub key: ApiKeyId,
    /// The first characters of its secret, for recognising it in a list.
    pub prefix: Box<str>,
    /// The keyed hash of its secret.
    pub secret: SecretHash,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Requests per minute.
    pub rate_limit_per_minute: u32,
    /// When it stops working by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The only domains of authors that it may send as; empty: all that are verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_domains: Vec<DomainName>,
    /// The only networks that it may be used from; empty: everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<IpNet>,
    /// Its name, sealed.
    pub profile: SealedText,
}

/// See [`TenantEvent::ApiKeyRevoked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRevoked {
    /// The app that it belonged to.
    pub app: AppId,
    /// Which key.
    pub key: ApiKeyId,
}

/// See [`TenantEvent::TenantPaused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantPaused {
    /// Who paused.
    pub by: Who,
    /// Why, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<SealedText>,
}

/// See [`TenantEvent::TenantResumed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantResumed {
    /// Who resumed.
    pub by: Who,
}

/// A tenant folded from its events. [`Tenant::default`] is one that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tenant {
    exists: bool,
    users: BTreeMap<RecipientHash, UserId>,
    apps: BTreeMap<AppId, App>,
    paused: Option<Pause>,
}

/// An app, as far as the rules need it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct App {
    /// The most that its keys may do; `None`: everything.
    permissions: Option<BTreeSet<Scope>>,
    keys: BTreeMap<ApiKeyId, KeyState>,
}

impl App {
    fn permits(&self, scope: Scope) -> bool {
        self.permissions.as_ref().is_none_or(|permitted| permitted.contains(&scope))
    }
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyState {
    Active,
    Revoked,
}

impl Tenant {
    /// Takes in what happened at `at`.
    pub fn evolve(&mut self, event: &TenantEvent, at: Timestamp) {
        match event {
            TenantEvent::TenantCreated(_) => self.exists = true,
            TenantEvent::UserAdded(added) => {
                self.users.insert(added.email, added.user);
            }
            TenantEvent::AppCreated(created) => {
                self.app(created.app).permissions = permitted(created.permissions.as_deref());
            }
            TenantEvent::AppUpdated(updated) => {
                self.app(updated.app).permissions = permitted(updated.permissions.as_deref());
            }
            TenantEvent::ApiKeyCreated(created) => {
                self.app(created.app).keys.insert(created.key, KeyState::Active);
            }
            TenantEvent::ApiKeyRevoked(revoked) => {
                self.app(revoked.app).keys.insert(revoked.key, KeyState::Revoked);
            }
            TenantEvent::TenantPaused(paused) => {
                self.paused = Some(Pause { since: at, by: paused.by });
            }
            TenantEvent::TenantResumed(_) => self.paused = None,
        }
    }
}

impl Tenant {
    fn app(&mut self, id: AppId) -> &mut App {
        self.apps.entry(id).or_default()
    }
}

fn permitted(scopes: Option<&[Scope]>) -> Option<BTreeSet<Scope>> {
    scopes.map(|scopes| scopes.iter().copied().collect())
}

/// What somebody wants of a tenant. The identifiers of what is new come from the edge.
#[derive(Debug, Clone)]
pub enum Command {
    /// Make the tenant.
    Create(TenantCreated),
    /// Let somebody sign in.
    AddUser(UserAdded),
    /// Make an app.
    CreateApp(AppCreated),
    /// Change an app.
    UpdateApp(AppUpdated),
    /// Make an API key.
    CreateApiKey(ApiKeyCreated),
    /// Take an API key back.
    RevokeApiKey(ApiKeyRevoked),
    /// Deliver nothing for now.
    Pause(TenantPaused),
    /// Deliver again.
    Resume(TenantResumed),
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is such a thing already.
    #[error("it exists already")]
    AlreadyExists,
    /// There is no such tenant, app or key.
    #[error("there is no such thing")]
    Unknown,
    /// No more apps or keys.
    #[error("the limit on their number is reached")]
    TooMany,
    /// A key without any scope opens nothing, and neither does an app without any permission.
    #[error("at least one scope is needed")]
    NoScope,
    /// The key could do more than its app may.
    #[error("the key has a scope that its app does not have")]
    BeyondPermissions,
    /// More than [`MAX_ALLOWED`] domains or networks.
    #[error("a key can be bound to at most 50 domains and 50 networks")]
    TooManyAllowed,
    /// Outside 1 to [`MAX_RATE_LIMIT_PER_MINUTE`].
    #[error("the rate limit is 1 to 1000000 requests per minute")]
    RateLimit,
    /// The key would never work.
    #[error("the expiry lies in the past")]
    AlreadyExpired,
    /// It is not theirs to resume.
    #[error(transparent)]
    PausedByOperator(#[from] PausedByOperator),
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(
    tenant: &Tenant,
    command: &Command,
    now: Timestamp,
) -> Result<Vec<TenantEvent>, Refusal> {
    if let Command::Create(created) = command {
        if tenant.exists {
            return Err(Refusal::AlreadyExists);
        }
        return Ok(vec![created.clone().into()]);
    }
    if !tenant.exists {
        return Err(Refusal::Unknown);
    }
    let event = match command {
        Command::Create(_) => return Err(Refusal::AlreadyExists),
        Command::AddUser(added) => {
            if tenant.users.contains_key(&added.email) {
                return Err(Refusal::AlreadyExists);
            }
            added.clone().into()
        }
        Command::CreateApp(created) => {
            if tenant.apps.contains_key(&created.app) {
                return Err(Refusal::AlreadyExists);
            }
            if tenant.apps.len() >= MAX_APPS {
                return Err(Refusal::TooMany);
            }
            check_permissions(created.permissions.as_deref())?;
            created.clone().into()
        }
        Command::UpdateApp(updated) => {
            tenant.apps.get(&updated.app).ok_or(Refusal::Unknown)?;
            check_permissions(updated.permissions.as_deref())?;
            updated.clone().into()
        }
        Command::CreateApiKey(created) => {
            check_new_key(tenant, created, now)?;
            created.clone().into()
        }
        Command::RevokeApiKey(revoked) => {
            let app = tenant.apps.get(&revoked.app).ok_or(Refusal::Unknown)?;
            match app.keys.get(&revoked.key).ok_or(Refusal::Unknown)? {
                KeyState::Active => revoked.clone().into(),
                // Taking back twice is taking back.
                KeyState::Revoked => return Ok(Vec::new()),
            }
        }
        Command::Pause(paused) if pause::begins(tenant.paused, paused.by) => paused.clone().into(),
        Command::Resume(resumed) if pause::ends(tenant.paused, resumed.by)? => {
            resumed.clone().into()
        }
        Command::Pause(_) | Command::Resume(_) => return Ok(Vec::new()),
    };
    Ok(vec![event])
}

const fn check_permissions(permissions: Option<&[Scope]>) -> Result<(), Refusal> {
    match permissions {
        Some([]) => Err(Refusal::NoScope),
        _ => Ok(()),
    }
}

fn check_new_key(tenant: &Tenant, key: &ApiKeyCreated, now: Timestamp) -> Result<(), Refusal> {
    let app = tenant.apps.get(&key.app).ok_or(Refusal::Unknown)?;
    if app.keys.contains_key(&key.key) {
        return Err(Refusal::AlreadyExists);
    }
    if app.keys.values().filter(|state| **state == KeyState::Active).count() >= MAX_KEYS_PER_APP {
        return Err(Refusal::TooMany);
    }
    if key.scopes.is_empty() {
        return Err(Refusal::NoScope);
    }
    if !key.scopes.iter().all(|scope| app.permits(*scope)) {
        return Err(Refusal::BeyondPermissions);
    }
    if key.allowed_domains.len().max(key.allowed_addresses.len()) > MAX_ALLOWED {
        return Err(Refusal::TooManyAllowed);
    }
    if !(1..=MAX_RATE_LIMIT_PER_MINUTE).contains(&key.rate_limit_per_minute) {
        return Err(Refusal::RateLimit);
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        return Err(Refusal::AlreadyExpired);
    }
    Ok(())
}
