//! The platform as one thing: started, asked, stopped.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use eventlog::HashPurpose;
use model::{ApiKeyId, MessageId, Timestamp, event::KeyedHash, tenant::Scope};
use projections::KeyView;
use ractor::{Actor, ActorRef};
use tokio::sync::oneshot;

use crate::{
    admission::Overloaded,
    error::{CancelError, SendError, StartError},
    figures::{PlatformFigures, SiteFigures},
    gateway,
    guardian::{Guardian, Start},
    message,
    node::Node,
    options::PlatformParts,
    rates::{RateDecision, Rates},
    registry::{Full, Share},
    request::{Caller, SendRequest, Sent},
    site,
};

/// Longest API key secret that is looked at, in octets.
const MAX_SECRET_OCTETS: usize = 128;
/// How often a stop looks whether everybody has left.
const STOP_POLL: Duration = Duration::from_millis(5);

/// Takes messages over and delivers them. Cheap to clone; when the last clone is dropped, nothing
/// new is begun any more.
#[derive(Clone)]
pub struct Platform {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<Node>,
    rates: Rates,
    guardian: Option<ActorRef<Start>>,
    /// One domain or template is added at a time, so that a name is not added twice.
    adding: tokio::sync::Mutex<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.stop();
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

/// What was still under way when a stop came to its deadline. The alarm takes it up after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Messages that had not left memory.
    pub left_behind: usize,
}

impl Platform {
    /// Starts the actors. With [`crate::PlatformOptions::deliver`] everything that is unfinished in
    /// the record is taken up.
    pub async fn start(parts: PlatformParts) -> Result<Self, StartError> {
        let rates = Rates::new(Arc::clone(&parts.clock));
        let node = Node::new(parts)?;
        let guardian = if node.options.deliver {
            let spawned = Guardian::spawn(None, Guardian, Arc::clone(&node)).await;
            Some(spawned.map_err(|error| StartError::Actor(error.to_string()))?.0)
        } else {
            None
        };
        let adding = tokio::sync::Mutex::default();
        Ok(Self { inner: Arc::new(Inner { node, rates, guardian, adding }) })
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.inner.node
    }

    pub(crate) fn adding(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.adding
    }

    /// Takes a message over. Once this is answered with [`Sent`], the message is durable and will
    /// be delivered or end in a recorded bounce or failure.
    ///
    /// Dropping the future does not take the message back.
    pub async fn send(&self, caller: &Caller, request: SendRequest) -> Result<Sent, SendError> {
        gateway::send(self.node(), caller, request).await
    }

    /// Takes a message back that is scheduled or waits for another attempt.
    pub async fn cancel(&self, caller: &Caller, message: MessageId) -> Result<(), CancelError> {
        let node = self.node();
        if node.is_stopping() {
            return Err(CancelError::Unavailable);
        }
        let (reply, answer) = oneshot::channel();
        let cancel = message::Msg::Cancel { caller: *caller, reply };
        node.messages
            .cast(&message, cancel, Share::Whole)
            .map_err(|Full| Overloaded::retry_after(&node.lots))
            .map_err(|retry_after| CancelError::Overloaded { retry_after })?;
        answer.await.unwrap_or(Err(CancelError::Internal))
    }

    /// The key with this secret, if it opens anything at `now` for somebody at `address`. It may do
    /// what both it and its app may.
    ///
    /// It is looked up by a keyed hash, so the time that takes says nothing of any secret.
    pub fn authenticate(
        &self,
        secret: &str,
        now: Timestamp,
        address: Option<IpAddr>,
    ) -> Option<Arc<KeyView>> {
        if secret.len() > MAX_SECRET_OCTETS {
            return None;
        }
        let node = self.node();
        let hash = node.vault.keyed_hash(HashPurpose::ApiKey, secret.as_bytes());
        let key = node.read.keys().find(&KeyedHash(hash))?;
        // From elsewhere it opens nothing, and does not say so.
        if !key.is_usable(now) || !key.is_allowed_from(address) {
            return None;
        }
        key.last_use.note(now);
        let permitted = &node.read.policies().app(key.app)?.permissions;
        if key.scopes.is_subset(permitted) {
            return Some(key);
        }
        let scopes = key.scopes.intersection(permitted).copied().collect();
        Some(Arc::new(KeyView { scopes, ..KeyView::clone(&key) }))
    }

    /// Whether a key that was good still is, and may do this: for requests that last.
    pub fn is_still_allowed(&self, key: ApiKeyId, scope: Scope, now: Timestamp) -> bool {
        let read = &self.node().read;
        let Some(key) = read.keys().get(key).filter(|key| key.is_usable(now)) else { return false };
        let app = read.policies().app(key.app);
        key.scopes.contains(&scope) && app.is_some_and(|app| app.permissions.contains(&scope))
    }

    /// Counts a request of `key`, and says whether it may go on.
    pub fn rate(&self, key: &KeyView) -> RateDecision {
        self.inner.rates.count(key)
    }

    /// How many password hashes were made or compared, since the start. Each costs the same, whoever
    /// is meant.
    pub fn passwords_hashed(&self) -> u64 {
        self.node().passwords.hashed()
    }

    /// Whether messages are taken over: not while stopping.
    pub fn is_open(&self) -> bool {
        !self.node().is_stopping()
    }

    /// How busy it is.
    pub fn figures(&self) -> PlatformFigures {
        let node = self.node();
        PlatformFigures {
            live_messages: node.messages.len(),
            live_sites: node.sites.len(),
            in_flight: node.figures.in_flight.get(),
            waiting: node.figures.waiting.get(),
            content_bytes: node.admission.content_bytes(),
        }
    }

    /// The connections of the sites that sent most since they came into memory, at most so many,
    /// those first.
    pub fn busiest_sites(&self, most: usize) -> Vec<SiteFigures> {
        site::busiest(self.node(), most)
    }

    /// Takes nothing over any more, lets transactions that are under way end and be recorded, at
    /// most for `drain`, and returns. What waits is taken up by the next start.
    ///
    /// The log and the read models are the caller's to close, after this.
    pub async fn stop(&self, drain: Duration) -> Stopped {
        let node = self.node();
        node.stop();
        node.sites.cast_all(|| site::Msg::Tick);
        let everybody_left = async {
            // Polled: this happens once, and those who leave need not know of it.
            while !node.is_empty() {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        let in_time = tokio::time::timeout(drain, everybody_left).await.is_ok();
        let left_behind = node.messages.len();
        node.end();
        if let Some(guardian) = &self.inner.guardian {
            guardian.drain().ok();
        }
        if !in_time {
            tracing::warn!(left_behind, "stopped before everything under way had ended");
        }
        Stopped { left_behind }
    }
}
