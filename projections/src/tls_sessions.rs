//! TLS sessions with receivers' mail hosts, by day and receiver's domain (RFC 8460).
//!
//! # Why
//! Recipients of one transaction share its connection, and the log has an event for each, recorded
//! together: so of equal sessions with one domain in one append only the first counts. Which they
//! are lies in a row of its own, for a round can end between two of them.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use eventlog::Scan;
use model::{
    StreamId, Timestamp,
    address::DomainName,
    message::{End, Step, Tried},
    tls_report::{Day, DomainDay, Session},
};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    fact::{Fact, Known, malformed},
    layer::{Round, Rows},
    projection::Projection,
};

const NAME: &str = "tls_sessions";

/// What was counted of the newest append.
const NEWEST: &[u8] = &[1];
/// Sessions, by day and domain.
const DAYS: u8 = 2;

/// Days of domains in memory beyond which, at the end of a round, they are let go of.
const MAX_KEPT: usize = 20_000;

const DAMAGED: QueryError = QueryError::Damaged { table: NAME };

fn key(day: Day, domain: &str) -> Vec<u8> {
    join(&[&[DAYS], &day.number().to_be_bytes(), domain.as_bytes()])
}

/// The sessions that were counted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsSessions(Rows);

impl TlsSessions {
    pub(crate) const fn new(rows: Rows) -> Self {
        Self(rows)
    }

    /// The sessions of one day with the mail hosts of one domain, if there were any.
    pub fn of_domain(
        &self,
        day: Day,
        domain: &DomainName,
    ) -> Result<Option<DomainDay>, QueryError> {
        let row = self.0.get(key(day, domain.as_str()))?;
        row.map(|row| read(&row)).transpose().map_err(|Malformed| DAMAGED)
    }

    /// The domains with sessions on one day, after `after`, in their order; at most `limit`.
    pub fn domains(
        &self,
        day: Day,
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<(DomainName, DomainDay)>, QueryError> {
        let mut from = key(day, after.map_or("", DomainName::as_str));
        // The first key behind it.
        from.push(0);
        let to = key(day.after(), "");
        let mut found = Vec::new();
        for row in self.0.scan(Scan::range(from, to)).take(limit) {
            let (key, value) = row?;
            let read = domain_of(&key).and_then(|domain| Ok((domain, read(&value)?)));
            found.push(read.map_err(|Malformed| DAMAGED)?);
        }
        Ok(found)
    }
}

fn domain_of(key: &[u8]) -> Result<DomainName, Malformed> {
    let mut reader = Reader::new(key);
    reader.u8()?;
    reader.key_u32()?;
    let name = std::str::from_utf8(reader.rest()).map_err(|_| Malformed)?;
    DomainName::parse(name).map_err(|_| Malformed)
}

fn read(row: &[u8]) -> Result<DomainDay, Malformed> {
    serde_json::from_slice(row).map_err(|_| Malformed)
}

fn write<T: Serialize>(value: &T) -> Vec<u8> {
    // Lists of numbers and strings always have a JSON form.
    serde_json::to_vec(value).unwrap_or_default()
}

/// What was counted of the newest append that counted anything.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Newest {
    stream: Vec<u8>,
    at: Timestamp,
    counted: BTreeSet<[u8; 16]>,
}

impl Newest {
    /// Whether the session is the first of its kind in its append.
    fn is_first(&mut self, fact: &Fact<'_>, domain: &DomainName, session: &Session) -> bool {
        let stream = fact.recorded.stream.to_bytes();
        if self.stream != stream || self.at != fact.recorded.at {
            *self =
                Self { stream: stream.to_vec(), at: fact.recorded.at, counted: BTreeSet::new() };
        }
        let told = write(&(domain, session.policy, &session.failure));
        let hash = blake3::hash(&told);
        self.counted.insert(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// Folds the sessions. The days that are counted now are kept in memory beside their rows.
#[derive(Default)]
pub(crate) struct TlsSessionsProjection {
    newest: Option<Newest>,
    days: HashMap<(Day, DomainName), Counted>,
    /// Those that changed in this round.
    changed: Vec<(Day, DomainName)>,
}

#[derive(Default)]
struct Counted {
    sessions: DomainDay,
    changed: bool,
}

impl TlsSessionsProjection {
    fn newest(&mut self, round: &mut Round<'_>) -> Result<&mut Newest, Halt> {
        if self.newest.is_none() {
            let row = round.get(NEWEST)?.map(serde_json::from_slice).transpose();
            self.newest = Some(row.map_err(|_| malformed(NAME))?.unwrap_or_default());
        }
        Ok(self.newest.get_or_insert_default())
    }

    fn day(
        &mut self,
        round: &mut Round<'_>,
        day: Day,
        domain: &DomainName,
    ) -> Result<&mut DomainDay, Halt> {
        let counted = match self.days.entry((day, domain.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let row = round.get(&key(day, domain.as_str()))?;
                let sessions = row
                    .map(read)
                    .transpose()
                    .map_err(|Malformed| malformed(NAME))?
                    .unwrap_or_default();
                place.insert(Counted { sessions, changed: false })
            }
        };
        if !std::mem::replace(&mut counted.changed, true) {
            self.changed.push((day, domain.clone()));
        }
        Ok(&mut counted.sessions)
    }
}

impl Projection for TlsSessionsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (Some(origin), StreamId::Message(_)) = (fact.origin, fact.recorded.stream) else {
            return Ok(());
        };
        let tells = matches!(
            fact.known,
            Known::Went(
                Step::Deferred { .. } | Step::Ended { end: End::Delivered | End::Bounced(_), .. }
            )
        );
        if !tells {
            return Ok(());
        }
        let tried = Tried::decode(&fact.recorded.data).map_err(|error| Halt::Undecodable {
            position: fact.recorded.position,
            stream: fact.recorded.stream,
            what: error.to_string().into(),
        })?;
        let Some(Tried { recipient, stage, peer: Some(peer) }) = tried else { return Ok(()) };
        let recipient = origin.accepted.recipients.get(recipient.as_usize());
        let (Some(recipient), Some(session)) = (recipient, Session::of(stage, &peer)) else {
            return Ok(());
        };
        if self.newest(round)?.is_first(fact, &recipient.domain, &session) {
            let day = Day::of(fact.recorded.at);
            self.day(round, day, &recipient.domain)?.count(session);
        }
        Ok(())
    }

    fn settle(&mut self, round: &mut Round<'_>) -> Result<(), Halt> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if let Some(newest) = &self.newest {
            round.put(NEWEST.to_vec(), write(newest));
        }
        for place in self.changed.drain(..) {
            if let Some(counted) = self.days.get_mut(&place) {
                counted.changed = false;
                round.put(key(place.0, place.1.as_str()), write(&counted.sessions));
            }
        }
        if self.days.len() > MAX_KEPT {
            self.days.clear();
        }
        Ok(())
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}
