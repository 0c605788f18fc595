//! Apps and their API keys.

use std::sync::Arc;

use actors::{AppChange, NewApiKey, NewApp};
use model::{
    ApiKeyId, AppId, TenantId, Timestamp,
    address::{DisplayName, DomainName, EmailAddress, Mailbox},
    tenant::{MAX_RATE_LIMIT_PER_MINUTE, Scope},
};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::{AppView, KeyStatus, KeyView, Past, Policies};

use super::{SharedData, Topic, problems::change_problem, session::SignedIn, text};
use crate::{
    body::SmallJsonBody,
    fields::{Fields, read_body, text as text_of},
    json::Json as Tree,
    operations::query_problem,
    params::{InPath, Query, rfc_3339},
    parts::Shared,
    past,
    peer::{InvalidNetwork, Network},
    problem::{Code, Findings, Problem},
    wire::{
        Time,
        apps::{AppChangeBody, AppWire, AppsAnswer, NewAppAnswer, NewAppBody, Scopes},
        keys::{
            KeyState, KeyWire, KeysAnswer, NewKeyAnswer, NewKeyBody, NewKeyWire, RevokedAnswer,
        },
    },
};

/// Requests per minute of a key that names none.
const USUAL_RATE_LIMIT_PER_MINUTE: u32 = 600;
/// Most domains, and most networks, that a key may be bound to.
const MAX_BOUNDS: usize = 50;

/// Apps and their keys.
pub(crate) struct Apps;

#[OpenApi]
impl Apps {
    /// Make an app
    ///
    /// An app has API keys, templates, messages and a suppression list of its own, and sees nothing
    /// of other apps.
    #[oai(path = "/portal/apps", method = "post", operation_id = "createApp", tag = "Topic::Apps")]
    async fn create_app(
        &self,
        signed_in: SignedIn,
        body: SmallJsonBody<NewAppBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<NewAppAnswer, Problem> {
        let new = read_body(&body.bytes, new_app)?;
        let tenant = signed_in.session.tenant;
        let app = shared
            .platform
            .create_app(signed_in.by(), tenant, new)
            .await
            .map_err(change_problem)?;
        Ok(NewAppAnswer::Created(Json(AppWire::of(&*own_app(
            shared.read.policies(),
            tenant,
            app,
        )?))))
    }

    /// List the apps
    ///
    /// All apps of your tenant, the oldest first.
    #[oai(path = "/portal/apps", method = "get", operation_id = "listApps", tag = "Topic::Apps")]
    async fn apps(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<AppsAnswer>, Problem> {
        shared.settled().await;
        let apps = shared.read.policies().apps_of(signed_in.session.tenant);
        Ok(Json(AppsAnswer { data: apps.iter().map(|app| AppWire::of(app)).collect() }))
    }

    /// Read an app
    ///
    /// Its name and its default sender.
    #[oai(
        path = "/portal/apps/:appId",
        method = "get",
        operation_id = "getApp",
        tag = "Topic::Apps"
    )]
    async fn app(
        &self,
        signed_in: SignedIn,
        /// The app.
        #[oai(name = "appId")]
        app: InPath<AppId>,
        /// As it was at this time, instead of now. 404 when it was not made yet.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<AppWire>, Problem> {
        let at = past::asked(at, shared.clock.now())?;
        shared.settled().await;
        let tenant = signed_in.session.tenant;
        let app = match at {
            None => own_app(shared.read.policies(), tenant, app.0)?,
            Some(at) => own_app(past_tenant(shared, tenant, at).await?.policies(), tenant, app.0)?,
        };
        Ok(Json(AppWire::of(&app)))
    }

    /// Change an app
    ///
    /// What is absent stays as it was.
    #[oai(
        path = "/portal/apps/:appId",
        method = "patch",
        operation_id = "updateApp",
        tag = "Topic::Apps"
    )]
    async fn update_app(
        &self,
        signed_in: SignedIn,
        /// The app.
        #[oai(name = "appId")]
        app: InPath<AppId>,
        body: SmallJsonBody<AppChangeBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<AppWire>, Problem> {
        let tenant = signed_in.session.tenant;
        own_app(shared.read.policies(), tenant, app.0)?;
        let change = read_body(&body.bytes, app_change)?;
        let changed = shared.platform.update_app(signed_in.by(), tenant, app.0, change).await;
        changed.map_err(change_problem)?;
        Ok(Json(AppWire::of(&*own_app(shared.read.policies(), tenant, app.0)?)))
    }

    /// Make an API key
    ///
    /// The secret is in this answer and never again. A key works for one app, does what its scopes
    /// name, and only from where and as whom it may.
    #[oai(
        path = "/portal/apps/:appId/api-keys",
        method = "post",
        operation_id = "createApiKey",
        tag = "Topic::Apps"
    )]
    async fn create_key(
        &self,
        signed_in: SignedIn,
        /// The app.
        #[oai(name = "appId")]
        app: InPath<AppId>,
        body: SmallJsonBody<NewKeyBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<NewKeyAnswer, Problem> {
        let tenant = signed_in.session.tenant;
        own_app(shared.read.policies(), tenant, app.0)?;
        let now = shared.clock.now();
        let new = read_body(&body.bytes, |fields, findings| new_key(fields, now, findings))?;
        let key = shared.platform.create_api_key(signed_in.by(), tenant, app.0, new).await;
        let key = key.map_err(change_problem)?;
        let view = shared.read.keys().get(key.id);
        let view = view.ok_or_else(|| Problem::internal("a new key is not there", &key.id))?;
        let key_wire = KeyWire::of(&view, shared.clock.now());
        let secret = key.secret.reveal().to_owned();
        Ok(NewKeyAnswer::Created(Json(NewKeyWire { key: key_wire, secret })))
    }

    /// List the API keys of an app
    ///
    /// Revoked and expired ones too, and of none the secret: the prefix tells which is which.
    #[oai(
        path = "/portal/apps/:appId/api-keys",
        method = "get",
        operation_id = "listApiKeys",
        tag = "Topic::Apps"
    )]
    async fn keys(
        &self,
        signed_in: SignedIn,
        /// The app.
        #[oai(name = "appId")]
        app: InPath<AppId>,
        /// As they were at this time, instead of now. 404 when the app was not made yet.
        /// `lastUsedAt` is then `null`.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<KeysAnswer>, Problem> {
        let at = past::asked(at, shared.clock.now())?;
        shared.settled().await;
        let tenant = signed_in.session.tenant;
        let (keys, now) = match at {
            None => {
                let app = own_app(shared.read.policies(), tenant, app.0)?;
                (shared.read.keys().of_app(app.id), shared.clock.now())
            }
            Some(at) => {
                let past = past_tenant(shared, tenant, at).await?;
                let app = own_app(past.policies(), tenant, app.0)?;
                (past.keys().of_app(app.id), at)
            }
        };
        Ok(Json(KeysAnswer { data: keys.iter().map(|key| KeyWire::of(key, now)).collect() }))
    }

    /// Revoke an API key
    ///
    /// The key answers 401 from that moment. It stays in the list; revoking it again changes
    /// nothing.
    #[oai(
        path = "/portal/apps/:appId/api-keys/:keyId",
        method = "delete",
        operation_id = "revokeApiKey",
        tag = "Topic::Apps"
    )]
    async fn revoke_key(
        &self,
        signed_in: SignedIn,
        /// The app.
        #[oai(name = "appId")]
        app: InPath<AppId>,
        /// The key.
        #[oai(name = "keyId")]
        key: InPath<ApiKeyId, 1>,
        Data(shared): SharedData<'_>,
    ) -> Result<RevokedAnswer, Problem> {
        let tenant = signed_in.session.tenant;
        let revoked = shared.platform.revoke_api_key(signed_in.by(), tenant, app.0, key.0).await;
        revoked.map_err(change_problem)?;
        Ok(RevokedAnswer::Revoked)
    }
}

/// The tenant's apps and keys as they were.
async fn past_tenant(
    shared: &Arc<Shared>,
    tenant: TenantId,
    at: Timestamp,
) -> Result<Past, Problem> {
    let reading = shared.reading(move |shared| {
        let past = Past::of_tenant(shared.log.as_ref(), &shared.vault, tenant, at);
        past.map_err(query_problem)
    });
    reading.await
}

/// Somebody else's app is one that is not there.
fn own_app(policies: &Policies, tenant: TenantId, app: AppId) -> Result<Arc<AppView>, Problem> {
    let view = policies.app(app);
    view.filter(|view| view.tenant == tenant).ok_or_else(|| Problem::new(Code::NotFound))
}

fn new_app(mut fields: Fields<'_>, findings: &mut Findings) -> Option<NewApp> {
    let name = text::required_name(&mut fields, "name", findings);
    let default_sender = fields
        .take("defaultSender", findings)
        .and_then(|sender| mailbox(sender, "defaultSender", findings));
    let permissions = permissions(&mut fields, findings);
    fields.finish(findings);
    let permissions = permissions.unwrap_or_else(|| Scope::ALL.to_vec());
    Some(NewApp { name: name?, default_sender, permissions })
}

#[expect(clippy::unnecessary_wraps, reason = "every reader of a body says whether there is one")]
fn app_change(mut fields: Fields<'_>, findings: &mut Findings) -> Option<AppChange> {
    let name = text::name(&mut fields, "name", findings);
    let default_sender = match fields.take_nullable("defaultSender", findings) {
        Some(Some(sender)) => mailbox(sender, "defaultSender", findings).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let permissions = permissions(&mut fields, findings);
    fields.finish(findings);
    Some(AppChange { name, default_sender, permissions })
}

/// What an app may do; nothing is no app.
fn permissions(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Vec<Scope>> {
    let permissions = scopes(fields, "permissions", findings);
    if permissions.as_ref().is_some_and(Vec::is_empty) && findings.is_empty() {
        findings.add("permissions", "must grant at least one scope");
    }
    permissions
}

/// A mailbox as the author of a message is given; written as text it is understood as well.
fn mailbox(value: Tree<'_>, path: &str, findings: &mut Findings) -> Option<Mailbox> {
    if let Tree::Text(written) = &value {
        let parsed = Mailbox::parse(written);
        return parsed.map_err(|error| findings.add(path, error.to_string())).ok();
    }
    let mut fields = Fields::of(value, path, findings)?;
    let email = fields.required_text("email", findings).and_then(|email| {
        let parsed = EmailAddress::parse(&email);
        parsed.map_err(|error| findings.add(fields.path("email"), error.to_string())).ok()
    });
    let name = fields.text("name", findings).and_then(|name| {
        let parsed = DisplayName::parse(&name);
        parsed.map_err(|error| findings.add(fields.path("name"), error.to_string())).ok().flatten()
    });
    fields.finish(findings);
    Some(Mailbox { email: email?, name })
}

/// The scopes that an object grants; `None` when there is none.
fn scopes(fields: &mut Fields<'_>, name: &str, findings: &mut Findings) -> Option<Vec<Scope>> {
    let value = fields.take(name, findings)?;
    let mut inner = Fields::of(value, &fields.path(name), findings)?;
    let granted = Scope::ALL
        .into_iter()
        .filter(|scope| inner.flag(scope.as_str(), findings) == Some(true))
        .collect();
    inner.finish(findings);
    Some(granted)
}

fn new_key(mut fields: Fields<'_>, now: Timestamp, findings: &mut Findings) -> Option<NewApiKey> {
    let name = text::required_name(&mut fields, "name", findings);
    let limits = 1..=MAX_RATE_LIMIT_PER_MINUTE;
    let rate_limit_per_minute =
        fields.whole("rateLimitPerMinute", limits, findings).unwrap_or(USUAL_RATE_LIMIT_PER_MINUTE);
    let scopes = if fields.has("scopes") {
        scopes(&mut fields, "scopes", findings)
    } else {
        fields.required("scopes", findings);
        None
    };
    if scopes.as_ref().is_some_and(Vec::is_empty) && findings.is_empty() {
        findings.add("scopes", "must grant at least one scope");
    }
    let expires_at = expires_at(&mut fields, now, findings);
    let allowed_domains = bounds(&mut fields, "allowedDomains", findings, |text| {
        DomainName::parse(text).map_err(|error| error.to_string())
    });
    let allowed_addresses = bounds(&mut fields, "allowedAddresses", findings, |text| {
        text.parse()
            .map(|Network(network)| network)
            .map_err(|error: InvalidNetwork| error.to_string())
    });
    fields.finish(findings);
    Some(NewApiKey {
        name: name?,
        scopes: scopes?,
        rate_limit_per_minute,
        expires_at,
        allowed_domains,
        allowed_addresses,
    })
}

fn expires_at(
    fields: &mut Fields<'_>,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<Timestamp> {
    let given = fields.text("expiresAt", findings)?;
    let path = fields.path("expiresAt");
    match rfc_3339(&given) {
        None => findings.add(path, "must be an RFC 3339 time such as 2027-01-31T09:00:00Z"),
        Some(at) if at <= now => findings.add(path, "must be in the future"),
        Some(at) => return Some(at),
    }
    None
}

/// A list of what a key is bound to; what is said twice counts once.
fn bounds<T: PartialEq>(
    fields: &mut Fields<'_>,
    name: &str,
    findings: &mut Findings,
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut bounds = Vec::new();
    for (path, value) in fields.list(name, MAX_BOUNDS, findings) {
        let Some(written) = text_of(value, || path.clone(), findings) else { continue };
        match read(written.trim()) {
            Ok(bound) if bounds.contains(&bound) => {}
            Ok(bound) => bounds.push(bound),
            Err(words) => findings.add(path, words),
        }
    }
    bounds
}

impl AppWire {
    fn of(view: &AppView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.name.clone(),
            default_sender: view.default_sender.as_ref().map(Into::into),
            permissions: Scopes::of(&view.permissions),
            created_at: Time(view.created_at),
        }
    }
}

impl KeyWire {
    fn of(view: &KeyView, now: Timestamp) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.name.clone(),
            prefix: view.prefix.to_string(),
            status: match view.status {
                KeyStatus::Revoked => KeyState::Revoked,
                KeyStatus::Active if view.is_usable(now) => KeyState::Active,
                KeyStatus::Active => KeyState::Expired,
            },
            scopes: Scopes::of(&view.scopes),
            rate_limit_per_minute: view.rate_limit_per_minute,
            created_at: Time(view.created_at),
            last_used_at: view.last_use.at().map(Time),
            expires_at: view.expires_at.map(Time),
            allowed_domains: view.allowed_domains.iter().map(ToString::to_string).collect(),
            allowed_addresses: view.allowed_addresses.iter().map(ToString::to_string).collect(),
        }
    }
}
