//! The suppression lists: whom each app does not write to.

use std::{fmt, sync::Arc};

use eventlog::{ContentError, EventLog, Position, Purpose, Row, Scan, StoreError, Vault};
use model::{
    AppId, Event, StreamId, SuppressionId, Timestamp,
    address::EmailAddress,
    event::{KeyedHash, RecipientHash},
    message::SuppressionReason,
    profile::{Profile as _, SuppressionProfile},
    suppression::{SuppressionAdded, SuppressionEvent},
};

use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    events::events_at,
    fact::{Fact, FactRow, malformed},
    layer::{Round, Rows},
    past::position_at,
    projection::Projection,
    sealed,
};

const NAME: &str = "suppressions";

/// Who is listed, by app and recipient: the position and the event.
const LISTED: u8 = 1;
/// The same, newest first: the recipient.
const NEWEST: u8 = 2;
/// Who was listed and is not any more, newest first: when that ended, and what was listed.
const ENDED: u8 = 3;

/// Most entries of the past looked at for one page.
const MAX_LOOKED_AT: usize = 10_000;

/// Most addresses of one page.
pub const MAX_SUPPRESSION_PAGE: usize = 100;

/// An address that an app does not write to.
#[derive(Clone, PartialEq, Eq)]
pub struct SuppressionView {
    /// Who it is; `None` when that was not known any more.
    pub email: Option<EmailAddress>,
    /// Why.
    pub reason: SuppressionReason,
    /// Since when.
    pub created_at: Timestamp,
}

// An address that is printed by mistake must not become a leak.
impl fmt::Debug for SuppressionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SuppressionView({:?})", self.reason)
    }
}

/// A place in a list, for the app that it was made for. Its text is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuppressionCursor(u64);

impl SuppressionCursor {
    /// Reads a cursor; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let before = u64::from_str_radix(text, 16).ok()?;
        (Self(before).to_string() == text).then_some(Self(before))
    }
}

impl fmt::Display for SuppressionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The lists.
pub struct Suppressions {
    table: Rows,
    log: Arc<dyn EventLog>,
    vault: Vault,
    /// Apps that ever listed somebody: the others cost a send nothing.
    listing: papaya::HashSet<AppId>,
}

impl fmt::Debug for Suppressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suppressions").finish_non_exhaustive()
    }
}

impl Suppressions {
    pub(crate) fn new(table: Rows, log: Arc<dyn EventLog>, vault: Vault) -> Self {
        Self { table, log, vault, listing: papaya::HashSet::new() }
    }

    /// Whether the app has ever listed anybody.
    pub fn has_any(&self, app: AppId) -> bool {
        self.listing.pin().contains(&app)
    }

    /// Why the app does not write to this recipient, if it does not.
    pub fn find(
        &self,
        app: AppId,
        recipient: &RecipientHash,
    ) -> Result<Option<SuppressionReason>, QueryError> {
        if !self.has_any(app) {
            return Ok(None);
        }
        Ok(self.listed(app, recipient)?.map(|listed| listed.added.reason))
    }

    /// The entry of this recipient, if there is one.
    pub fn get(
        &self,
        app: AppId,
        recipient: &RecipientHash,
    ) -> Result<Option<SuppressionView>, QueryError> {
        self.listed(app, recipient)?.map(|listed| self.view(listed)).transpose()
    }

    fn view(&self, listed: Listed) -> Result<SuppressionView, QueryError> {
        let Listed { id, at, position, added } = listed;
        let email = match &added.address {
            Some(address) => {
                let profile: Option<SuppressionProfile> =
                    sealed::profile(&self.vault, id.as_bytes(), address);
                Some(profile.ok_or_else(|| damaged(Malformed))?.email)
            }
            None => self.address(id, position)?,
        };
        Ok(SuppressionView { email, reason: added.reason, created_at: at })
    }

    /// Whom the app does not write to, the newest first.
    pub fn page(
        &self,
        app: AppId,
        cursor: Option<SuppressionCursor>,
        limit: usize,
    ) -> Result<(Vec<SuppressionView>, Option<SuppressionCursor>), QueryError> {
        let limit = limit.clamp(1, MAX_SUPPRESSION_PAGE);
        let prefix = join(&[&[NEWEST], app.as_bytes()]);
        let mut scan = Scan::prefix(&prefix);
        if let Some(SuppressionCursor(before)) = cursor {
            scan = scan.before(join(&[&prefix, &before.to_be_bytes()]));
        }
        let mut found = Vec::new();
        let mut last = None;
        for row in self.table.scan(scan.reverse()) {
            let (key, value) = row?;
            if found.len() == limit {
                return Ok((found, last.map(SuppressionCursor)));
            }
            let mut reader = Reader::new(key.get(prefix.len()..).unwrap_or_default());
            last = Some(reader.key_u64().map_err(damaged)?);
            let recipient = KeyedHash(Reader::new(&value).array().map_err(damaged)?);
            // Taken off since the scan began: then it is not on the list.
            found.extend(self.get(app, &recipient)?);
        }
        Ok((found, None))
    }

    /// Whom the app did not write to at `at`, the newest first. Where much was taken off since, a page
    /// can be short, even empty, and still have a next one. Who was forgotten has no address in the
    /// past either.
    pub fn page_at(
        &self,
        app: AppId,
        at: Timestamp,
        cursor: Option<SuppressionCursor>,
        limit: usize,
    ) -> Result<(Vec<SuppressionView>, Option<SuppressionCursor>), QueryError> {
        let limit = limit.clamp(1, MAX_SUPPRESSION_PAGE);
        let end = position_at(self.log.as_ref(), at)?.get().saturating_add(1);
        let before = cursor.map_or(end, |SuppressionCursor(before)| before.min(end));
        let rows = |kind: u8| {
            let prefix = join(&[&[kind], app.as_bytes()]);
            let scan = Scan::prefix(&prefix).before(join(&[&prefix, &before.to_be_bytes()]));
            self.table.scan(scan.reverse()).peekable()
        };
        let (mut lasting, mut ended) = (rows(NEWEST), rows(ENDED));
        let (mut found, mut last) = (Vec::new(), None);
        for looked_at in 0.. {
            // The later one of the two.
            let place = |row: Option<&Result<Row, StoreError>>| match row {
                Some(Ok((key, _))) => key.get(17..).map(<[u8]>::to_vec),
                Some(Err(_)) => Some(vec![u8::MAX; 9]),
                None => None,
            };
            let is_lasting = place(lasting.peek()) > place(ended.peek());
            let Some(row) = (if is_lasting { lasting.next() } else { ended.next() }) else { break };
            let (key, value) = row?;
            if found.len() == limit || looked_at == MAX_LOOKED_AT {
                return Ok((found, last.map(SuppressionCursor)));
            }
            let mut reader = Reader::new(key.get(17..).unwrap_or_default());
            last = Some(reader.key_u64().map_err(damaged)?);
            if is_lasting {
                let recipient = KeyedHash(Reader::new(&value).array().map_err(damaged)?);
                found.extend(self.get(app, &recipient)?);
                continue;
            }
            let mut reader = Reader::new(&value);
            if reader.u64().map_err(damaged)? > at.as_millis() {
                found.push(self.view(listed(reader.rest())?)?);
            }
        }
        Ok((found, None))
    }

    /// The address that lies beside the event at a position; `None` when none does, or it was
    /// forgotten.
    fn address(
        &self,
        id: SuppressionId,
        position: Position,
    ) -> Result<Option<EmailAddress>, QueryError> {
        let found = events_at(self.log.as_ref(), &[position])?;
        let Some(location) = found.first().and_then(|recorded| recorded.content.first()) else {
            return Ok(None);
        };
        let lost = || QueryError::Damaged { table: "content" };
        let sealed = match self.log.read_content(location) {
            Ok(sealed) => sealed,
            Err(ContentError::Forgotten) => return Ok(None),
            Err(_) => return Err(lost()),
        };
        let opened = self.vault.open(Purpose::TenantProfile, id.as_bytes(), &sealed);
        let profile = opened.ok().and_then(|bytes| SuppressionProfile::from_bytes(&bytes).ok());
        Ok(Some(profile.ok_or_else(lost)?.email))
    }

    fn listed(&self, app: AppId, recipient: &RecipientHash) -> Result<Option<Listed>, QueryError> {
        let row = self.table.get(listed_key(app, recipient))?;
        row.map(|row| listed(&row)).transpose()
    }
}

/// The entry of a row.
fn listed(row: &[u8]) -> Result<Listed, QueryError> {
    let (position, fact) = read(row).map_err(damaged)?;
    let (StreamId::Suppression(id), Ok(Event::Suppression(event))) =
        (fact.stream, fact.event(NAME))
    else {
        return Err(damaged(Malformed));
    };
    let SuppressionEvent::SuppressionAdded(added) = event else {
        return Err(damaged(Malformed));
    };
    Ok(Listed { id, at: fact.at, position: Position::new(position), added })
}

/// An entry as it stands in the table.
struct Listed {
    id: SuppressionId,
    at: Timestamp,
    position: Position,
    added: SuppressionAdded,
}

const fn damaged(_: Malformed) -> QueryError {
    QueryError::Damaged { table: NAME }
}

fn listed_key(app: AppId, recipient: &RecipientHash) -> Vec<u8> {
    join(&[&[LISTED], app.as_bytes(), &recipient.0])
}

fn ended_key(app: AppId, position: u64) -> Vec<u8> {
    join(&[&[ENDED], app.as_bytes(), &position.to_be_bytes()])
}

/// An entry is no more: from now on it is one of the past.
fn end(round: &mut Round<'_>, app: AppId, entry: &[u8], ended_at: Timestamp) -> Result<(), Halt> {
    let position = read(entry).map_err(|_| malformed(NAME))?.0;
    round.delete(newest_key(app, position));
    let row = join(&[&ended_at.as_millis().to_le_bytes(), entry]);
    round.put_new(ended_key(app, position), row);
    Ok(())
}

fn newest_key(app: AppId, position: u64) -> Vec<u8> {
    join(&[&[NEWEST], app.as_bytes(), &position.to_be_bytes()])
}

/// The position and the event of a row.
fn read(row: &[u8]) -> Result<(u64, FactRow<'_>), Malformed> {
    let mut reader = Reader::new(row);
    Ok((reader.u64()?, FactRow::read(reader.rest())?))
}

/// Folds the lists.
pub(crate) struct SuppressionsProjection(pub(crate) Arc<Suppressions>);

impl Projection for SuppressionsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        2
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let Some(Event::Suppression(event)) = fact.known.other() else { return Ok(()) };
        match event {
            SuppressionEvent::SuppressionAdded(added) => {
                let position = fact.recorded.position.get();
                let row = join(&[&position.to_le_bytes(), &FactRow::of(fact).to_bytes()]);
                let key = listed_key(added.app, &added.recipient);
                // Listed for a weaker reason before.
                if let Some(before) = round.get(&key)?.map(<[u8]>::to_vec) {
                    end(round, added.app, &before, fact.recorded.at)?;
                }
                round.put(key, row);
                round.put_new(newest_key(added.app, position), added.recipient.0.to_vec());
            }
            SuppressionEvent::SuppressionRemoved(removed) => {
                let key = listed_key(removed.app, &removed.recipient);
                let Some(before) = round.get(&key)?.map(<[u8]>::to_vec) else { return Ok(()) };
                round.delete(key);
                end(round, removed.app, &before, fact.recorded.at)?;
            }
        }
        Ok(())
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, key: &[u8], _value: &[u8]) -> Result<(), Halt> {
        let mut reader = Reader::new(key.get(1..).unwrap_or_default());
        let app = AppId::from_bytes(reader.array().map_err(|_| malformed(NAME))?);
        self.0.listing.pin().insert(app);
        Ok(())
    }
}
