//! One transaction, from composing to the answer.

use std::{net::IpAddr, sync::Arc, time::Duration};

use mail::{
    dns::{LookupError, route::Candidate},
    smtp::{ConnectFailure, Connection, Envelope, Transaction, connect},
};
use model::delivery::{Answer as Said, Fault, Outcome, Stage, Verdict};
use ractor::ActorRef;
use tokio::time::Instant;

use super::{Answer, Job, Lane, Msg, Way};
use crate::{
    entropy,
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
    // Composed and signed before anything is taken that others wait for.
    let printed = match job.letter.printed(&node).await {
        Ok(printed) => printed,
        Err(Unprintable::Never(fault)) => {
            return job.answer.all(&Outcome::fault(Stage::Transfer, fault));
        }
        Err(Unprintable::NotNow) => return job.answer.not_tried(),
    };
    let turns = async {
        let turn = lane.turn().await?;
        let flight = node.in_flight.acquire().await.ok()?;
        Some((turn, flight))
    };
    let turns = tokio::select! {
        turns = turns => turns,
        () = node.stopped() => None,
    };
    let Some(turns) = turns else { return job.answer.not_tried() };
    let pause = lane.pause();
    if pause.until > node.now() {
        // It closed its door while this one waited for a turn.
        site.send_message(Msg::Back(Box::new(job))).ok();
        return;
    }
    let raised = node.figures.in_flight.raise();
    let Job { letter, way, recipients, mut answer, .. } = job;
    let sender = envelope_sender(&node, &letter);
    let envelope = Envelope {
        sender: Some(&sender),
        recipients: &recipients,
        smtputf8: printed.needs_smtputf8,
    };
    let attempt = Attempt { node: &node, lane: &lane, way: &way, letter: &letter };
    let outcomes = attempt.run(&envelope, &printed, pause.turn, &mut answer).await;
    drop((turns, raised));
    match outcomes {
        Ok(outcomes) => answer.each(outcomes),
        Err(outcome) => answer.all(&outcome),
    }
}

struct Attempt<'a> {
    node: &'a Node,
    lane: &'a Lane,
    way: &'a Way,
    letter: &'a Letter,
}

impl Attempt<'_> {
    /// The outcomes of a transaction, or the one outcome of there being none.
    async fn run(
        &self,
        envelope: &Envelope<'_>,
        printed: &Printed,
        pause_turn: u64,
        answer: &mut Answer,
    ) -> Result<Vec<Outcome>, Outcome> {
        let opened = match self.lane.take_kept() {
            Some(kept) => Ok(kept),
            None => self.open().await,
        };
        let mut connection = opened.inspect_err(|outcome| self.trouble(pause_turn, outcome))?;
        answer.begin();
        let mut transaction = self.transact(&mut connection, envelope, printed).await;
        if transaction.retry_at_once {
            // It had died while it was kept, and the receiver has heard nothing.
            connection =
                self.open().await.inspect_err(|outcome| self.trouble(pause_turn, outcome))?;
            transaction = self.transact(&mut connection, envelope, printed).await;
        }
        let Transaction { outcomes, reusable, .. } = transaction;
        match outcomes.iter().find(|outcome| is_closing(outcome)) {
            Some(closing) => self.trouble(pause_turn, closing),
            None => {
                if outcomes.iter().any(|outcome| matches!(outcome.answer, Said::Reply(_))) {
                    self.lane.with_pause(|pause| pause.well(pause_turn));
                }
            }
        }
        self.put_away(connection, reusable);
        tracing::debug!(message = %self.letter.message, "a transaction ended");
        Ok(outcomes)
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

    /// A connection to the first host that grants one.
    async fn open(&self) -> Result<Connection, Outcome> {
        let node = self.node;
        let (candidates, client) = match self.way {
            Way::Mx(route) => {
                let found = node.router.candidates(route, entropy::bits()).await;
                (found.map_err(|fault| Outcome::fault(Stage::Dns, fault))?, node.client.clone())
            }
            Way::Smarthost => self.smarthost().await?,
        };
        let begun = Instant::now();
        let mut worst: Option<Outcome> = None;
        for Candidate { mx, ip } in &candidates {
            if worst.is_some() && begun.elapsed() > CONNECT_BUDGET {
                break;
            }
            match connect(mx, *ip, &client, &node.tls).await {
                Ok(connection) => {
                    node.figures.connections.increment(1);
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

    /// The relay is set by who runs the server: a private address is what they mean.
    async fn smarthost(&self) -> Result<(Vec<Candidate>, mail::smtp::ClientOptions), Outcome> {
        let unavailable = || Outcome::fault(Stage::Dns, Fault::DnsUnavailable);
        let relay = self.node.options.smarthost.as_ref().ok_or_else(unavailable)?;
        let ips = if let Ok(ip) = relay.host.parse::<IpAddr>() {
            vec![ip]
        } else {
            // Whatever is wrong with the relay's name is not the recipient's fault.
            let found = self.node.router.resolver().addresses(&relay.host).await;
            found.map_err(|_: LookupError| unavailable())?
        };
        let candidate = |ip| Candidate { mx: relay.host.clone(), ip };
        let candidates = ips.into_iter().map(candidate).collect();
        Ok((candidates, relay.apply(self.node.client.clone())))
    }

    /// No connection, or one that was closed on us: the site is left in peace for a while.
    fn trouble(&self, pause_turn: u64, outcome: &Outcome) {
        // A verdict on the domain is none on the site, and the DNS remembers its own failures.
        if outcome.stage == Stage::Dns || outcome.verdict() != Verdict::Deferred {
            return;
        }
        let now = self.node.now();
        self.lane.with_pause(|pause| pause.trouble(pause_turn, outcome.clone(), now));
    }

    fn put_away(&self, connection: Connection, reusable: bool) {
        let young = connection.opened_at().elapsed() < CONNECTION_AGE;
        let fresh = connection.transactions() < self.node.options.max_per_connection;
        if reusable && young && fresh && !self.node.is_stopping() {
            self.lane.keep(connection, self.node.now());
        } else {
            tokio::spawn(connection.quit());
        }
    }
}

fn is_closing(outcome: &Outcome) -> bool {
    matches!(&outcome.answer, Said::Reply(reply) if reply.code == CLOSING)
}
