//! Tenants as actors.

use std::sync::Arc;

use model::{
    Cause, Event, StreamId, TenantId, Timestamp,
    tenant::{self, Command, Refusal, Tenant, TenantEvent},
};

use crate::{
    governed::{Governed, Governor},
    node::Node,
    registry::Registry,
    sourced::Aggregate,
};

/// One tenant.
pub(crate) type TenantActor = Governor<Tenant>;

impl Aggregate for Tenant {
    type Event = TenantEvent;

    fn own(event: Event) -> Option<TenantEvent> {
        match event {
            Event::Tenant(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &TenantEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &TenantEvent, at: Timestamp) {
        Self::evolve(self, event, at);
    }
}

impl Governed for Tenant {
    type Id = TenantId;
    type Command = Command;
    type Refusal = Refusal;

    fn stream(id: TenantId) -> StreamId {
        StreamId::Tenant(id)
    }

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<TenantEvent>, Refusal> {
        tenant::decide(self, command, now)
    }

    fn registry(node: &Node) -> &Arc<Registry<TenantActor>> {
        &node.tenants
    }
}
