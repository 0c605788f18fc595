//! What all actors of one platform share.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use eventlog::Vault;
use mail::{
    dns::route::{RouteOptions, Router},
    policy::{Policies, PolicyOptions},
    smtp::{ClientOptions, TlsClient},
};
use model::{Timestamp, routing::Label, shaping::Rules};
use projections::ReadModels;
use tokio::sync::{Notify, Semaphore};

use crate::{
    admission::Admission,
    alarm::Bell,
    book::Book,
    clock::Clock,
    domain::DomainActor,
    entropy::Lots,
    erasing::{Desk, ErasureActor},
    error::StartError,
    figures::Figures,
    instance::InstanceActor,
    letter::Press,
    letters::Rations,
    machine::{Blocking, Machine},
    message::MessageActor,
    options::{PlatformOptions, PlatformParts},
    password::Passwords,
    readings::Readings,
    refusals::Refusals,
    registry::Registry,
    sessions::UserActor,
    site::{Gates, SiteActor, Way},
    sourced::Journal,
    suppressions::SuppressionActor,
    templates::{Renderer, TemplateActor},
    tenant::TenantActor,
    throttle::Throttle,
};

/// Held by every actor; dropped with the last of them.
pub(crate) struct Node {
    pub(crate) journal: Journal,
    pub(crate) vault: Vault,
    pub(crate) read: ReadModels,
    pub(crate) router: Router,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lots: Lots,
    pub(crate) blocking: Blocking,
    pub(crate) options: PlatformOptions,
    pub(crate) client: ClientOptions,
    pub(crate) tls: TlsClient,
    pub(crate) policies: Policies,
    pub(crate) figures: Figures,
    pub(crate) admission: Admission,
    pub(crate) press: Press,
    pub(crate) in_flight: Semaphore,
    pub(crate) rules: Rules,
    pub(crate) gates: Gates,
    pub(crate) bell: Bell,
    pub(crate) book: Book,
    pub(crate) messages: Arc<Registry<MessageActor>>,
    pub(crate) sites: Arc<Registry<SiteActor>>,
    pub(crate) tenants: Arc<Registry<TenantActor>>,
    pub(crate) domains: Arc<Registry<DomainActor>>,
    pub(crate) instances: Arc<Registry<InstanceActor>>,
    pub(crate) templates: Arc<Registry<TemplateActor>>,
    pub(crate) suppressions: Arc<Registry<SuppressionActor>>,
    pub(crate) erasures: Arc<Registry<ErasureActor>>,
    pub(crate) erasing: Desk,
    pub(crate) renderer: Renderer,
    pub(crate) users: Arc<Registry<UserActor>>,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) refusals: Refusals,
    pub(crate) readings: Readings,
    pub(crate) rations: Rations,
    phase: AtomicU8,
    phase_moved: Notify,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Running,
    /// Nothing new is begun; what is under way ends and is recorded.
    Stopping,
    /// Nobody waits any more for what cannot be recorded.
    Ended,
}

/// Every name after EHLO: a mail host that is called so is this server.
fn own_names(options: &PlatformOptions) -> Vec<String> {
    let of_sources = options.pools.sources().map(|source| &source.helo_name);
    of_sources.chain([&options.helo_name]).map(|name| name.as_str().to_owned()).collect()
}

/// Tenants and domains in memory at once: they leave after each command.
const MOST_OWNERS: usize = 4_096;
/// Sites in memory at once. A lane is bounded, so this bounds what waits for all of them.
const MOST_SITES: usize = 65_536;

impl Node {
    pub(crate) fn new(parts: PlatformParts) -> Result<Arc<Self>, StartError> {
        let PlatformParts { log, vault, read, resolver, clock, machine, options } = parts;
        let Machine { chance, blocking, dial } = machine;
        options.check()?;
        let rules = options.rules()?;
        let roots: Vec<_> = options.extra_roots.iter().map(|der| der.as_slice().into()).collect();
        let tls = TlsClient::new(&roots).map_err(|error| StartError::Roots(error.to_string()))?;
        let routes = RouteOptions {
            allow_private_networks: options.allow_private_networks,
            own_names: own_names(&options),
            own_addresses: options.pools.sources().map(|source| source.ip).collect(),
        };
        let client = ClientOptions {
            port: options.smtp_port,
            timeouts: options.timeouts,
            dial,
            ..ClientOptions::new(options.helo_name.clone())
        };
        let policy_options = PolicyOptions {
            smtp_port: options.smtp_port,
            allow_private_networks: options.allow_private_networks,
            ..options.policies.clone()
        };
        let secure = options.secure_resolver.clone();
        let policies = Policies::new(resolver.clone(), secure, &tls, &policy_options);
        let figures = Figures::new();
        Ok(Arc::new_cyclic(|node: &Weak<Self>| Self {
            journal: Journal::new(log, blocking, figures.append_seconds.clone()),
            vault,
            read,
            router: Router::new(resolver, routes),
            bell: Bell::default(),
            book: Book::default(),
            admission: Admission::new(options.max_admitted, options.max_admitted_bytes),
            press: Press::new(blocking),
            in_flight: Semaphore::new(options.max_in_flight),
            rules,
            gates: Gates::new(options.max_in_flight),
            messages: Registry::new(options.max_live_messages, node.clone()),
            sites: Registry::new(MOST_SITES, node.clone()),
            tenants: Registry::new(MOST_OWNERS, node.clone()),
            domains: Registry::new(MOST_OWNERS, node.clone()),
            instances: Registry::new(MOST_OWNERS, node.clone()),
            templates: Registry::new(MOST_OWNERS, node.clone()),
            suppressions: Registry::new(MOST_OWNERS, node.clone()),
            erasures: Registry::new(MOST_OWNERS, node.clone()),
            erasing: Desk::default(),
            renderer: Renderer::new(),
            users: Registry::new(MOST_OWNERS, node.clone()),
            passwords: Passwords::new(blocking),
            throttle: Throttle::new(),
            refusals: Refusals::new(),
            readings: Readings::new(),
            rations: Rations::new(),
            phase: AtomicU8::new(Phase::Running as u8),
            phase_moved: Notify::new(),
            lots: Lots::new(chance),
            blocking,
            client,
            tls,
            policies,
            clock,
            options,
            figures,
        }))
    }

    /// The host of a relay in the settings.
    pub(crate) fn relay_host(&self, name: &Label) -> &str {
        self.options.relays.get(name).map_or("", |relay| &*relay.host)
    }

    /// The names of the hosts on a way.
    pub(crate) fn hosts_of<'a>(&'a self, way: &'a Way) -> impl Iterator<Item = &'a str> + use<'a> {
        let (route, relay) = match way {
            Way::Mx(route, _) => (Some(route), None),
            Way::Relay(name, _) => (None, Some(self.relay_host(name))),
        };
        route.into_iter().flat_map(|route| &route.hosts).map(|host| &*host.name).chain(relay)
    }

    /// What a site is called: by the identity of its mail hosts, or as the relay's host is.
    pub(crate) fn site_name<'a>(&'a self, way: &'a Way) -> &'a str {
        match way {
            Way::Mx(route, _) => route.site.as_str(),
            Way::Relay(name, _) => self.relay_host(name),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether there is space for the record of what is begun now.
    pub(crate) fn can_record(&self) -> bool {
        self.journal.log().has_room()
    }

    /// Whether nothing new is begun any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.has_reached(Phase::Stopping)
    }

    /// Whether nobody is at work on anything.
    pub(crate) fn is_empty(&self) -> bool {
        let owners = self.tenants.len() + self.users.len() + self.domains.len();
        let owners = owners + self.instances.len();
        let lists = self.templates.len() + self.suppressions.len() + self.erasures.len();
        self.messages.len() + owners + lists == 0
    }

    /// Begins nothing new from now on.
    pub(crate) fn stop(&self) {
        self.reach(Phase::Stopping);
        self.admission.end();
    }

    /// Gives up on what could not be recorded until now.
    pub(crate) fn end(&self) {
        self.reach(Phase::Ended);
    }

    fn reach(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.phase_moved.notify_waiters();
    }

    fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    /// Ends when [`Node::stop`] was called.
    pub(crate) async fn stopped(&self) {
        self.reached(Phase::Stopping).await;
    }

    async fn reached(&self, phase: Phase) {
        // Those who wait are woken in the order in which they came.
        loop {
            let moved = self.phase_moved.notified();
            tokio::pin!(moved);
            // From here on a move is not missed.
            moved.as_mut().enable();
            if self.has_reached(phase) {
                return;
            }
            moved.await;
        }
    }

    /// Waits `ms`, or until the node stops; whether it may go on.
    pub(crate) async fn pause_ms(&self, ms: u64) -> bool {
        self.pause_until(ms, Phase::Stopping).await
    }

    /// The same for what a stop waits for: until [`Node::end`].
    pub(crate) async fn pause_to_the_end_ms(&self, ms: u64) -> bool {
        self.pause_until(ms, Phase::Ended).await
    }

    async fn pause_until(&self, ms: u64, phase: Phase) -> bool {
        let until = self.now().plus(Duration::from_millis(ms));
        tokio::select! {
            biased;
            () = self.reached(phase) => false,
            () = self.clock.sleep_until(until) => true,
        }
    }

    /// An actor of this kind panicked. What it was about is on record, and the alarm brings it back.
    pub(crate) fn crashed(&self, kind: &'static str) {
        self.figures.crashed.increment(1);
        if !self.is_stopping() {
            tracing::error!(kind, "an actor ended out of order");
        }
    }
}
