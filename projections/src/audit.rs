//! What happened to all that is a tenant's, for its audit: every event, found by its position.

mod query;

use std::sync::LazyLock;

use model::{
    Event, StreamId, TenantId, domain::DomainEvent, erasure::ErasureEvent, instance::InstanceEvent,
    letter::LetterEvent, message::MessageEvent, reading::ReadingEvent,
    suppression::SuppressionEvent, template::TemplateEvent, tenant::TenantEvent, user::UserEvent,
};

pub use self::query::{Audit, AuditCursor, AuditPage, AuditQuery, AuditRow, MAX_AUDIT_PAGE};
use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
    fact::{Fact, malformed},
    layer::Round,
    lists::{self, Entry, Place},
    projection::Projection,
};

const NAME: &str = "audit";

/// A tenant's events; each with a short hash of its type. Two types may share one: what is found by
/// it is looked at again.
const LIST: u8 = 1;
/// Whose a stream is.
const OWNER: u8 = 2;

fn list_prefix(tenant: TenantId) -> Vec<u8> {
    join(&[&[LIST], tenant.as_bytes()])
}

fn owner_key(stream: StreamId) -> Vec<u8> {
    join(&[&[OWNER], &stream.to_bytes()])
}

/// A number for a type that stays the same when types are added.
fn code_of(kind: &str) -> u8 {
    static CODES: LazyLock<Vec<(&str, u8)>> =
        LazyLock::new(|| event_kinds().iter().map(|kind| (*kind, hashed(kind))).collect());
    let known = CODES.iter().find(|(known, _)| *known == kind);
    known.map_or_else(|| hashed(kind), |(_, code)| *code)
}

fn hashed(kind: &str) -> u8 {
    blake3::hash(kind.as_bytes()).as_bytes().first().copied().unwrap_or_default()
}

/// Every `type` that an event can have.
pub fn event_kinds() -> &'static [&'static str] {
    static KINDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        [
            TenantEvent::KINDS,
            UserEvent::KINDS,
            DomainEvent::KINDS,
            TemplateEvent::KINDS,
            SuppressionEvent::KINDS,
            MessageEvent::KINDS,
            LetterEvent::KINDS,
            ErasureEvent::KINDS,
            InstanceEvent::KINDS,
            ReadingEvent::KINDS,
        ]
        .concat()
    });
    &KINDS
}

/// The tenant that an event names, as the first one of every stream does.
pub(crate) const fn named_tenant(stream: StreamId, event: &Event) -> Option<TenantId> {
    if let StreamId::Tenant(tenant) = stream {
        return Some(tenant);
    }
    match event {
        Event::Domain(DomainEvent::DomainAdded(added)) => Some(added.tenant),
        Event::Message(MessageEvent::Accepted(accepted)) => Some(accepted.tenant),
        Event::User(UserEvent::SessionStarted(started)) => Some(started.tenant),
        Event::User(UserEvent::PasswordChanged(changed)) => Some(changed.tenant),
        Event::User(UserEvent::PasswordRefused(refused)) => Some(refused.tenant),
        Event::Template(TemplateEvent::TemplateCreated(created)) => Some(created.tenant),
        Event::Suppression(SuppressionEvent::SuppressionAdded(added)) => Some(added.tenant),
        Event::Suppression(SuppressionEvent::SuppressionRemoved(removed)) => Some(removed.tenant),
        Event::Letter(LetterEvent::LetterReceived(received)) => received.tenant,
        Event::Reading(ReadingEvent::ContentRead(read)) => read.tenant,
        Event::Erasure(ErasureEvent::PersonErasureRequested(requested)) => Some(requested.tenant),
        _ => None,
    }
}

/// Whose event it is. A message's beginning is at hand; every other stream whose later events name
/// nobody has a row.
fn tenant_of(fact: &Fact<'_>, round: &mut Round<'_>) -> Result<TenantId, Halt> {
    let stream = fact.recorded.stream;
    if let Some(origin) = fact.origin {
        return Ok(origin.accepted.tenant);
    }
    if let Some(tenant) = fact.known.other().and_then(|event| named_tenant(stream, event)) {
        if matches!(
            stream,
            StreamId::Domain(_) | StreamId::User(_) | StreamId::Template(_) | StreamId::Erasure(_)
        ) {
            round.put(owner_key(stream), tenant.as_bytes().to_vec());
        }
        return Ok(tenant);
    }
    let row = round.get(&owner_key(stream))?.ok_or(Halt::Impossible {
        position: fact.recorded.position,
        stream,
        what: "no event before it says whose it is",
    })?;
    let tenant = Reader::new(row).array().map_err(|Malformed| malformed(NAME))?;
    Ok(TenantId::from_bytes(tenant))
}

/// Folds the audit.
pub(crate) struct AuditProjection;

impl Projection for AuditProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        // What is the operator's is no tenant's, and neither is the instance.
        let of_operator = match fact.known.other() {
            Some(Event::Letter(LetterEvent::LetterReceived(received))) => received.tenant.is_none(),
            Some(Event::Reading(ReadingEvent::ContentRead(read))) => read.tenant.is_none(),
            _ => matches!(fact.recorded.stream, StreamId::Instance(_)),
        };
        if of_operator {
            return Ok(());
        }
        let tenant = tenant_of(fact, round)?;
        let mark = [code_of(fact.known.kind())];
        let place = Place { at: fact.recorded.at, position: fact.recorded.position };
        lists::append(round, &list_prefix(tenant), Entry { place, mark }, NAME)?;
        Ok(())
    }
}
