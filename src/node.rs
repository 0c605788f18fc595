//! A whole node, wired together: log, read models, platform, HTTP server.

use std::{
    fs::DirBuilder, net::SocketAddr, os::unix::fs::DirBuilderExt as _, sync::Arc, time::Duration,
};

use actors::{Clock as _, InboundOptions, Machine, Platform, PlatformOptions, PlatformParts};
use eventlog::{EventLog, InstanceKey, Log, LogOptions, Notary, Position, Vault};
use mail::{
    dkim::Signer,
    dns::{
        DnsOptions, Resolver,
        secure::{SecureResolver, TrustAnchor},
    },
    policy::PolicyOptions,
    sink::Sink,
};
use model::{Timestamp, address::DomainName, delivery::TlsDemand};
use projections::ReadModels;
use tokio::task::JoinSet;

use crate::{
    Failure,
    anchoring::Anchoring,
    clock::SystemClock,
    config::{Config, Registration, Retention, TlsSetting},
    descriptors,
    front::{Front, Serving},
    inbound::{self, Listening},
    keys,
    operator::Access,
    own_key,
    pruning::Pruner,
    retention, shown, signing, telemetry,
};

/// The record, its keys and what is folded from it: all that the commands on a stopped server need.
pub struct Core {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The same, to be pruned.
    pub(crate) prunable: Arc<Log>,
    /// What seals.
    pub vault: Vault,
    /// What signs.
    pub notary: Arc<Notary>,
    /// The read models, following the log.
    pub read: ReadModels,
    /// The actors before the log.
    pub platform: Platform,
}

impl Core {
    /// Opens the data directory. `deliver`: whether waiting messages are sent.
    pub async fn open(config: &Config, deliver: bool) -> Result<Self, Failure> {
        Self::open_within(config, deliver, config.delivery.max_in_flight).await
    }

    /// The same with at most so many deliveries at once.
    async fn open_within(
        config: &Config,
        deliver: bool,
        max_in_flight: usize,
    ) -> Result<Self, Failure> {
        let opened = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || open_stores(&config))
        };
        let Stores { prunable, vault, notary, read, own_signer } =
            opened.await.map_err(Failure::failed)??;
        let log: Arc<dyn EventLog> = Arc::clone(&prunable) as Arc<dyn EventLog>;
        read.start();
        let dns = DnsOptions {
            servers: config.dns.servers.as_ref().map(|servers| servers.0.clone()),
            ..DnsOptions::default()
        };
        let resolver = Resolver::new(&dns).map_err(Failure::failed)?;
        let options = PlatformOptions {
            secure_resolver: secure_resolver(config, &dns)?,
            own_signer,
            max_in_flight,
            ..platform_options(config, deliver)?
        };
        let platform = Platform::start(PlatformParts {
            log: Arc::clone(&log),
            vault: vault.clone(),
            read: read.clone(),
            resolver,
            clock: Arc::new(SystemClock),
            machine: Machine::default(),
            options,
        })
        .await
        .map_err(Failure::failed)?;
        Ok(Self { log, prunable, vault, notary, read, platform })
    }

    /// What renders `/metrics`.
    pub fn metrics(&self) -> api::RenderMetrics {
        let (log, platform) = (Arc::clone(&self.log), self.platform.clone());
        let (read, metrics) = (self.read.clone(), telemetry::metrics());
        Arc::new(move || {
            telemetry::render(metrics, &log.health(), &platform, &read, SystemClock.now())
        })
    }

    /// Finishes what is under way, at most until `drain` is over, and closes everything.
    pub async fn close(self, drain: Duration) -> Result<(), Failure> {
        self.platform.stop(drain).await;
        let read = self.read.clone();
        // It writes to the disk.
        tokio::task::spawn_blocking(move || read.stop()).await.map_err(Failure::failed)?;
        self.log.close().await.map_err(Failure::failed)?;
        // Everything is sealed now: the last checkpoint covers all there is.
        let (notary, now) = (self.notary, SystemClock.now());
        let signed = tokio::task::spawn_blocking(move || notary.sign(now));
        signed.await.map_err(Failure::failed)?.map(drop).map_err(Failure::failed)
    }
}

struct Stores {
    prunable: Arc<Log>,
    vault: Vault,
    notary: Arc<Notary>,
    read: ReadModels,
    own_signer: Option<Signer>,
}

fn open_stores(config: &Config) -> Result<Stores, Failure> {
    // What is personal in it is sealed; the rest is nobody else's on this machine either.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir);
    made.map_err(|error| Failure::usage(format!("{}: {error}", config.data_dir.display())))?;
    let vault = keys::vault(config)?;
    let own_signer = own_key::signer(config, &vault)?;
    let log = Log::open(&config.log_dir(), LogOptions::default()).map_err(Failure::failed)?;
    let prunable = Arc::new(log);
    let log: Arc<dyn EventLog> = Arc::clone(&prunable) as Arc<dyn EventLog>;
    if let Some(last) = last_event(log.as_ref()).map_err(Failure::failed)? {
        SystemClock::not_before(last);
    }
    let signing =
        InstanceKey::load_or_create(&config.instance_key_file()).map_err(Failure::usage)?;
    let anchor = config.log.checkpoint_file.clone();
    let notary = Notary::open(&config.log_dir(), Arc::clone(&log), signing, anchor);
    let notary = Arc::new(notary.map_err(Failure::failed)?);
    let read = ReadModels::open(&config.read_dir(), Arc::clone(&log), vault.clone());
    Ok(Stores { prunable, vault, notary, read: read.map_err(Failure::failed)?, own_signer })
}

/// Prunes the log of a data directory.
pub(crate) fn pruner(config: &Config, log: &Arc<Log>, vault: &Vault) -> Result<Pruner, Failure> {
    Ok(Pruner {
        log: Arc::clone(log),
        vault: vault.clone(),
        key: InstanceKey::load(&config.instance_key_file()).map_err(Failure::usage)?,
        following: None,
        scratch: config.pruning_dir(),
        clock: Arc::new(SystemClock),
    })
}

/// When the last event was recorded.
fn last_event(log: &dyn EventLog) -> Result<Option<Timestamp>, eventlog::ReadError> {
    let head = log.head().borrow().get();
    let Some(before) = head.checked_sub(1) else { return Ok(None) };
    Ok(log.read_all(Position::new(before), 1)?.first().map(|recorded| recorded.at))
}

fn platform_options(config: &Config, deliver: bool) -> Result<PlatformOptions, Failure> {
    let delivery = &config.delivery;
    let helo_name = helo_name(config)?;
    let hostname = match &config.inbound.hostname {
        Some(name) => DomainName::parse(name)
            .map_err(|error| Failure::usage(format!("configuration: inbound.hostname: {error}")))?,
        None => helo_name.clone(),
    };
    Ok(PlatformOptions {
        inbound: config.inbound.listen.map(|_| InboundOptions { hostname }),
        deliver,
        public_url: config.public_url(),
        smtp_port: delivery.smtp_port,
        routes: config.routes().map_err(Failure::usage)?,
        relays: config.relays().map_err(Failure::usage)?,
        tls: match delivery.tls {
            TlsSetting::Opportunistic => TlsDemand::Opportunistic,
            TlsSetting::Required => TlsDemand::Required,
        },
        require_tls_for: delivery.require_tls_for.0.iter().cloned().collect(),
        policies: PolicyOptions {
            mta_sts: delivery.mta_sts,
            file: Some(config.mta_sts_file()),
            ..PolicyOptions::default()
        },
        tls_reports_file: Some(config.tls_reports_file()),
        allow_private_networks: delivery.allow_private_networks,
        ed25519_signature: delivery.ed25519_signature,
        pools: config.pools(&helo_name).map_err(Failure::usage)?,
        retry: config.retry_policy().map_err(Failure::usage)?,
        max_in_flight: delivery.max_in_flight,
        per_destination: delivery.per_destination,
        shaping: config.shaping_rules().map_err(Failure::usage)?,
        idle_message_actor: config.limits.idle_message_actor.0,
        ..PlatformOptions::new(helo_name)
    })
}

/// The name after EHLO.
pub(crate) fn helo_name(config: &Config) -> Result<DomainName, Failure> {
    let Some(name) = &config.delivery.helo_name else { return Ok(host_name()) };
    DomainName::parse(name)
        .map_err(|error| Failure::usage(format!("configuration: delivery.helo_name: {error}")))
}

/// By which domain reports say who sends them.
pub(crate) fn report_submitter(config: &Config) -> Result<DomainName, Failure> {
    config.delivery.signing_domain.clone().map_or_else(|| helo_name(config), Ok)
}

fn secure_resolver(config: &Config, dns: &DnsOptions) -> Result<Option<SecureResolver>, Failure> {
    if !config.delivery.dane {
        return Ok(None);
    }
    let anchor = config.dns.trust_anchor_file.clone();
    let anchor = anchor.map_or(TrustAnchor::Root, TrustAnchor::File);
    SecureResolver::new(dns, &anchor).map(Some).map_err(Failure::usage)
}

/// The name of this host as the kernel has it. One without a dot is no domain (RFC 5321, section
/// 4.1.1.1 wants a domain in EHLO), so it is put under the domain that means this host.
fn host_name() -> DomainName {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let kernel = kernel.trim();
    DomainName::parse(kernel)
        .or_else(|_| DomainName::parse(&format!("{kernel}.localdomain")))
        .unwrap_or_else(|_| DomainName::localhost())
}

/// How long requests under way may take when nothing can be recorded any more.
const NOTHING_TO_RECORD: Duration = Duration::from_secs(2);

/// A running server.
pub struct Node {
    core: Core,
    address: SocketAddr,
    serving: Serving,
    inbound: Option<Sink>,
    upkeep: JoinSet<()>,
    /// Withdrawn with it.
    access: Access,
}

impl Node {
    /// Starts a node as configured.
    pub async fn start(config: &Config) -> Result<Self, Failure> {
        // Before anything is opened: a port that is taken should cost nothing.
        let front = Front::bind(config).await?;
        let address = front.address();
        let inbound_connections =
            config.inbound.listen.map_or(0, |_| config.inbound.max_connections);
        let shares = descriptors::provide(config.delivery.max_in_flight, inbound_connections);
        let metrics = telemetry::metrics();
        let anchoring = Anchoring::of(config)?;
        let core = Core::open_within(config, true, shares.in_flight).await?;
        let (inbound, certificate) = match inbound::listen(&config.inbound, &core.platform).await? {
            Some(Listening { sink, certificate }) => (Some(sink), certificate),
            None => (None, None),
        };
        let (access, token) = Access::grant(&config.operator_file(), front.inside_address()?)?;
        let parts = api::ApiParts {
            platform: core.platform.clone(),
            read: core.read.clone(),
            log: Arc::clone(&core.log),
            vault: core.vault.clone(),
            notary: Arc::clone(&core.notary),
            clock: Arc::new(SystemClock),
            options: api::ApiOptions {
                max_body_bytes: config.http.max_body_bytes,
                public_url: config.public_url(),
                trusted_proxies: config.http.trusted_proxies.0.clone(),
                metrics_from: config.http.metrics_from(),
                max_connections: shares.callers,
                max_connections_per_address: config.http.max_connections_per_address,
                operator: Some(token),
                registration_open: config.portal.registration == Registration::Open,
                ..api::ApiOptions::default()
            },
            metrics: core.metrics(),
        };
        let front_upkeep = front.upkeep(Arc::new(SystemClock));
        let serving = front.serve(&parts)?;
        let mut upkeep = JoinSet::new();
        upkeep.spawn(signing::run(Arc::clone(&core.notary), Arc::new(SystemClock)));
        upkeep.spawn(telemetry::upkeep(metrics));
        if let Some(anchoring) = anchoring {
            upkeep.spawn(anchoring.run(Arc::clone(&core.notary)));
        }
        front_upkeep.map(|kept| upkeep.spawn(kept));
        if let Some(certificate) = certificate {
            upkeep.spawn(shown::watch("inbound", certificate, Arc::new(SystemClock)));
        }
        if let Retention::For(keep) = config.retention.content {
            let (log, read) = (Arc::clone(&core.log), core.read.clone());
            upkeep.spawn(retention::run(log, read, Arc::new(SystemClock), keep));
        }
        let pruner = Pruner {
            following: Some(core.read.clone()),
            ..pruner(config, &core.prunable, &core.vault)?
        };
        match config.retention.events {
            Retention::For(keep) => drop(upkeep.spawn(pruner.run(keep))),
            // What somebody pruned may not be recorded yet.
            Retention::Forever => drop(upkeep.spawn(pruner.record_only())),
        }
        Ok(Self { core, address, serving, inbound, upkeep, access })
    }

    /// Where the API listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where bounces and complaints are taken, if they are.
    pub fn inbound_address(&self) -> Option<SocketAddr> {
        self.inbound.as_ref().map(Sink::address)
    }

    /// The parts behind the API.
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// Comes back when the node can do no more: its HTTP server has ended, or its log writes no
    /// more until it is opened anew. Then it is to be stopped, and started once more.
    pub async fn ended(&self) {
        let mut ended = self.serving.ended.clone();
        let mut stopped_writing = self.core.log.stopped_writing();
        let log = async {
            // A log that cannot say so never does.
            if stopped_writing.wait_for(|stopped| *stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // A sender that is gone has ended too.
            ended = ended.wait_for(|ended| *ended) => drop(ended),
            () = log => {}
        }
    }

    /// Why the log writes no more, if so.
    fn trouble(&self) -> Option<Failure> {
        let stopped = *self.core.log.stopped_writing().borrow();
        stopped.then(|| {
            let reason = self.core.log.health().reason;
            let reason = reason.as_deref().unwrap_or_default().to_owned();
            Failure::failed(format!("the log writes no more, start again to go on: {reason}"))
        })
    }

    /// Takes no more requests, finishes what is under way, closes the log. Fails when the log had
    /// stopped writing: then nothing of what is under way can be recorded, and it is not waited for.
    pub async fn stop(self, drain: Duration) -> Result<(), Failure> {
        let trouble = self.trouble();
        let drain = if trouble.is_some() { drain.min(NOTHING_TO_RECORD) } else { drain };
        if trouble.is_some() || self.core.read.health().halted.is_some() {
            // sled syncs when it is dropped, panics where that fails, and once more while it unwinds,
            // which would end the process in the middle of its last words. It ends soon anyway.
            std::mem::forget((Arc::clone(&self.core.log), self.core.read.clone()));
        }
        let stopped = self.stop_within(drain).await;
        trouble.map_or(stopped, Err)
    }

    async fn stop_within(self, drain: Duration) -> Result<(), Failure> {
        self.serving.stop.send_replace(true);
        drop((self.access, self.upkeep));
        // Whoever is cut off here got no 250, and comes again.
        if let Some(inbound) = self.inbound {
            inbound.stop().await;
        }
        let served = tokio::time::timeout(drain, self.serving.task).await;
        self.core.close(drain).await?;
        match served {
            Ok(Ok(served)) => served.map_err(Failure::failed),
            Ok(Err(panicked)) => Err(Failure::failed(panicked)),
            // Connections that would not end are cut; their requests were answered or never were.
            Err(_) => Ok(()),
        }
    }
}
