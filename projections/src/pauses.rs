//! What is paused, in memory: asked before every attempt, so it reads nothing from the disk.

use std::sync::Arc;

use eventlog::Vault;
use model::{
    DomainId, Event, InstanceId, StreamId, TenantId, Timestamp, address::DomainName,
    domain::DomainEvent, instance::InstanceEvent, pause::Who, tenant::TenantEvent,
};

use crate::sealed;

/// What a pause holds back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Paused {
    /// All that a tenant sends.
    Tenant(TenantId),
    /// What a sending domain sends.
    Domain(DomainId),
    /// What goes to a receiver: a recipients' domain, or a mail host.
    Site(DomainName),
}

/// A pause that holds.
#[derive(Clone, PartialEq, Eq)]
pub struct PauseView {
    /// Since when.
    pub since: Timestamp,
    /// Who paused.
    pub by: Who,
    /// Why, in their words; `None` also when it cannot be opened any more.
    pub reason: Option<String>,
}

// A reason that is printed by mistake must not become a leak.
impl std::fmt::Debug for PauseView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PauseView")
            .field("since", &self.since)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

/// Everything that is paused. Reads take no lock.
#[derive(Debug)]
pub struct Pauses {
    tenants: papaya::HashMap<TenantId, Arc<PauseView>>,
    domains: papaya::HashMap<DomainId, Arc<PauseView>>,
    sites: papaya::HashMap<DomainName, Arc<PauseView>>,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self {
            tenants: papaya::HashMap::new(),
            domains: papaya::HashMap::new(),
            sites: papaya::HashMap::new(),
        }
    }

    /// Whether nothing is paused, as nearly always.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty() && self.domains.is_empty() && self.sites.is_empty()
    }

    /// Whether any receiver is paused.
    pub fn any_site(&self) -> bool {
        !self.sites.is_empty()
    }

    /// The pause that holds this itself.
    pub fn of(&self, paused: &Paused) -> Option<Arc<PauseView>> {
        match paused {
            Paused::Tenant(tenant) => self.tenants.pin().get(tenant).cloned(),
            Paused::Domain(domain) => self.domains.pin().get(domain).cloned(),
            Paused::Site(site) => self.of_site(site.as_str()),
        }
    }

    /// The pause that holds a receiver of this name, a domain or a mail host.
    pub fn of_site(&self, name: &str) -> Option<Arc<PauseView>> {
        self.sites.pin().get(name).cloned()
    }

    /// The pause that holds what a tenant sends from one of its domains: the tenant's, or else the
    /// domain's.
    pub fn of_sender(
        &self,
        tenant: TenantId,
        domain: DomainId,
    ) -> Option<(Paused, Arc<PauseView>)> {
        [Paused::Tenant(tenant), Paused::Domain(domain)]
            .into_iter()
            .find_map(|paused| self.of(&paused).map(|view| (paused, view)))
    }

    /// Every pause, by what it holds.
    pub fn all(&self) -> Vec<(Paused, Arc<PauseView>)> {
        let (tenants, domains, sites) = (self.tenants.pin(), self.domains.pin(), self.sites.pin());
        let tenants = tenants.iter().map(|(id, view)| (Paused::Tenant(*id), view));
        let domains = domains.iter().map(|(id, view)| (Paused::Domain(*id), view));
        let sites = sites.iter().map(|(site, view)| (Paused::Site(site.clone()), view));
        let all = tenants.chain(domains).chain(sites);
        let mut all: Vec<_> = all.map(|(paused, view)| (paused, Arc::clone(view))).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Takes in what happened at `at`; everything but a pause or its end is none of its business.
    pub(crate) fn remember(&self, vault: &Vault, stream: StreamId, at: Timestamp, event: &Event) {
        let Some(paused) = paused_by(stream, event) else { return };
        let (by, reason) = match event {
            Event::Tenant(TenantEvent::TenantPaused(event)) => (event.by, &event.reason),
            Event::Domain(DomainEvent::DomainPaused(event)) => (event.by, &event.reason),
            Event::Instance(InstanceEvent::SitePaused(event)) => (event.by, &event.reason),
            _ => return self.forget(&paused),
        };
        let reason = reason.as_ref().and_then(|text| sealed::profile(vault, owner(&stream), text));
        let view = Arc::new(PauseView { since: at, by, reason });
        match paused {
            Paused::Tenant(tenant) => {
                self.tenants.pin().insert(tenant, view);
            }
            Paused::Domain(domain) => {
                self.domains.pin().insert(domain, view);
            }
            Paused::Site(site) => {
                self.sites.pin().insert(site, view);
            }
        }
    }

    /// It is not paused any more.
    pub(crate) fn forget(&self, paused: &Paused) {
        match paused {
            Paused::Tenant(tenant) => {
                self.tenants.pin().remove(tenant);
            }
            Paused::Domain(domain) => {
                self.domains.pin().remove(domain);
            }
            Paused::Site(site) => {
                self.sites.pin().remove(site.as_str());
            }
        }
    }
}

/// For whom a reason is sealed: whom its stream is named after.
const fn owner(stream: &StreamId) -> &[u8; 16] {
    match stream {
        StreamId::Tenant(id) => id.as_bytes(),
        StreamId::Domain(id) => id.as_bytes(),
        _ => InstanceId::THIS.as_bytes(),
    }
}

/// What is paused or resumed by an event, if it is such a one.
pub(crate) fn paused_by(stream: StreamId, event: &Event) -> Option<Paused> {
    match (stream, event) {
        (
            StreamId::Tenant(tenant),
            Event::Tenant(TenantEvent::TenantPaused(_) | TenantEvent::TenantResumed(_)),
        ) => Some(Paused::Tenant(tenant)),
        (
            StreamId::Domain(domain),
            Event::Domain(DomainEvent::DomainPaused(_) | DomainEvent::DomainResumed(_)),
        ) => Some(Paused::Domain(domain)),
        (_, Event::Instance(InstanceEvent::SitePaused(event))) => {
            Some(Paused::Site(event.site.clone()))
        }
        (_, Event::Instance(InstanceEvent::SiteResumed(event))) => {
            Some(Paused::Site(event.site.clone()))
        }
        _ => None,
    }
}
