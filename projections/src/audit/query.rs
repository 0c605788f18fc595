//! Reading the audit.

use std::{fmt, sync::Arc};

use eventlog::{EventLog, Position, Recorded, Version};
use model::{By, Cause, Event, StreamId, TenantId, Timestamp};

use super::{NAME, code_of, list_prefix, named_tenant};
use crate::{
    codec::join,
    error::QueryError,
    events::events_at,
    layer::Rows,
    lists::{Backwards, Entry, Place},
};

/// Most events of one page.
pub const MAX_AUDIT_PAGE: usize = 100;

/// Most entries looked at for one page. Where a type is rare, the page is short and its cursor goes
/// on from here.
const MAX_LOOKED_AT: usize = 200_000;
/// Most events read for one page where what is looked for stands in the events alone.
const MAX_READ: usize = 1_024;
/// Most events of one stream looked at for one page.
const MAX_OF_STREAM: u64 = 2_048;
/// Versions of a stream that are read from the log at once.
const NEAR: u64 = 128;

/// What to look for. Everything that is named must hold.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Most events wanted: at least 1, at most [`MAX_AUDIT_PAGE`].
    pub limit: usize,
    /// Where the last page ended; of the same tenant and stream.
    pub cursor: Option<AuditCursor>,
    /// Events of this stream.
    pub stream: Option<StreamId>,
    /// Events of this `type`.
    pub kind: Option<String>,
    /// Events that came of this.
    pub by: Option<By>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// A place in what happened to a tenant, or to one stream of its. Its text is opaque, and no cursor
/// for another tenant or stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    tenant: TenantId,
    stream: Option<StreamId>,
    /// When the event there was recorded; of a stream, nothing.
    at_ms: u64,
    /// A position, or a version of the stream: older ones follow.
    before: u64,
}

impl AuditCursor {
    /// Reads a cursor of this tenant and stream; `None` for anything else.
    pub fn parse(tenant: TenantId, stream: Option<StreamId>, text: &str) -> Option<Self> {
        let number = |digits: Option<&str>| u64::from_str_radix(digits?, 16).ok();
        let (at_ms, before) = (number(text.get(..16))?, number(text.get(16..32))?);
        let cursor = Self { tenant, stream, at_ms, before };
        (cursor.to_string() == text).then_some(cursor)
    }

    /// Binds the place to whose it is: a cursor taken elsewhere is refused, not misread.
    fn check(self) -> u64 {
        let stream = self.stream.map(StreamId::to_bytes).unwrap_or_default();
        let bound = [b"audit cursor".as_slice(), self.tenant.as_bytes(), &stream];
        let place = [self.at_ms.to_be_bytes(), self.before.to_be_bytes()];
        let hash = blake3::hash(&join(&[&bound.concat(), place.as_flattened()]));
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}{:016x}", self.at_ms, self.before, self.check())
    }
}

/// One event of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its `type`.
    pub kind: &'static str,
    /// The event as it stands in the log.
    pub recorded: Recorded,
}

/// Some events, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The events, newest first.
    pub rows: Vec<AuditRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<AuditCursor>,
}

/// What happened to a tenant.
#[derive(Clone)]
pub struct Audit {
    table: Rows,
    log: Arc<dyn EventLog>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

impl Audit {
    pub(crate) fn new(table: Rows, log: Arc<dyn EventLog>) -> Self {
        Self { table, log }
    }

    /// A page of what happened to all that is the tenant's, newest first. Events that come while
    /// pages are read change none of the pages that follow. A stream of another tenant is empty.
    pub fn page(&self, tenant: TenantId, query: &AuditQuery) -> Result<AuditPage, QueryError> {
        match query.stream {
            Some(stream) => self.of_stream(tenant, stream, query),
            None => self.of_tenant(tenant, query),
        }
    }

    fn of_tenant(&self, tenant: TenantId, query: &AuditQuery) -> Result<AuditPage, QueryError> {
        let limit = query.limit.clamp(1, MAX_AUDIT_PAGE);
        let code = query.kind.as_deref().map(code_of);
        let mut last = query.cursor.map_or(Place::END, |cursor| Place {
            at: Timestamp::from_millis(cursor.at_ms),
            position: Position::new(cursor.before),
        });
        if let Some(to) = query.to {
            last = last.min(Place { at: to, position: Position::START });
        }
        let begun = |place: Place| query.from.is_none_or(|from| place.at >= from);
        // Who or what an event came of stands in the event alone: each is read.
        let most = if query.by.is_some() { MAX_READ } else { MAX_LOOKED_AT };
        let mut entries = Backwards::<1>::of(&self.table, &list_prefix(tenant), last, NAME)?;
        let (mut rows, mut looked_at, mut ended) = (Vec::new(), 0, false);
        while rows.len() < limit && looked_at < most && !ended {
            let mut wanted = Vec::new();
            ended = true;
            for entry in entries.by_ref() {
                let Entry { place, mark: [mark] } = entry?;
                if !begun(place) {
                    break;
                }
                last = place;
                looked_at += 1;
                if code.is_none_or(|code| code == mark) {
                    wanted.push(place.position);
                }
                if rows.len() + wanted.len() == limit || looked_at == most {
                    ended = false;
                    break;
                }
            }
            wanted.reverse();
            for recorded in events_at(self.log.as_ref(), &wanted)?.into_iter().rev() {
                rows.extend(fitting(recorded, query)?);
            }
        }
        // Whether anything follows is known only by looking.
        let more = !ended && entries.next().transpose()?.is_some_and(|entry| begun(entry.place));
        let next = more.then_some(last);
        Ok(AuditPage {
            rows,
            next: next.map(|Place { at, position }| AuditCursor {
                tenant,
                stream: None,
                at_ms: at.as_millis(),
                before: position.get(),
            }),
        })
    }

    /// The events of one stream need no index: the log has one.
    fn of_stream(
        &self,
        tenant: TenantId,
        stream: StreamId,
        query: &AuditQuery,
    ) -> Result<AuditPage, QueryError> {
        let mut page = AuditPage { rows: Vec::new(), next: None };
        let first = self.log.read_stream(stream, Version::NONE, 1)?;
        let Some(first) = first.first() else { return Ok(page) };
        if named_tenant(stream, &decode(first)?) != Some(tenant) {
            return Ok(page);
        }
        let limit = query.limit.clamp(1, MAX_AUDIT_PAGE);
        let before = match query.cursor {
            Some(cursor) => cursor.before,
            None => self.last_version(stream)?.saturating_add(1),
        };
        let lowest = before.saturating_sub(MAX_OF_STREAM).max(1);
        let mut end = before;
        while end > lowest {
            let begin = end.saturating_sub(NEAR).max(lowest);
            for recorded in self.versions(stream, begin, end)?.into_iter().rev() {
                let version = recorded.version.get();
                if page.rows.len() == limit {
                    let before = version.saturating_add(1);
                    let stream = Some(stream);
                    page.next = Some(AuditCursor { tenant, stream, at_ms: 0, before });
                    return Ok(page);
                }
                page.rows.extend(fitting(recorded, query)?);
            }
            end = begin;
        }
        if lowest > 1 {
            let stream = Some(stream);
            page.next = Some(AuditCursor { tenant, stream, at_ms: 0, before: lowest });
        }
        Ok(page)
    }

    /// The events of a stream from one version up to and without another.
    fn versions(
        &self,
        stream: StreamId,
        begin: u64,
        end: u64,
    ) -> Result<Vec<Recorded>, QueryError> {
        let mut found: Vec<Recorded> = Vec::new();
        let mut after = begin.saturating_sub(1);
        while let Ok(left @ 1..) = usize::try_from(end.saturating_sub(after.saturating_add(1))) {
            let read = self.log.read_stream(stream, Version::new(after), left)?;
            let Some(last) = read.last() else { break };
            after = last.version.get();
            found.extend(read);
        }
        Ok(found)
    }

    /// How many events a stream has that has one: the log is asked for ever later ones, then for
    /// the border between those it has and those it has not.
    fn last_version(&self, stream: StreamId) -> Result<u64, QueryError> {
        let exists = |version: u64| -> Result<bool, QueryError> {
            let after = Version::new(version.saturating_sub(1));
            Ok(!self.log.read_stream(stream, after, 1)?.is_empty())
        };
        let (mut known, mut beyond) = (1, 32);
        while exists(beyond)? {
            (known, beyond) = (beyond, beyond.saturating_mul(4));
        }
        while beyond - known > 1 {
            let middle = known.midpoint(beyond);
            if exists(middle)? {
                known = middle;
            } else {
                beyond = middle;
            }
        }
        Ok(known)
    }
}

fn decode(recorded: &Recorded) -> Result<Event, QueryError> {
    Event::decode(recorded.stream, &recorded.data).map_err(|_| damaged())
}

/// The row of an event, when it is what is looked for after all.
fn fitting(recorded: Recorded, query: &AuditQuery) -> Result<Option<AuditRow>, QueryError> {
    let kind = decode(&recorded)?.kind();
    let cause = Cause::read(&recorded.data).map_err(|_| damaged())?;
    let fits = query.kind.as_deref().is_none_or(|wanted| wanted == kind)
        && query.by.is_none_or(|wanted| cause.is_some_and(|cause| cause.by == wanted))
        && query.from.is_none_or(|from| recorded.at >= from)
        && query.to.is_none_or(|to| recorded.at < to);
    Ok(fits.then_some(AuditRow { kind, recorded }))
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}
