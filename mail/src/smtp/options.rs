//! What a client is told about itself, its patience and its demands.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use model::{address::DomainName, delivery::TlsRule, routing::WayOut, source::Sources};

use super::Dane;

use super::dial::{Dial, Tcp};

/// The port of mail exchange.
pub const SMTP_PORT: u16 = 25;

/// How a connection is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsPolicy {
    /// In clear, even where STARTTLS is offered.
    Never,
    /// STARTTLS whenever it is offered, with any certificate; in clear when the handshake fails
    /// (RFC 7435).
    Opportunistic,
    /// The same, and what a policy would have forbidden is told: MTA-STS in mode `testing`.
    Testing {
        /// Whether the policy names the mail host.
        named: bool,
    },
    /// STARTTLS with any certificate, or no delivery: the receiver has TLSA records and none that
    /// can be used (RFC 7672, section 2.2).
    Encrypted,
    /// STARTTLS with a certificate that names the mail host and leads to a trusted root, or no
    /// delivery.
    Required,
    /// The same, for an MTA-STS policy in mode `enforce` that names the mail host.
    MtaSts,
    /// STARTTLS with a certificate that the receiver's signed DNS names, or no delivery.
    Dane(Arc<Dane>),
    /// TLS from the first octet (RFC 8314) with a certificate as for [`TlsPolicy::Required`]: for
    /// smarthosts.
    Implicit,
}

impl TlsPolicy {
    /// Whether mail may go out in clear.
    pub const fn allows_clear(&self) -> bool {
        matches!(self, Self::Never | Self::Opportunistic | Self::Testing { .. })
    }

    /// Whether STARTTLS is looked for.
    pub(super) const fn starts_tls(&self) -> bool {
        !matches!(self, Self::Never | Self::Implicit)
    }

    /// What it is called in records.
    pub const fn rule(&self) -> Option<TlsRule> {
        match self {
            Self::Never | Self::Opportunistic => None,
            Self::Testing { .. } => Some(TlsRule::MtaStsTesting),
            Self::Encrypted | Self::Dane(_) => Some(TlsRule::Dane),
            Self::Required | Self::Implicit => Some(TlsRule::Required),
            Self::MtaSts => Some(TlsRule::MtaSts),
        }
    }
}

/// Who we are to a smarthost. Sent over TLS alone, unless [`Credentials::in_clear`].
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// Whether they may be sent without TLS: to a relay on the same machine.
    pub in_clear: bool,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How long each step may take (RFC 5321, section 4.5.3.2). A reply's time counts until its last
/// octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the TCP connection stands.
    pub connect: Duration,
    /// Until the greeting.
    pub greeting: Duration,
    /// For the reply to EHLO, HELO, STARTTLS, each step of AUTH.
    pub hello: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the reply to MAIL.
    pub mail: Duration,
    /// For the reply to each RCPT.
    pub rcpt: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For each block of the message to be taken.
    pub block: Duration,
    /// For the reply to the final dot. Too short makes duplicates (RFC 1047).
    pub end_of_data: Duration,
    /// For the replies to RSET and QUIT, on which nothing hangs.
    pub goodbye: Duration,
    /// For a whole transaction, from MAIL to the reply to the final dot.
    pub transaction: Duration,
    /// The least rate at which the peer must take the message, in octets a second; the whole
    /// message may take [`Timeouts::block`] and its size divided by this.
    pub least_octets_per_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            greeting: Duration::from_mins(5),
            hello: Duration::from_mins(5),
            handshake: Duration::from_mins(1),
            mail: Duration::from_mins(5),
            rcpt: Duration::from_mins(5),
            data: Duration::from_mins(2),
            block: Duration::from_mins(3),
            end_of_data: Duration::from_mins(10),
            goodbye: Duration::from_secs(5),
            transaction: Duration::from_mins(30),
            least_octets_per_s: 1_000,
        }
    }
}

/// Everything about a client that does not change from host to host.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The name after EHLO where [`ClientOptions::sources`] say none: ours in the DNS, forward and
    /// reverse.
    pub helo_name: DomainName,
    /// The port to dial. Configuration alone sets it, never data.
    pub port: u16,
    /// How connections are secured.
    pub tls: TlsPolicy,
    /// The addresses to dial from, each with its name after EHLO. By default the system's choice.
    pub sources: Sources,
    /// The way that outcomes tell of.
    pub way: Option<WayOut>,
    /// The patience.
    pub timeouts: Timeouts,
    /// Who we are to a smarthost.
    pub credentials: Option<Credentials>,
    /// Opens the connections.
    pub dial: Arc<dyn Dial>,
}

impl ClientOptions {
    /// Direct delivery by TCP with the RFC's timeouts and opportunistic TLS.
    pub fn new(helo_name: DomainName) -> Self {
        Self {
            helo_name,
            port: SMTP_PORT,
            tls: TlsPolicy::Opportunistic,
            sources: Sources::default(),
            way: None,
            timeouts: Timeouts::default(),
            credentials: None,
            dial: Arc::new(Tcp),
        }
    }

    /// The name after EHLO towards a server at `target`.
    pub(super) fn helo_towards(&self, target: Option<IpAddr>) -> &DomainName {
        let source = target.and_then(|target| self.sources.towards(target));
        source.map_or(&self.helo_name, |source| &source.helo_name)
    }
}
