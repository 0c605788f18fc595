//! Taking a message over: the first append.

use std::sync::Arc;

use eventlog::Sealed;
use model::{
    By, RecipientIndex,
    message::{
        self, Command, Facts, Message, MessageEvent, MessageStatus, Refusal, SenderStanding,
        SuppressionReason,
    },
};
use tokio::sync::oneshot;

use super::State;
use crate::{
    admission::Admitted,
    error::SendError,
    gateway::Prepared,
    node::Node,
    request::Sent,
    sourced::{CommitError, Draft, Sourced},
};

/// Everything that taking a message over needs.
pub(crate) struct Acceptance {
    pub(crate) prepared: Prepared,
    pub(crate) by: By,
    pub(crate) reply: oneshot::Sender<Result<Sent, SendError>>,
    pub(crate) admitted: Admitted,
}

/// What is known of the outside when a message is taken over.
pub(crate) struct Standing {
    /// How the author's domain stands.
    pub(crate) sender: SenderStanding,
    /// Recipients on the suppression list.
    pub(crate) suppressed: Vec<(RecipientIndex, SuppressionReason)>,
}

/// The events that a message begins with, or why it does not.
pub(crate) fn decide_first(
    node: &Node,
    accept: &Command,
    standing: &Standing,
) -> Result<Vec<MessageEvent>, Refusal> {
    message::decide(&Message::default(), accept, &standing.facts(node, false, false), node.now())
}

impl Standing {
    pub(super) fn facts<'a>(&'a self, node: &'a Node, in_flight: bool, paused: bool) -> Facts<'a> {
        Facts {
            sender: self.sender,
            suppressed: &self.suppressed,
            retry: &node.options.retry,
            jitter: node.lots.jitter(),
            in_flight,
            paused,
        }
    }

    /// Where nothing of it matters.
    pub(super) const fn unasked() -> Self {
        Self { sender: SenderStanding::NotVerified, suppressed: Vec::new() }
    }
}

impl State {
    pub(super) async fn accept(&mut self, acceptance: Acceptance) {
        let Acceptance { prepared, by, reply, admitted } = acceptance;
        let Prepared { accept, standing, content, sealed, .. } = prepared;
        let accepted = self.append_acceptance(&accept, &standing, sealed, by).await;
        let fresh = accepted.as_ref().is_ok_and(|sent| !sent.idempotent_replay);
        // Who asked may have gone: the message is ours all the same.
        reply.send(accepted).ok();
        drop(admitted);
        if fresh {
            self.node().figures.accepted.increment(1);
            self.content = Some(Arc::new(content));
            self.deliver().await;
        }
    }

    /// "Expecting no stream" is the whole check for idempotency: the id is made from the key.
    async fn append_acceptance(
        &mut self,
        accept: &Command,
        standing: &Standing,
        sealed: [Sealed; 2],
        by: By,
    ) -> Result<Sent, SendError> {
        let stream = self.stream();
        self.sourced.get_or_insert_with(|| Sourced::absent(stream));
        // Once: nothing but the same acceptance writes the first event, so what stands in the way
        // the first time is there the second time.
        for _ in 0..2 {
            let decided = match self.decide(accept, standing) {
                Ok(decided) => decided,
                Err(Refusal::AlreadyAccepted) => {
                    self.node().figures.replayed.increment(1);
                    return Ok(self.sent(true));
                }
                Err(refusal) => {
                    self.sourced = None;
                    return Err(refusal.into());
                }
            };
            let draft = Draft::new(decided.events, sealed.to_vec(), decided.now, |event| {
                Message::default().cause(event, by)
            });
            let draft = draft.map_err(|_| SendError::Internal)?;
            let node = Arc::clone(self.node());
            let sourced = self.sourced.get_or_insert_with(|| Sourced::absent(stream));
            match sourced.commit(&node.journal, decided.now, &draft).await {
                Ok(()) => return Ok(self.sent(false)),
                Err(CommitError::Conflict) => {}
                Err(error) => {
                    self.sourced = None;
                    tracing::warn!(message = %self.id(), %error, "a message was not recorded");
                    return Err(match error {
                        CommitError::NotWritten(_) => SendError::Unavailable,
                        CommitError::Unknown(_) | CommitError::Load(_) => SendError::Unknown,
                        CommitError::Invalid(_)
                        | CommitError::Conflict
                        | CommitError::NoEntropy(_) => SendError::Internal,
                    });
                }
            }
        }
        Err(SendError::Internal)
    }

    /// The first answer, whatever became of the message since.
    fn sent(&self, idempotent_replay: bool) -> Sent {
        let message = self.sourced.as_ref().map(Sourced::state);
        let scheduled = message.is_some_and(|message| message.scheduled_until().is_some());
        let status = if scheduled { MessageStatus::Scheduled } else { MessageStatus::Queued };
        Sent { message: self.id(), status, idempotent_replay }
    }
}
