//! The addresses that mail leaves from: pools of them, whose mail leaves from which pool, and which
//! address of it a message has.
//!
//! # Contract
//! - A message leaves from the same address of its pool at each attempt, for greylists remember it
//!   (RFC 6647). When a pool gains or loses an address, only that address's share moves.
//! - An address stands in one pool alone: what receivers think of it is that pool's affair.

use std::{collections::HashMap, net::IpAddr};

use crate::{
    address::DomainName,
    ids::{AppId, MessageId, TenantId},
    routing::Label,
};

/// Most pools, and most addresses of one.
pub const MAX_POOLS: usize = 250;

/// An address of this machine, and who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address that connections are bound to.
    pub ip: IpAddr,
    /// The name after EHLO from there: the address's own, forward and reverse.
    pub helo_name: DomainName,
}

/// The addresses that one message leaves from: at most one of each family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    v4: Option<Source>,
    v6: Option<Source>,
}

impl Sources {
    /// From this one alone.
    pub fn only(source: Source) -> Self {
        let (v4, v6) =
            if source.ip.is_ipv4() { (Some(source), None) } else { (None, Some(source)) };
        Self { v4, v6 }
    }

    /// Whether the system chooses.
    const fn is_free(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// The address to leave from towards `target`, which has the same family.
    pub const fn towards(&self, target: IpAddr) -> Option<&Source> {
        if target.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Whether `target` can be dialled: not from an address of the other family.
    pub const fn can_reach(&self, target: IpAddr) -> bool {
        self.is_free() || self.towards(target).is_some()
    }

    /// Whether a connection from `ip` (`None`: nobody knows) is from here; where the system chooses,
    /// each one is.
    pub fn include(&self, ip: Option<IpAddr>) -> bool {
        let own = |ip| self.towards(ip).is_some_and(|source| source.ip == ip);
        self.is_free() || ip.is_some_and(own)
    }
}

/// Why a pool, or pools together, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPools {
    /// More than [`MAX_POOLS`], or a pool with none or more addresses than that.
    #[error("there are at most 250 pools, each with 1 to 250 addresses")]
    Count,
    /// Nothing can be sent from it.
    #[error("{0} is no address of one machine")]
    NoSource(IpAddr),
    /// It stands in two pools, or twice in one.
    #[error("{0} stands in more than one place")]
    Repeated(IpAddr),
    /// Two pools have this name.
    #[error("there are two pools `{0}`")]
    RepeatedName(Label),
    /// A tenant or an app has two pools.
    #[error("{0} has more than one pool")]
    AssignedTwice(String),
    /// The pool that others leave from is not there.
    #[error("there is no pool `{0}`")]
    Unknown(Label),
}

/// Addresses that are one to who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    name: Label,
    sources: Vec<Source>,
}

impl Pool {
    /// A pool of these addresses.
    pub fn new(name: Label, sources: Vec<Source>) -> Result<Self, InvalidPools> {
        if !(1..=MAX_POOLS).contains(&sources.len()) {
            return Err(InvalidPools::Count);
        }
        // An IPv4 address in IPv6 clothes would be matched to the wrong family.
        let unfit =
            |ip: IpAddr| ip.is_unspecified() || ip.is_multicast() || ip.to_canonical() != ip;
        match sources.iter().find(|source| unfit(source.ip)) {
            Some(source) => Err(InvalidPools::NoSource(source.ip)),
            None => Ok(Self { name, sources }),
        }
    }

    /// Its name.
    pub const fn name(&self) -> &Label {
        &self.name
    }

    /// Its addresses.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What a message leaves from: of each family the address that draws the highest number for it.
    pub fn choose(&self, message: MessageId) -> Sources {
        let highest = |v4: bool| {
            let fitting = self.sources.iter().filter(|source| source.ip.is_ipv4() == v4);
            fitting.max_by_key(|source| draw(message, source.ip)).cloned()
        };
        Sources { v4: highest(true), v6: highest(false) }
    }
}

/// A number that depends on both and on nothing else.
fn draw(message: MessageId, ip: IpAddr) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.as_bytes());
    match ip {
        IpAddr::V4(ip) => hasher.update(&ip.octets()),
        IpAddr::V6(ip) => hasher.update(&ip.octets()),
    };
    *hasher.finalize().as_bytes()
}

/// A pool by its place among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolNumber(u16);

/// A pool, and whose mail leaves from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedPool {
    /// The pool.
    pub pool: Pool,
    /// Mail of these tenants.
    pub tenants: Vec<TenantId>,
    /// Mail of these apps, whatever pool their tenant has.
    pub apps: Vec<AppId>,
}

/// Every pool there is, and whose mail leaves from which.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    all: Vec<Pool>,
    default: Option<PoolNumber>,
    tenants: HashMap<TenantId, PoolNumber>,
    apps: HashMap<AppId, PoolNumber>,
}

impl Pools {
    /// These pools; what has none of them leaves from `default`, or from where the system chooses.
    pub fn new(assigned: Vec<AssignedPool>, default: Option<&Label>) -> Result<Self, InvalidPools> {
        if assigned.len() > MAX_POOLS {
            return Err(InvalidPools::Count);
        }
        let mut pools = Self::default();
        for (place, AssignedPool { pool, tenants, apps }) in (0..).zip(assigned) {
            let number = PoolNumber(place);
            if pools.all.iter().any(|known| known.name == pool.name) {
                return Err(InvalidPools::RepeatedName(pool.name));
            }
            for (position, source) in pool.sources.iter().enumerate() {
                let own = pool.sources.iter().take(position);
                if pools.sources().chain(own).any(|known| known.ip == source.ip) {
                    return Err(InvalidPools::Repeated(source.ip));
                }
            }
            for tenant in tenants {
                if pools.tenants.insert(tenant, number).is_some() {
                    return Err(InvalidPools::AssignedTwice(tenant.to_string()));
                }
            }
            for app in apps {
                if pools.apps.insert(app, number).is_some() {
                    return Err(InvalidPools::AssignedTwice(app.to_string()));
                }
            }
            if default == Some(&pool.name) {
                pools.default = Some(number);
            }
            pools.all.push(pool);
        }
        match (default, pools.default) {
            (Some(name), None) => Err(InvalidPools::Unknown(name.clone())),
            _ => Ok(pools),
        }
    }

    /// The pool that an app's mail leaves from: the app's own, else its tenant's, else everybody's.
    pub fn of_app(&self, tenant: TenantId, app: AppId) -> Option<PoolNumber> {
        self.apps.get(&app).copied().or_else(|| self.of_tenant(tenant))
    }

    /// The pool of a tenant's apps that have none of their own.
    pub fn of_tenant(&self, tenant: TenantId) -> Option<PoolNumber> {
        self.tenants.get(&tenant).copied().or(self.default)
    }

    /// The pool with this number.
    pub fn get(&self, number: PoolNumber) -> Option<&Pool> {
        self.all.get(usize::from(number.0))
    }

    /// Every pool.
    pub fn all(&self) -> &[Pool] {
        &self.all
    }

    /// Every address of every pool.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.all.iter().flat_map(Pool::sources)
    }

    /// Whether there is no pool: all mail leaves from the same addresses.
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests;
