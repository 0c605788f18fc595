//! One click and no more bulk mail (RFC 8058).
//!
//! # Why
//! - **A bulk message has one recipient**, for a message is composed once and its link is of one
//!   person.
//! - **It holds for the app's bulk mail alone.** Who wants no newsletter still wants a password
//!   reset; a bounce or a complaint later takes the weaker reason's place.

use std::fmt;

use eventlog::HashPurpose;
use model::{
    By, Cause, MessageId, RecipientIndex, StreamId,
    message::{Message, SuppressionReason},
};

use crate::{
    Platform, error::ChangeError, letter::Content, node::Node, signed::Signed, sourced::Sourced,
    suppressions::Listing,
};

/// Below the server's public URL: the token follows after a slash.
pub const UNSUBSCRIBE_PATH: &str = "/unsubscribe";

/// A link that this server made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeToken(Signed);

// Whoever has it can unsubscribe somebody.
impl fmt::Debug for UnsubscribeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnsubscribeToken(…)")
    }
}

/// The link of a bulk message.
pub(crate) fn link(node: &Node, message: MessageId) -> String {
    let signed = Signed { message, recipient: Some(RecipientIndex(0)) };
    let token = signed.token(&node.vault, HashPurpose::Unsubscribe, "");
    format!("{}{UNSUBSCRIBE_PATH}/{token}", node.options.public_url)
}

impl Platform {
    /// The token in a link, if this server made it.
    pub fn unsubscribe_token(&self, text: &str) -> Option<UnsubscribeToken> {
        Signed::read(&self.node().vault, HashPurpose::Unsubscribe, "", text).map(UnsubscribeToken)
    }

    /// Puts the recipient of that message on the app's list, for bulk mail. Durable when it answers;
    /// again, it changes nothing.
    pub async fn unsubscribe(&self, token: UnsubscribeToken) -> Result<(), ChangeError> {
        let node = self.node();
        let Signed { message, recipient } = token.0;
        let stream = StreamId::Message(message);
        let loaded = Sourced::<Message>::load(&node.journal, stream).await.map_err(|error| {
            tracing::error!(%message, %error, "a message could not be read");
            ChangeError::Internal
        })?;
        // Signed, and not in the log: from another server with the same master key.
        let Some((_, accepted)) = loaded.state().accepted() else { return Ok(()) };
        let place = recipient.map_or(0, RecipientIndex::as_usize);
        let Some(known) = accepted.recipients.get(place) else { return Ok(()) };
        let listing = Listing {
            tenant: accepted.tenant,
            app: accepted.app,
            recipient: known.hash,
            reason: SuppressionReason::Unsubscribe,
        };
        let content = Content::load(node, message, accepted.size, loaded.content()).await.ok();
        let person = content.as_ref().and_then(|content| content.head.recipients.get(place));
        let email = person.map(|person| person.mailbox.email.clone());
        let cause = Cause { by: By::Unsubscribe, after: loaded.first() };
        listing.put(node, email, cause).await.map_err(ChangeError::from)
    }
}
