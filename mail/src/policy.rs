//! What the way to a mail host must be: the sender's demand, the receiver's MTA-STS policy
//! (RFC 8461) and its TLSA records (RFC 7672), made into one [`TlsPolicy`] for each host.
//!
//! # Contract
//! - The strongest rule wins: TLSA records over an MTA-STS policy, both over opportunism; a demand
//!   for TLS is fulfilled by either of them or by a certificate for the host's name.
//! - What cannot be found out is never taken for "there is no rule": a DNSSEC answer that fails
//!   holds the mail back, and a policy that is known stays in force until its time is over.
//! - Nothing that a domain publishes makes this server dial what it may not.

mod cache;
mod fetch;
pub mod sts;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::join_all;
use model::{
    Timestamp,
    address::DomainName,
    delivery::{Fault, TlsDemand, TlsFailure},
};

use self::{
    cache::{Cache, Known},
    fetch::Fetcher,
    sts::{Mode, Policy},
};
use crate::{
    dns::{
        Resolver,
        route::{MxHost, Route},
        secure::{SecureResolver, Secured},
    },
    smtp::{Dane, SMTP_PORT, TlsClient, TlsPolicy, Tlsa},
};

/// How long the DNS may take to announce a policy.
const ANNOUNCEMENT: Duration = Duration::from_secs(5);

/// How policies are looked for.
#[derive(Debug, Clone)]
pub struct PolicyOptions {
    /// Whether MTA-STS policies are looked for and obeyed.
    pub mta_sts: bool,
    /// The port of policy hosts.
    pub https_port: u16,
    /// The port of mail hosts: TLSA records are for one.
    pub smtp_port: u16,
    /// How long fetching a policy may take.
    pub fetch_deadline: Duration,
    /// Whether a policy host may have loopback, private or link-local addresses.
    pub allow_private_networks: bool,
    /// Where policies that are known are kept across restarts; may be deleted.
    pub file: Option<PathBuf>,
}

impl Default for PolicyOptions {
    fn default() -> Self {
        Self {
            mta_sts: true,
            https_port: 443,
            smtp_port: SMTP_PORT,
            fetch_deadline: Duration::from_secs(10),
            allow_private_networks: false,
            file: None,
        }
    }
}

/// What the mail for one domain demands of its way. Domains with equal terms and the same mail
/// hosts can share a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    demand: TlsDemand,
    sts: Option<Arc<Policy>>,
    /// Why there is no MTA-STS policy, although one is announced.
    sts_failure: Option<TlsFailure>,
    /// The mail hosts that signed DNS names, where it does.
    signed_hosts: Option<Arc<[Box<str>]>>,
}

impl Terms {
    /// The sender's demand alone: for relays, which receivers' policies do not speak of.
    pub const fn of_sender(demand: TlsDemand) -> Self {
        Self { demand, sts: None, sts_failure: None, signed_hosts: None }
    }

    /// Why the MTA-STS policy that the domain announces is not known, if that is so: its mail goes
    /// as if there were none.
    pub const fn sts_failure(&self) -> Option<TlsFailure> {
        self.sts_failure
    }
}

/// What each mail host of a route must be.
#[derive(Debug, Clone)]
pub struct HostPolicies {
    hosts: Vec<(Box<str>, Result<TlsPolicy, TlsFailure>)>,
    others: Result<TlsPolicy, TlsFailure>,
}

impl HostPolicies {
    /// The same for every host: a relay's.
    pub const fn same(policy: TlsPolicy) -> Self {
        Self { hosts: Vec::new(), others: Ok(policy) }
    }

    /// The policy for this host, or why it gets no mail.
    pub fn of(&self, mx: &str) -> Result<&TlsPolicy, TlsFailure> {
        let known = self.hosts.iter().find(|(host, _)| **host == *mx);
        known.map_or(&self.others, |(_, policy)| policy).as_ref().map_err(|failure| *failure)
    }

    /// The route without the hosts that get no mail, for their addresses may be those of others;
    /// or, when that is all of them, the best one and why.
    pub fn passable(&self, route: &Route) -> Result<Route, (Box<str>, TlsFailure)> {
        let fits = |host: &&MxHost| self.of(&host.name).is_ok();
        let hosts: Vec<MxHost> = route.hosts.iter().filter(fits).cloned().collect();
        match (hosts.is_empty(), route.hosts.first()) {
            (true, Some(best)) => {
                let failure = self.of(&best.name).err();
                Err((best.name.clone(), failure.unwrap_or(TlsFailure::ValidationFailure)))
            }
            _ => Ok(Route { site: route.site.clone(), hosts }),
        }
    }
}

/// Finds out policies. Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub struct Policies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    secure: Option<SecureResolver>,
    cache: Cache,
    mta_sts: bool,
    smtp_port: u16,
}

impl Policies {
    /// Asks `resolver`, and `secure` for TLSA records: without it DANE is not used. Reads the file
    /// of the options, if any.
    pub fn new(
        resolver: Resolver,
        secure: Option<SecureResolver>,
        tls: &TlsClient,
        options: &PolicyOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            fetcher: Fetcher::new(resolver, tls, options),
            secure,
            cache: Cache::open(options.file.clone()),
            mta_sts: options.mta_sts,
            smtp_port: options.smtp_port,
        }))
    }

    /// The terms for mail to `domain`, whose mail goes by `route`. [`Fault::DnsUnavailable`] when
    /// DNSSEC gives no answer about its mail hosts that can be believed.
    pub async fn terms(
        &self,
        domain: &DomainName,
        route: &Route,
        demand: TlsDemand,
        now: Timestamp,
    ) -> Result<Terms, Fault> {
        let (sts, signed_hosts) =
            tokio::join!(self.mta_sts(domain, now), self.0.signed_hosts(domain, route));
        let (sts, sts_failure) = match sts {
            Ok(policy) => (policy.filter(|policy| policy.mode != Mode::None), None),
            Err(failure) => (None, Some(failure)),
        };
        Ok(Terms { demand, sts, sts_failure, signed_hosts: signed_hosts? })
    }

    /// What the hosts of a route must be under these terms.
    pub async fn of_hosts(&self, terms: &Terms, route: &Route) -> HostPolicies {
        let found = route.hosts.iter().map(|host| self.0.of_host(terms, &host.name));
        let names = route.hosts.iter().map(|host| host.name.clone());
        HostPolicies {
            hosts: names.zip(join_all(found).await).collect(),
            // A host from nowhere has no rule that it could fulfil.
            others: Err(TlsFailure::ValidationFailure),
        }
    }

    /// The policy of a domain, if it has one (RFC 8461, sections 3.1, 3.3 and 5.1); or why the one
    /// that it announces cannot be had.
    async fn mta_sts(
        &self,
        domain: &DomainName,
        now: Timestamp,
    ) -> Result<Option<Arc<Policy>>, TlsFailure> {
        if !self.0.mta_sts {
            return Ok(None);
        }
        let id = self.announced(domain).await;
        let known = self.0.cache.good(domain, now);
        match (known, id) {
            // Not announced any more, or the DNS is silent: what is known stays in force.
            (known, None) => Ok(known.map(|known| known.policy)),
            (Some(known), Some(id)) if known.id == id => {
                if known.is_due(now) {
                    let (this, domain) = (self.clone(), domain.clone());
                    tokio::spawn(async move { this.fetch(&domain, &id, now).await });
                }
                Ok(Some(known.policy))
            }
            (known, Some(id)) => match (self.fetch(domain, &id, now).await, known) {
                (Ok(policy), _) => Ok(Some(policy)),
                (Err(_), Some(known)) => Ok(Some(known.policy)),
                (Err(failure), None) => Err(failure),
            },
        }
    }

    /// The id of the policy that the DNS announces. Mail does not wait long for a name server that
    /// is silent about this, and not each time.
    async fn announced(&self, domain: &DomainName) -> Option<Box<str>> {
        const SILENT: &str = "";
        let cache = &self.0.cache;
        if cache.failure(domain, SILENT).is_some() {
            return None;
        }
        let name = format!("_mta-sts.{domain}");
        let asked = self.0.fetcher.resolver.txt(&name);
        let Ok(records) = tokio::time::timeout(ANNOUNCEMENT, asked).await else {
            cache.fail(domain, SILENT, TlsFailure::StsPolicyFetchError);
            return None;
        };
        records.ok().and_then(|records| sts::announced(records.iter().map(|record| &**record)))
    }

    /// Fetches, unless it was fetched a moment ago or could not be.
    async fn fetch(
        &self,
        domain: &DomainName,
        id: &str,
        now: Timestamp,
    ) -> Result<Arc<Policy>, TlsFailure> {
        let cache = &self.0.cache;
        let gate = cache.gate(domain);
        let _turn = gate.lock().await;
        let fresh = cache.good(domain, now).filter(|known| *known.id == *id && !known.is_due(now));
        if let Some(known) = fresh {
            return Ok(known.policy);
        }
        if let Some(failure) = cache.failure(domain, id) {
            return Err(failure);
        }
        let fetched = self.0.fetcher.fetch(domain).await;
        cache.open_gate(domain);
        match fetched {
            Ok(policy) => {
                let policy = Arc::new(policy);
                let known = Known { id: id.into(), policy: Arc::clone(&policy), fetched_at: now };
                cache.learn(domain, known);
                self.write_soon(now);
                Ok(policy)
            }
            Err(failure) => {
                tracing::info!(%domain, failure = failure.result_type(), "no MTA-STS policy");
                cache.fail(domain, id, failure);
                Err(failure)
            }
        }
    }

    fn write_soon(&self, now: Timestamp) {
        if let Some(wait) = self.0.cache.begin_gathering() {
            let inner = Arc::clone(&self.0);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                inner.cache.write(now).await;
            });
        }
    }

    /// Writes what is known to the file of the options now.
    pub async fn save(&self, now: Timestamp) {
        self.0.cache.write(now).await;
    }
}

impl Inner {
    /// The mail hosts that signed DNS names (RFC 7672, section 2.2).
    async fn signed_hosts(
        &self,
        domain: &DomainName,
        route: &Route,
    ) -> Result<Option<Arc<[Box<str>]>>, Fault> {
        let Some(secure) = &self.secure else { return Ok(None) };
        if !secure.is_able().await {
            return Ok(None);
        }
        let unproven = |_| Fault::DnsUnavailable;
        match secure.mx(domain.as_str()).await.map_err(unproven)? {
            Secured::Secure(hosts) => Ok(Some(hosts.into())),
            Secured::Insecure => {
                let itself: Box<str> = domain.as_str().into();
                // Without MX, the domain is its own mail host.
                if !matches!(route.hosts.as_slice(), [only] if only.name == itself) {
                    return Ok(None);
                }
                let owner = secure.canonical(&itself).await.map_err(unproven)?;
                Ok((owner != Secured::Insecure).then(|| [itself].into()))
            }
        }
    }

    async fn of_host(&self, terms: &Terms, mx: &str) -> Result<TlsPolicy, TlsFailure> {
        let mut unusable = false;
        if let Some(signed) = &terms.signed_hosts {
            // The unsigned answer names another host than the signed one.
            if !signed.iter().any(|host| **host == *mx) {
                return Err(TlsFailure::DnssecInvalid);
            }
            if let Some(dane) = self.dane(mx).await? {
                if !dane.records.is_empty() {
                    return Ok(TlsPolicy::Dane(Arc::new(dane)));
                }
                unusable = true;
            }
        }
        let named = terms.sts.as_ref().map(|policy| (policy.mode, policy.names(mx)));
        match (named, terms.demand) {
            (Some((Mode::Enforce, true)), _) => Ok(TlsPolicy::MtaSts),
            (Some((Mode::Enforce, false)), _) => Err(TlsFailure::MxNotInPolicy),
            (_, TlsDemand::Required) => Ok(TlsPolicy::Required),
            _ if unusable => Ok(TlsPolicy::Encrypted),
            (Some((Mode::Testing, named)), _) => Ok(TlsPolicy::Testing { named }),
            (Some((Mode::None, _)) | None, _) => Ok(TlsPolicy::Opportunistic),
        }
    }

    /// The TLSA records of a host: under the name behind its aliases, else under its own
    /// (RFC 7672, section 2.2.3). Without usable ones the list is empty.
    async fn dane(&self, mx: &str) -> Result<Option<Dane>, TlsFailure> {
        let Some(secure) = &self.secure else { return Ok(None) };
        let unproven = |_| TlsFailure::DnssecInvalid;
        let Secured::Secure(owner) = secure.canonical(mx).await.map_err(unproven)? else {
            return Ok(None);
        };
        let own = (*owner != *mx).then(|| mx.into());
        for base in [Some(owner), own].into_iter().flatten() {
            let found = secure.tlsa(&base, self.smtp_port).await.map_err(unproven)?;
            let Secured::Secure(found) = found else { continue };
            if found.is_empty() {
                continue;
            }
            let usable = found.iter().filter_map(|record| {
                let fields = (record.cert_usage, record.selector, record.matching);
                Tlsa::new(fields.0.into(), fields.1.into(), fields.2.into(), &record.cert_data)
            });
            return Ok(Some(Dane { base, records: usable.collect() }));
        }
        Ok(None)
    }
}
