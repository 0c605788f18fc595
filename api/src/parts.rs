//! What the room stands on.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actors::{Clock, Platform};
use eventlog::{EventLog, Notary, Vault};
use poem::Request;
use projections::ReadModels;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    epochs::Epochs,
    following::Waiting,
    operator::OperatorToken,
    peer::Network,
    problem::{Code, Problem},
};

/// Longest wait for a thread to read on; then the answer is 503.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Writes the metrics of the whole process as Prometheus text.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API is made of.
#[derive(Clone)]
pub struct ApiParts {
    /// Sends, cancels, and knows keys and rates.
    pub platform: Platform,
    /// What is read back.
    pub read: ReadModels,
    /// The record: for content, and for waiting until a caller's own write can be read.
    pub log: Arc<dyn EventLog>,
    /// Opens content.
    pub vault: Vault,
    /// Signs what the log holds.
    pub notary: Arc<Notary>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Renders `/metrics`.
    pub metrics: RenderMetrics,
    /// The bounds.
    pub options: ApiOptions,
}

impl fmt::Debug for ApiParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiParts").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What a stranger may do, and bounds on what a stranger can make the server hold.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// How the server is reached from outside, without a slash at the end: decides whether cookies
    /// need TLS, and which pages are ours.
    pub public_url: String,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Longest time for the whole handshake, before the first request of a connection.
    pub handshake_deadline: Duration,
    /// Whose word counts on who speaks to them, in `X-Forwarded-For`.
    pub trusted_proxies: Vec<Network>,
    /// Who is told the metrics; `None`: everybody.
    pub metrics_from: Option<Vec<Network>>,
    /// Whether anybody may register a tenant.
    pub registration_open: bool,
    /// By what those who run the server are known; `None`: there is no way in for them.
    pub operator: Option<OperatorToken>,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Longest silence within a body.
    pub body_idle: Duration,
    /// Longest time for a whole body.
    pub body_deadline: Duration,
    /// Longest time for the head of a request, and for the wait between two requests of one
    /// connection.
    pub head_deadline: Duration,
    /// Longest time in which a caller takes nothing of an answer.
    pub write_idle: Duration,
    /// Connections at once; the next one waits until one closes.
    pub max_connections: usize,
    /// Connections at once from one address, or one /64 of IPv6; the next one is closed. A trusted
    /// proxy has as many as there are.
    pub max_connections_per_address: usize,
    /// Reads of content and read models at once; they occupy threads.
    pub max_reads: usize,
    /// Long polls and streams of events at once, of all keys; the next one gets 503.
    pub max_waiting: usize,
    /// Those of one key; the next one gets 429.
    pub max_waiting_per_key: usize,
    /// How often a stream without events shows that it lives.
    pub heartbeat: Duration,
    /// How long a stream lasts; then the client connects again.
    pub longest_stream: Duration,
    /// How long a read waits to see what was recorded before it.
    pub read_your_writes: Duration,
    /// How long requests under way may take once the server stops.
    pub stop_within: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8080".to_owned(),
            tls: None,
            handshake_deadline: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
            metrics_from: None,
            registration_open: false,
            operator: None,
            max_body_bytes: 40 * 1024 * 1024,
            body_idle: Duration::from_secs(15),
            body_deadline: Duration::from_mins(2),
            head_deadline: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            max_reads: 64,
            max_waiting: 2_000,
            max_waiting_per_key: 20,
            heartbeat: Duration::from_secs(15),
            longest_stream: Duration::from_hours(1),
            read_your_writes: Duration::from_secs(2),
            stop_within: Duration::from_secs(10),
        }
    }
}

/// The parts as every request sees them.
pub(crate) struct Shared {
    parts: ApiParts,
    reads: Arc<Semaphore>,
    pub(crate) waiting: Waiting,
    stopping: watch::Sender<bool>,
    epochs: OnceLock<Epochs>,
}

impl Shared {
    pub(crate) fn new(parts: ApiParts) -> Arc<Self> {
        let reads = Arc::new(Semaphore::new(parts.options.max_reads.max(1)));
        let (waiting, stopping) = (Waiting::default(), watch::Sender::new(false));
        Arc::new(Self { parts, reads, waiting, stopping, epochs: OnceLock::new() })
    }

    /// The epochs of the record; none begins while it is served. Blocks on the disk the first time.
    pub(crate) fn epochs(&self) -> Result<&Epochs, Problem> {
        if let Some(epochs) = self.epochs.get() {
            return Ok(epochs);
        }
        let read = Epochs::of(self.log.as_ref())
            .map_err(|error| Problem::internal("the epochs cannot be read", &error))?;
        Ok(self.epochs.get_or_init(|| read))
    }

    /// The server stops: whoever waits is answered now.
    pub(crate) fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Tells when the server stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Waits until everything that is recorded by now can be read: a caller must see its own write.
    /// Bounded; whoever waited in vain reads what there is.
    pub(crate) async fn settled(&self) -> bool {
        let head = *self.log.head().borrow();
        let settled = self.read.caught_up(head, self.options.read_your_writes).await;
        if !settled {
            tracing::warn!(%head, "the read models are behind");
        }
        settled
    }

    /// Runs `ask` where blocking is allowed, as many at once as [`ApiOptions::max_reads`].
    pub(crate) async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = timeout(READ_PATIENCE, Arc::clone(&self.reads).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Problem::new(Code::Overloaded).retry_after_s(1));
        };
        let shared = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            // Held until the thread is free again, even if the caller has gone.
            let _permit = permit;
            ask(&shared)
        });
        asked.await.unwrap_or_else(|error| Err(Problem::internal("a read panicked", &error)))
    }

    /// The parts that a request was given.
    pub(crate) fn of(request: &Request) -> Result<&Arc<Self>, Problem> {
        let shared = request.data::<Arc<Self>>();
        shared.ok_or_else(|| Problem::internal("a request without its parts", &"not wired"))
    }
}

impl std::ops::Deref for Shared {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.parts
    }
}
