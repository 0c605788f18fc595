//! What happens in the world when chance decides.

use std::time::Duration;

use model::{
    ErasureId, LetterId, MessageId, RecipientIndex, StreamId,
    address::DomainName,
    delivery::{Diagnosis, EnhancedCode, Fault, Outcome, Stage},
    domain::DomainStatus,
    erasure::{ErasureEvent, PersonErased, PersonErasureRequested, PersonFound},
    event::{KeyedHash, SealedText},
    letter::{LetterEvent, LetterReceived, Office},
    message::{Command, Returning},
    pause::Who,
};

use projections::Paused;

use super::{Draft, TAGS, World, bounced, deferred, delivered, reply};

impl World {
    fn random_outcome(&mut self) -> Outcome {
        match self.random.below(8) {
            0..=3 => delivered(),
            4 | 5 => deferred(),
            6 => bounced(),
            7 if self.random.one_in(2) => self.random.pick(&[
                // What of ours is wrong: of the domain, and of the server.
                reply(Stage::EndOfData, 550, "5.7.26"),
                reply(Stage::RcptTo, 451, "4.7.25"),
            ]),
            _ => self.random.pick(&[
                Outcome::fault(Stage::Dns, Fault::NullMx),
                Outcome::fault(Stage::Connect, Fault::Unreachable),
                Outcome::fault(Stage::EndOfData, Fault::OutcomeUnknown),
                Outcome::fault(Stage::Dns, Fault::ContentGone),
            ]),
        }
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        let wait = self.random.below(400_000);
        self.pass(Duration::from_millis(wait));
        match self.random.below(40) {
            0 => {
                self.add_tenant();
            }
            1 if !self.tenants.is_empty() => {
                let tenant = self.random.below(self.tenants.len() as u64) as usize;
                let address = format!("canary{}@users.example", self.random.below(1_000));
                self.add_user(tenant, &address);
            }
            2 if !self.tenants.is_empty() => {
                let tenant = self.random.below(self.tenants.len() as u64) as usize;
                self.add_app(tenant, "canary app");
            }
            3 if !self.apps.is_empty() => {
                let app = self.random.below(self.apps.len() as u64) as usize;
                let name = format!("canary app {}", self.random.below(100));
                self.update_app(app, &name);
            }
            4 if !self.apps.is_empty() => {
                let app = self.random.below(self.apps.len() as u64) as usize;
                self.add_key(app);
            }
            5 if !self.apps.is_empty() => {
                let app = self.random.below(self.apps.len() as u64) as usize;
                if !self.apps[app].keys.is_empty() {
                    let key = self.random.below(self.apps[app].keys.len() as u64) as usize;
                    self.revoke_key(app, key);
                }
            }
            6 if !self.tenants.is_empty() => {
                let tenant = self.random.below(self.tenants.len() as u64) as usize;
                let name = format!("d{}.example", self.random.below(5));
                self.add_domain(tenant, &name);
            }
            7 | 8 if !self.domains.is_empty() => {
                let domain = self.random.below(self.domains.len() as u64) as usize;
                let status = self.random.pick(&[DomainStatus::Verified, DomainStatus::Failed]);
                self.check_domain(domain, status);
            }
            9 if self.domains.len() > 1 => {
                let domain = self.random.below(self.domains.len() as u64) as usize;
                self.remove_domain(domain);
            }
            23 => self.random_pause(),
            24 => self.random_letter(),
            25 if !self.tenants.is_empty() => self.random_erasure(),
            10..=22 if !self.apps.is_empty() => self.random_send(),
            _ if !self.messages.is_empty() => self.random_change(),
            _ => {}
        }
    }

    fn random_send(&mut self) {
        let recipients = match self.random.below(12) {
            0 => 50,
            n => 1 + n as usize % 3,
        };
        let count = self.random.below(3);
        let draft = Draft {
            app: self.random.below(self.apps.len() as u64) as usize,
            recipients,
            tags: (0..count).map(|_| self.random.pick(&TAGS)).collect(),
            scheduled_in: self.random.one_in(4).then_some(Duration::from_hours(2)),
            suppressed: usize::from(self.random.one_in(5)),
            template: self
                .random
                .one_in(3)
                .then(|| (self.random.below(3) as u8 + 1, self.random.below(4) as u32 + 1)),
        };
        self.send(&draft);
    }

    fn random_change(&mut self) {
        let message = self.random.below(self.messages.len() as u64) as usize;
        match self.random.below(12) {
            0..=2 => {
                self.cancel(message);
            }
            3 => {
                self.expire(message);
            }
            4 => self.report(message),
            5 => {
                let open = self.messages[message].state.open();
                let put_off: Vec<_> = open.map(|(index, _)| (index.0, deferred())).collect();
                self.attempt(message, &put_off);
                self.retry(message);
            }
            _ => {
                let open: Vec<u8> =
                    self.messages[message].state.open().map(|(index, _)| index.0).collect();
                let outcomes: Vec<_> =
                    open.into_iter().map(|index| (index, self.random_outcome())).collect();
                self.attempt(message, &outcomes);
            }
        }
    }

    /// To an office of a domain that is somebody's, or of the server.
    fn random_letter(&mut self) {
        let chosen = self.random.below(self.domains.len() as u64 + 1) as usize;
        let owned = self.domains.get(chosen).map(|(domain, tenant, ..)| (*domain, *tenant));
        let received = LetterReceived {
            tenant: owned.map(|(_, tenant)| tenant),
            domain: owned.map(|(domain, _)| domain),
            at: DomainName::parse("bounces.example").unwrap(),
            office: self.random.pick(&[Office::Postmaster, Office::Abuse, Office::Fbl]),
            octets: 1 + self.random.below(5_000),
            hash: KeyedHash(self.random.bytes()),
            cut: false,
        };
        let stream = StreamId::Letter(LetterId::from_bytes(self.random.bytes()));
        self.append(stream, LetterEvent::from(received).encode(&model::By::CommandLine.into()));
    }

    /// Of somebody of whom a message was found, done or not.
    fn random_erasure(&mut self) {
        let tenant = self.random.pick(&self.tenants.clone());
        let (person, by) = (KeyedHash(self.random.bytes()), Who::Operator);
        let stream = StreamId::Erasure(ErasureId::from_bytes(self.random.bytes()));
        let messages = vec![MessageId::from_bytes(self.random.bytes())];
        let letters = vec![LetterId::from_bytes(self.random.bytes())];
        let erased = PersonErased {
            tenant,
            person,
            by,
            messages: 1,
            letters: 1,
            suppressions: 1,
            records: self.random.below(9),
        };
        let events: [ErasureEvent; 3] = [
            PersonErasureRequested { tenant, person, by }.into(),
            PersonFound { messages, letters, all: true }.into(),
            erased.into(),
        ];
        let count = 1 + self.random.below(3) as usize;
        for event in events.into_iter().take(count) {
            self.append(stream, event.encode(&model::By::Operator.into()));
        }
    }

    fn random_pause(&mut self) {
        let paused = self.random.one_in(2);
        let site = format!("r{}.example", self.random.below(4));
        let what = match self.random.below(3) {
            0 => Paused::Tenant(self.random.pick(&self.tenants.clone())),
            1 if !self.domains.is_empty() => {
                let domain = self.random.below(self.domains.len() as u64) as usize;
                Paused::Domain(self.domains[domain].0)
            }
            _ => Paused::Site(DomainName::parse(&site).unwrap()),
        };
        self.pause(&what, paused);
    }

    /// Reports of some recipients, who may have had the message or not.
    fn report(&mut self, message: usize) {
        let recipients = self.messages[message].state.recipients().len() as u64;
        let recipient = RecipientIndex(self.random.below(recipients + 1) as u8);
        let enhanced = EnhancedCode::parse(self.random.pick(&["5.1.1", "5.7.1", "4.4.7"]));
        let returning = Returning {
            recipient,
            diagnosis: Diagnosis { code: Some(550), enhanced, text: String::new() },
            sealed_text: SealedText("c2VhbGVk".into()),
        };
        if self.random.one_in(2) {
            self.decide(message, &Command::RecordReturn(vec![returning]), &[], Vec::new());
        } else {
            self.decide(message, &Command::RecordComplaint(vec![recipient]), &[], Vec::new());
        }
    }

    /// A world with a long random history.
    pub(crate) fn grown(seed: u64, steps: usize) -> Self {
        let mut world = Self::with_app(seed);
        for _ in 0..steps {
            world.step();
        }
        world
    }
}
