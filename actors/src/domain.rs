//! Sending domains as actors.

use std::sync::Arc;

use model::{
    Cause, DomainId, Event, StreamId, Timestamp,
    domain::{self, Command, Domain, DomainEvent, Refusal, Selector},
};

use crate::{
    governed::{Governed, Governor},
    node::Node,
    registry::Registry,
    sourced::Aggregate,
};

/// One sending domain.
pub(crate) type DomainActor = Governor<Domain>;

/// For whom a signing key is sealed: the domain and the key's name.
pub(crate) fn key_owner(domain: DomainId, selector: &Selector) -> Vec<u8> {
    [domain.as_bytes(), selector.as_str().as_bytes()].concat()
}

impl Aggregate for Domain {
    type Event = DomainEvent;

    fn own(event: Event) -> Option<DomainEvent> {
        match event {
            Event::Domain(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &DomainEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &DomainEvent, at: Timestamp) {
        Self::evolve(self, event, at);
    }
}

impl Governed for Domain {
    type Id = DomainId;
    type Command = Command;
    type Refusal = Refusal;

    fn stream(id: DomainId) -> StreamId {
        StreamId::Domain(id)
    }

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<DomainEvent>, Refusal> {
        domain::decide(self, command, now)
    }

    fn registry(node: &Node) -> &Arc<Registry<DomainActor>> {
        &node.domains
    }
}
