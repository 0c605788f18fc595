//! What an event tells of the way to the receiver, without the rest: for who counts sessions.

use serde::Deserialize;

use super::events::{Attempt, MessageEvent};
use crate::{
    delivery::{Peer, Stage},
    event::{Header, UPCASTERS, UndecodableEvent},
    ids::RecipientIndex,
};

/// An attempt at a recipient, as far as its way goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tried {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// How far it got.
    pub stage: Stage,
    /// Who answered.
    #[serde(default)]
    pub peer: Option<Peer>,
}

impl Tried {
    /// The attempt that an event of a message tells of; `None`: of none.
    pub fn of(event: MessageEvent) -> Option<Self> {
        let (MessageEvent::Delivered(super::Delivered { attempt })
        | MessageEvent::Deferred(super::Deferred { attempt, .. })
        | MessageEvent::Bounced(super::Bounced { attempt, .. })) = event
        else {
            return None;
        };
        let Attempt { recipient, stage, peer, .. } = attempt;
        Some(Self { recipient, stage, peer })
    }

    /// Reads what the log holds for a message.
    ///
    /// # Errors
    /// It is not JSON, lacks a field of an attempt, or is of a type or version that is not known.
    pub fn decode(data: &[u8]) -> Result<Option<Self>, UndecodableEvent> {
        let header = Header::read(data)?;
        // Where there are two versions, both are read whole.
        let current = header.v == 1 && UPCASTERS.iter().all(|step| step.kind != header.kind);
        match header.kind.as_ref() {
            "message.delivered" | "message.deferred" | "message.bounced" if current => {
                Ok(Some(serde_json::from_slice(data)?))
            }
            kind => MessageEvent::decode(kind, header.v, data).map(Self::of),
        }
    }
}
