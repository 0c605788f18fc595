//! API keys, in memory: found by the keyed hash of their secret on every request.

use std::{collections::BTreeSet, sync::Arc};

use eventlog::Vault;
use model::{
    ApiKeyId, AppId, Event, StreamId, TenantId, Timestamp,
    event::SecretHash,
    profile::KeyProfile,
    tenant::{ApiKeyCreated, Scope, TenantEvent},
};

use crate::{
    error::Halt,
    fact::{Fact, FactRow, malformed},
    projection::Projection,
    round::Round,
    sealed,
};

const CREATED: u8 = 1;
const REVOKED: u8 = 2;

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
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Requests per minute.
    pub rate_limit_per_minute: u32,
    /// Whether it was taken back.
    pub status: KeyStatus,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl KeyView {
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
}

impl KeysProjection {
    pub(crate) const fn new(keys: Arc<Keys>, vault: Vault) -> Self {
        Self { keys, vault }
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
            created_at: row.at,
        })
    }
}

impl KeysProjection {
    const NAME: &'static str = "keys";
}

impl Projection for KeysProjection {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round) -> Result<(), Halt> {
        match fact.event {
            Event::Tenant(TenantEvent::ApiKeyCreated(created)) => {
                round.put(key(CREATED, created.key), FactRow::of(fact).to_bytes());
            }
            Event::Tenant(TenantEvent::ApiKeyRevoked(revoked)) => {
                round.put(key(REVOKED, revoked.key), FactRow::of(fact).to_bytes());
            }
            _ => {}
        }
        Ok(())
    }

    fn remembers(&self) -> bool {
        true
    }

    /// Rows of what was created sort before those of what was revoked.
    fn remember(&self, _key: &[u8], value: &[u8]) -> Result<(), Halt> {
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
