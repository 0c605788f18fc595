//! A real SMTP receiver that keeps what it takes and can change its mind.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mail::sink::{
    AcceptAll, Action, Asked, MessageAction, Policy, Received, Sink, SinkOptions, SinkReply,
};
use parking_lot::{Mutex, RwLock};

use super::letter::Letter;

/// A receiver.
pub(crate) struct Inbox {
    sink: Sink,
    desk: Arc<Desk>,
}

/// What the receiver's connections share.
struct Desk {
    policy: RwLock<Arc<dyn Policy>>,
    taken: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

impl Inbox {
    /// Receives at `address`, taking everything until told otherwise.
    pub(crate) async fn start(address: SocketAddr, options: SinkOptions) -> Self {
        let desk = Arc::new(Desk {
            policy: RwLock::new(Arc::new(AcceptAll)),
            taken: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let policy: Arc<dyn Policy> = Arc::clone(&desk) as _;
        let sink = Sink::start(address, options, policy, None).await.unwrap();
        Self { sink, desk }
    }

    pub(crate) fn port(&self) -> u16 {
        self.sink.address().port()
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.sink.address().ip()
    }

    /// Does as `policy` says from now on.
    pub(crate) fn obey(&self, policy: impl Policy) {
        *self.desk.policy.write() = Arc::new(policy);
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.desk.connections.load(Ordering::Relaxed)
    }

    /// Everything it took, in its order.
    pub(crate) fn taken(&self) -> Vec<Received> {
        self.desk.taken.lock().clone()
    }

    /// The only message it took.
    pub(crate) fn only(&self) -> (Received, Letter) {
        let mut taken = self.taken();
        assert_eq!(taken.len(), 1, "one message was to be received");
        let received = taken.remove(0);
        let letter = Letter::read(&received.data);
        (received, letter)
    }
}

impl Policy for Desk {
    fn connection(&self, from: SocketAddr) -> Action {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.policy.read().connection(from)
    }

    fn sender(&self, asked: Asked<'_>) -> Action {
        self.policy.read().sender(asked)
    }

    fn recipient(&self, asked: Asked<'_>) -> Action {
        self.policy.read().recipient(asked)
    }

    fn message(&self, message: &Received) -> MessageAction {
        let action = self.policy.read().message(message);
        let takes = match &action {
            MessageAction::Accept | MessageAction::AcceptAndDisconnect => true,
            MessageAction::Reply(reply) => reply.code / 100 == 2,
            MessageAction::Disconnect | MessageAction::Stall => false,
        };
        if takes {
            self.taken.lock().push(message.clone());
        }
        action
    }
}

/// Decides by the recipient's address.
pub(crate) struct ByRecipient<F>(pub(crate) F);

impl<F: Fn(&str) -> Action + Send + Sync + 'static> Policy for ByRecipient<F> {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        (self.0)(asked.recipient)
    }
}

/// A reply to a recipient.
pub(crate) fn reply(code: u16, text: &str) -> Action {
    Action::Reply(SinkReply::new(code, text))
}
