//! API keys, in memory: found by the keyed hash of their secret on every request.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use eventlog::Vault;
use ipnet::IpNet;
use model::{
    ApiKeyId, AppId, Event, StreamId, TenantId, Timestamp,
    address::DomainName,
    event::SecretHash,
    profile::KeyProfile,
    tenant::{ApiKeyCreated, Scope, TenantEvent},
};

use crate::{
    codec::{Malformed, Reader},
    error::Halt,
    fact::{Fact, FactRow, Known, malformed},
    layer::Round,
    projection::Projection,
    sealed,
};

pub(crate) const CREATED: u8 = 1;
const REVOKED: u8 = 2;
const USED: u8 = 3;
/// To what the rows say when a key was last used.
const USED_TO_MS: u64 = 3_600_000;

/// Whether a key opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It does, until it expires.
    Active,
    /// It was taken back.
    Revoked,
}

/// An API key as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Which key.
    pub id: ApiKeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The app that it belongs to.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// The first characters of its secret.
    pub prefix: Box<str>,
    /// What it may do, as long as its app may.
    pub scopes: BTreeSet<Scope>,
    /// Requests per minute.
    pub rate_limit_per_minute: u32,
    /// Whether it was taken back.
    pub status: KeyStatus,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// The only domains of authors that it may send as; empty: all that are verified.
    pub allowed_domains: Box<[DomainName]>,
    /// The only networks that it may be used from; empty: everywhere.
    pub allowed_addresses: Box<[IpNet]>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_use: LastUse,
}

/// When something was last used: the later of what the record says, to the hour, and what this
/// process saw. Clones show the same.
#[derive(Clone, Default)]
pub struct LastUse(Arc<AtomicU64>);

impl LastUse {
    /// It is used at `now`.
    pub fn note(&self, now: Timestamp) {
        // Nothing is read by way of it: order does not matter.
        self.0.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// When that was; `None`: never.
    pub fn at(&self) -> Option<Timestamp> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis > 0).then(|| Timestamp::from_millis(millis))
    }
}

impl PartialEq for LastUse {
    fn eq(&self, other: &Self) -> bool {
        self.at() == other.at()
    }
}

impl Eq for LastUse {}

impl fmt::Debug for LastUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LastUse({:?})", self.at())
    }
}

impl KeyView {
    /// When it was last used; `None`: never.
    pub fn last_used_at(&self) -> Option<Timestamp> {
        self.last_use.at()
    }

    /// Whether it may be used from `address`. One that is not known lies in no network.
    pub fn is_allowed_from(&self, address: Option<IpAddr>) -> bool {
        // An IPv4 client of a socket for both families is ::ffff:a.b.c.d.
        let address = address.map(|address| address.to_canonical());
        self.allowed_addresses.is_empty()
            || address.is_some_and(|a| self.allowed_addresses.iter().any(|net| net.contains(&a)))
    }

    /// Whether it may send as authors of `domain`: of exactly this name.
    pub fn may_send_as(&self, domain: &DomainName) -> bool {
        self.allowed_domains.is_empty() || self.allowed_domains.contains(domain)
    }

    /// Whether it opens anything at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.status == KeyStatus::Active && self.expires_at.is_none_or(|at| now < at)
    }
}

/// Every API key there is or was. Reads take no lock.
#[derive(Debug, Default)]
pub struct Keys {
    by_secret: papaya::HashMap<SecretHash, ApiKeyId>,
    by_id: papaya::HashMap<ApiKeyId, Arc<KeyView>>,
    of_app: papaya::HashMap<AppId, Arc<[ApiKeyId]>>,
}

impl Keys {
    /// The key whose secret has this keyed hash, revoked and expired ones too.
    pub fn find(&self, secret: &SecretHash) -> Option<Arc<KeyView>> {
        let id = *self.by_secret.pin().get(secret)?;
        self.get(id)
    }

    /// The key of this id.
    pub fn get(&self, id: ApiKeyId) -> Option<Arc<KeyView>> {
        self.by_id.pin().get(&id).cloned()
    }

    /// The keys of an app, oldest first, revoked ones too.
    pub fn of_app(&self, app: AppId) -> Vec<Arc<KeyView>> {
        let ids = self.of_app.pin().get(&app).cloned().unwrap_or_default();
        ids.iter().filter_map(|id| self.get(*id)).collect()
    }

    /// How many keys there are, revoked ones too.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many keys are not revoked.
    pub fn active(&self) -> usize {
        let keys = self.by_id.pin();
        keys.values().filter(|key| key.status == KeyStatus::Active).count()
    }

    fn insert(&self, secret: SecretHash, view: KeyView) {
        let (id, app) = (view.id, view.app);
        self.by_id.pin().insert(id, Arc::new(view));
        // Found by its secret only once it is there.
        self.by_secret.pin().insert(secret, id);
        append(&self.of_app, app, id);
    }

    fn revoke(&self, id: ApiKeyId) {
        if let Some(view) = self.get(id) {
            let revoked = KeyView { status: KeyStatus::Revoked, ..KeyView::clone(&view) };
            self.by_id.pin().insert(id, Arc::new(revoked));
        }
    }
}

/// Adds to a list in a map, once. Only the follower writes, so nothing comes in between.
pub(crate) fn append<K, V>(lists: &papaya::HashMap<K, Arc<[V]>>, key: K, value: V)
where
    K: std::hash::Hash + Eq,
    V: Copy + PartialEq,
{
    let lists = lists.pin();
    let before: &[V] = lists.get(&key).map(AsRef::as_ref).unwrap_or_default();
    if !before.contains(&value) {
        let after = before.iter().copied().chain([value]).collect();
        lists.insert(key, after);
    }
}

/// Folds the keys.
pub(crate) struct KeysProjection {
    keys: Arc<Keys>,
    vault: Vault,
    /// The row of use written last: it stands for most of the messages that follow.
    last_used: Option<(ApiKeyId, Timestamp)>,
}

impl KeysProjection {
    pub(crate) const fn new(keys: Arc<Keys>, vault: Vault) -> Self {
        Self { keys, vault, last_used: None }
    }

    fn view(&self, row: &FactRow<'_>, created: &ApiKeyCreated) -> Result<KeyView, Halt> {
        let StreamId::Tenant(tenant) = row.stream else { return Err(malformed(Self::NAME)) };
        let profile: KeyProfile =
            sealed::profile(&self.vault, created.key.as_bytes(), &created.profile)
                .ok_or(Halt::Profile { of: created.key.to_string() })?;
        Ok(KeyView {
            id: created.key,
            tenant,
            app: created.app,
            name: profile.name,
            prefix: created.prefix.clone(),
            scopes: created.scopes.iter().copied().collect(),
            rate_limit_per_minute: created.rate_limit_per_minute,
            status: KeyStatus::Active,
            expires_at: created.expires_at,
            allowed_domains: created.allowed_domains.clone().into(),
            allowed_addresses: created.allowed_addresses.clone().into(),
            created_at: row.at,
            last_use: LastUse::default(),
        })
    }
}

impl KeysProjection {
    const NAME: &'static str = "keys";

    fn remember_use(&self, id: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let id = ApiKeyId::from_bytes(Reader::new(id).array()?);
        let hour = Timestamp::from_millis(Reader::new(value).u64()?);
        if let Some(key) = self.keys.get(id) {
            key.last_use.note(hour);
        }
        Ok(())
    }
}

impl Projection for KeysProjection {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        match fact.known {
            Known::Other(Event::Tenant(TenantEvent::ApiKeyCreated(created))) => {
                round.put(key(CREATED, created.key), FactRow::of(fact).to_bytes());
            }
            Known::Other(Event::Tenant(TenantEvent::ApiKeyRevoked(revoked))) => {
                round.put(key(REVOKED, revoked.key), FactRow::of(fact).to_bytes());
            }
            Known::Began(origin) => {
                let hour = fact.recorded.at.floor_to(USED_TO_MS);
                let used = (origin.accepted.key, hour);
                if self.last_used != Some(used) {
                    let hour = hour.as_millis().to_le_bytes();
                    round.put(key(USED, origin.accepted.key), hour.to_vec());
                    self.last_used = Some(used);
                }
            }
            Known::Went(_) | Known::Other(_) => {}
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.last_used = None;
    }

    fn remembers(&self) -> bool {
        true
    }

    /// Rows of what was created sort before those of what was revoked or used.
    fn remember(&self, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        if let Some((&USED, id)) = key.split_first() {
            return self.remember_use(id, value).map_err(|_| malformed(Self::NAME));
        }
        let row = FactRow::read(value).map_err(|_| malformed(Self::NAME))?;
        match row.event(Self::NAME)? {
            Event::Tenant(TenantEvent::ApiKeyCreated(created)) => {
                let view = self.view(&row, &created)?;
                self.keys.insert(created.secret, view);
            }
            Event::Tenant(TenantEvent::ApiKeyRevoked(revoked)) => self.keys.revoke(revoked.key),
            _ => return Err(malformed(Self::NAME)),
        }
        Ok(())
    }
}

fn key(kind: u8, id: ApiKeyId) -> Vec<u8> {
    crate::codec::join(&[&[kind], id.as_bytes()])
}
