//! Reading the audit.

use std::{fmt, sync::Arc};

use eventlog::{EventLog, Position, Recorded, Scan, Table, Version};
use model::{Event, StreamId, TenantId};

use super::{Entry, NAME, bucket_key, bucket_of, bucket_prefix, code_of, first_of, named_tenant};
use crate::{
    codec::{Malformed, Reader, join},
    error::QueryError,
};

/// Most events of one page.
pub const MAX_AUDIT_PAGE: usize = 100;

/// Most buckets looked at for one page. Where a type is rare, the page is short and its cursor goes
/// on from here.
const MAX_BUCKETS: usize = 512;
/// Most events of one stream looked at for one page.
const MAX_OF_STREAM: u64 = 2_048;
/// Events that lie so near each other are read from the log at once.
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
}

/// A place in what happened to a tenant, or to one stream of its. Its text is opaque, and no cursor
/// for another tenant or stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    tenant: TenantId,
    stream: Option<StreamId>,
    /// A position, or a version of the stream: older ones follow.
    before: u64,
}

impl AuditCursor {
    /// Reads a cursor of this tenant and stream; `None` for anything else.
    pub fn parse(tenant: TenantId, stream: Option<StreamId>, text: &str) -> Option<Self> {
        let digits = text.get(..16).filter(|digits| digits.is_ascii())?;
        let before = u64::from_str_radix(digits, 16).ok()?;
        let cursor = Self { tenant, stream, before };
        (cursor.to_string() == text).then_some(cursor)
    }

    /// Binds the place to whose it is: a cursor taken elsewhere is refused, not misread.
    fn check(self) -> u64 {
        let stream = self.stream.map(StreamId::to_bytes).unwrap_or_default();
        let bound = [b"audit cursor".as_slice(), self.tenant.as_bytes(), &stream];
        let hash = blake3::hash(&join(&[&bound.concat(), &self.before.to_be_bytes()]));
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.before, self.check())
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
    table: Table,
    log: Arc<dyn EventLog>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

impl Audit {
    pub(crate) fn new(table: Table, log: Arc<dyn EventLog>) -> Self {
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
        let before = query.cursor.map_or(u64::MAX, |cursor| cursor.before);
        let prefix = bucket_prefix(tenant);
        let end = bucket_key(tenant, bucket_of(before.saturating_sub(1)).saturating_add(1));
        let mut found: Vec<Position> = Vec::new();
        let mut next = None;
        let rows = self.table.scan(Scan::prefix(&prefix).before(end).reverse());
        'rows: for (number, row) in rows.enumerate() {
            let (key, value) = row?;
            let mut reader = Reader::new(key.get(prefix.len()..).unwrap_or_default());
            let bucket = reader.key_u64().map_err(|Malformed| damaged())?;
            if number == MAX_BUCKETS {
                // Everything in this bucket is still to be looked at.
                next = Some(first_of(bucket.saturating_add(1)));
                break;
            }
            for entry in Entry::read_all(&value).map_err(|Malformed| damaged())?.iter().rev() {
                let position = first_of(bucket) + u64::from(entry.offset);
                if position >= before || code.is_some_and(|code| code != entry.code) {
                    continue;
                }
                if found.len() == limit {
                    next = found.last().map(|position| position.get());
                    break 'rows;
                }
                found.push(Position::new(position));
            }
        }
        found.reverse();
        let mut rows = Vec::with_capacity(found.len());
        for recorded in self.recorded(&found)?.into_iter().rev() {
            rows.extend(fitting(recorded, query)?);
        }
        Ok(AuditPage {
            rows,
            next: next.map(|before| AuditCursor { tenant, stream: None, before }),
        })
    }

    /// The events at these positions, which rise.
    fn recorded(&self, wanted: &[Position]) -> Result<Vec<Recorded>, QueryError> {
        let mut found: Vec<Recorded> = Vec::with_capacity(wanted.len());
        while let Some((first, rest)) = wanted.get(found.len()..).and_then(<[_]>::split_first) {
            let near = rest.iter().take_while(|at| at.get() - first.get() < NEAR).last();
            let span = near.map_or(0, |last| last.get() - first.get()) + 1;
            let after = Position::new(first.get().saturating_sub(1));
            let known = found.len();
            let limit = usize::try_from(span).unwrap_or(usize::MAX);
            for recorded in self.log.read_all(after, limit)? {
                if wanted.get(found.len()) == Some(&recorded.position) {
                    found.push(recorded);
                }
            }
            if found.len() == known {
                return Err(damaged());
            }
        }
        Ok(found)
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
                    page.next = Some(AuditCursor { tenant, stream: Some(stream), before });
                    return Ok(page);
                }
                page.rows.extend(fitting(recorded, query)?);
            }
            end = begin;
        }
        if lowest > 1 {
            page.next = Some(AuditCursor { tenant, stream: Some(stream), before: lowest });
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

/// The row of an event, when it is of the wanted type after all.
fn fitting(recorded: Recorded, query: &AuditQuery) -> Result<Option<AuditRow>, QueryError> {
    let kind = decode(&recorded)?.kind();
    let fits = query.kind.as_deref().is_none_or(|wanted| wanted == kind);
    Ok(fits.then_some(AuditRow { kind, recorded }))
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}
