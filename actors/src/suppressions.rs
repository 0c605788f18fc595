//! Suppression lists: whom an app does not write to.

use std::sync::Arc;

use eventlog::{HashPurpose, Purpose, Sealed, VaultError};
use model::{
    AppId, Cause, Event, RecipientIndex, StreamId, SuppressionId, TenantId, Timestamp,
    address::EmailAddress,
    event::{KeyedHash, RecipientHash},
    message::{AcceptedRecipient, SuppressionReason},
    profile::{Profile, SuppressionProfile},
    suppression::{self, Command, Refusal, Suppression, SuppressionAdded, SuppressionEvent},
};
use projections::SuppressionView;

use crate::{
    Platform,
    error::{ChangeError, SendError},
    gateway::first_half,
    governed::{Governed, Governor, Undone, carry_out_to_the_end},
    node::Node,
    registry::Registry,
    request::Caller,
    sourced::Aggregate,
};

/// One address of one app.
pub(crate) type SuppressionActor = Governor<Suppression>;

impl Aggregate for Suppression {
    type Event = SuppressionEvent;

    fn own(event: Event) -> Option<SuppressionEvent> {
        match event {
            Event::Suppression(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &SuppressionEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &SuppressionEvent, _at: Timestamp) {
        Self::evolve(self, event);
    }
}

impl Governed for Suppression {
    type Id = SuppressionId;
    type Command = Command;
    type Refusal = Refusal;

    fn stream(id: SuppressionId) -> StreamId {
        StreamId::Suppression(id)
    }

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<SuppressionEvent>, Refusal> {
        suppression::decide(self, command)
    }

    fn registry(node: &Node) -> &Arc<Registry<SuppressionActor>> {
        &node.suppressions
    }
}

/// The one aggregate of an address and an app: found again without a table.
pub(crate) fn suppression_id(node: &Node, app: AppId, recipient: &RecipientHash) -> SuppressionId {
    let named = [app.as_bytes(), &recipient.0[..]].concat();
    let hash = node.vault.keyed_hash(HashPurpose::Suppression, &named);
    SuppressionId::from_bytes(first_half(hash))
}

/// By which a recipient is found in events and read models that hold no address.
pub(crate) fn recipient_hash(node: &Node, email: &EmailAddress) -> RecipientHash {
    let canonical = email.canonical();
    let hash = node.vault.keyed_hash(HashPurpose::Recipient, canonical.as_bytes());
    KeyedHash(first_half(hash))
}

/// Whom an app does not write to any more, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing {
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
    pub(crate) recipient: RecipientHash,
    pub(crate) reason: SuppressionReason,
}

impl Listing {
    /// The address is content: it can be forgotten, and the list goes on by the hash.
    fn seal(
        self,
        node: &Node,
        email: Option<EmailAddress>,
    ) -> Result<(SuppressionId, SuppressionAdded, Vec<Sealed>), VaultError> {
        let Self { tenant, app, recipient, reason } = self;
        let id = suppression_id(node, app, &recipient);
        let seal = |email| {
            let profile = SuppressionProfile { email };
            node.vault.seal(Purpose::TenantProfile, id.as_bytes(), &profile.to_bytes())
        };
        let content = email.map(seal).transpose()?.into_iter().collect();
        Ok((id, SuppressionAdded { tenant, app, recipient, reason, address: None }, content))
    }

    /// Puts the recipient on the list, also while the node stops. Whoever is there stays. Without
    /// an address, which may have been forgotten with the content, it is listed by its hash alone.
    pub(crate) async fn put(
        self,
        node: &Arc<Node>,
        email: Option<EmailAddress>,
        cause: Cause,
    ) -> Result<(), Undone<Refusal>> {
        let (id, added, content) = self.seal(node, email).map_err(|error| {
            tracing::error!(%error, "an address could not be sealed");
            Undone::Internal
        })?;
        let add = vec![Command::Add(added)];
        carry_out_to_the_end::<Suppression>(node, id, add, content, cause).await
    }
}

impl Platform {
    /// Puts an address on the app's list: it is not written to any more. Says how it stands there,
    /// and whether it was put there now.
    pub async fn suppress(
        &self,
        caller: &Caller,
        email: EmailAddress,
        reason: SuppressionReason,
    ) -> Result<(SuppressionView, bool), ChangeError> {
        let node = self.node();
        let recipient = recipient_hash(node, &email);
        let listed = self.listed(caller.app, recipient).await?;
        if let Some(listed) = listed.filter(|listed| !listed.reason.yields_to(reason)) {
            return Ok((listed, false));
        }
        let whose = Listing { tenant: caller.tenant, app: caller.app, recipient, reason };
        let (id, added, content) = whose.seal(node, Some(email))?;
        let add = vec![Command::Add(added)];
        self.change_with::<Suppression>(caller.by(), id, add, content).await?;
        let listed = self.listed(caller.app, recipient).await?;
        // Somebody may have taken it off at once.
        listed.map(|listed| (listed, true)).ok_or(ChangeError::NotYetVisible)
    }

    /// Takes an address off the app's list.
    pub async fn unsuppress(
        &self,
        caller: &Caller,
        email: &EmailAddress,
    ) -> Result<(), ChangeError> {
        let id = suppression_id(self.node(), caller.app, &recipient_hash(self.node(), email));
        self.change::<Suppression>(caller.by(), id, vec![Command::Remove]).await
    }

    async fn listed(
        &self,
        app: AppId,
        recipient: RecipientHash,
    ) -> Result<Option<SuppressionView>, ChangeError> {
        let read = self.node().read.clone();
        let asking = self.node().blocking.run(move || read.suppressions().get(app, &recipient));
        asking.await.ok_or(ChangeError::Internal)?.map_err(|error| {
            tracing::error!(%error, "the suppression list could not be read");
            ChangeError::Internal
        })
    }
}

/// Which of the recipients the app does not write to.
pub(crate) async fn among(
    node: &Node,
    app: AppId,
    recipients: &[AcceptedRecipient],
) -> Result<Vec<(RecipientIndex, SuppressionReason)>, SendError> {
    if !node.read.suppressions().has_any(app) {
        return Ok(Vec::new());
    }
    let read = node.read.clone();
    let hashes: Vec<RecipientHash> = recipients.iter().map(|recipient| recipient.hash).collect();
    let asked = node.blocking.run(move || {
        let mut found = Vec::new();
        for (index, hash) in (0_u8..).map(RecipientIndex).zip(&hashes) {
            if let Some(reason) = read.suppressions().find(app, hash)? {
                found.push((index, reason));
            }
        }
        Ok(found)
    });
    let asked: Result<_, projections::QueryError> = asked.await.ok_or(SendError::Internal)?;
    asked.map_err(|error| {
        tracing::error!(%error, "the suppression list could not be read");
        SendError::Internal
    })
}
