//! Suppression lists: whom an app does not write to.

use std::sync::Arc;

use eventlog::{HashPurpose, Purpose};
use model::{
    AppId, Event, RecipientIndex, StreamId, SuppressionId, Timestamp,
    address::EmailAddress,
    event::{KeyedHash, RecipientHash, SealedText},
    message::{AcceptedRecipient, SuppressionReason},
    profile::{Profile, SuppressionProfile},
    suppression::{self, Command, Refusal, Suppression, SuppressionAdded, SuppressionEvent},
};
use projections::SuppressionView;

use crate::{
    Platform,
    error::{ChangeError, SendError},
    gateway::first_half,
    governed::{Governed, Governor},
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

    fn encode(event: &SuppressionEvent) -> Box<[u8]> {
        event.encode()
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
fn id(node: &Node, app: AppId, recipient: &RecipientHash) -> SuppressionId {
    let named = [app.as_bytes(), &recipient.0[..]].concat();
    let hash = node.vault.keyed_hash(HashPurpose::Suppression, &named);
    SuppressionId::from_bytes(first_half(hash))
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
        let recipient = self.recipient_hash(&email);
        if let Some(listed) = self.listed(caller.app, recipient).await? {
            return Ok((listed, false));
        }
        let id = id(node, caller.app, &recipient);
        let profile = SuppressionProfile { email };
        let sealed = node.vault.seal(Purpose::TenantProfile, id.as_bytes(), &profile.to_bytes())?;
        let added = SuppressionAdded {
            tenant: caller.tenant,
            app: caller.app,
            recipient,
            reason,
            address: SealedText(sealed.to_base64().into()),
        };
        self.change::<Suppression>(id, vec![Command::Add(added)]).await?;
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
        let id = id(self.node(), caller.app, &self.recipient_hash(email));
        self.change::<Suppression>(id, vec![Command::Remove]).await
    }

    fn recipient_hash(&self, email: &EmailAddress) -> RecipientHash {
        let canonical = email.canonical();
        let hash = self.node().vault.keyed_hash(HashPurpose::Recipient, canonical.as_bytes());
        KeyedHash(first_half(hash))
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
