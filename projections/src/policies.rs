//! Tenants, users, apps and domains, in memory: what a request is decided with.

use std::{collections::BTreeSet, sync::Arc};

use eventlog::Vault;
use model::{
    AppId, DomainId, Event, StreamId, TenantId, Timestamp, UserId,
    address::{DomainName, Mailbox},
    domain::{self, CheckedRecord, DkimKeyAdded, DomainEvent, DomainStatus, Selector},
    event::{RecipientHash, SealedText},
    profile::{AppProfile, TenantProfile, UserProfile},
    tenant::{Scope, TenantEvent},
    user::UserEvent,
};

use crate::{
    codec::join,
    error::Halt,
    fact::{Fact, FactRow, malformed},
    keys::{KeyView, Keys, LastUse, append},
    layer::Round,
    pauses::{Paused, Pauses, paused_by},
    projection::Projection,
    sealed,
};

/// A tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct TenantView {
    /// Which tenant.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user of the portal.
#[derive(Clone, PartialEq, Eq)]
pub struct UserView {
    /// Which user.
    pub id: UserId,
    /// The tenant that the user belongs to.
    pub tenant: TenantId,
    /// Address and password hash.
    pub profile: UserProfile,
    /// How often the password was changed.
    pub password_changes: u32,
    /// When the user was added.
    pub added_at: Timestamp,
}

/// An app.
#[derive(Clone, PartialEq, Eq)]
pub struct AppView {
    /// Which app.
    pub id: AppId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// The author of messages that name none.
    pub default_sender: Option<Mailbox>,
    /// The most that its keys may do.
    pub permissions: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A sending domain that was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// Which domain.
    pub id: DomainId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: DomainName,
    /// How it stands.
    pub status: DomainStatus,
    /// What the tenant publishes as proof.
    pub ownership_token: Box<str>,
    /// The keys that sign for it, oldest first; private keys are sealed.
    pub keys: Vec<DkimKeyAdded>,
    /// What was found of each record when the DNS was last asked.
    pub records: Vec<CheckedRecord>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When the record last says that the DNS was asked; looks that find nothing new are recorded
    /// once a day.
    pub checked_at: Option<Timestamp>,
    /// Since when required records of a verified domain have been missing.
    pub failing_since: Option<Timestamp>,
    /// The keys that sign now; while there are none, the oldest of each kind.
    pub signing: Vec<Selector>,
    /// Whether bounces come back to a name below it.
    pub returns_bounces: bool,
    /// When this process last asked the DNS.
    pub last_look: LastUse,
}

impl DomainView {
    /// The keys to sign with now.
    pub fn signers(&self) -> Vec<&DkimKeyAdded> {
        domain::signers(&self.keys, &self.signing)
    }

    /// When the DNS was last asked: what this process knows, or else the record.
    pub fn last_asked_at(&self) -> Option<Timestamp> {
        self.last_look.at().max(self.checked_at)
    }
}

// A name or an address that is printed by mistake must not become a leak.
impl std::fmt::Debug for TenantView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantView({})", self.id)
    }
}

impl std::fmt::Debug for UserView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserView({})", self.id)
    }
}

impl std::fmt::Debug for AppView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppView({})", self.id)
    }
}

/// What requests and deliveries are decided with. Reads take no lock.
#[derive(Debug)]
pub struct Policies {
    keys: Arc<Keys>,
    pauses: Pauses,
    tenants: papaya::HashMap<TenantId, Arc<TenantView>>,
    users: papaya::HashMap<UserId, Arc<UserView>>,
    apps: papaya::HashMap<AppId, Arc<AppView>>,
    domains: papaya::HashMap<DomainId, Arc<DomainView>>,
    users_by_email: papaya::HashMap<RecipientHash, UserId>,
    apps_of: papaya::HashMap<TenantId, Arc<[AppId]>>,
    domains_of: papaya::HashMap<TenantId, Arc<[DomainId]>>,
    senders: papaya::HashMap<(TenantId, DomainName), Arc<[DomainId]>>,
}

impl Policies {
    pub(crate) fn new(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            pauses: Pauses::new(),
            tenants: papaya::HashMap::new(),
            users: papaya::HashMap::new(),
            apps: papaya::HashMap::new(),
            domains: papaya::HashMap::new(),
            users_by_email: papaya::HashMap::new(),
            apps_of: papaya::HashMap::new(),
            domains_of: papaya::HashMap::new(),
            senders: papaya::HashMap::new(),
        }
    }

    /// What is paused.
    pub const fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The tenant of this id.
    pub fn tenant(&self, id: TenantId) -> Option<Arc<TenantView>> {
        self.tenants.pin().get(&id).cloned()
    }

    /// Every tenant, oldest first.
    pub fn tenants(&self) -> Vec<Arc<TenantView>> {
        let mut tenants: Vec<_> = self.tenants.pin().values().cloned().collect();
        tenants.sort_unstable_by_key(|tenant| (tenant.created_at, tenant.id));
        tenants
    }

    /// The user whose address has this keyed hash.
    pub fn user_by_email(&self, email: &RecipientHash) -> Option<Arc<UserView>> {
        let id = *self.users_by_email.pin().get(email)?;
        self.user(id)
    }

    /// The user of this id.
    pub fn user(&self, id: UserId) -> Option<Arc<UserView>> {
        self.users.pin().get(&id).cloned()
    }

    /// The app of this id.
    pub fn app(&self, id: AppId) -> Option<Arc<AppView>> {
        self.apps.pin().get(&id).cloned()
    }

    /// The apps of a tenant, oldest first.
    pub fn apps_of(&self, tenant: TenantId) -> Vec<Arc<AppView>> {
        let ids = self.apps_of.pin().get(&tenant).cloned().unwrap_or_default();
        ids.iter().filter_map(|id| self.app(*id)).collect()
    }

    /// The keys of an app, oldest first, revoked ones too.
    pub fn keys_of(&self, app: AppId) -> Vec<Arc<KeyView>> {
        self.keys.of_app(app)
    }

    /// The domain of this id, unless it was removed.
    pub fn domain(&self, id: DomainId) -> Option<Arc<DomainView>> {
        self.domains.pin().get(&id).cloned()
    }

    /// The domains of a tenant, oldest first.
    pub fn domains_of(&self, tenant: TenantId) -> Vec<Arc<DomainView>> {
        let ids = self.domains_of.pin().get(&tenant).cloned().unwrap_or_default();
        ids.iter().filter_map(|id| self.domain(*id)).collect()
    }

    /// Every domain.
    pub fn domains(&self) -> Vec<Arc<DomainView>> {
        self.domains.pin().values().cloned().collect()
    }

    /// The domain by which a tenant sends from `name`: exactly this name, nothing above or below
    /// it. When it was added more than once, the verified one, or else the newest.
    pub fn sender(&self, tenant: TenantId, name: &DomainName) -> Option<Arc<DomainView>> {
        let ids = self.senders.pin().get(&(tenant, name.clone())).cloned()?;
        let mut found = None;
        for domain in ids.iter().filter_map(|id| self.domain(*id)) {
            if domain.status == DomainStatus::Verified {
                return Some(domain);
            }
            found = Some(domain);
        }
        found
    }

    /// Whether any tenant has added a domain of this name.
    pub fn is_sending_domain(&self, name: &DomainName) -> bool {
        self.domains.pin().values().any(|domain| domain.name == *name)
    }

    /// The domain of this name that was proved to be its tenant's; the oldest, when several did.
    pub fn owner(&self, name: &DomainName) -> Option<Arc<DomainView>> {
        let domains = self.domains.pin();
        let proved = domains
            .values()
            .filter(|view| view.name == *name && view.status == DomainStatus::Verified);
        proved.min_by_key(|view| (view.created_at, view.id)).cloned()
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// How many apps there are.
    pub fn app_count(&self) -> usize {
        self.apps.len()
    }

    /// How many domains there are.
    pub fn domain_count(&self) -> usize {
        self.domains.len()
    }

    fn change_domain(&self, id: DomainId, change: impl FnOnce(&mut DomainView)) {
        if let Some(view) = self.domain(id) {
            let mut view = DomainView::clone(&view);
            change(&mut view);
            self.domains.pin().insert(id, Arc::new(view));
        }
    }

    fn remove_domain(&self, id: DomainId) {
        let Some(view) = self.domain(id) else { return };
        self.domains.pin().remove(&id);
        self.pauses.forget(&Paused::Domain(id));
        without(&self.domains_of, view.tenant, id);
        without(&self.senders, (view.tenant, view.name.clone()), id);
    }
}

/// Takes a value out of a list in a map.
fn without<K>(lists: &papaya::HashMap<K, Arc<[DomainId]>>, key: K, gone: DomainId)
where
    K: std::hash::Hash + Eq,
{
    let lists = lists.pin();
    let left: Arc<[DomainId]> = match lists.get(&key) {
        Some(before) => before.iter().copied().filter(|id| *id != gone).collect(),
        None => return,
    };
    if left.is_empty() {
        lists.remove(&key);
    } else {
        lists.insert(key, left);
    }
}

/// Absent permissions are all there are.
fn permitted(scopes: Option<Vec<Scope>>) -> BTreeSet<Scope> {
    scopes.map_or_else(|| Scope::ALL.into(), |scopes| scopes.into_iter().collect())
}

/// Where the last pause of something, or its end, stands.
fn pause_key(paused: &Paused) -> Vec<u8> {
    match paused {
        Paused::Tenant(tenant) => join(&[&[10], tenant.as_bytes()]),
        Paused::Domain(domain) => join(&[&[11], domain.as_bytes()]),
        Paused::Site(site) => join(&[&[12], site.as_str().as_bytes()]),
    }
}

/// Folds the policies. Rows are the events themselves, numbered so that they load in an order in
/// which each finds what it changes.
pub(crate) struct PoliciesProjection {
    policies: Arc<Policies>,
    vault: Vault,
}

const NAME: &str = "policies";

impl PoliciesProjection {
    pub(crate) const fn new(policies: Arc<Policies>, vault: Vault) -> Self {
        Self { policies, vault }
    }

    fn open<T: serde::de::DeserializeOwned>(
        &self,
        id: &impl std::fmt::Display,
        owner: &[u8],
        text: &SealedText,
    ) -> Result<T, Halt> {
        sealed::profile(&self.vault, owner, text).ok_or(Halt::Profile { of: id.to_string() })
    }

    fn remember_tenant(
        &self,
        tenant: TenantId,
        at: Timestamp,
        event: TenantEvent,
    ) -> Result<(), Halt> {
        let policies = &self.policies;
        match event {
            TenantEvent::TenantCreated(created) => {
                let profile: TenantProfile =
                    self.open(&tenant, tenant.as_bytes(), &created.profile)?;
                let view = TenantView { id: tenant, name: profile.name, created_at: at };
                policies.tenants.pin().insert(tenant, Arc::new(view));
            }
            TenantEvent::UserAdded(added) => {
                let profile = self.open(&added.user, added.user.as_bytes(), &added.profile)?;
                let view =
                    UserView { id: added.user, tenant, profile, password_changes: 0, added_at: at };
                policies.users.pin().insert(added.user, Arc::new(view));
                policies.users_by_email.pin().insert(added.email, added.user);
            }
            TenantEvent::AppCreated(created) => {
                let profile: AppProfile =
                    self.open(&created.app, created.app.as_bytes(), &created.profile)?;
                let view = AppView {
                    id: created.app,
                    tenant,
                    name: profile.name,
                    default_sender: profile.default_sender,
                    permissions: permitted(created.permissions),
                    created_at: at,
                };
                policies.apps.pin().insert(created.app, Arc::new(view));
                append(&policies.apps_of, tenant, created.app);
            }
            TenantEvent::AppUpdated(updated) => {
                let profile: AppProfile =
                    self.open(&updated.app, updated.app.as_bytes(), &updated.profile)?;
                if let Some(view) = policies.app(updated.app) {
                    let view = AppView {
                        name: profile.name,
                        default_sender: profile.default_sender,
                        permissions: permitted(updated.permissions),
                        ..AppView::clone(&view)
                    };
                    policies.apps.pin().insert(updated.app, Arc::new(view));
                }
            }
            TenantEvent::ApiKeyCreated(_)
            | TenantEvent::ApiKeyRevoked(_)
            | TenantEvent::TenantPaused(_)
            | TenantEvent::TenantResumed(_) => return Err(malformed(NAME)),
        }
        Ok(())
    }

    fn remember_password(&self, id: UserId, number: u32, profile: &SealedText) -> Result<(), Halt> {
        let profile: UserProfile = self.open(&id, id.as_bytes(), profile)?;
        if let Some(view) = self.policies.user(id) {
            let view = UserView { profile, password_changes: number, ..UserView::clone(&view) };
            self.policies.users.pin().insert(id, Arc::new(view));
        }
        Ok(())
    }

    fn remember_domain(&self, id: DomainId, at: Timestamp, event: DomainEvent) {
        let policies = &self.policies;
        match event {
            DomainEvent::DomainAdded(added) => {
                let (tenant, name) = (added.tenant, added.name);
                let view = DomainView {
                    id,
                    tenant,
                    name: name.clone(),
                    status: DomainStatus::default(),
                    ownership_token: added.ownership_token,
                    keys: Vec::new(),
                    records: Vec::new(),
                    created_at: at,
                    checked_at: None,
                    failing_since: None,
                    signing: Vec::new(),
                    returns_bounces: false,
                    last_look: LastUse::default(),
                };
                policies.domains.pin().insert(id, Arc::new(view));
                append(&policies.domains_of, tenant, id);
                append(&policies.senders, (tenant, name), id);
            }
            DomainEvent::DkimKeyAdded(key) => {
                policies.change_domain(id, |view| view.keys.push(key));
            }
            DomainEvent::DkimKeyRetired(retired) => policies.change_domain(id, |view| {
                view.keys.retain(|key| key.selector != retired.selector);
            }),
            DomainEvent::DomainChecked(checked) => policies.change_domain(id, |view| {
                view.status = checked.status;
                view.failing_since = checked.failing_since;
                view.signing = domain::signing_after(&view.keys, &view.signing, &checked);
                view.returns_bounces = checked.returns_bounces();
                view.records = checked.records;
                view.checked_at = Some(at);
            }),
            DomainEvent::DomainRemoved(_) => policies.remove_domain(id),
            DomainEvent::DomainPaused(_) | DomainEvent::DomainResumed(_) => {}
        }
    }
}

impl Projection for PoliciesProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let stream = fact.recorded.stream.to_bytes();
        // Lists show what was made first, first: so what is made has its position in its key.
        let position = fact.recorded.position.get().to_be_bytes();
        let Some(event) = fact.known.other() else { return Ok(()) };
        if let Some(paused) = paused_by(fact.recorded.stream, event) {
            // Of pauses and their ends only the last counts.
            round.put(pause_key(&paused), FactRow::of(fact).to_bytes());
            return Ok(());
        }
        let key = match event {
            Event::Tenant(event) => match event {
                TenantEvent::TenantCreated(_) => join(&[&[1], &stream]),
                TenantEvent::UserAdded(_) => join(&[&[2], &position]),
                TenantEvent::AppCreated(_) => join(&[&[3], &position]),
                // Of several changes only the last counts.
                TenantEvent::AppUpdated(updated) => join(&[&[4], updated.app.as_bytes()]),
                TenantEvent::ApiKeyCreated(_)
                | TenantEvent::ApiKeyRevoked(_)
                | TenantEvent::TenantPaused(_)
                | TenantEvent::TenantResumed(_) => return Ok(()),
            },
            Event::Domain(event) => match event {
                DomainEvent::DomainAdded(_) => join(&[&[5], &position]),
                DomainEvent::DkimKeyAdded(_) => join(&[&[6], &stream, &position]),
                DomainEvent::DkimKeyRetired(_) => join(&[&[7], &stream, &position]),
                DomainEvent::DomainChecked(_) => join(&[&[8], &stream]),
                DomainEvent::DomainRemoved(_) => {
                    if let StreamId::Domain(domain) = fact.recorded.stream {
                        round.delete(pause_key(&Paused::Domain(domain)));
                    }
                    join(&[&[9], &stream])
                }
                DomainEvent::DomainPaused(_) | DomainEvent::DomainResumed(_) => return Ok(()),
            },
            // Of several passwords only the last counts.
            Event::User(UserEvent::PasswordChanged(_) | UserEvent::PasswordRehashed(_)) => {
                join(&[&[9], &stream])
            }
            Event::Message(_)
            | Event::User(_)
            | Event::Template(_)
            | Event::Suppression(_)
            | Event::Letter(_)
            | Event::Erasure(_)
            | Event::Instance(_)
            | Event::Reading(_) => return Ok(()),
        };
        round.put(key, FactRow::of(fact).to_bytes());
        Ok(())
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, _key: &[u8], value: &[u8]) -> Result<(), Halt> {
        let row = FactRow::read(value).map_err(|_| malformed(NAME))?;
        let event = row.event(NAME)?;
        if paused_by(row.stream, &event).is_some() {
            self.policies.pauses.remember(&self.vault, row.stream, row.at, &event);
            return Ok(());
        }
        match (row.stream, event) {
            (StreamId::Tenant(tenant), Event::Tenant(event)) => {
                self.remember_tenant(tenant, row.at, event)?;
            }
            (StreamId::Domain(domain), Event::Domain(event)) => {
                self.remember_domain(domain, row.at, event);
            }
            (StreamId::User(user), Event::User(UserEvent::PasswordChanged(changed))) => {
                self.remember_password(user, changed.number, &changed.profile)?;
            }
            (StreamId::User(user), Event::User(UserEvent::PasswordRehashed(rehashed))) => {
                self.remember_password(user, rehashed.number, &rehashed.profile)?;
            }
            _ => return Err(malformed(NAME)),
        }
        Ok(())
    }
}
