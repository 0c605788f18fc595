//! One transaction, from composing to the answer.

use std::{net::IpAddr, sync::Arc, time::Duration};

use mail::{
    dns::{LookupError, route::Candidate},
    policy::HostPolicies,
    smtp::{ClientOptions, ConnectFailure, Connection, Envelope, TlsPolicy, Transaction, connect},
};
use model::{
    Timestamp,
    delivery::{
        Answer as Said, Fault, Outcome, Peer, Stage, TlsDemand, TlsFailure, TlsRule, Verdict,
    },
    routing::{Label, WayOut},
    shaping::{Slowed, asks_for_less},
    source::Sources,
};
use ractor::ActorRef;
use tokio::time::Instant;

use super::{Answer, Job, Lane, Msg, Way, gate::Turn, usage::Used};
use crate::{
    figures::Stopwatch,
    letter::{Letter, Printed, Unprintable, envelope_sender},
    node::Node,
};

/// After this long no further mail host is tried in the same attempt.
const CONNECT_BUDGET: Duration = Duration::from_mins(5);
/// The greatest age of a connection that is used again.
const CONNECTION_AGE: Duration = Duration::from_mins(5);
/// "Service not available, closing transmission channel" (RFC 5321, section 4.2.3).
const CLOSING: u16 = 421;

/// Tells the site that this worker has ended, also when it panicked.
struct Working(ActorRef<Msg>);

impl Drop for Working {
    fn drop(&mut self) {
        // The site stays while a worker of its works; only a crash makes this fail.
        self.0.send_message(Msg::Free).ok();
    }
}

/// Makes the transaction and gives the answer.
pub(super) async fn work(node: Arc<Node>, lane: Arc<Lane>, site: ActorRef<Msg>, job: Job) {
    let _working = Working(site.clone());
    if node.is_held(&job) || !node.can_record() {
        return job.answer.not_tried();
    }
    // Composed and signed before anything is taken that others wait for.
    let printed = match job.letter.printed(&node).await {
        Ok(printed) => printed,
        Err(Unprintable::Never(fault)) => {
            return job.answer.all(&Outcome::fault(Stage::Transfer, fault));
        }
        Err(Unprintable::NotNow) => return job.answer.not_tried(),
    };
    let turns = async {
        let (turn, kept) = lane.gate.pass(lane.door, &job.sources).await;
        let flight = node.in_flight.acquire().await.ok()?;
        Some((turn, kept, flight))
    };
    let turns = tokio::select! {
        biased;
        () = node.stopped() => None,
        turns = turns => turns,
    };
    let Some((turn, kept, flight)) = turns else { return job.answer.not_tried() };
    let used = Used::new(&lane);
    let pause = lane.pause();
    if pause.until > node.now() {
        // It closed its door while this one waited for a turn.
        if let Some(kept) = kept {
            turn.keep(lane.door, kept, node.now());
        }
        site.send_message(Msg::Back(Box::new(job))).ok();
        return;
    }
    if job.letter.origin.expires_at <= node.now() || node.is_held(&job) || !node.can_record() {
        // Nobody wants it any more, for it waited too long in the lane, and its alarm ends it; or it
        // was paused meanwhile; or the disk became full.
        if let Some(kept) = kept {
            turn.keep(lane.door, kept, node.now());
        }
        return job.answer.not_tried();
    }
    let raised = node.figures.in_flight.raise();
    let Job { letter, way, sources, recipients, mut answer, .. } = job;
    let sender = envelope_sender(&node, &letter, answer.only_recipient());
    let envelope = Envelope {
        sender: Some(&sender),
        recipients: &recipients,
        smtputf8: printed.needs_smtputf8,
    };
    let seen = Seen { pause: pause.turn, pace: lane.gate.with_pace(|pace| pace.turn()) };
    let (way, sources) = (&way, &sources);
    let attempt = Attempt { node: &node, lane: &lane, way, sources, letter: &letter, seen };
    let outcomes = attempt.run(&envelope, &printed, turn, kept, &mut answer).await;
    drop((flight, raised, used));
    let said = outcomes.as_ref().map_or_else(Some, |outcomes| outcomes.last());
    if let Some(said) = said {
        node.book.told(node.site_name(way), said, node.now());
    }
    match outcomes {
        Ok(mut outcomes) => {
            for outcome in &mut outcomes {
                way.complete(outcome);
                lane.figures.count(outcome, 1);
            }
            answer.each(outcomes);
        }
        Err(mut outcome) => {
            way.complete(&mut outcome);
            if !answer.leads_on(&outcome) {
                lane.figures.count(&outcome, recipients.len());
            }
            answer.all(&outcome);
        }
    }
}

/// How the site stood when an attempt began: what it says later is about that.
#[derive(Debug, Clone, Copy)]
struct Seen {
    pause: u64,
    pace: u64,
}

struct Attempt<'a> {
    node: &'a Node,
    lane: &'a Lane,
    way: &'a Way,
    sources: &'a Sources,
    letter: &'a Letter,
    seen: Seen,
}

impl Attempt<'_> {
    /// The outcomes of a transaction, or the one outcome of there being none.
    async fn run(
        &self,
        envelope: &Envelope<'_>,
        printed: &Printed,
        turn: Turn,
        kept: Option<Connection>,
        answer: &mut Answer,
    ) -> Result<Vec<Outcome>, Outcome> {
        let policies = self.policies().await;
        // One that was opened under an easier rule is of no use to this message.
        let opened = match Self::adopted(kept, &policies) {
            Some(kept) => {
                self.lane.usage.reused();
                self.lane.figures.reused.increment(1);
                Ok(kept)
            }
            None => self.open(&policies).await,
        };
        let mut connection = opened.inspect_err(|outcome| self.no_connection(outcome))?;
        answer.begin(printed.sent.clone());
        let mut transaction = self.transact(&mut connection, envelope, printed).await;
        if transaction.retry_at_once {
            // It had died while it was kept, and the receiver has heard nothing.
            let opened = self.open(&policies).await;
            connection = opened.inspect_err(|outcome| self.no_connection(outcome))?;
            transaction = self.transact(&mut connection, envelope, printed).await;
        }
        let Transaction { outcomes, reusable, .. } = transaction;
        self.learn(&outcomes);
        self.put_away(turn, connection, reusable);
        tracing::debug!(message = %self.letter.message, "a transaction ended");
        Ok(outcomes)
    }

    /// What the outcomes of a transaction say of the site.
    fn learn(&self, outcomes: &[Outcome]) {
        if let Some(closing) = outcomes.iter().find(|outcome| is_closing(outcome)) {
            return self.trouble(closing);
        }
        if let Some(wish) = outcomes.iter().find(|outcome| asks_for_less(outcome)) {
            return self.slow(wish);
        }
        if outcomes.iter().any(|outcome| matches!(outcome.answer, Said::Reply(_))) {
            self.lane.with_pause(|pause| pause.well(self.seen.pause));
            self.lane.gate.with_pace(|pace| pace.well(self.seen.pace));
        }
    }

    async fn transact(
        &self,
        connection: &mut Connection,
        envelope: &Envelope<'_>,
        printed: &Printed,
    ) -> Transaction {
        let stopwatch = Stopwatch::start();
        let parts = [printed.signatures.as_bytes(), &printed.bytes];
        let transaction = connection.deliver(envelope, &parts).await;
        stopwatch.stop(&self.node.figures.transaction_seconds);
        transaction
    }

    /// The connection that was kept, if it is such as its host must be; else it is closed.
    fn adopted(kept: Option<Connection>, policies: &HostPolicies) -> Option<Connection> {
        let mut connection = kept?;
        let policy = policies.of(&connection.peer().mx).cloned();
        if policy.is_ok_and(|policy| connection.adopt(&policy)) {
            return Some(connection);
        }
        tokio::spawn(connection.quit());
        None
    }

    /// What the hosts must be.
    async fn policies(&self) -> HostPolicies {
        match self.way {
            Way::Mx(route, terms) => self.node.policies.of_hosts(terms, route).await,
            Way::Relay(name, demand) => {
                let relay = self.node.options.relays.get(name);
                let set = relay.map_or(TlsPolicy::Required, |relay| relay.tls.clone());
                let raised = set == TlsPolicy::Opportunistic && *demand == TlsDemand::Required;
                HostPolicies::same(if raised { TlsPolicy::Required } else { set })
            }
        }
    }

    /// A connection to the first host that grants one such as it must be.
    async fn open(&self, policies: &HostPolicies) -> Result<Connection, Outcome> {
        let node = self.node;
        let (mut candidates, client) = match self.way {
            Way::Mx(route, _) => {
                let route = policies.passable(route).map_err(|refused| no_passage(&refused))?;
                let found = node.router.candidates(&route, node.lots.bits()).await;
                (found.map_err(|fault| Outcome::fault(Stage::Dns, fault))?, node.client.clone())
            }
            Way::Relay(name, _) => self.relay(name).await?,
        };
        // An address of the other family is no reason to give up on those that can be dialled.
        candidates.retain(|candidate| self.sources.can_reach(candidate.ip));
        let (sources, way) = (self.sources.clone(), Some(self.way.out()));
        let mut client = ClientOptions { sources, way, ..client };
        let begun = Instant::now();
        let mut worst: Option<Outcome> = None;
        for Candidate { mx, ip } in &candidates {
            if worst.is_some() && begun.elapsed() > CONNECT_BUDGET {
                break;
            }
            let Ok(policy) = policies.of(mx) else { continue };
            client.tls = policy.clone();
            match connect(mx, *ip, &client, &node.tls).await {
                Ok(connection) => {
                    self.opened(&connection);
                    return Ok(connection);
                }
                Err(ConnectFailure { outcome, next_host }) => {
                    // A host's own words say more than another's silence.
                    if !worst.as_ref().is_some_and(|known| matches!(known.answer, Said::Reply(_))) {
                        worst = Some(outcome);
                    }
                    if !next_host {
                        break;
                    }
                }
            }
        }
        Err(worst.unwrap_or(Outcome::fault(Stage::Connect, Fault::Unreachable)))
    }

    fn opened(&self, connection: &Connection) {
        self.lane.usage.opened();
        self.lane.figures.opened.increment(1);
        let (figures, timings) = (&self.node.figures, connection.timings());
        figures.connect_seconds.record(timings.connect);
        if let Some(tls) = timings.tls {
            figures.tls_seconds.record(tls);
        }
    }

    /// The relay is set by who runs the server: a private address is what they mean.
    async fn relay(&self, name: &Label) -> Result<(Vec<Candidate>, ClientOptions), Outcome> {
        let unavailable = |host: &str| {
            let peer = Peer::new(host, None).on(Some(self.way.out()));
            Outcome { peer: Some(peer), ..Outcome::fault(Stage::Dns, Fault::DnsUnavailable) }
        };
        let relays = &self.node.options.relays;
        let relay = relays.get(name).ok_or_else(|| unavailable(name.as_str()))?;
        let ips = if let Ok(ip) = relay.host.parse::<IpAddr>() {
            vec![ip]
        } else {
            // Whatever is wrong with the relay's name is not the recipient's fault.
            let found = self.node.router.resolver().addresses(&relay.host).await;
            found.map_err(|_: LookupError| unavailable(&relay.host))?
        };
        let candidate = |ip| Candidate { mx: relay.host.clone(), ip };
        let candidates = ips.into_iter().map(candidate).collect();
        Ok((candidates, relay.apply(self.node.client.clone())))
    }

    /// None of the hosts granted a connection.
    fn no_connection(&self, outcome: &Outcome) {
        // A verdict on the domain is none on the site, and the DNS remembers its own failures. So
        // it is with a rule for TLS: others may send there without it.
        let by_rule = outcome.answer == Said::Fault(Fault::TlsRequired);
        if outcome.stage != Stage::Dns && !by_rule && outcome.verdict() == Verdict::Deferred {
            self.trouble(outcome);
        }
    }

    /// No connection, or one that was closed on us: the site is left in peace for a while, and
    /// gets less afterwards if that is what it asked for.
    fn trouble(&self, outcome: &Outcome) {
        let now = self.node.now();
        if asks_for_less(outcome) {
            self.lane.gate.with_pace(|pace| pace.slow(self.seen.pace, now));
        }
        self.pause(outcome, now);
    }

    fn pause(&self, outcome: &Outcome, now: Timestamp) {
        let mut cause = outcome.clone();
        if let Some(peer) = &mut cause.peer {
            // Those who wait are told the same, and had no connection of their own.
            peer.reused = true;
        }
        self.lane.with_pause(|pause| {
            pause.trouble(self.seen.pause, cause, now, &self.node.lots);
        });
    }

    /// It asks for less, with its door open: it gets half, and peace when there is no half.
    fn slow(&self, outcome: &Outcome) {
        let now = self.node.now();
        if self.lane.gate.with_pace(|pace| pace.slow(self.seen.pace, now)) == Slowed::AtFloor {
            self.pause(outcome, now);
        }
    }

    fn put_away(&self, turn: Turn, connection: Connection, reusable: bool) {
        let young = connection.opened_at().elapsed() < CONNECTION_AGE;
        let most = self.lane.gate.with_pace(|pace| pace.limits().messages_per_connection);
        let fresh = connection.transactions() < most.get();
        if reusable && young && fresh && !self.node.is_stopping() {
            turn.keep(self.lane.door, connection, self.node.now());
        } else {
            tokio::spawn(connection.quit());
        }
    }
}

/// No mail host is such as the receiver's rules want it.
fn no_passage((mx, failure): &(Box<str>, TlsFailure)) -> Outcome {
    let rule = match failure {
        TlsFailure::DnssecInvalid => TlsRule::Dane,
        _ => TlsRule::MtaSts,
    };
    let peer = Peer {
        tls_rule: Some(rule),
        tls_failure: Some(*failure),
        way: Some(WayOut::Direct),
        ..Peer::new(mx, None)
    };
    Outcome { peer: Some(peer), ..Outcome::fault(Stage::StartTls, Fault::TlsRequired) }
}

fn is_closing(outcome: &Outcome) -> bool {
    matches!(&outcome.answer, Said::Reply(reply) if reply.code == CLOSING)
}
