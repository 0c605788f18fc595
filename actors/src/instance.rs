//! The instance as an actor: which receivers are paused.

use std::sync::Arc;

use model::{
    Cause, Event, InstanceId, StreamId, Timestamp,
    instance::{self, Command, Instance, InstanceEvent, Refusal},
};

use crate::{
    governed::{Governed, Governor},
    node::Node,
    registry::Registry,
    sourced::Aggregate,
};

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
