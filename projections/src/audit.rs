//! What happened to all that is a tenant's, for its audit: every event, found by its position.

mod query;

use std::sync::LazyLock;

use eventlog::Position;
use model::{
    Event, StreamId, TenantId, domain::DomainEvent, message::MessageEvent,
    suppression::SuppressionEvent, template::TemplateEvent, tenant::TenantEvent, user::UserEvent,
};

pub use self::query::{Audit, AuditCursor, AuditPage, AuditQuery, AuditRow, MAX_AUDIT_PAGE};
use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
    fact::{Fact, malformed},
    projection::Projection,
    round::Round,
};

const NAME: &str = "audit";

const BUCKET: u8 = 1;
const OWNER: u8 = 2;

/// Positions of one bucket, as a power of two: a row of at most 3 KiB.
const BUCKET_BITS: u32 = 10;
/// Octets of one entry of a bucket.
const ENTRY_OCTETS: usize = 3;

/// An event of a bucket: where it stands in it, and a short hash of its type. Two types may share
/// one: what is found by it is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: u16,
    code: u8,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY_OCTETS] {
        let [low, high] = self.offset.to_le_bytes();
        [low, high, self.code]
    }

    /// Every entry of a row, oldest first.
    fn read_all(row: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new(row);
        let mut entries = Vec::with_capacity(row.len() / ENTRY_OCTETS);
        while !reader.is_empty() {
            entries.push(Self { offset: reader.u16()?, code: reader.u8()? });
        }
        Ok(entries)
    }
}

const fn bucket_of(position: u64) -> u64 {
    position >> BUCKET_BITS
}

const fn first_of(bucket: u64) -> u64 {
    bucket << BUCKET_BITS
}

fn offset_of(position: Position) -> u16 {
    // Less than 2¹⁰ by the mask.
    u16::try_from(position.get() & ((1 << BUCKET_BITS) - 1)).unwrap_or_default()
}

fn bucket_prefix(tenant: TenantId) -> Vec<u8> {
    join(&[&[BUCKET], tenant.as_bytes()])
}

fn bucket_key(tenant: TenantId, bucket: u64) -> Vec<u8> {
    join(&[&[BUCKET], tenant.as_bytes(), &bucket.to_be_bytes()])
}

fn owner_key(stream: StreamId) -> Vec<u8> {
    join(&[&[OWNER], &stream.to_bytes()])
}

/// A number for a type that stays the same when types are added.
fn code_of(kind: &str) -> u8 {
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
        ]
        .concat()
    });
    &KINDS
}

/// The tenant that an event names, as the first one of every stream does.
const fn named_tenant(stream: StreamId, event: &Event) -> Option<TenantId> {
    if let StreamId::Tenant(tenant) = stream {
        return Some(tenant);
    }
    match event {
        Event::Domain(DomainEvent::DomainAdded(added)) => Some(added.tenant),
        Event::Message(MessageEvent::Accepted(accepted)) => Some(accepted.tenant),
        Event::User(UserEvent::SessionStarted(started)) => Some(started.tenant),
        Event::User(UserEvent::PasswordChanged(changed)) => Some(changed.tenant),
        Event::Template(TemplateEvent::TemplateCreated(created)) => Some(created.tenant),
        Event::Suppression(SuppressionEvent::SuppressionAdded(added)) => Some(added.tenant),
        Event::Suppression(SuppressionEvent::SuppressionRemoved(removed)) => Some(removed.tenant),
        _ => None,
    }
}

/// Whose event it is. A message's beginning is at hand; every other stream whose later events name
/// nobody has a row.
fn tenant_of(fact: &Fact<'_>, round: &mut Round) -> Result<TenantId, Halt> {
    let stream = fact.recorded.stream;
    if let Some(origin) = fact.origin {
        return Ok(origin.accepted.tenant);
    }
    if let Some(tenant) = named_tenant(stream, fact.event) {
        if matches!(stream, StreamId::Domain(_) | StreamId::User(_) | StreamId::Template(_)) {
            round.put(owner_key(stream), tenant.as_bytes().to_vec());
        }
        return Ok(tenant);
    }
    let row = round.edit(&owner_key(stream))?.ok_or(Halt::Impossible {
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
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round) -> Result<(), Halt> {
        let tenant = tenant_of(fact, round)?;
        let position = fact.recorded.position;
        let entry = Entry { offset: offset_of(position), code: code_of(fact.event.kind()) };
        let row = round.edit_or(&bucket_key(tenant, bucket_of(position.get())), Vec::new())?;
        row.extend_from_slice(&entry.to_bytes());
        Ok(())
    }
}
