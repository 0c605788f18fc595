//! What a scenario needs: everything real but the clock, which runs fast, and mostly the log.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use actors::{
    Caller, Clock, Machine, NewApiKey, NewApp, Platform, PlatformOptions, PlatformParts,
    SendRequest, TestClock,
};
use eventlog::{EventLog, MasterKey, MemoryLog, Position, Vault};
use mail::{
    dns::{DnsOptions, Resolver},
    sink::{Policy, Received, Sink, SinkOptions},
};
use model::{
    DomainId, Event, MessageId, StreamId, Timestamp,
    address::{DomainName, EmailAddress, Mailbox},
    content::Body,
    domain::DomainStatus,
    message::{Message, MessageEvent},
    retry::RetryPolicy,
    tenant::Scope,
};
use projections::ReadModels;
use sandbox::dns::DnsServer;
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

pub const SENDING_DOMAIN: &str = "mail.acme.example";
/// How long anything may take before a scenario has failed.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// What the clock gains in a millisecond.
const TICK: Duration = Duration::from_millis(25);

/// What outlives a platform: the log, the clock, the outside.
pub struct Ground {
    pub log: Arc<dyn EventLog>,
    pub clock: TestClock,
    pub dns: DnsServer,
    pub vault: Vault,
    pub dir: TempDir,
    pub port: u16,
}

impl Ground {
    pub async fn on(log: Arc<dyn EventLog>, dir: TempDir) -> Self {
        Self {
            log,
            clock: TestClock::new(Timestamp::from_millis(1_795_000_000_000)),
            dns: DnsServer::start().await.unwrap(),
            vault: Vault::new(&MasterKey::from_bytes([7; 32])),
            dir,
            port: free_port(),
        }
    }

    /// A receiver at 127.0.0.`host`, and its name in the DNS.
    pub async fn receiver(
        &self,
        host: u8,
        policy: Arc<dyn Policy>,
    ) -> (Sink, mpsc::Receiver<Received>) {
        self.receiver_with(host, SinkOptions::default(), policy).await
    }

    /// The same with other options.
    pub async fn receiver_with(
        &self,
        host: u8,
        options: SinkOptions,
        policy: Arc<dyn Policy>,
    ) -> (Sink, mpsc::Receiver<Received>) {
        let ip = Ipv4Addr::new(127, 0, 0, host);
        self.dns.add_address(&host_name(host), IpAddr::V4(ip)).unwrap();
        let (inbox, received) = mpsc::channel(10_000);
        let address = SocketAddr::new(IpAddr::V4(ip), self.port);
        let sink = Sink::start(address, options, policy, Some(inbox)).await.unwrap();
        (sink, received)
    }

    /// The mail of `domain` goes to the receiver at 127.0.0.`host`.
    pub fn mail_goes_to(&self, domain: &str, host: u8) {
        self.dns.add_mx(domain, 10, &host_name(host)).unwrap();
    }

    pub fn options(&self) -> PlatformOptions {
        let seconds = |count| Duration::from_secs(count);
        PlatformOptions {
            smtp_port: self.port,
            allow_private_networks: true,
            retry: RetryPolicy::new(vec![seconds(30), seconds(60)], seconds(3_600)).unwrap(),
            ..PlatformOptions::new(DomainName::parse("mx.lumora.example").unwrap())
        }
    }

    /// Starts a platform on this ground.
    pub async fn platform(&self, options: PlatformOptions) -> Running {
        let (dir, log) = (self.dir.path().join("read"), Arc::clone(&self.log));
        let vault = self.vault.clone();
        let open = move || ReadModels::open(Path::new(&dir), log, vault).unwrap();
        let read = tokio::task::spawn_blocking(open).await.unwrap();
        read.start();
        let resolver = Resolver::new(&DnsOptions {
            servers: Some(vec![self.dns.address()]),
            failure_ttl: Duration::ZERO,
            ..DnsOptions::default()
        })
        .unwrap();
        let platform = Platform::start(PlatformParts {
            log: Arc::clone(&self.log),
            vault: self.vault.clone(),
            read: read.clone(),
            resolver,
            clock: Arc::new(self.clock.clone()),
            machine: Machine::default(),
            options,
        })
        .await
        .unwrap();
        let clock = self.clock.clone();
        let ticking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                clock.advance(TICK);
            }
        });
        Running { platform, read, ticking }
    }

    /// Every message in the log, folded; fails when a recipient ended twice.
    pub fn messages(&self) -> HashMap<MessageId, Message> {
        let mut messages: HashMap<MessageId, Message> = HashMap::new();
        let mut ends: HashMap<(MessageId, u8), usize> = HashMap::new();
        for (stream, at, event) in self.events() {
            let (StreamId::Message(id), Event::Message(event)) = (stream, event) else { continue };
            let recipient = match &event {
                MessageEvent::Delivered(delivered) => Some(delivered.attempt.recipient),
                MessageEvent::Bounced(bounced) => Some(bounced.attempt.recipient),
                MessageEvent::Failed(failed) => Some(failed.recipient),
                MessageEvent::Canceled(canceled) => Some(canceled.recipient),
                MessageEvent::Suppressed(suppressed) => Some(suppressed.recipient),
                MessageEvent::Returned(returned) if !returned.was_delivered => {
                    Some(returned.recipient)
                }
                _ => None,
            };
            if let Some(recipient) = recipient {
                let count = ends.entry((id, recipient.0)).or_default();
                *count += 1;
                assert_eq!(*count, 1, "{id} {recipient:?} ended twice");
            }
            messages.entry(id).or_default().evolve(&event, at);
        }
        messages
    }

    /// Every event in the log.
    pub fn events(&self) -> Vec<(StreamId, Timestamp, Event)> {
        let mut after = Position::START;
        let mut all = Vec::new();
        loop {
            let page = self.log.read_all(after, 1_000).unwrap();
            let Some(last) = page.last() else { return all };
            after = last.position;
            all.extend(page.iter().map(|recorded| {
                let event = Event::decode(recorded.stream, &recorded.data).unwrap();
                (recorded.stream, recorded.at, event)
            }));
        }
    }

    /// The events of one message.
    pub fn history(&self, message: MessageId) -> Vec<MessageEvent> {
        let own = |(stream, _, event)| match event {
            Event::Message(event) if stream == StreamId::Message(message) => Some(event),
            _ => None,
        };
        self.events().into_iter().filter_map(own).collect()
    }

    pub fn kinds(&self, message: MessageId) -> Vec<&'static str> {
        let events = self.history(message);
        events.iter().map(|event| event.kind().trim_start_matches("message.")).collect()
    }
}

/// A platform that runs.
pub struct Running {
    pub platform: Platform,
    pub read: ReadModels,
    ticking: JoinHandle<()>,
}

impl Running {
    /// Stops the clock too, so that time is the scenario's.
    pub fn hold_time(&self) {
        self.ticking.abort();
    }

    pub async fn stop(self) {
        let stopped = self.platform.stop(PATIENCE).await;
        assert_eq!(stopped.left_behind, 0);
        self.ticking.abort();
        let read = self.read.clone();
        tokio::task::spawn_blocking(move || read.stop()).await.unwrap();
    }
}

/// Whoever sends.
#[derive(Clone, Copy)]
pub struct Account {
    pub caller: Caller,
    pub domain: DomainId,
}

impl Account {
    /// A tenant with an app, a key and a domain that was verified by asking the DNS.
    pub async fn create(ground: &Ground, platform: &Platform, read: &ReadModels) -> Self {
        Self::sending_from(SENDING_DOMAIN, ground, platform, read).await
    }

    /// The same with another domain.
    pub async fn sending_from(
        sending_domain: &str,
        ground: &Ground,
        platform: &Platform,
        read: &ReadModels,
    ) -> Self {
        let email = EmailAddress::parse(&format!("owner@{sending_domain}")).unwrap();
        let tenant =
            platform.create_tenant(model::By::CommandLine, "Acme", email, None).await.unwrap();
        let sender = Mailbox::parse(&format!("Shop <shop@{sending_domain}>")).unwrap();
        let app = platform
            .create_app(
                model::By::CommandLine,
                tenant,
                NewApp { default_sender: Some(sender), ..NewApp::new("Shop") },
            )
            .await
            .unwrap();
        let key = platform
            .create_api_key(
                model::By::CommandLine,
                tenant,
                app,
                NewApiKey::new("test", &Scope::ALL, 60),
            )
            .await
            .unwrap();
        let name = DomainName::parse(sending_domain).unwrap();
        let domain = platform.add_domain(model::By::CommandLine, tenant, name).await.unwrap();
        let view = read.policies().domain(domain).unwrap();
        for record in platform.expected_records(&view) {
            match record.record_type {
                "TXT" => ground.dns.add_txt(&record.name, &record.value).unwrap(),
                _ => {
                    let (preference, host) = record.value.split_once(' ').unwrap();
                    ground.dns.add_mx(&record.name, preference.parse().unwrap(), host).unwrap();
                }
            }
        }
        let verified =
            platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
        assert_eq!(verified.status, DomainStatus::Verified, "{:?}", verified.records);
        let found = platform.authenticate(key.secret.reveal(), ground.clock.now(), None).unwrap();
        assert_eq!(found.id, key.id);
        Self { caller: Caller { tenant, app, key: key.id }, domain }
    }
}

/// Ground, platform and account on a log in memory: what most scenarios need.
pub struct World {
    pub ground: Ground,
    pub memory: Arc<MemoryLog>,
    pub running: Running,
    pub account: Account,
}

impl World {
    pub async fn start() -> Self {
        Self::with(|options| options).await
    }

    pub async fn with(change: impl FnOnce(PlatformOptions) -> PlatformOptions) -> Self {
        let memory = Arc::new(MemoryLog::new());
        let ground = Ground::on(memory.clone(), TempDir::new().unwrap()).await;
        let running = ground.platform(change(ground.options())).await;
        let account = Account::create(&ground, &running.platform, &running.read).await;
        Self { ground, memory, running, account }
    }

    pub async fn send(&self, request: SendRequest) -> MessageId {
        self.running.platform.send(&self.account.caller, request).await.unwrap().message
    }

    /// Another tenant with a domain of its own.
    pub async fn another(&self, sending_domain: &str) -> Account {
        let Running { platform, read, .. } = &self.running;
        Account::sending_from(sending_domain, &self.ground, platform, read).await
    }

    /// Waits until nothing is unfinished in the record.
    pub async fn all_ended(&self) {
        until("all messages ended", || {
            self.ground.messages().values().all(|message| message.open().next().is_none())
        })
        .await;
    }

    pub async fn until_kinds(&self, message: MessageId, kinds: &[&str]) {
        until(&format!("{kinds:?}"), || self.ground.kinds(message) == kinds).await;
    }
}

/// Polls until `what` holds.
pub async fn until(name: &str, what: impl Fn() -> bool) {
    let holds = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "never came true: {name}");
}

pub fn host_name(host: u8) -> String {
    format!("mx{host}.receivers.example")
}

pub fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// A small message to these recipients.
pub fn request(to: &[&str]) -> SendRequest {
    SendRequest {
        to: to.iter().map(|text| mailbox(text)).collect(),
        subject: "Your order".into(),
        body: Body { text: Some("Thank you.".into()), ..Body::default() },
        ..SendRequest::default()
    }
}

/// A port that is free on all of 127/8 by now. The receivers of one scenario share it, for a mail
/// host's port never comes from data.
fn free_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}
