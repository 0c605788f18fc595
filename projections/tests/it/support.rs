//! A small world whose history is drawn from a seed and decided by the model's own rules.

mod compare;
mod history;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use eventlog::{
    Append, EventLog, HashPurpose, MasterKey, MemoryLog, NewEvent, Position, Purpose, Recorded,
    Sealed, Vault, Version,
};
use model::{
    ApiKeyId, AppId, By, DomainId, Event, EventId, InstanceId, MessageId, RecipientIndex, StreamId,
    TemplateId, TenantId, Timestamp, UserId,
    address::{DomainName, EmailAddress, Mailbox},
    content::RecipientKind,
    delivery::{Answer, EnhancedCode, Outcome, Peer, Reply, Stage, Tls, TlsDemand},
    domain::{
        CheckedRecord, DkimAlgorithm, DkimKeyAdded, DkimKeyRetired, DomainAdded, DomainChecked,
        DomainEvent, DomainPaused, DomainRemoved, DomainResumed, DomainStatus, RecordPurpose,
        RecordStatus, Selector,
    },
    event::{KeyedHash, RecipientHash, SealedText, SecretHash},
    instance::{InstanceEvent, SitePaused, SiteResumed},
    message::{
        Accept, AcceptedRecipient, Command, Facts, Message, Report, SenderStanding,
        SuppressionReason, Tag, TemplateUse, decide,
    },
    pause::Who,
    profile::{AppProfile, KeyProfile, Profile, TenantProfile, UserProfile},
    retry::{Jitter, RetryPolicy},
    tenant::{
        ApiKeyCreated, ApiKeyRevoked, AppCreated, AppUpdated, Scope, TenantCreated, TenantEvent,
        TenantPaused, TenantResumed, UserAdded,
    },
    user::{PasswordChanged, PasswordRehashed, UserEvent},
};
use projections::{Paused, ReadModels};

pub(crate) use self::compare::{assert_same, dumps, follow, tables};

/// 2026-11-23, shortly before midnight UTC: histories cross hours and days.
pub(crate) const START: u64 = 1_795_474_000_000;

pub(crate) const MAIL_DOMAINS: [&str; 4] =
    ["one.example", "two.example", "three.example", "four.test"];
pub(crate) const TAGS: [&str; 4] = ["welcome", "receipt", "reset", "alert"];

pub(crate) fn vault() -> Vault {
    Vault::new(&MasterKey::from_bytes([7; 32]))
}

/// `SplitMix64`: the same numbers for the same seed, everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) app: AppId,
    pub(crate) state: Message,
    pub(crate) version: Version,
}

#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) tenant: TenantId,
    pub(crate) keys: Vec<(ApiKeyId, SecretHash)>,
}

pub(crate) struct World {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) vault: Vault,
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) apps: Vec<App>,
    pub(crate) domains: Vec<(DomainId, TenantId, DomainName)>,
    pub(crate) messages: Vec<Sent>,
    versions: BTreeMap<StreamId, Version>,
    retry: RetryPolicy,
}

/// What a message is made with.
pub(crate) struct Draft {
    pub(crate) app: usize,
    pub(crate) recipients: usize,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) scheduled_in: Option<Duration>,
    pub(crate) suppressed: usize,
    /// The template by number, and its version.
    pub(crate) template: Option<(u8, u32)>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            app: 0,
            recipients: 1,
            tags: Vec::new(),
            scheduled_in: None,
            suppressed: 0,
            template: None,
        }
    }
}

pub(crate) fn reply(stage: Stage, code: u16, enhanced: &str) -> Outcome {
    Outcome {
        stage,
        answer: Answer::Reply(Reply {
            code,
            enhanced: EnhancedCode::parse(enhanced),
            text: "OK".into(),
        }),
        peer: Some(Peer {
            tls: Some(Tls {
                version: "TLSv1.3".into(),
                cipher: "x".into(),
                verified: true,
                verification: None,
                certificate_sha256: None,
            }),
            ..Peer::new("mx.one.example", Some("192.0.2.1".parse().unwrap()))
        }),
    }
}

pub(crate) fn delivered() -> Outcome {
    reply(Stage::EndOfData, 250, "2.0.0")
}

pub(crate) fn deferred() -> Outcome {
    reply(Stage::RcptTo, 451, "4.7.1")
}

pub(crate) fn bounced() -> Outcome {
    reply(Stage::RcptTo, 550, "5.1.1")
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            log: Arc::new(MemoryLog::new()),
            vault: vault(),
            random: Random(seed),
            now: Timestamp::from_millis(START),
            tenants: Vec::new(),
            apps: Vec::new(),
            domains: Vec::new(),
            messages: Vec::new(),
            versions: BTreeMap::new(),
            retry: RetryPolicy::new(
                vec![Duration::from_mins(5), Duration::from_mins(40)],
                Duration::from_hours(3),
            )
            .unwrap(),
        }
    }

    /// A world with one tenant, app, key and verified domain.
    pub(crate) fn with_app(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.add_tenant();
        world.add_app(0, "app");
        world.add_key(0);
        world.add_domain(0, "mail.acme.example");
        world.check_domain(0, DomainStatus::Verified);
        world
    }

    pub(crate) fn dyn_log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    pub(crate) fn head(&self) -> Position {
        *self.log.head().borrow()
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    pub(crate) fn append_with(
        &mut self,
        stream: StreamId,
        data: Vec<Box<[u8]>>,
        content: Vec<Sealed>,
    ) {
        let expected = self.versions.get(&stream).copied().unwrap_or_default();
        let events = data
            .into_iter()
            .map(|data| NewEvent { id: EventId::new(self.now, self.random.bytes()), data })
            .collect();
        let append = Append { stream, expected, at: self.now, events, content };
        let appended = now(self.log.append(append)).unwrap();
        self.versions.insert(stream, appended.last_version);
    }

    pub(crate) fn append(&mut self, stream: StreamId, data: Box<[u8]>) {
        self.append_with(stream, vec![data], Vec::new());
    }

    fn seal(&self, owner: &[u8], profile: &impl Profile) -> SealedText {
        let sealed = self.vault.seal(Purpose::TenantProfile, owner, &profile.to_bytes()).unwrap();
        SealedText(sealed.to_base64().into())
    }

    fn tenant_event(&mut self, tenant: TenantId, event: impl Into<TenantEvent>) {
        self.append(StreamId::Tenant(tenant), event.into().encode(&model::By::CommandLine.into()));
    }

    pub(crate) fn add_tenant(&mut self) -> TenantId {
        let id = TenantId::new(self.now, self.random.bytes());
        let profile =
            self.seal(id.as_bytes(), &TenantProfile { name: "Canary Tenant GmbH".into() });
        self.tenant_event(id, TenantCreated { profile });
        self.tenants.push(id);
        id
    }

    /// A user of the first tenant whose password is changed, and then hashed anew.
    pub(crate) fn passwords(&mut self, number: usize) {
        let address = format!("p{number}@users.example");
        let (user, _) = self.add_user(0, &address);
        let tenant = self.tenants[0];
        let profile = |hash: &str| {
            let email = EmailAddress::parse(&address).unwrap();
            let profile = UserProfile { email, password_hash: Some(hash.to_owned()) };
            self.seal(user.as_bytes(), &profile)
        };
        let changed = PasswordChanged { tenant, number: 1, profile: profile("$argon2id$second") };
        let rehashed = PasswordRehashed { tenant, number: 1, profile: profile("$argon2id$third") };
        for event in [UserEvent::from(changed), UserEvent::from(rehashed)] {
            self.append(StreamId::User(user), event.encode(&By::User(user).into()));
        }
    }

    pub(crate) fn add_user(&mut self, tenant: usize, address: &str) -> (UserId, RecipientHash) {
        let user = UserId::new(self.now, self.random.bytes());
        let address = EmailAddress::parse(address).unwrap();
        let email = self.recipient_hash(&address.canonical());
        let profile =
            UserProfile { email: address, password_hash: Some("$argon2id$canary".into()) };
        let profile = self.seal(user.as_bytes(), &profile);
        self.tenant_event(self.tenants[tenant], UserAdded { user, email, profile });
        (user, email)
    }

    pub(crate) fn add_app(&mut self, tenant: usize, name: &str) -> AppId {
        let (tenant, app) = (self.tenants[tenant], AppId::new(self.now, self.random.bytes()));
        let profile = self.seal(app.as_bytes(), &app_profile(name));
        self.tenant_event(tenant, AppCreated { app, profile, permissions: None });
        self.apps.push(App { id: app, tenant, keys: Vec::new() });
        app
    }

    pub(crate) fn update_app(&mut self, app: usize, name: &str) {
        let App { id, tenant, .. } = self.apps[app];
        let profile = self.seal(id.as_bytes(), &app_profile(name));
        self.tenant_event(tenant, AppUpdated { app: id, profile, permissions: None });
    }

    pub(crate) fn add_key(&mut self, app: usize) -> SecretHash {
        let key = ApiKeyId::new(self.now, self.random.bytes());
        let secret = KeyedHash(self.random.bytes());
        let App { id, tenant, .. } = self.apps[app];
        let profile = self.seal(key.as_bytes(), &KeyProfile { name: "canary key".into() });
        let created = ApiKeyCreated {
            app: id,
            key,
            prefix: "lum_sk_abcde".into(),
            secret,
            scopes: vec![Scope::EmailSend, Scope::EmailRead],
            rate_limit_per_minute: 60,
            expires_at: Some(self.now.plus(Duration::from_hours(24))),
            allowed_domains: Vec::new(),
            allowed_addresses: Vec::new(),
            profile,
        };
        self.tenant_event(tenant, created);
        self.apps[app].keys.push((key, secret));
        secret
    }

    pub(crate) fn revoke_key(&mut self, app: usize, key: usize) {
        let App { id, tenant, ref keys } = self.apps[app];
        let key = keys[key].0;
        self.tenant_event(tenant, ApiKeyRevoked { app: id, key });
    }

    fn domain_event(&mut self, domain: DomainId, event: impl Into<DomainEvent>) {
        self.append(StreamId::Domain(domain), event.into().encode(&model::By::CommandLine.into()));
    }

    pub(crate) fn add_domain(&mut self, tenant: usize, name: &str) -> DomainId {
        let id = DomainId::new(self.now, self.random.bytes());
        let (tenant, name) = (self.tenants[tenant], DomainName::parse(name).unwrap());
        let token = format!("token-{}", self.random.below(1_000_000)).into();
        let added = DomainAdded { tenant, name: name.clone(), ownership_token: token };
        self.domain_event(id, added);
        self.add_dkim_key(id, "s1");
        self.domains.push((id, tenant, name));
        id
    }

    pub(crate) fn add_dkim_key(&mut self, domain: DomainId, selector: &str) {
        let owner = [domain.as_bytes().as_slice(), selector.as_bytes()].concat();
        let private = self.vault.seal(Purpose::DkimPrivateKey, &owner, b"private").unwrap();
        let key = DkimKeyAdded {
            selector: Selector::parse(selector).unwrap(),
            algorithm: DkimAlgorithm::Rsa2048,
            public_record: "v=DKIM1; k=rsa; p=MIIB".into(),
            private_key: SealedText(private.to_base64().into()),
        };
        self.domain_event(domain, key);
    }

    pub(crate) fn retire_dkim_key(&mut self, domain: DomainId, selector: &str) {
        let selector = Selector::parse(selector).unwrap();
        self.domain_event(domain, DkimKeyRetired { selector });
    }

    pub(crate) fn check_domain(&mut self, domain: usize, status: DomainStatus) {
        let (id, _, name) = self.domains[domain].clone();
        let found = match status {
            DomainStatus::Verified => RecordStatus::Verified,
            _ => RecordStatus::Missing,
        };
        let record = |purpose| CheckedRecord {
            purpose,
            name: name.as_str().into(),
            status: found,
            required: purpose == RecordPurpose::Ownership,
            found: vec!["v=spf1 -all".into()],
            problem: None,
        };
        let records = vec![record(RecordPurpose::Ownership), record(RecordPurpose::ReturnPath)];
        self.domain_event(
            id,
            DomainChecked {
                status,
                failing_since: None,
                records,
                signing: None,
                returns_bounces: None,
            },
        );
    }

    pub(crate) fn remove_domain(&mut self, domain: usize) {
        let (id, ..) = self.domains.remove(domain);
        self.domain_event(id, DomainRemoved {});
    }

    /// Pauses something, or resumes it: whatever was before, as a log could have it.
    pub(crate) fn pause(&mut self, what: &Paused, paused: bool) {
        let by = Who::Operator;
        let seal = |owner: &[u8; 16]| {
            let sealed = self.vault.seal(Purpose::TenantProfile, owner, b"\"canary reason\"");
            Some(SealedText(sealed.unwrap().to_base64().into()))
        };
        match what {
            Paused::Tenant(tenant) if paused => {
                let reason = seal(tenant.as_bytes());
                self.tenant_event(*tenant, TenantPaused { by, reason });
            }
            Paused::Tenant(tenant) => self.tenant_event(*tenant, TenantResumed { by }),
            Paused::Domain(domain) if paused => {
                let reason = seal(domain.as_bytes());
                self.domain_event(*domain, DomainPaused { by, reason });
            }
            Paused::Domain(domain) => self.domain_event(*domain, DomainResumed { by }),
            Paused::Site(site) => {
                let (site, this) = (site.clone(), InstanceId::THIS);
                let event: InstanceEvent = if paused {
                    SitePaused { site, by, reason: seal(this.as_bytes()) }.into()
                } else {
                    SiteResumed { site, by }.into()
                };
                self.append(StreamId::Instance(this), event.encode(&model::By::CommandLine.into()));
            }
        }
    }

    pub(crate) fn recipient_hash(&self, canonical: &str) -> RecipientHash {
        let hash = self.vault.keyed_hash(HashPurpose::Recipient, canonical.as_bytes());
        KeyedHash(*hash.first_chunk().unwrap())
    }

    /// Accepts a message; its place in [`World::messages`].
    pub(crate) fn send(&mut self, draft: &Draft) -> usize {
        let id = MessageId::new(self.now, self.random.bytes());
        let App { id: app, tenant, ref keys } = self.apps[draft.app];
        let key = keys.first().map_or(ApiKeyId::from_bytes([0; 16]), |key| key.0);
        let recipients: Vec<AcceptedRecipient> = (0..draft.recipients)
            .map(|number| {
                let domain = self.random.pick(&MAIL_DOMAINS);
                let kind = [RecipientKind::To, RecipientKind::Cc, RecipientKind::Bcc]
                    [self.random.below(3) as usize];
                let name = self.random.below(12);
                AcceptedRecipient {
                    kind,
                    domain: DomainName::parse(domain).unwrap(),
                    hash: self.recipient_hash(&format!("canary{name}.{number}@{domain}")),
                }
            })
            .collect();
        let accept = Accept {
            tenant,
            app,
            key,
            from: DomainName::parse("mail.acme.example").unwrap(),
            recipients,
            tags: draft.tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect(),
            template: draft.template.map(|(number, version)| TemplateUse {
                id: TemplateId::from_bytes([number; 16]),
                version,
            }),
            bulk: false,
            size: 1000,
            tls: TlsDemand::Opportunistic,
            scheduled_at: draft.scheduled_in.map(|wait| self.now.plus(wait)),
            expires_after: None,
            request: None,
        };
        let content = [Purpose::MessageHead, Purpose::MessageBody].map(|purpose| {
            self.vault.seal(purpose, id.as_bytes(), b"Canary Subject canary@one.example").unwrap()
        });
        self.messages.push(Sent { id, app, state: Message::default(), version: Version::NONE });
        let message = self.messages.len() - 1;
        let suppressed: Vec<_> = (0..draft.suppressed as u8)
            .map(|index| (RecipientIndex(index), SuppressionReason::Manual))
            .collect();
        self.decide(message, &Command::Accept(Box::new(accept)), &suppressed, content.into());
        message
    }

    fn decide(
        &mut self,
        message: usize,
        command: &Command,
        suppressed: &[(RecipientIndex, SuppressionReason)],
        content: Vec<Sealed>,
    ) -> bool {
        let facts = Facts {
            sender: SenderStanding::Verified(DomainId::from_bytes([1; 16])),
            suppressed,
            retry: &self.retry,
            jitter: Jitter::from_random(self.random.next() as u32),
            in_flight: false,
            paused: false,
        };
        let Ok(events) = decide(&self.messages[message].state, command, &facts, self.now) else {
            return false;
        };
        if events.is_empty() {
            return false;
        }
        let stream = StreamId::Message(self.messages[message].id);
        let by = match command {
            Command::Accept(accept) => By::Key(accept.key),
            Command::Cancel | Command::RetryNow(_) | Command::Forget(_) => By::Operator,
            Command::RecordAttempt(_) => By::Attempt,
            Command::Expire => By::Alarm,
            Command::RecordReturn(_) | Command::RecordComplaint(_) => By::Report,
        };
        let state = &self.messages[message].state;
        let data = events.iter().map(|event| event.encode(&state.cause(event, by))).collect();
        self.append_with(stream, data, content);
        for event in &events {
            self.messages[message].state.evolve(event, self.now);
        }
        self.messages[message].version = self.versions[&stream];
        true
    }

    pub(crate) fn attempt(&mut self, message: usize, outcomes: &[(u8, Outcome)]) -> bool {
        let reports = outcomes
            .iter()
            .map(|(recipient, outcome)| Report {
                recipient: RecipientIndex(*recipient),
                outcome: outcome.clone(),
                sealed_text: SealedText("c2VhbGVk".into()),
                sent: None,
            })
            .collect();
        self.decide(message, &Command::RecordAttempt(reports), &[], Vec::new())
    }

    pub(crate) fn cancel(&mut self, message: usize) -> bool {
        self.decide(message, &Command::Cancel, &[], Vec::new())
    }

    pub(crate) fn retry(&mut self, message: usize) -> bool {
        self.decide(message, &Command::RetryNow(Who::Operator), &[], Vec::new())
    }

    pub(crate) fn expire(&mut self, message: usize) -> bool {
        self.decide(message, &Command::Expire, &[], Vec::new())
    }

    /// Every event of the log.
    pub(crate) fn events(&self) -> Vec<Recorded> {
        eventlog::export(self.log.as_ref(), Position::START).map(Result::unwrap).collect()
    }

    pub(crate) fn decoded(&self) -> Vec<(Recorded, Event)> {
        self.events()
            .into_iter()
            .map(|recorded| {
                let event = Event::decode(recorded.stream, &recorded.data).unwrap();
                (recorded, event)
            })
            .collect()
    }

    /// Another log with the first `count` events of this one.
    pub(crate) fn prefix(&self, count: u64) -> Arc<dyn EventLog> {
        let mut appends: Vec<Append> = Vec::new();
        let mut last: Option<Recorded> = None;
        for recorded in self.events().into_iter().take(count as usize) {
            let event = NewEvent { id: recorded.id, data: recorded.data.as_ref().into() };
            let content = recorded
                .content
                .iter()
                .map(|location| self.log.read_content(location).unwrap())
                .collect();
            appends.push(Append {
                stream: recorded.stream,
                expected: Version::new(recorded.version.get() - 1),
                at: recorded.at,
                events: vec![event],
                content,
            });
            last = Some(recorded);
        }
        let log = MemoryLog::new();
        for append in appends {
            now(log.append(append)).unwrap();
        }
        let copied = eventlog::export(&log, Position::new(count - 1)).next().unwrap().unwrap();
        assert_eq!(Some(copied), last, "a prefix has the same chain");
        Arc::new(log)
    }

    pub(crate) fn open(&self, dir: &Path) -> ReadModels {
        ReadModels::open(dir, self.dyn_log(), vault()).unwrap()
    }
}

fn app_profile(name: &str) -> AppProfile {
    let default_sender = Some(Mailbox::parse("Canary <canary@mail.acme.example>").unwrap());
    AppProfile { name: name.into(), default_sender }
}

/// The result of a future that needs nothing to wait for.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("it waits"),
    }
}
