//! The answer that a site owes a message: given exactly once, whatever happens.

use std::sync::Arc;

use model::{
    MessageId, RecipientIndex,
    delivery::{Fault, Outcome, Stage},
    message::Sent,
    routing::{WayOut, next_way_may_be_taken},
};

use crate::{
    message::{Msg, NotTried, Told},
    node::Node,
    registry::{Full, Share},
};

/// Dropped without having been given, it says what is then true: nothing was tried, or, once the
/// transaction had begun, nobody knows.
pub(crate) struct Answer {
    node: Arc<Node>,
    message: MessageId,
    recipients: Vec<RecipientIndex>,
    /// The ways that are left when this one is shut.
    rest: Vec<WayOut>,
    sent: Option<Sent>,
    begun: bool,
    given: bool,
}

impl Answer {
    pub(crate) const fn new(
        node: Arc<Node>,
        message: MessageId,
        recipients: Vec<RecipientIndex>,
        rest: Vec<WayOut>,
    ) -> Self {
        Self { node, message, recipients, rest, sent: None, begun: false, given: false }
    }

    /// Whether there is another way when this one is shut.
    pub(crate) const fn has_another_way(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Whether this outcome leads to another way and settles nothing.
    pub(crate) fn leads_on(&self, outcome: &Outcome) -> bool {
        self.has_another_way() && next_way_may_be_taken(outcome)
    }

    /// The recipient, when there is only one.
    pub(crate) fn only_recipient(&self) -> Option<RecipientIndex> {
        match *self.recipients {
            [only] => Some(only),
            _ => None,
        }
    }

    /// From now on the receiver may have the message, as it is printed.
    pub(crate) fn begin(&mut self, sent: Sent) {
        self.begun = true;
        self.sent = Some(sent);
    }

    /// An outcome for each recipient, in their order.
    pub(crate) fn each(mut self, outcomes: Vec<Outcome>) {
        self.give(Ok(outcomes));
    }

    /// The same outcome for every recipient.
    pub(crate) fn all(mut self, outcome: &Outcome) {
        self.give(Ok(vec![outcome.clone(); self.recipients.len()]));
    }

    /// Nothing was tried.
    pub(crate) fn not_tried(mut self) {
        self.give(Err(NotTried));
    }

    fn give(&mut self, outcomes: Result<Vec<Outcome>, NotTried>) {
        self.given = true;
        let recipients = std::mem::take(&mut self.recipients);
        let rest = std::mem::take(&mut self.rest);
        let told = Msg::Told(Told { recipients, outcomes, sent: self.sent.take(), rest });
        if self.node.messages.cast(&self.message, told, Share::Beyond) == Err(Full) {
            // Only without a runtime: then nothing goes on, and the alarm wakes it after a start.
            tracing::debug!(message = %self.message, "an outcome came after the end");
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.given {
            return;
        }
        let unknown = Outcome::fault(Stage::EndOfData, Fault::OutcomeUnknown);
        let outcomes = vec![unknown; self.recipients.len()];
        self.give(if self.begun { Ok(outcomes) } else { Err(NotTried) });
    }
}
