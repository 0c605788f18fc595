//! Asking the DNS, with every answer bounded and every failure named.
//!
//! Names are always fully qualified and the hosts file is never read: a search list or a line in
//! `/etc/hosts` must not decide where mail goes.
//!
//! # Why
//! hickory caches answers and negative answers and lets concurrent look-ups of one name share one
//! query. It does not remember a failing name server, so a thousand messages to a domain whose
//! servers are down would ask a thousand times: failures are held here for
//! [`DnsOptions::failure_ttl`]. Whoever checks whether a record was just published must not be
//! told a minute-old "no": [`Resolver::fresh`] looks past both caches.

mod address;
mod pointer;
pub mod route;
pub mod secure;
mod source;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
};

use tokio::time::Instant;

pub use self::{
    address::may_be_dialled,
    pointer::{Pointer, pointer},
    source::{Found, LookingUp, NameRecord, NameSource, RecordKind},
};

/// Most records of one answer that are looked at; the rest of a larger set is left out.
pub const MAX_RECORDS: usize = 64;

/// How long an answer is believed at most, whatever its TTL says.
const MAX_POSITIVE_TTL: Duration = Duration::from_hours(24);
/// The same for "there is nothing": a bounce must not be due to yesterday's mistake.
const MAX_NEGATIVE_TTL: Duration = Duration::from_mins(15);

/// How the DNS is asked.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    /// The servers to ask, with their ports; those of the system when absent.
    pub servers: Option<Vec<SocketAddr>>,
    /// How long one try at one server may take.
    pub timeout: Duration,
    /// How many tries, at the least one.
    pub tries: usize,
    /// How long a whole look-up may take: all tries, servers and aliases.
    pub deadline: Duration,
    /// How long a failing name is not asked again; zero asks each time.
    pub failure_ttl: Duration,
    /// How many answers are remembered, and how many failures.
    pub cache_entries: u64,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            servers: None,
            timeout: Duration::from_secs(3),
            tries: 3,
            deadline: Duration::from_secs(20),
            failure_ttl: Duration::from_secs(30),
            cache_entries: 16_384,
        }
    }
}

/// The resolver could not be set up: no usable servers in the system's configuration.
#[derive(Debug, thiserror::Error)]
#[error("the DNS resolver could not be set up: {0}")]
pub struct DnsSetupError(#[source] Box<NetError>);

/// Why there are no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist (NXDOMAIN), or cannot exist.
    #[error("the name does not exist")]
    NoSuchDomain,
    /// The name exists and has no record of this type.
    #[error("the name has no such record")]
    NoRecords,
    /// No usable answer: SERVFAIL, REFUSED, a timeout, nonsense.
    #[error("the DNS gave no usable answer")]
    Unavailable,
}

/// A mail exchange record. A null MX (RFC 7505) has an empty host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host's name in lower case, without the final dot.
    pub host: Box<str>,
}

/// Asks the DNS. Cheap to clone; clones share their caches.
#[derive(Clone)]
pub struct Resolver {
    names: Names,
    failures: Option<moka::sync::Cache<(Name, RecordType), ()>>,
    deadline: Duration,
    past_caches: bool,
}

/// Who answers.
#[derive(Clone)]
enum Names {
    Servers { cached: Arc<TokioResolver>, uncached: Arc<TokioResolver> },
    Source(Arc<dyn NameSource>),
}

impl Resolver {
    /// A resolver; must be called inside a tokio runtime.
    pub fn new(options: &DnsOptions) -> Result<Self, DnsSetupError> {
        let build = |cache_entries| build(options, cache_entries).map(Arc::new);
        let (cached, uncached) = (build(options.cache_entries)?, build(0)?);
        Ok(Self::of(Names::Servers { cached, uncached }, options))
    }

    /// A resolver that asks `source` instead of name servers, each time: of the options,
    /// [`DnsOptions::deadline`] and [`DnsOptions::failure_ttl`] matter.
    pub fn over(source: Arc<dyn NameSource>, options: &DnsOptions) -> Self {
        Self::of(Names::Source(source), options)
    }

    fn of(names: Names, options: &DnsOptions) -> Self {
        let failures = (!options.failure_ttl.is_zero()).then(|| {
            moka::sync::Cache::builder()
                .max_capacity(options.cache_entries)
                .time_to_live(options.failure_ttl)
                .build()
        });
        Self { names, failures, deadline: options.deadline, past_caches: false }
    }

    /// The same resolver, looking past its caches: each look-up asks a server.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { past_caches: true, ..self.clone() }
    }

    /// The TXT records, the strings of each joined (RFC 7208, section 3.3). Bytes that are not
    /// UTF-8 are replaced.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, LookupError> {
        let answer = self.ask(name, RecordType::TXT).await?;
        some(answer.records(|data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        }))
    }

    /// The MX records, lowest preference first.
    pub async fn mx(&self, domain: &str) -> Result<Vec<Mx>, LookupError> {
        self.mx_until(domain).await.map(|(records, _)| records)
    }

    /// The same with the moment until which the answer may be believed.
    async fn mx_until(&self, domain: &str) -> Result<(Vec<Mx>, Instant), LookupError> {
        let answer = self.ask(domain, RecordType::MX).await?;
        let mut records = some(answer.records(|data| match data {
            RData::MX(mx) => Some(Mx { preference: mx.preference, host: host(&mx.exchange) }),
            _ => None,
        }))?;
        records.sort();
        records.dedup();
        Ok((records, answer.valid_until()))
    }

    /// The addresses of both families, IPv4 first. One family without an answer does not hide the
    /// other.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (v4, v6) =
            tokio::join!(self.family(name, RecordType::A), self.family(name, RecordType::AAAA));
        match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.extend(v6);
                Ok(v4)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(LookupError::Unavailable), _) | (_, Err(LookupError::Unavailable)) => {
                Err(LookupError::Unavailable)
            }
            (Err(LookupError::NoSuchDomain), Err(LookupError::NoSuchDomain)) => {
                Err(LookupError::NoSuchDomain)
            }
            _ => Err(LookupError::NoRecords),
        }
    }

    async fn family(&self, name: &str, family: RecordType) -> Result<Vec<IpAddr>, LookupError> {
        let answer = self.ask(name, family).await?;
        some(answer.records(|data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        }))
    }

    /// The names that an address claims (RFC 1035, section 3.5), unchecked.
    pub async fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, LookupError> {
        let answer = self.ask_name(Name::from(ip), RecordType::PTR).await?;
        some(answer.records(|data| match data {
            RData::PTR(ptr) => Some(String::from(host(&ptr.0))),
            _ => None,
        }))
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Result<Answer, LookupError> {
        // What is no name cannot exist.
        let mut name = Name::from_ascii(name).map_err(|_| LookupError::NoSuchDomain)?;
        name.set_fqdn(true);
        self.ask_name(name, record_type).await
    }

    async fn ask_name(&self, name: Name, record_type: RecordType) -> Result<Answer, LookupError> {
        let key = (name.to_lowercase(), record_type);
        let failures = self.failures.as_ref().filter(|_| !self.past_caches);
        if failures.is_some_and(|failures| failures.contains_key(&key)) {
            return Err(LookupError::Unavailable);
        }
        let looked_up = tokio::time::timeout(self.deadline, self.look_up(name, record_type)).await;
        match looked_up {
            Ok(Ok(lookup)) => Ok(Answer(lookup)),
            Ok(Err(error @ (LookupError::NoSuchDomain | LookupError::NoRecords))) => Err(error),
            failed => {
                let error = failed.err().map_or("failed", |_| "deadline passed");
                tracing::debug!(%record_type, error, "DNS look-up without a usable answer");
                if let Some(failures) = failures {
                    failures.insert(key, ());
                }
                Err(LookupError::Unavailable)
            }
        }
    }
}

impl Resolver {
    async fn look_up(&self, name: Name, record_type: RecordType) -> Result<Lookup, LookupError> {
        let resolver = match &self.names {
            Names::Servers { uncached, .. } if self.past_caches => uncached,
            Names::Servers { cached, .. } => cached,
            Names::Source(source) => {
                let kind = RecordKind::of(record_type).ok_or(LookupError::NoRecords)?;
                let found = source.look_up(&host(&name), kind).await?;
                return Ok(found.into_lookup(name, record_type));
            }
        };
        resolver.lookup(name, record_type).await.map_err(|error| {
            if error.is_nx_domain() {
                LookupError::NoSuchDomain
            } else if error.is_no_records_found() {
                LookupError::NoRecords
            } else {
                LookupError::Unavailable
            }
        })
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

struct Answer(Lookup);

impl Answer {
    /// Until when it may be believed.
    fn valid_until(&self) -> Instant {
        Instant::from_std(self.0.valid_until())
    }

    /// What `read` takes of the records; aliases on the way and foreign types drop out.
    fn records<T>(&self, read: impl Fn(&RData) -> Option<T>) -> Vec<T> {
        let records = self.0.answers().iter();
        records.filter_map(|record| read(&record.data)).take(MAX_RECORDS).collect()
    }
}

fn some<T>(records: Vec<T>) -> Result<Vec<T>, LookupError> {
    if records.is_empty() { Err(LookupError::NoRecords) } else { Ok(records) }
}

/// A name as text: lower case, no final dot, empty for the root.
fn host(name: &Name) -> Box<str> {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).into()
}

fn build(options: &DnsOptions, cache_entries: u64) -> Result<TokioResolver, DnsSetupError> {
    builder(options, cache_entries)?.build().map_err(|error| DnsSetupError(Box::new(error)))
}

fn builder(
    options: &DnsOptions,
    cache_entries: u64,
) -> Result<ResolverBuilder<TokioRuntimeProvider>, DnsSetupError> {
    let provider = TokioRuntimeProvider::default();
    let system = |error| DnsSetupError(Box::new(error));
    let mut builder = match &options.servers {
        Some(servers) => {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_parts(None, vec![], servers);
            TokioResolver::builder_with_config(config, provider)
        }
        None => TokioResolver::builder(provider).map_err(system)?,
    };
    adjust(builder.options_mut(), options, cache_entries);
    Ok(builder)
}

fn adjust(resolver: &mut ResolverOpts, options: &DnsOptions, cache_entries: u64) {
    resolver.timeout = options.timeout;
    // hickory counts tries after the first.
    resolver.attempts = options.tries.saturating_sub(1);
    resolver.cache_size = cache_entries;
    resolver.use_hosts_file = ResolveHosts::Never;
    resolver.positive_max_ttl = Some(MAX_POSITIVE_TTL);
    resolver.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    resolver.edns0 = true;
    resolver.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}
