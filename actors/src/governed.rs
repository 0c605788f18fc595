//! The actor of an aggregate that only takes commands: a tenant, a domain.
//!
//! It loads, carries out what its mailbox holds, and leaves. Commands on tenants and domains are
//! rare, so nothing is gained by keeping them in memory, and nothing can go stale.

use std::{marker::PhantomData, sync::Arc};

use eventlog::Sealed;
use model::{Cause, StreamId, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::{
    node::Node,
    registry::{Full, Presence, Registry, Resident, Seat, Share},
    sourced::{Aggregate, CommitError, Draft, Sourced},
};

/// How often a command is decided anew when others write to the same stream.
const MOST_CONFLICTS: usize = 8;

/// An aggregate that takes commands and does nothing by itself.
pub(crate) trait Governed: Aggregate + Sync {
    /// What it is known by.
    type Id: Copy + Eq + std::hash::Hash + Send + Sync + 'static;
    /// What somebody wants of it.
    type Command: Send + Sync + 'static;
    /// Why it is not done.
    type Refusal: Send + 'static;

    /// Its stream.
    fn stream(id: Self::Id) -> StreamId;

    /// The events that `command` leads to, or why it is refused.
    fn decide(
        &self,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Where its actors live.
    fn registry(node: &Node) -> &Arc<Registry<Governor<Self>>>;
}

/// Why commands were not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undone<R> {
    /// A rule says no.
    Refused(R),
    /// The record cannot be written, or it is not known whether it was.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// Commands that are carried out together or not at all.
pub(crate) struct Msg<A: Governed> {
    commands: Vec<A::Command>,
    cause: Cause,
    /// Lies beside the first event that they lead to.
    content: Vec<Sealed>,
    reply: oneshot::Sender<Result<(), Undone<A::Refusal>>>,
}

/// The actor.
pub(crate) struct Governor<A>(PhantomData<fn() -> A>);

impl<A> Default for Governor<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// Has the commands carried out by the actor of `id`; what happens is recorded with `cause`.
pub(crate) async fn carry_out<A: Governed>(
    node: &Arc<Node>,
    id: A::Id,
    commands: Vec<A::Command>,
    cause: Cause,
) -> Result<(), Undone<A::Refusal>> {
    carry_out_with::<A>(node, id, commands, Vec::new(), cause).await
}

/// The same, with content that lies beside the first event.
pub(crate) async fn carry_out_with<A: Governed>(
    node: &Arc<Node>,
    id: A::Id,
    commands: Vec<A::Command>,
    content: Vec<Sealed>,
    cause: Cause,
) -> Result<(), Undone<A::Refusal>> {
    if node.is_stopping() {
        return Err(Undone::Unavailable);
    }
    carry_out_to_the_end::<A>(node, id, commands, content, cause).await
}

/// The same for what a stop waits for.
pub(crate) async fn carry_out_to_the_end<A: Governed>(
    node: &Arc<Node>,
    id: A::Id,
    commands: Vec<A::Command>,
    content: Vec<Sealed>,
    cause: Cause,
) -> Result<(), Undone<A::Refusal>> {
    let (reply, answer) = oneshot::channel();
    A::registry(node)
        .cast(&id, Msg { commands, cause, content, reply }, Share::Whole)
        .map_err(|Full| Undone::Unavailable)?;
    answer.await.unwrap_or(Err(Undone::Internal))
}

impl<A: Governed> Resident for Governor<A> {
    type Key = A::Id;
    type Context = Node;
    type Desk = ();

    fn desk(_: &Node, _: &A::Id) {}

    fn crashed(node: &Node) {
        node.crashed("owner");
    }
}

/// Its hold on its place, and what it knows once it has looked.
pub(crate) struct State<A: Governed> {
    presence: Presence<Governor<A>>,
    sourced: Option<Sourced<A>>,
}

impl<A: Governed> Actor for Governor<A> {
    type Msg = Msg<A>;
    type State = State<A>;
    type Arguments = Seat<Self>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        seat: Seat<Self>,
    ) -> Result<State<A>, ActorProcessingErr> {
        Ok(State { presence: seat.take(), sourced: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        Msg { commands, cause, content, reply }: Self::Msg,
        state: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        let done = state.carry_out(&commands, &content, cause).await;
        if done.is_err() {
            // What it knows may be behind what is written.
            state.sourced = None;
        }
        // Who asked may have gone; what was done is done.
        reply.send(done).ok();
        state.presence.leave(&myself);
        Ok(())
    }
}

impl<A: Governed> State<A> {
    async fn carry_out(
        &mut self,
        commands: &[A::Command],
        content: &[Sealed],
        cause: Cause,
    ) -> Result<(), Undone<A::Refusal>> {
        let node = self.presence.context();
        let stream = A::stream(*self.presence.key());
        let mut sourced = match self.sourced.take() {
            Some(sourced) => sourced,
            None => Sourced::<A>::load(&node.journal, stream).await.map_err(|error| {
                tracing::error!(%stream, %error, "the record could not be read");
                Undone::Internal
            })?,
        };
        for _ in 0..MOST_CONFLICTS {
            let now = node.now().max(sourced.at());
            let events = decide_all(sourced.state(), commands, now).map_err(Undone::Refused)?;
            let draft = Draft::new(events, content.to_vec(), now, |_| cause);
            let draft = draft.map_err(|_| Undone::Internal)?;
            match sourced.commit(&node.journal, now, &draft).await {
                Ok(()) => {
                    self.sourced = Some(sourced);
                    return Ok(());
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::NotWritten(error) | CommitError::Unknown(error)) => {
                    tracing::warn!(%stream, %error, "a command was not recorded");
                    return Err(Undone::Unavailable);
                }
                Err(error) => {
                    tracing::error!(%stream, %error, "a command could not be recorded");
                    return Err(Undone::Internal);
                }
            }
        }
        Err(Undone::Unavailable)
    }
}

/// Decides one command after another, each upon what the ones before it led to.
fn decide_all<A: Governed>(
    state: &A,
    commands: &[A::Command],
    now: Timestamp,
) -> Result<Vec<A::Event>, A::Refusal> {
    let mut state = state.clone();
    let mut all = Vec::new();
    for command in commands {
        let events = state.decide(command, now)?;
        for event in &events {
            state.evolve(event, now);
        }
        all.extend(events);
    }
    Ok(all)
}
