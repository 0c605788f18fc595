//! What the platform is made of and how it is set.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use eventlog::{EventLog, Vault};
use mail::{
    dkim::Signer,
    dns::{Resolver, secure::SecureResolver},
    policy::PolicyOptions,
    smtp::{SMTP_PORT, Smarthost, Timeouts},
};
use model::{
    address::DomainName,
    delivery::TlsDemand,
    retry::RetryPolicy,
    routing::{Label, Routes, WayOut},
    shaping::{Limits, Rule, Rules},
    source::Pools,
};
use projections::ReadModels;

use crate::{clock::Clock, error::StartError, inbound::InboundOptions, machine::Machine};

/// What a [`crate::Platform`] stands on.
pub struct PlatformParts {
    /// The record.
    pub log: Arc<dyn EventLog>,
    /// Seals what is personal or secret.
    pub vault: Vault,
    /// What is folded from the record; started already.
    pub read: ReadModels,
    /// Asks the DNS.
    pub resolver: Resolver,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Chance, threads and the way to mail hosts.
    pub machine: Machine,
    /// The settings.
    pub options: PlatformOptions,
}

impl fmt::Debug for PlatformParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformParts").finish_non_exhaustive()
    }
}

/// Settings of delivery and its bounds.
#[derive(Debug, Clone)]
pub struct PlatformOptions {
    /// Whether anything is delivered. Without it messages are taken over and wait.
    pub deliver: bool,
    /// The name after EHLO; also where bounces and SPF point.
    pub helo_name: DomainName,
    /// The port dialled on every mail host.
    pub smtp_port: u16,
    /// By which ways mail leaves.
    pub routes: Routes,
    /// The relays that the routes name.
    pub relays: HashMap<Label, Smarthost>,
    /// What is demanded of the way to receivers where nobody demands more.
    pub tls: TlsDemand,
    /// Domains to which TLS is required, whatever [`PlatformOptions::tls`] says.
    pub require_tls_for: HashSet<DomainName>,
    /// Where and how MTA-STS policies are looked for. The port of mail hosts and whether private
    /// networks are allowed are taken from the options here.
    pub policies: PolicyOptions,
    /// Asks for TLSA records; without it DANE is not used.
    pub secure_resolver: Option<SecureResolver>,
    /// More certificates to trust besides the public roots, in DER.
    pub extra_roots: Vec<Vec<u8>>,
    /// Whether a mail host may have loopback, private or link-local addresses.
    pub allow_private_networks: bool,
    /// Addresses to send from; what has no pool leaves from where the system chooses.
    pub pools: Pools,
    /// Whether new domains get an Ed25519 key for a second signature (RFC 8463).
    pub ed25519_signature: bool,
    /// Signs every message once more, for a domain of this server: feedback loops go by the domain
    /// of a signature, and tenants' domains are many.
    pub own_signer: Option<Signer>,
    /// Where it is kept which day's reports of TLS sessions were sent; without
    /// [`PlatformOptions::own_signer`] none are.
    pub tls_reports_file: Option<PathBuf>,
    /// How the server is reached from outside, without a slash at the end: links in messages begin
    /// with it.
    pub public_url: String,
    /// The mail that is taken, if any is.
    pub inbound: Option<InboundOptions>,
    /// Patience with mail hosts.
    pub timeouts: Timeouts,
    /// When a deferred recipient is tried again, and until when.
    pub retry: RetryPolicy,
    /// Transactions at once, all sites together; and as many connections are kept for the next
    /// message.
    pub max_in_flight: usize,
    /// Connections at once to one site, where no rule sets another number.
    pub per_destination: usize,
    /// What some receivers are given; those that are shipped come after these.
    pub shaping: Vec<Rule>,
    /// Messages that wait in memory for one site, of which a tenant alone takes half; the others
    /// wait on disk.
    pub lane_depth: usize,
    /// Transactions over one connection, where no rule sets another number.
    pub max_per_connection: u32,
    /// How long an open connection waits for the next message.
    pub idle_connection: Duration,
    /// How long a message waits in memory for its turn at a site; then it waits on disk.
    pub idle_message_actor: Duration,
    /// Message actors at once.
    pub max_live_messages: usize,
    /// Requests to send that are being recorded at once.
    pub max_admitted: usize,
    /// Octets of content in memory at once, all messages together.
    pub max_admitted_bytes: u64,
}

impl PlatformOptions {
    /// Direct delivery with the documented defaults.
    pub fn new(helo_name: DomainName) -> Self {
        Self {
            deliver: true,
            helo_name,
            smtp_port: SMTP_PORT,
            routes: Routes::default(),
            relays: HashMap::new(),
            tls: TlsDemand::Opportunistic,
            require_tls_for: HashSet::new(),
            policies: PolicyOptions::default(),
            secure_resolver: None,
            extra_roots: Vec::new(),
            allow_private_networks: false,
            pools: Pools::default(),
            ed25519_signature: false,
            own_signer: None,
            tls_reports_file: None,
            public_url: "http://127.0.0.1:8080".to_owned(),
            inbound: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            max_in_flight: 1_000,
            per_destination: 10,
            shaping: Vec::new(),
            lane_depth: 8_000,
            max_per_connection: 100,
            idle_connection: Duration::from_secs(30),
            idle_message_actor: Duration::from_mins(1),
            max_live_messages: 20_000,
            max_admitted: 4_096,
            max_admitted_bytes: 512 * 1024 * 1024,
        }
    }

    /// Everything that holds for receivers.
    pub(crate) fn rules(&self) -> Result<Rules, StartError> {
        let connections = u32::try_from(self.per_destination).ok().and_then(NonZeroU32::new);
        let defaults = Limits {
            connections: connections.ok_or(StartError::Bound("per_destination"))?,
            messages_per_connection: NonZeroU32::new(self.max_per_connection)
                .ok_or(StartError::Bound("max_per_connection"))?,
            per_minute: None,
        };
        Rules::new(defaults, self.shaping.clone()).map_err(|_| StartError::Bound("shaping"))
    }

    /// Whether every bound can be kept.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        // tokio's semaphores count to 2^61 on 64 bits and to 2^29 on 32.
        const MOST: usize = 1 << 28;
        let counts = [
            ("max_in_flight", self.max_in_flight),
            ("per_destination", self.per_destination),
            ("lane_depth", self.lane_depth),
            ("max_live_messages", self.max_live_messages),
            ("max_admitted", self.max_admitted),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| !(1..=MOST).contains(count)) {
            return Err(StartError::Bound(name));
        }
        if self.max_admitted_bytes < crate::admission::LARGEST_BYTES {
            return Err(StartError::Bound("max_admitted_bytes"));
        }
        let unknown = self.routes.all_ways().find_map(|way| match way {
            WayOut::Relay(name) if !self.relays.contains_key(name) => Some(name.clone()),
            _ => None,
        });
        if let Some(name) = unknown {
            return Err(StartError::UnknownRelay(name));
        }
        Ok(())
    }
}
