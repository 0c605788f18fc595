//! Who was to be forgotten, by tenant; and which erasures are not done.

use std::{fmt, sync::Arc};

use eventlog::{ContentLocation, EventLog, Position, Recorded, Scan, Version};
use model::{
    ErasureId, Event, EventId, StreamId, TenantId, Timestamp,
    erasure::{Erasure, ErasureEvent, PersonErasureRequested},
};

use crate::{
    codec::{Reader, join},
    error::{Halt, QueryError},
    fact::Fact,
    layer::{Round, Rows},
    projection::Projection,
};

const NAME: &str = "erasures";

/// By tenant and position: which erasure.
const OF_TENANT: u8 = 1;
/// Those that are not done.
const OPEN: u8 = 2;

/// Most erasures of one page.
pub const MAX_ERASURE_PAGE: usize = 100;
/// Events of one erasure that are read at once.
const PAGE: usize = 1_000;

/// An erasure with all that was recorded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureView {
    /// Which erasure.
    pub id: ErasureId,
    /// What was requested.
    pub requested: PersonErasureRequested,
    /// When.
    pub requested_at: Timestamp,
    /// The event that says so.
    pub event: EventId,
    /// Where in the log: what came later does not concern it.
    pub position: Position,
    /// Where the address lies until it is done.
    pub address: Option<ContentLocation>,
    /// What was found, and whether it is done.
    pub state: Erasure,
    /// When it was done.
    pub erased_at: Option<Timestamp>,
}

/// A place in a list of erasures. Its text is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureCursor(u64);

impl ErasureCursor {
    /// Reads a cursor; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let before = u64::from_str_radix(text, 16).ok()?;
        (Self(before).to_string() == text).then_some(Self(before))
    }
}

impl fmt::Display for ErasureCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The erasures.
pub struct Erasures {
    table: Rows,
    log: Arc<dyn EventLog>,
}

impl fmt::Debug for Erasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erasures").finish_non_exhaustive()
    }
}

impl Erasures {
    pub(crate) fn new(table: Rows, log: Arc<dyn EventLog>) -> Self {
        Self { table, log }
    }

    /// A tenant's erasures, the newest first.
    pub fn page(
        &self,
        tenant: TenantId,
        cursor: Option<ErasureCursor>,
        limit: usize,
    ) -> Result<(Vec<ErasureView>, Option<ErasureCursor>), QueryError> {
        let limit = limit.clamp(1, MAX_ERASURE_PAGE);
        let prefix = join(&[&[OF_TENANT], tenant.as_bytes()]);
        let mut scan = Scan::prefix(&prefix);
        if let Some(ErasureCursor(before)) = cursor {
            scan = scan.before(join(&[&prefix, &before.to_be_bytes()]));
        }
        let mut found = Vec::new();
        let mut last = None;
        for row in self.table.scan(scan.reverse()) {
            let (key, value) = row?;
            if found.len() == limit {
                return Ok((found, last.map(ErasureCursor)));
            }
            let mut reader = Reader::new(key.get(prefix.len()..).unwrap_or_default());
            last = Some(reader.key_u64().map_err(|_| damaged())?);
            let id = Reader::new(&value).array().map_err(|_| damaged())?;
            found.push(self.get(ErasureId::from_bytes(id))?.ok_or_else(damaged)?);
        }
        Ok((found, None))
    }

    /// The erasure of this id, as the log has it now.
    pub fn get(&self, id: ErasureId) -> Result<Option<ErasureView>, QueryError> {
        let mut view: Option<ErasureView> = None;
        let mut after = Version::NONE;
        loop {
            let page = self.log.read_stream(StreamId::Erasure(id), after, PAGE)?;
            let Some(end) = page.last() else { return Ok(view) };
            after = end.version;
            for recorded in page {
                take_in(&mut view, id, &recorded)?;
            }
        }
    }

    /// Erasures that are not done, the oldest first, at most so many.
    pub fn open(&self, limit: usize) -> Result<Vec<ErasureId>, QueryError> {
        let mut found = Vec::new();
        for row in self.table.scan(Scan::prefix([OPEN])).take(limit) {
            let (key, _) = row?;
            let id = Reader::new(key.get(1..).unwrap_or_default()).array();
            found.push(ErasureId::from_bytes(id.map_err(|_| damaged())?));
        }
        Ok(found)
    }

    /// How many of a tenant's are not done, looked at no further than `limit` of all tenants'.
    pub fn open_of(&self, tenant: TenantId, limit: usize) -> Result<usize, QueryError> {
        let mut count = 0;
        for row in self.table.scan(Scan::prefix([OPEN])).take(limit) {
            let (_, value) = row?;
            count += usize::from(*value == *tenant.as_bytes());
        }
        Ok(count)
    }
}

fn take_in(
    view: &mut Option<ErasureView>,
    id: ErasureId,
    recorded: &Recorded,
) -> Result<(), QueryError> {
    let broken = QueryError::Damaged { table: "log" };
    let Ok(Event::Erasure(event)) = Event::decode(recorded.stream, &recorded.data) else {
        return Err(broken);
    };
    let view = match (&event, view) {
        (ErasureEvent::PersonErasureRequested(requested), view @ None) => {
            view.insert(ErasureView {
                id,
                requested: requested.clone(),
                requested_at: recorded.at,
                event: recorded.id,
                position: recorded.position,
                address: recorded.content.first().copied(),
                state: Erasure::default(),
                erased_at: None,
            })
        }
        (_, Some(view)) => view,
        (_, None) => return Err(broken),
    };
    if matches!(event, ErasureEvent::PersonErased(_)) {
        view.erased_at = Some(recorded.at);
    }
    view.state.evolve(&event);
    Ok(())
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}

fn open_key(id: ErasureId) -> Vec<u8> {
    join(&[&[OPEN], id.as_bytes()])
}

/// Folds the erasures.
pub(crate) struct ErasuresProjection;

impl Projection for ErasuresProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (StreamId::Erasure(id), Some(Event::Erasure(event))) =
            (fact.recorded.stream, fact.known.other())
        else {
            return Ok(());
        };
        match event {
            ErasureEvent::PersonErasureRequested(requested) => {
                let position = fact.recorded.position.get().to_be_bytes();
                let tenant = requested.tenant.as_bytes();
                round.put_new(join(&[&[OF_TENANT], tenant, &position]), id.as_bytes().to_vec());
                round.put(open_key(id), tenant.to_vec());
            }
            ErasureEvent::PersonFound(_) => {}
            ErasureEvent::PersonErased(_) => round.delete(open_key(id)),
        }
        Ok(())
    }
}
