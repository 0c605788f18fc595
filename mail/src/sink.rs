//! An SMTP receiver: it takes mail and hands it on, and relays nothing.
//!
//! The server takes bounces and complaints with it; `lumora dev` shows with it what a receiver got;
//! tests and benchmarks receive with it. A
//! [`Policy`] says of each recipient and each message whether it is taken, refused, left without
//! an answer or dropped.
//!
//! # Contract
//! - A message that was answered with 250 was handed over before: through the bounded channel, or
//!   to [`Policy::message`] or [`Policy::settle`]. A full channel slows the sender down, and nothing is lost.
//! - `data` is what the sender's message was: dots unstuffed, no trace headers added.
//! - A line that does not end in CRLF, in a command or in a message, ends the connection: a
//!   receiver that guesses at line ends can be smuggled to.
//! - Bounded: connections, message octets, recipients, line length, idle time. Dropping the sink
//!   closes its port and its connections.

mod places;
mod receive;
mod serve;

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use crate::stream::Socket;

/// A reply in the sink's words; one line, such as `(450, "4.7.1 come back later")`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkReply {
    /// The three-digit code. 421 closes the connection after it.
    pub code: u16,
    /// The text, enhanced code first. Control characters are taken out.
    pub text: String,
}

impl SinkReply {
    /// A reply.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// What happens at the greeting, at MAIL or at RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Accept,
    /// Answer this.
    Reply(SinkReply),
    /// Never answer; the connection stays until the sender leaves or [`SinkOptions::idle`] ends.
    Stall,
    /// Close without a word.
    Disconnect,
}

/// What happens to a message after its final dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageAction {
    /// Take it, hand it on and say 250 with the sink's own text.
    Accept,
    /// Take it, hand it on and answer this; a code other than 2yz refuses it and hands nothing on.
    Reply(SinkReply),
    /// Take it and close without an answer: the sender cannot know (RFC 1047).
    AcceptAndDisconnect,
    /// Close without an answer and without taking it.
    Disconnect,
    /// Never answer and do not take it.
    Stall,
}

/// Who asks, at RCPT.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The sender's side of the connection.
    pub from: SocketAddr,
    /// The name after EHLO or HELO.
    pub helo: &'a str,
    /// The address in MAIL; empty for the null sender.
    pub mail_from: &'a str,
    /// The address in RCPT.
    pub recipient: &'a str,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What becomes of a message, once it is known.
pub type Settled<'a> = Pin<Box<dyn Future<Output = MessageAction> + Send + 'a>>;

/// What the sink answers. Every method has the friendly answer as its default; all are called on
/// the connection's task and must not block.
pub trait Policy: Send + Sync + 'static {
    /// A new connection.
    fn connection(&self, _from: SocketAddr) -> Action {
        Action::Accept
    }

    /// A sender; `recipient` is empty here.
    fn sender(&self, _asked: Asked<'_>) -> Action {
        Action::Accept
    }

    /// A recipient.
    fn recipient(&self, _asked: Asked<'_>) -> Action {
        Action::Accept
    }

    /// A whole message.
    fn message(&self, _message: &Received) -> MessageAction {
        MessageAction::Accept
    }

    /// A whole message, where the answer waits for something, such as a disk.
    fn settle<'a>(&'a self, message: &'a Received) -> Settled<'a> {
        Box::pin(std::future::ready(self.message(message)))
    }
}

/// Takes everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AcceptAll;

impl Policy for AcceptAll {}

/// One message as it was received.
#[derive(Clone)]
pub struct Received {
    /// The sender's side of the connection.
    pub from: SocketAddr,
    /// The name after EHLO or HELO.
    pub helo: String,
    /// The address in MAIL; empty for the null sender.
    pub mail_from: String,
    /// The addresses in RCPT that were accepted, in their order.
    pub recipients: Vec<String>,
    /// The message, dots unstuffed, CRLF at each line's end.
    pub data: Vec<u8>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// When its final dot was read.
    pub at: Instant,
    /// Which connection of this sink brought it, counted from zero.
    pub connection: u64,
    /// How many messages that connection had brought before.
    pub nth_on_connection: u32,
}

// Printed by mistake, a message must not become a leak.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} recipients, {} octets)", self.recipients.len(), self.data.len())
    }
}

/// The sink's name, offers and bounds.
#[derive(Clone)]
pub struct SinkOptions {
    /// The name in the greeting.
    pub name: String,
    /// Largest message, in octets; told with SIZE.
    pub max_message_octets: usize,
    /// Connections at a time; the next one gets 421.
    pub max_connections: usize,
    /// Connections at a time from one address, or one /64 of IPv6; the next one gets 421.
    pub max_connections_per_address: usize,
    /// How long a connection may last, however busy it is; without end when not set.
    pub longest_connection: Option<Duration>,
    /// Recipients of one message; the next one gets 452 (RFC 5321, section 4.5.3.1.8: at least
    /// 100).
    pub max_recipients: usize,
    /// How long the sender may be silent.
    pub idle: Duration,
    /// The certificate and key for STARTTLS; without it, it is not offered.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether PIPELINING is offered.
    pub pipelining: bool,
    /// Whether 8BITMIME and SMTPUTF8 are offered.
    pub international: bool,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            name: "sink.localhost".to_owned(),
            max_message_octets: 50 * 1024 * 1024,
            max_connections: 1_000,
            max_connections_per_address: 1_000,
            longest_connection: None,
            max_recipients: 1_000,
            idle: Duration::from_mins(5),
            tls: None,
            pipelining: true,
            international: true,
        }
    }
}

impl fmt::Debug for SinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkOptions({}, tls: {})", self.name, self.tls.is_some())
    }
}

/// A receiver without a port: whoever has a connection hands it over.
#[derive(Clone)]
pub struct Receiver {
    house: Arc<serve::House>,
    connections: Arc<AtomicU64>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({:?})", self.house.options)
    }
}

impl Receiver {
    /// Receives as [`Sink::start`] does. [`SinkOptions::max_connections`] is the caller's to keep.
    pub fn new(
        options: SinkOptions,
        policy: Arc<dyn Policy>,
        inbox: Option<mpsc::Sender<Received>>,
    ) -> Self {
        let house = Arc::new(serve::House { options, policy, inbox });
        Self { house, connections: Arc::default() }
    }

    /// Receives over `socket` until either side ends it.
    pub async fn receive(&self, socket: Socket, from: SocketAddr) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        self.house.receive(socket, from, number).await;
    }
}

/// A running receiver.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Sink {
    /// Listens on `address` (port 0: any free one) and receives until stopped or dropped.
    ///
    /// Messages go to `inbox` where there is one; without one [`Policy::message`] alone sees them.
    /// Must be called inside a tokio runtime.
    pub async fn start(
        address: SocketAddr,
        options: SinkOptions,
        policy: Arc<dyn Policy>,
        inbox: Option<mpsc::Sender<Received>>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let house = Arc::new(serve::House { options, policy, inbox });
        Ok(Self { address, accepting: tokio::spawn(serve::accept(listener, house)) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection, in the middle of whatever they do.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Ended by the abort: that is what was asked for.
        (&mut self.accepting).await.unwrap_or_default();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
