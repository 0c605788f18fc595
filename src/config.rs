//! Configuration: a TOML file, every key overridable by the environment.
//!
//! An unknown key is an error that names it: a setting that is silently ignored is worse than one
//! that is missing.

mod pools;
mod shaping;
mod tls;
mod values;
mod ways;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use certificates::Files;
use model::{address::DomainName, domain::Selector};
use serde::Deserialize;

pub use pools::{PoolSettings, SourceSettings};
pub use shaping::ShapingRule;
pub(crate) use tls::TlsSource;
pub use tls::{AcmeSettings, HttpTls};
pub use values::{OneOrMany, Registration, Retention, Span, TlsSetting};
pub use ways::{RelaySettings, RelayTls, RouteSettings, Secret};

/// The prefix of environment variables: `LUMORA_HTTP__LISTEN` sets `http.listen`.
pub const ENVIRONMENT_PREFIX: &str = "LUMORA_";

/// Events are pruned no earlier: callers may send again with the same `Idempotency-Key`, and ask what
/// became of a message, for as long as its events stay.
const LEAST_RETENTION_OF_EVENTS: Duration = Duration::from_hours(30 * 24);

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or a variable cannot be read, or names an unknown key.
    #[error("configuration: {0}")]
    Unreadable(String),
    /// A value is out of its bounds.
    #[error("configuration: {key}: {problem}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
}

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// The key that seals private keys and content; `<data_dir>/master.key` when not set.
    pub master_key_file: Option<PathBuf>,
    /// `log.*`
    pub log: Log,
    /// `http.*`
    pub http: Http,
    /// `portal.*`
    pub portal: Portal,
    /// `dns.*`
    pub dns: Dns,
    /// `delivery.*`
    pub delivery: Delivery,
    /// `inbound.*`
    pub inbound: Inbound,
    /// `limits.*`
    pub limits: Limits,
    /// `retention.*`
    pub retention: RetentionSettings,
}

/// The event log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A second file for signed checkpoints, on another disk or machine.
    pub checkpoint_file: Option<PathBuf>,
    /// Where each signed checkpoint is posted to.
    pub checkpoint_url: Option<String>,
}

/// The API, its document and its pages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// How the server is reached from outside; `http://<listen>`, or `https://<listen>` with TLS,
    /// when not set.
    pub public_url: Option<String>,
    /// `http.tls.*`; without it the server speaks no TLS.
    pub tls: Option<HttpTls>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: OneOrMany<api::Network>,
    /// Who is told the metrics; everybody when not set, and this host alone where TLS is on.
    pub metrics_from: Option<OneOrMany<api::Network>>,
    /// Connections at once from one address, or one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// Largest request body, in octets.
    pub max_body_bytes: usize,
}

/// The portal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Portal {
    /// Who may register a tenant.
    pub registration: Registration,
}

/// Name resolution.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The servers to ask; the system's when not set.
    pub servers: Option<OneOrMany<SocketAddr>>,
    /// The DNSKEY records that DNSSEC begins with; those of the Internet's root when not set.
    pub trust_anchor_file: Option<PathBuf>,
}

/// Delivery to mail servers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Delivery {
    /// The port dialled on every MX.
    pub smtp_port: u16,
    /// The name given in EHLO; the host's name when not set.
    pub helo_name: Option<String>,
    /// Source addresses of what no pool is for.
    pub bind_addresses: OneOrMany<IpAddr>,
    /// Source addresses with names of their own, by the pool's name.
    pub pools: BTreeMap<String, PoolSettings>,
    /// The pool of who has none.
    pub pool: Option<String>,
    /// Delays between attempts.
    pub retry_schedule: Option<OneOrMany<Span>>,
    /// When trying ends.
    pub expire_after: Span,
    /// Deliveries at once, to all destinations.
    pub max_in_flight: usize,
    /// Connections at once to one group of MX hosts.
    pub per_destination: usize,
    /// What some receivers are given instead.
    pub shaping: Vec<ShapingRule>,
    /// A relay to use instead of the receivers' MX hosts.
    pub smarthost: Option<String>,
    /// Relays for routes, by their names.
    pub smarthosts: BTreeMap<String, RelaySettings>,
    /// By which ways mail to some domains goes.
    pub routes: Vec<RouteSettings>,
    /// Whether TLS may be done without.
    pub tls: TlsSetting,
    /// Domains to which TLS is required.
    pub require_tls_for: OneOrMany<DomainName>,
    /// Whether receivers' MTA-STS policies are looked for and obeyed (RFC 8461).
    pub mta_sts: bool,
    /// Whether receivers' TLSA records are, where name servers pass DNSSEC on (RFC 7672).
    pub dane: bool,
    /// Whether mail hosts may have loopback, private or link-local addresses.
    pub allow_private_networks: bool,
    /// Whether new domains and new keys get an Ed25519 key for a second signature (RFC 8463).
    pub ed25519_signature: bool,
    /// A domain of the server's own, for which every message is signed beside the sender's; none
    /// when not set.
    pub signing_domain: Option<DomainName>,
    /// The name of the key for that; `lumora` when not set. Another name makes another key.
    pub signing_selector: Option<Selector>,
}

/// Mail that is taken: bounces and complaints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inbound {
    /// The address to listen on; nothing is taken when not set.
    pub listen: Option<SocketAddr>,
    /// The name as a mail host; `delivery.helo_name` when not set.
    pub hostname: Option<String>,
    /// Largest message, in octets.
    pub max_message_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address, or one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// How long a sender may be silent.
    pub idle: Span,
    /// How long a connection may last.
    pub longest_connection: Span,
    /// The certificate for STARTTLS with its chain, in PEM; without it STARTTLS is not offered.
    pub tls_certificate_file: Option<PathBuf>,
    /// Its private key, in PEM.
    pub tls_key_file: Option<PathBuf>,
}

/// Bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long a message actor may idle in memory.
    pub idle_message_actor: Span,
}

/// How long things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Content: addresses, subjects, bodies.
    pub content: Retention,
    /// Events. They hold no personal data.
    pub events: Retention,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            master_key_file: None,
            log: Log::default(),
            http: Http::default(),
            portal: Portal::default(),
            dns: Dns::default(),
            delivery: Delivery::default(),
            inbound: Inbound::default(),
            limits: Limits::default(),
            retention: RetentionSettings::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            tls: None,
            trusted_proxies: OneOrMany::default(),
            metrics_from: None,
            max_connections_per_address: 1_000,
            max_body_bytes: 41_943_040,
        }
    }
}

impl Http {
    /// Whether cookies need TLS is read off the URL, so one that says neither is no URL to begin
    /// with; and who believes every proxy believes every caller.
    fn check(&self) -> Result<(), ConfigError> {
        let url = self.public_url.as_deref().unwrap_or("http://");
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            let problem = "must begin with `https://` or `http://`".to_owned();
            return Err(ConfigError::Invalid { key: "http.public_url", problem });
        }
        if self.trusted_proxies.0.iter().any(|api::Network(network)| network.prefix_len() == 0) {
            let problem = "must not be everybody".to_owned();
            return Err(ConfigError::Invalid { key: "http.trusted_proxies", problem });
        }
        Ok(())
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            smtp_port: 25,
            helo_name: None,
            bind_addresses: OneOrMany::default(),
            pools: BTreeMap::new(),
            pool: None,
            retry_schedule: None,
            expire_after: Span(Duration::from_hours(48)),
            max_in_flight: 1_000,
            per_destination: 10,
            shaping: Vec::new(),
            smarthost: None,
            smarthosts: BTreeMap::new(),
            routes: Vec::new(),
            tls: TlsSetting::default(),
            require_tls_for: OneOrMany::default(),
            mta_sts: true,
            dane: true,
            allow_private_networks: false,
            ed25519_signature: false,
            signing_domain: None,
            signing_selector: None,
        }
    }
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            listen: None,
            hostname: None,
            max_message_bytes: 5_242_880,
            max_connections: 50,
            max_connections_per_address: 10,
            idle: Span(Duration::from_mins(1)),
            longest_connection: Span(Duration::from_mins(10)),
            tls_certificate_file: None,
            tls_key_file: None,
        }
    }
}

impl Inbound {
    /// The files of the certificate, where there is one.
    pub(crate) fn certificate(&self) -> Option<Files> {
        let (certificate, key) = (&self.tls_certificate_file, &self.tls_key_file);
        let (certificate, key) = certificate.clone().zip(key.clone())?;
        Some(Files { certificate, key })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle_message_actor: Span(Duration::from_mins(1)) }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { content: Retention::For(Duration::from_hours(30 * 24)), events: Retention::Forever }
    }
}

impl Config {
    /// Reads `file`, if one is named, and the environment over it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, std::env::vars().collect())
    }

    fn load_with(
        file: Option<&Path>,
        variables: Vec<(String, String)>,
    ) -> Result<Self, ConfigError> {
        let unreadable = |error: config::ConfigError| ConfigError::Unreadable(error.to_string());
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            let source = config::File::from(file).format(config::FileFormat::Toml).required(true);
            builder = builder.add_source(source);
        }
        let environment = config::Environment::with_prefix("LUMORA")
            .prefix_separator("_")
            .separator("__")
            .source(Some(variables.into_iter().collect()));
        let config: Self = builder
            .add_source(environment)
            .build()
            .map_err(unreadable)?
            .try_deserialize()
            .map_err(unreadable)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bounded = |key, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::Invalid { key, problem: format!("must be {low} to {high}") })
        };
        bounded("http.max_body_bytes", self.http.max_body_bytes, 1_024, 1 << 30)?;
        let of_one = self.http.max_connections_per_address;
        bounded("http.max_connections_per_address", of_one, 1, 10_000)?;
        self.http.check()?;
        self.tls_source()?;
        bounded("delivery.max_in_flight", self.delivery.max_in_flight, 1, 100_000)?;
        bounded("delivery.per_destination", self.delivery.per_destination, 1, 10_000)?;
        let inbound = &self.inbound;
        bounded("inbound.max_message_bytes", inbound.max_message_bytes, 65_536, 100 << 20)?;
        bounded("inbound.max_connections", inbound.max_connections, 1, 10_000)?;
        let of_one = inbound.max_connections_per_address;
        bounded("inbound.max_connections_per_address", of_one, 1, 10_000)?;
        for (key, span) in [
            ("inbound.idle", inbound.idle),
            ("inbound.longest_connection", inbound.longest_connection),
        ] {
            if span.0.is_zero() {
                return Err(ConfigError::Invalid { key, problem: "must be above zero".to_owned() });
            }
        }
        if inbound.tls_certificate_file.is_some() != inbound.tls_key_file.is_some() {
            let problem = "needs inbound.tls_key_file beside it, and the other way round";
            let problem = problem.to_owned();
            return Err(ConfigError::Invalid { key: "inbound.tls_certificate_file", problem });
        }
        bounded("delivery.smtp_port", usize::from(self.delivery.smtp_port), 1, 65_535)?;
        if let Retention::For(keep) = self.retention.events
            && keep < LEAST_RETENTION_OF_EVENTS
        {
            let problem = "must be `forever`, or at least 30 days".to_owned();
            return Err(ConfigError::Invalid { key: "retention.events", problem });
        }
        self.retry_policy()?;
        self.shaping_rules()?;
        self.routes()?;
        self.pools(&DomainName::localhost())?;
        Ok(())
    }

    /// `<data_dir>/pruning`: where tables are made that are carried when events are pruned.
    pub fn pruning_dir(&self) -> PathBuf {
        self.data_dir.join("pruning")
    }

    /// `<data_dir>/log`: the record.
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    /// `<data_dir>/read`: what can be rebuilt.
    pub fn read_dir(&self) -> PathBuf {
        self.data_dir.join("read")
    }

    /// `<data_dir>/mta-sts.json`: receivers' MTA-STS policies that are known.
    pub fn mta_sts_file(&self) -> PathBuf {
        self.data_dir.join("mta-sts.json")
    }

    /// The master key's file.
    pub fn master_key_file(&self) -> PathBuf {
        self.master_key_file.clone().unwrap_or_else(|| self.data_dir.join("master.key"))
    }

    /// The file of the key that signs checkpoints.
    pub fn instance_key_file(&self) -> PathBuf {
        self.data_dir.join("instance.key")
    }

    /// `<data_dir>/tls-reports`: the day whose reports of TLS sessions were sent last.
    pub fn tls_reports_file(&self) -> PathBuf {
        self.data_dir.join("tls-reports")
    }

    /// `<data_dir>/dkim`: keys of the server's own domain, sealed.
    pub fn own_keys_dir(&self) -> PathBuf {
        self.data_dir.join("dkim")
    }

    /// The file by which operators reach the running server.
    pub fn operator_file(&self) -> PathBuf {
        self.data_dir.join("operator.json")
    }

    /// How the server is reached from outside, without a slash at the end.
    pub fn public_url(&self) -> String {
        let scheme = if self.http.tls.is_some() { "https" } else { "http" };
        let listening = || format!("{scheme}://{}", self.http.listen);
        let set = self.http.public_url.as_ref();
        set.map_or_else(listening, |url| url.trim_end_matches('/').to_owned())
    }

    /// What some receivers are given.
    pub fn shaping_rules(&self) -> Result<Vec<model::shaping::Rule>, ConfigError> {
        let rules = &self.delivery.shaping;
        if rules.len() > model::shaping::MAX_RULES {
            let problem = format!("must be at most {} rules", model::shaping::MAX_RULES);
            return Err(ConfigError::Invalid { key: "delivery.shaping", problem });
        }
        rules.iter().map(ShapingRule::rule).collect()
    }

    /// The delays between attempts.
    pub fn retry_policy(&self) -> Result<model::retry::RetryPolicy, ConfigError> {
        let invalid = |error: model::retry::InvalidSchedule| ConfigError::Invalid {
            key: "delivery.retry_schedule",
            problem: error.to_string(),
        };
        let expire_after = self.delivery.expire_after.0;
        match &self.delivery.retry_schedule {
            Some(schedule) => {
                let delays = schedule.0.iter().map(|span| span.0).collect();
                model::retry::RetryPolicy::new(delays, expire_after).map_err(invalid)
            }
            None => model::retry::RetryPolicy::default().with_expiry(expire_after).map_err(invalid),
        }
    }
}

#[cfg(test)]
mod tests;
