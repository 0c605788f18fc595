//! An open session: asked to deliver, kept, closed.

mod transaction;

use std::{fmt, time::Duration};

use lettre::transport::smtp::commands::{Quit, Rset};
use model::{
    address::EmailAddress,
    delivery::{Answer, Fault, Outcome, Peer, Stage, Tls, Verification},
};
use tokio::time::Instant;

use super::{Extensions, Timeouts, TlsPolicy, reply::Lines, wire::Wire};

/// The code by which a server says that it closes the connection, whatever it was asked.
pub(super) const CLOSING: u16 = 421;

/// Who sends to whom.
#[derive(Clone, Copy)]
pub struct Envelope<'a> {
    /// Where bounces go; `None` is the null sender.
    pub sender: Option<&'a EmailAddress>,
    /// The recipients. [`Transaction::outcomes`] has their order.
    pub recipients: &'a [EmailAddress],
    /// Whether the message itself needs SMTPUTF8 (non-ASCII in its header fields, RFC 6532). What
    /// the addresses need is seen from them.
    pub smtputf8: bool,
}

// Printed by mistake, an envelope must not become a leak.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} recipients)", self.recipients.len())
    }
}

/// What one transaction told.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// One per recipient, in the envelope's order.
    pub outcomes: Vec<Outcome>,
    /// Whether the connection can take another message.
    pub reusable: bool,
    /// The connection had been kept and was dead before the server heard of this message: the
    /// same may be tried at once on a fresh one, and nobody sees it twice.
    pub retry_at_once: bool,
}

/// The connection is of no more use, and this is what is known of those without an answer.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) stage: Stage,
    pub(super) answer: Answer,
}

impl Lost {
    pub(super) const fn fault(stage: Stage, fault: Fault) -> Self {
        Self { stage, answer: Answer::Fault(fault) }
    }

    pub(super) fn reply(stage: Stage, lines: &Lines) -> Self {
        Self { stage, answer: Answer::Reply(lines.to_reply()) }
    }
}

/// How long the parts of opening a connection took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Until the TCP connection stood.
    pub connect: Duration,
    /// The TLS handshake, where there was one.
    pub tls: Option<Duration>,
}

/// A session that was greeted and, where that was to be, encrypted and authenticated.
///
/// Dropping it closes the socket; [`Connection::quit`] takes leave.
#[derive(Debug)]
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) peer: Peer,
    pub(super) extensions: Extensions,
    pub(super) timeouts: Timeouts,
    /// What it was opened under.
    policy: TlsPolicy,
    opened_at: Instant,
    transactions: u32,
    /// Whether a transaction was begun that the server may still hold: RSET goes first.
    dirty: bool,
    timings: Timings,
    /// Whether the dialogue is out of step: a transaction was lost, or dropped half-way.
    broken: bool,
}

impl Connection {
    pub(super) fn new(wire: Wire, peer: Peer, timeouts: Timeouts, policy: TlsPolicy) -> Self {
        Self {
            wire,
            peer,
            extensions: Extensions::default(),
            timeouts,
            policy,
            opened_at: Instant::now(),
            transactions: 0,
            dirty: false,
            timings: Timings::default(),
            broken: false,
        }
    }

    pub(super) const fn timed(mut self, timings: Timings) -> Self {
        self.timings = timings;
        self
    }

    /// How long it took to open it.
    pub const fn timings(&self) -> Timings {
        self.timings
    }

    /// Who is at the other end, and how the connection is secured.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether mail under this policy may use the connection, which may have been opened under
    /// another one. If so, outcomes tell of this policy from now on.
    pub fn adopt(&mut self, policy: &TlsPolicy) -> bool {
        let verification = self.peer.tls.as_ref().map(Tls::verification);
        let by_name = matches!(verification, Some(Verification::Pkix | Verification::MtaSts));
        let fulfils = match policy {
            TlsPolicy::Never | TlsPolicy::Opportunistic => true,
            // What a fresh connection would find wrong is to be told each time.
            TlsPolicy::Testing { named } => (*named && by_name) || self.policy == *policy,
            TlsPolicy::Encrypted => verification.is_some(),
            TlsPolicy::Required | TlsPolicy::MtaSts | TlsPolicy::Implicit => by_name,
            TlsPolicy::Dane(_) => self.policy == *policy && verification.is_some(),
        };
        if fulfils {
            self.peer.tls_rule = policy.rule();
            if let Some(tls) = &mut self.peer.tls
                && by_name
            {
                let by_policy = *policy == TlsPolicy::MtaSts;
                tls.verification =
                    Some(if by_policy { Verification::MtaSts } else { Verification::Pkix });
            }
        }
        fulfils
    }

    /// What the server offers.
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// How many transactions were begun.
    pub const fn transactions(&self) -> u32 {
        self.transactions
    }

    /// When the connection was opened, on the runtime's clock.
    pub const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Whether the connection looks usable: the server has neither closed it nor announced that
    /// it will. Does not wait and sends nothing.
    pub fn is_idle_alive(&mut self) -> bool {
        self.broken = self.broken || !self.wire.is_quiet();
        !self.broken
    }

    /// Makes the server forget a transaction, and shows whether it is still there; waits at most
    /// [`Timeouts::goodbye`]. There is no need to call it between messages:
    /// [`Connection::deliver`] does what is needed.
    pub async fn reset(&mut self) -> bool {
        if !self.is_idle_alive() {
            return false;
        }
        self.broken = true;
        let reply = self.ask(Stage::MailFrom, Rset, self.timeouts.goodbye).await;
        self.broken = !reply.is_ok_and(|lines| lines.is_class(2));
        self.dirty = self.broken;
        !self.broken
    }

    /// Says QUIT, waits at most [`Timeouts::goodbye`] for the reply, and closes.
    pub async fn quit(mut self) {
        let deadline = Instant::now() + self.timeouts.goodbye;
        if self.is_idle_alive() {
            self.wire.put(Quit);
            if self.wire.send(deadline).await.is_ok() {
                // Any answer will do, and none.
                drop(self.wire.reply(deadline).await);
            }
        }
        self.wire.close(deadline).await;
    }

    /// One command and its reply.
    pub(super) async fn ask(
        &mut self,
        stage: Stage,
        command: impl fmt::Display,
        patience: Duration,
    ) -> Result<Lines, Lost> {
        let deadline = Instant::now() + patience;
        self.wire.put(command);
        self.send(stage, deadline).await?;
        self.hear(stage, deadline).await
    }

    /// Writes what was put. A server that has said something unasked is not written to, for its
    /// reply to one command would count as that to another.
    pub(super) async fn send(&mut self, stage: Stage, deadline: Instant) -> Result<(), Lost> {
        if self.wire.has_read_ahead() {
            self.wire.outbox.clear();
            let unasked = self.hear(stage, deadline).await?;
            drop(unasked);
            return Err(Lost::fault(stage, Fault::Protocol));
        }
        match self.wire.send(deadline).await {
            Ok(()) => Ok(()),
            // A server that closes says why before it does.
            Err(Fault::Disconnected) => match self.last_words().await {
                Some(lines) if lines.code == CLOSING => Err(Lost::reply(stage, &lines)),
                _ => Err(Lost::fault(stage, Fault::Disconnected)),
            },
            Err(fault) => Err(Lost::fault(stage, fault)),
        }
    }

    /// Reads the next reply. 421 is the end of the connection at any stage.
    pub(super) async fn hear(&mut self, stage: Stage, deadline: Instant) -> Result<Lines, Lost> {
        match self.wire.reply(deadline).await {
            Ok(lines) if lines.code == CLOSING => Err(Lost::reply(stage, &lines)),
            Ok(lines) => Ok(lines),
            Err(fault) => Err(Lost::fault(stage, fault)),
        }
    }

    /// What the server said before it stopped listening.
    async fn last_words(&mut self) -> Option<Lines> {
        self.wire.reply(Instant::now() + self.timeouts.goodbye).await.ok()
    }
}
