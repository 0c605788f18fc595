//! The outside: a name server and a mail server that takes everything at once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use mail::sink::{MessageAction, Policy, Received, Sink, SinkOptions};
use sandbox::dns::DnsServer;
use tokio::sync::watch;

use crate::Outcome;

/// Without a new message for this long, the measurement has failed.
const SILENCE: Duration = Duration::from_mins(1);

/// More than any server keeps: it stands for many mail servers at one address.
const CONNECTIONS: usize = 20_000;

/// Counts what arrives.
struct Count {
    messages: watch::Sender<usize>,
    latest: Mutex<Instant>,
}

impl Policy for Count {
    fn message(&self, message: &Received) -> MessageAction {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = message.at;
        self.messages.send_modify(|messages| *messages += 1);
        MessageAction::Accept
    }
}

/// The name server and the mail server.
pub(crate) struct Receiver {
    dns: DnsServer,
    sink: Sink,
    count: Arc<Count>,
}

impl Receiver {
    /// Receives for so many domains, each with a mail host of its own name.
    pub(crate) async fn start(domains: usize) -> Outcome<Self> {
        let dns = DnsServer::start().await?;
        for number in 0..domains {
            let (domain, host) = (domain(number), format!("mx.{}", domain(number)));
            dns.add_mx(&domain, 10, &host)?;
            dns.add_address(&host, Ipv4Addr::LOCALHOST.into())?;
        }
        let messages = watch::Sender::new(0);
        let count = Arc::new(Count { messages, latest: Mutex::new(Instant::now()) });
        let policy: Arc<dyn Policy> = Arc::clone(&count) as _;
        let options = SinkOptions {
            max_connections: CONNECTIONS,
            max_connections_per_address: CONNECTIONS,
            ..SinkOptions::default()
        };
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), options, policy, None).await?;
        Ok(Self { dns, sink, count })
    }

    /// The name server.
    pub(crate) const fn dns(&self) -> &DnsServer {
        &self.dns
    }

    /// Where the mail server listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.sink.address()
    }

    /// Messages so far.
    pub(crate) fn received(&self) -> usize {
        *self.count.messages.borrow()
    }

    /// Waits for so many messages; when the last of them came.
    pub(crate) async fn has(&self, wanted: usize) -> Outcome<Instant> {
        let mut messages = self.count.messages.subscribe();
        while *messages.borrow_and_update() < wanted {
            if tokio::time::timeout(SILENCE, messages.changed()).await.is_err() {
                let received = self.received();
                return Err(format!("only {received} of {wanted} messages arrived").into());
            }
        }
        Ok(*self.count.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A recipient's domain.
pub(crate) fn domain(number: usize) -> String {
    format!("d{number}.receiver.test")
}
