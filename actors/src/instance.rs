//! The instance as an actor: which receivers are paused, and what is noted of all of it.

use std::sync::Arc;

use model::{
    By, Cause, Event, InstanceId, StreamId, Timestamp,
    instance::{self, Command, Instance, InstanceEvent, MasterKeyRotated, Refusal},
};

use crate::{
    Platform,
    error::ChangeError,
    governed::{Governed, Governor},
    node::Node,
    registry::Registry,
    sourced::Aggregate,
};

impl Platform {
    /// Records that the master key was replaced; the ring holds so many keys since.
    ///
    /// # Errors
    /// The record cannot be written.
    pub async fn note_master_key(&self, by: By, keys: usize) -> Result<(), ChangeError> {
        let keys = u32::try_from(keys).unwrap_or(u32::MAX);
        let noted = Command::NoteMasterKey(MasterKeyRotated { keys });
        self.change::<Instance>(by, InstanceId::THIS, vec![noted]).await
    }
}

/// The instance: one to a log.
pub(crate) type InstanceActor = Governor<Instance>;

impl Aggregate for Instance {
    type Event = InstanceEvent;

    fn own(event: Event) -> Option<InstanceEvent> {
        match event {
            Event::Instance(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &InstanceEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &InstanceEvent, at: Timestamp) {
        Self::evolve(self, event, at);
    }
}

impl Governed for Instance {
    type Id = InstanceId;
    type Command = Command;
    type Refusal = Refusal;

    fn stream(id: InstanceId) -> StreamId {
        StreamId::Instance(id)
    }

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<InstanceEvent>, Refusal> {
        instance::decide(self, command)
    }

    fn registry(node: &Node) -> &Arc<Registry<InstanceActor>> {
        &node.instances
    }
}
