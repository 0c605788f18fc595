//! Where the mail for a domain goes: its mail hosts, and the addresses to dial.

use std::{collections::HashSet, fmt, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use model::{address::DomainName, delivery::Fault};
use tokio::time::Instant;

use super::{LookupError, Mx, Resolver, may_be_dialled};

/// Most mail hosts of a domain that are ever considered: the best ones.
pub const MAX_ROUTE_HOSTS: usize = 20;
/// Most mail hosts that one delivery tries (RFC 5321, section 5.1 asks for two at the least).
pub const MAX_CANDIDATE_HOSTS: usize = 5;
/// Most addresses that one delivery tries.
pub const MAX_CANDIDATES: usize = 10;

/// How long a route without a lifetime of its own (no MX, only addresses) is remembered.
const IMPLICIT_ROUTE_TTL: Duration = Duration::from_mins(5);
const CACHED_ROUTES: u64 = 50_000;

/// Which hosts count as reachable and which as this server.
#[derive(Debug, Clone, Default)]
pub struct RouteOptions {
    /// Whether a mail host may have loopback, private or link-local addresses.
    pub allow_private_networks: bool,
    /// Names of this server in lower case: a mail host with such a name is a loop.
    pub own_names: Vec<String>,
    /// Addresses on which this server itself receives mail: the same by address.
    pub own_addresses: Vec<IpAddr>,
}

/// Identity of a set of mail hosts. Domains whose mail goes to the same hosts have the same one,
/// so they share connections and limits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(Arc<str>);

impl SiteId {
    /// The text: the best host's name and, when there are more, a hash over all names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(hosts: &[MxHost]) -> Self {
        let mut names: Vec<&str> = hosts.iter().map(|host| &*host.name).collect();
        names.sort_unstable();
        match names.as_slice() {
            [] => Self("".into()),
            [only] => Self((*only).into()),
            [first, ..] => {
                let hash = blake3::hash(names.join("\n").as_bytes()).to_hex();
                Self(format!("{first}+{}", hash.get(..16).unwrap_or_default()).into())
            }
        }
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One mail host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxHost {
    /// Its name in lower case, without the final dot.
    pub name: Box<str>,
    /// Lower is tried first.
    pub preference: u16,
}

/// The mail hosts of a domain, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Their identity.
    pub site: SiteId,
    /// The hosts, by preference and name; never empty.
    pub hosts: Vec<MxHost>,
}

/// One address to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The mail host it belongs to.
    pub mx: Box<str>,
    /// The address. The port never comes from data.
    pub ip: IpAddr,
}

#[derive(Clone)]
struct Remembered {
    route: Arc<Route>,
    until: Instant,
}

/// Finds routes (RFC 5321, section 5.1). Cheap to clone.
#[derive(Clone)]
pub struct Router {
    resolver: Resolver,
    options: Arc<RouteOptions>,
    routes: moka::sync::Cache<DomainName, Remembered>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

impl Router {
    /// A router that asks `resolver`.
    pub fn new(resolver: Resolver, options: RouteOptions) -> Self {
        let routes = moka::sync::Cache::builder().max_capacity(CACHED_ROUTES).build();
        Self { resolver, options: Arc::new(options), routes }
    }

    /// The resolver it asks.
    pub const fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The mail hosts of `domain`. Errors are [`Fault::NoSuchDomain`], [`Fault::NoMailHost`],
    /// [`Fault::NullMx`], [`Fault::MxIsSelf`] and [`Fault::DnsUnavailable`].
    pub async fn route(&self, domain: &DomainName) -> Result<Arc<Route>, Fault> {
        if let Some(known) = self.routes.get(domain)
            && known.until > Instant::now()
        {
            return Ok(known.route);
        }
        let (hosts, until) = self.mail_hosts(domain).await?;
        let hosts = self.before_self(hosts)?;
        let route = Arc::new(Route { site: SiteId::of(&hosts), hosts });
        self.routes.insert(domain.clone(), Remembered { route: Arc::clone(&route), until });
        Ok(route)
    }

    async fn mail_hosts(&self, domain: &DomainName) -> Result<(Vec<MxHost>, Instant), Fault> {
        match self.resolver.mx_until(domain.as_str()).await {
            Ok((records, until)) => Ok((usable(records)?, until)),
            Err(LookupError::NoSuchDomain) => Err(Fault::NoSuchDomain),
            Err(LookupError::Unavailable) => Err(Fault::DnsUnavailable),
            // Without MX the domain is its own mail host, if it has an address.
            Err(LookupError::NoRecords) => match self.resolver.addresses(domain.as_str()).await {
                Ok(_) => {
                    let host = MxHost { name: domain.as_str().into(), preference: 0 };
                    Ok((vec![host], Instant::now() + IMPLICIT_ROUTE_TTL))
                }
                Err(LookupError::NoSuchDomain) => Err(Fault::NoSuchDomain),
                Err(LookupError::NoRecords) => Err(Fault::NoMailHost),
                Err(LookupError::Unavailable) => Err(Fault::DnsUnavailable),
            },
        }
    }

    /// The hosts that are better than this server itself (RFC 5321, section 5.1): mail may only
    /// move towards the best host, or it would go round in a circle.
    fn before_self(&self, mut hosts: Vec<MxHost>) -> Result<Vec<MxHost>, Fault> {
        let is_own = |host: &&MxHost| self.options.own_names.iter().any(|own| **own == *host.name);
        if let Some(own) = hosts.iter().find(is_own).map(|host| host.preference) {
            hosts.retain(|host| host.preference < own);
        }
        if hosts.is_empty() { Err(Fault::MxIsSelf) } else { Ok(hosts) }
    }

    /// The addresses to dial, in order: hosts by preference, in random order among equals, and of
    /// each host its IPv4 and IPv6 addresses by turns, in random order. `seed` is the randomness.
    ///
    /// IPv4 comes first, for receivers judge a sender by IPv4 reputation and many refuse IPv6
    /// senders without a name; the turn-taking gives both families a place before the cap.
    /// Errors are [`Fault::PrivateAddress`], [`Fault::MxIsSelf`], [`Fault::NoMailHost`] and
    /// [`Fault::DnsUnavailable`].
    pub async fn candidates(&self, route: &Route, seed: u64) -> Result<Vec<Candidate>, Fault> {
        let mut hosts: Vec<&MxHost> = route.hosts.iter().collect();
        hosts.sort_by_cached_key(|host| (host.preference, shuffled(seed, host.name.as_bytes())));
        hosts.truncate(MAX_CANDIDATE_HOSTS);
        let answers = join_all(hosts.iter().map(|host| self.resolver.addresses(&host.name))).await;

        let own = &self.options.own_addresses;
        let own_preference = hosts
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| {
                answer.as_ref().is_ok_and(|ips| ips.iter().any(|ip| own.contains(ip)))
            })
            .map(|(host, _)| host.preference)
            .min();

        let mut candidates = Vec::new();
        let mut seen = HashSet::new();
        let (mut unavailable, mut forbidden, mut looped) = (false, false, false);
        for (host, answer) in hosts.iter().zip(answers) {
            if own_preference.is_some_and(|own| host.preference >= own) {
                looped = true;
                continue;
            }
            let mut ips = match answer {
                Ok(ips) => ips,
                Err(error) => {
                    unavailable |= error == LookupError::Unavailable;
                    continue;
                }
            };
            if !self.options.allow_private_networks {
                let before = ips.len();
                ips.retain(|ip| may_be_dialled(*ip));
                forbidden |= ips.len() < before;
            }
            for ip in by_turns(ips, seed) {
                if seen.insert(ip) {
                    candidates.push(Candidate { mx: host.name.clone(), ip });
                }
            }
        }
        candidates.truncate(MAX_CANDIDATES);
        if !candidates.is_empty() {
            return Ok(candidates);
        }
        // What may mend itself comes first: it must not become a bounce.
        Err(match (unavailable, forbidden, looped) {
            (true, ..) => Fault::DnsUnavailable,
            (_, true, _) => Fault::PrivateAddress,
            (.., true) => Fault::MxIsSelf,
            _ => Fault::NoMailHost,
        })
    }
}

/// The hosts of an MX set: null MX alone means no mail; beside others it means nothing
/// (RFC 7505, section 3), and neither does what is no host name.
fn usable(records: Vec<Mx>) -> Result<Vec<MxHost>, Fault> {
    if records.iter().all(|mx| mx.host.is_empty()) {
        return Err(Fault::NullMx);
    }
    let mut seen = HashSet::new();
    let mut hosts: Vec<MxHost> = records
        .into_iter()
        .filter(|mx| is_host_name(&mx.host) && seen.insert(mx.host.clone()))
        .map(|mx| MxHost { name: mx.host, preference: mx.preference })
        .collect();
    hosts.truncate(MAX_ROUTE_HOSTS);
    if hosts.is_empty() { Err(Fault::NoMailHost) } else { Ok(hosts) }
}

/// Letters, digits, hyphens, dots and the underscore that some hosts have. An address in the place
/// of a name is none.
fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(plain) && name.parse::<IpAddr>().is_err()
}

/// Both families by turns, IPv4 first, each in random order.
fn by_turns(ips: Vec<IpAddr>, seed: u64) -> Vec<IpAddr> {
    let (mut v4, mut v6): (Vec<_>, Vec<_>) = ips.into_iter().partition(IpAddr::is_ipv4);
    for family in [&mut v4, &mut v6] {
        family.sort_by_cached_key(|ip| shuffled(seed, ip.to_string().as_bytes()));
    }
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    std::iter::from_fn(|| {
        let turn: Vec<IpAddr> = v4.next().into_iter().chain(v6.next()).collect();
        (!turn.is_empty()).then_some(turn)
    })
    .flatten()
    .collect()
}

/// A place in a random order that depends on the seed alone.
fn shuffled(seed: u64, item: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&seed.to_le_bytes()).update(item).finalize().as_bytes()
}
