//! The message actor: one for each email that something is being done about.
//!
//! It is spawned with the command to accept, or woken by the alarm. It holds the content from
//! acceptance until the first attempt is over, so that this attempt reads nothing back. It leaves
//! memory as soon as nothing is under way: what is deferred or scheduled waits on disk.

mod accept;
mod deliver;
mod record;
mod report;

use std::sync::Arc;

use model::{
    By, Cause, Event, MessageId, RecipientIndex, StreamId, Timestamp,
    delivery::Outcome,
    event::RecipientHash,
    message::{Command, Message, MessageEvent, Refusal, Sent, decide},
    pause::Who,
    routing::WayOut,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub(crate) use self::{
    accept::{Acceptance, Standing, decide_first},
    report::{Claim, Said, Whom},
};
use crate::{
    error::CancelError,
    figures::Raised,
    letter::Content,
    node::Node,
    registry::{Presence, Resident, Seat},
    request::Caller,
    sourced::{Aggregate, Sourced},
};

impl Aggregate for Message {
    type Event = MessageEvent;

    fn own(event: Event) -> Option<MessageEvent> {
        match event {
            Event::Message(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &MessageEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &MessageEvent, at: Timestamp) {
        Self::evolve(self, event, at);
    }
}

/// What the actor of a message is told.
pub(crate) enum Msg {
    /// Take it over for delivery.
    Accept(Box<Acceptance>),
    /// It was taken over with others, and is durable: its content.
    Adopt(Box<Content>),
    /// Its alarm went off.
    Wake,
    /// What a site has to say of some recipients.
    Told(Told),
    /// Take it back.
    Cancel {
        /// Who asks: another app's message is unknown to it.
        caller: Caller,
        /// For the answer.
        reply: oneshot::Sender<Result<(), CancelError>>,
    },
    /// Try again now who waits for another attempt.
    Retry {
        /// Who asks.
        by: Who,
        /// For the answer: whether anybody waited.
        reply: oneshot::Sender<Result<bool, CancelError>>,
    },
    /// Take it back from a recipient who is to be forgotten.
    Forget {
        /// Who.
        person: RecipientHash,
        /// Who wants it.
        by: By,
        /// For the answer: whether it has ended for everybody.
        reply: oneshot::Sender<Result<bool, CancelError>>,
    },
    /// A report came in that proves to be about it.
    Report {
        /// What it says.
        claims: Vec<Claim>,
        /// For the answer: of how many recipients something was recorded, once all that follows
        /// from the report is durable. Dropped when it is not.
        reply: oneshot::Sender<usize>,
    },
    /// Told to itself: leave, now that what stood in the mailbox is done. Leaving at once would
    /// hand all of that on to a successor, which would do the same: a burst would take the square
    /// of its length.
    Leave,
}

/// What a site has to say.
pub(crate) struct Told {
    /// The recipients that the site was to deliver to.
    pub(crate) recipients: Vec<RecipientIndex>,
    /// An outcome for each, in the same order.
    pub(crate) outcomes: Result<Vec<Outcome>, NotTried>,
    /// What was transmitted, when a transaction was begun.
    pub(crate) sent: Option<Sent>,
    /// The ways that are left.
    pub(crate) rest: Vec<WayOut>,
}

/// Nothing was attempted, and nothing is to be recorded: it waits on disk for another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotTried;

/// The actor.
#[derive(Default)]
pub(crate) struct MessageActor;

/// What it knows.
pub(crate) struct State {
    presence: Presence<MessageActor>,
    sourced: Option<Sourced<Message>>,
    content: Option<Arc<Content>>,
    under_way: UnderWay,
    /// Recipients were handed back untried: they are due, and yet it leaves.
    held_back: bool,
    /// A pause holds back all that is open, and the alarm knows of it.
    paused: bool,
    stay: Stay,
    _counted: Raised,
}

/// How far it is from leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    Here,
    /// It has told itself to leave.
    Asked,
    Leaving,
}

impl Resident for MessageActor {
    type Key = MessageId;
    type Context = Node;
    type Desk = ();

    fn desk(_: &Node, _: &MessageId) {}

    fn crashed(node: &Node) {
        node.crashed("message");
    }
}

impl Actor for MessageActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Seat<Self>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Msg>,
        seat: Seat<Self>,
    ) -> Result<State, ActorProcessingErr> {
        let presence = seat.take();
        let counted = presence.context().figures.live_messages.raise();
        Ok(State {
            presence,
            sourced: None,
            content: None,
            under_way: UnderWay::default(),
            held_back: false,
            paused: false,
            stay: Stay::Here,
            _counted: counted,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.stay == Stay::Leaving {
            state.presence.hand_on(msg);
            return Ok(());
        }
        match msg {
            Msg::Accept(acceptance) => state.accept(*acceptance).await,
            Msg::Adopt(content) => {
                state.content = Some(Arc::new(*content));
                state.wake().await;
            }
            Msg::Wake => state.wake().await,
            Msg::Told(told) => state.told(told).await,
            Msg::Cancel { caller, reply } => {
                // Who asked may have gone; what was done is done.
                reply.send(state.cancel(&caller).await).ok();
            }
            Msg::Retry { by, reply } => {
                // Who asked may have gone; what was done is done.
                reply.send(state.retry(by).await).ok();
            }
            Msg::Forget { person, by, reply } => {
                // Who asked may have gone; what was done is done.
                reply.send(state.forget(person, by).await).ok();
            }
            Msg::Report { claims, reply } => {
                if let Some(recorded) = state.report(claims).await {
                    // Who asked may have gone; what was done is done.
                    reply.send(recorded).ok();
                }
            }
            Msg::Leave => {
                state.stay = Stay::Here;
                state.leave_when_done(&myself);
                return Ok(());
            }
        }
        if !state.under_way.any() && state.stay == Stay::Here {
            state.stay = Stay::Asked;
            // Its own mailbox is open: it has not left.
            myself.send_message(Msg::Leave).ok();
        }
        Ok(())
    }
}

impl State {
    fn node(&self) -> &Arc<Node> {
        self.presence.context()
    }

    fn id(&self) -> MessageId {
        *self.presence.key()
    }

    fn stream(&self) -> StreamId {
        StreamId::Message(self.id())
    }

    /// The time for decisions: never before what was recorded, which the log may have moved on.
    fn now(&self) -> Timestamp {
        let recorded = self.sourced.as_ref().map(Sourced::at);
        recorded.map_or(self.node().now(), |at| at.max(self.node().now()))
    }

    /// The message as the log has it; `None`, reported, when it cannot be read.
    async fn loaded(&mut self) -> Option<&mut Sourced<Message>> {
        if self.sourced.is_none() {
            match Sourced::load(&self.node().journal, self.stream()).await {
                Ok(sourced) => self.sourced = Some(sourced),
                Err(error) => {
                    tracing::error!(message = %self.id(), %error, "a message could not be read");
                    return None;
                }
            }
        }
        self.sourced.as_mut()
    }

    fn decide(&self, command: &Command, standing: &Standing) -> Result<Decided, Refusal> {
        let absent = Message::default();
        let message = self.sourced.as_ref().map_or(&absent, Sourced::state);
        let paused = self.node().sender_pause(message).is_some();
        let facts = standing.facts(self.node(), self.under_way.any(), paused);
        let now = self.now();
        decide(message, command, &facts, now).map(|events| Decided { events, now })
    }

    /// Its alarm went off: it has expired, or somebody is due.
    async fn wake(&mut self) {
        if self.node().is_stopping() || self.under_way.any() {
            return;
        }
        let Some(sourced) = self.loaded().await else {
            self.held_back = true;
            return;
        };
        let accepted = sourced.state().accepted();
        let Some(expires_at) = accepted.map(|(_, accepted)| accepted.expires_at) else { return };
        if expires_at <= self.now() {
            self.record(&Command::Expire, By::Alarm).await;
        } else {
            self.deliver().await;
        }
    }

    async fn cancel(&mut self, caller: &Caller) -> Result<(), CancelError> {
        let sourced = self.loaded().await.ok_or(CancelError::Internal)?;
        let known =
            sourced.state().accepted().is_some_and(|(_, accepted)| accepted.app == caller.app);
        if !known {
            return Err(CancelError::Unknown);
        }
        self.record_once(&Command::Cancel, caller.by()).await.map(|_| ())
    }

    /// It is due from then on, and its alarm brings it back: so many that are asked for together
    /// come page by page.
    async fn retry(&mut self, by: Who) -> Result<bool, CancelError> {
        self.loaded().await.ok_or(CancelError::Internal)?;
        self.record_once(&Command::RetryNow(by), by.into()).await.map(|events| events > 0)
    }

    /// Whoever else is to get it still does.
    async fn forget(&mut self, person: RecipientHash, by: By) -> Result<bool, CancelError> {
        self.loaded().await.ok_or(CancelError::Internal)?;
        self.record_once(&Command::Forget(person), by).await?;
        let known = self.sourced.as_ref().map(Sourced::state);
        Ok(known.is_some_and(|message| message.open().next().is_none()) && !self.under_way.any())
    }

    /// Leaves memory when nothing is under way.
    fn leave_when_done(&mut self, myself: &ActorRef<Msg>) {
        if self.under_way.any() {
            return;
        }
        let state = self.sourced.as_ref().map(Sourced::state);
        let alarm = state.and_then(Message::next_alarm);
        // While it is paused, it is looked at when it expires, or when it is resumed.
        let expiry = state.and_then(Message::accepted).map(|(_, accepted)| accepted.expires_at);
        let alarm = if self.paused { alarm.and(expiry) } else { alarm };
        if self.held_back {
            let node = self.node();
            node.bell.rest(self.id(), node.now(), &node.lots);
        } else if let Some(at) = alarm {
            self.node().bell.notice(at);
        }
        self.stay = Stay::Leaving;
        self.presence.leave(myself);
    }
}

/// Events that a command leads to, and when that was decided.
struct Decided {
    events: Vec<MessageEvent>,
    now: Timestamp,
}

/// The recipients whose outcome is awaited: a bit for each.
#[derive(Debug, Clone, Copy, Default)]
struct UnderWay(u64);

const _: () = assert!(model::message::MAX_RECIPIENTS <= 64, "a bit for each recipient");

impl UnderWay {
    const fn any(self) -> bool {
        self.0 != 0
    }

    fn add(&mut self, recipients: &[RecipientIndex]) {
        for recipient in recipients {
            self.0 |= bit(*recipient);
        }
    }

    fn remove(&mut self, recipients: &[RecipientIndex]) {
        for recipient in recipients {
            self.0 &= !bit(*recipient);
        }
    }
}

fn bit(recipient: RecipientIndex) -> u64 {
    1_u64.checked_shl(u32::from(recipient.0)).unwrap_or(0)
}
