//! When each unfinished message must be looked at again: so that no crash leaves one waiting for
//! ever.

mod balance;
mod overdue;

use eventlog::Scan;
use model::{DomainId, MessageId, RecipientIndex, StreamId, TenantId, Timestamp, message::Step};

use self::balance::Gathered;
pub use self::{
    balance::Conservation,
    overdue::{OVERDUE_AFTER, OVERDUE_TO_DO, Overdue},
};
use crate::{
    codec::{Malformed, Reader, join, put_varint},
    error::{Halt, QueryError},
    fact::{Fact, Known, Origin, malformed},
    layer::{Round, Rows},
    projection::Projection,
};

const NAME: &str = "alarms";

/// The alarms themselves: time and message in the key; in the value whose it is, when it expires,
/// and the domains of recipients that are open. So who may not be tried now is passed over, and the
/// queue is gone through, without a look at the messages.
const BY_TIME: u8 = 1;
/// What is still open of each unfinished message.
const WAITING: u8 = 2;
/// How many alarms there are.
const COUNT_KEY: &[u8] = &[3];

/// Most alarms that one question returns.
pub const MAX_ALARMS: usize = 10_000;

/// A message that must be looked at, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// From when on.
    pub at: Timestamp,
    /// Which message.
    pub message: MessageId,
}

impl Alarm {
    /// The place of this alarm, to go on after it.
    pub const fn cursor(self) -> AlarmCursor {
        AlarmCursor(self)
    }

    fn key(self) -> Vec<u8> {
        join(&[&[BY_TIME], &self.at.as_millis().to_be_bytes(), self.message.as_bytes()])
    }

    fn read(key: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(key);
        let (BY_TIME, at, message) = (reader.u8()?, reader.key_u64()?, reader.array()?) else {
            return Err(Malformed);
        };
        Ok(Self { at: Timestamp::from_millis(at), message: MessageId::from_bytes(message) })
    }
}

/// A message that waits, as its alarm tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingMessage {
    /// Which message, and from when on it is to be looked at.
    pub alarm: Alarm,
    /// Whose it is.
    pub tenant: TenantId,
    /// The sending domain.
    pub domain: DomainId,
    /// When trying ends.
    pub expires_at: Timestamp,
    /// The domains of the recipients that are open, each with their number.
    pub receivers: Vec<(Box<str>, u64)>,
}

impl WaitingMessage {
    fn read(key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(value);
        let tenant = TenantId::from_bytes(reader.array()?);
        let domain = DomainId::from_bytes(reader.array()?);
        let expires_at = Timestamp::from_millis(reader.u64()?);
        let mut receivers = Vec::with_capacity(1);
        while !reader.is_empty() {
            let (count, octets) = (reader.varint()?, reader.u8()?);
            let name = std::str::from_utf8(reader.take(usize::from(octets))?);
            receivers.push((name.map_err(|_| Malformed)?.into(), count));
        }
        Ok(Self { alarm: Alarm::read(key)?, tenant, domain, expires_at, receivers })
    }

    /// The place of its alarm, to go on after it.
    pub const fn cursor(&self) -> AlarmCursor {
        self.alarm.cursor()
    }
}

/// What an alarm's row tells of its message.
fn alarm_value(origin: &Origin, open: &[(RecipientIndex, Timestamp)]) -> Vec<u8> {
    let accepted = &origin.accepted;
    let mut value = join(&[
        accepted.tenant.as_bytes(),
        accepted.domain.as_bytes(),
        &accepted.expires_at.as_millis().to_le_bytes(),
    ]);
    let domains = open.iter().filter_map(|(index, _)| accepted.recipients.get(index.as_usize()));
    let mut domains: Vec<&str> = domains.map(|recipient| recipient.domain.as_str()).collect();
    domains.sort_unstable();
    for same in domains.chunk_by(|one, other| one == other) {
        // A name of the DNS has 253 octets at most.
        if let Some((name, octets)) =
            same.first().and_then(|name| Some((name, u8::try_from(name.len()).ok()?)))
        {
            put_varint(&mut value, same.len() as u64);
            value.push(octets);
            value.extend_from_slice(name.as_bytes());
        }
    }
    value
}

/// A place among the alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmCursor(Alarm);

impl AlarmCursor {
    /// The alarm at this place.
    pub const fn alarm(self) -> Alarm {
        self.0
    }

    /// The place after every alarm until `at`.
    pub const fn past(at: Timestamp) -> Self {
        Self(Alarm { at, message: MessageId::from_bytes([u8::MAX; 16]) })
    }
}

/// The alarms: exactly one for every unfinished message, at [`model::message::Message::next_alarm`].
#[derive(Debug, Clone)]
pub struct Alarms {
    table: Rows,
}

impl Alarms {
    pub(crate) const fn new(table: Rows) -> Self {
        Self { table }
    }

    /// The alarms that are due at `now`, the earliest first: those after `after`, at most `limit`
    /// and [`MAX_ALARMS`].
    pub fn due(
        &self,
        now: Timestamp,
        after: Option<AlarmCursor>,
        limit: usize,
    ) -> Result<Vec<Alarm>, QueryError> {
        self.table
            .scan(until(now, after))
            .take(limit.min(MAX_ALARMS))
            .map(|row| Alarm::read(&row?.0).map_err(|Malformed| damaged()))
            .collect()
    }

    /// The same with what the alarms tell of their messages.
    pub fn waiting(
        &self,
        now: Timestamp,
        after: Option<AlarmCursor>,
        limit: usize,
    ) -> Result<Vec<WaitingMessage>, QueryError> {
        self.table
            .scan(until(now, after))
            .take(limit.min(MAX_ALARMS))
            .map(|row| {
                let (key, value) = row?;
                WaitingMessage::read(&key, &value).map_err(|Malformed| damaged())
            })
            .collect()
    }

    /// The time of the first alarm that is later than `after`.
    pub fn next_after(&self, after: Timestamp) -> Result<Option<Timestamp>, QueryError> {
        let from = after.as_millis().saturating_add(1).to_be_bytes();
        let scan = Scan::range(join(&[&[BY_TIME], &from]), [BY_TIME + 1]);
        match self.table.scan(scan).next() {
            None => Ok(None),
            Some(row) => {
                Alarm::read(&row?.0).map(|alarm| Some(alarm.at)).map_err(|Malformed| damaged())
            }
        }
    }

    /// The alarm of a message; `None` once it has ended.
    pub fn of(&self, message: MessageId) -> Result<Option<Alarm>, QueryError> {
        let Some(row) = self.table.get(waiting_key(message))? else { return Ok(None) };
        let waiting = Waiting::read(&row).map_err(|Malformed| damaged())?;
        Ok(Some(Alarm { at: waiting.alarm, message }))
    }

    /// How many alarms there are: the number of unfinished messages.
    pub fn len(&self) -> Result<u64, QueryError> {
        let Some(row) = self.table.get(COUNT_KEY)? else { return Ok(0) };
        Reader::new(&row).u64().map_err(|Malformed| damaged())
    }

    /// Whether every message has ended.
    pub fn is_empty(&self) -> Result<bool, QueryError> {
        self.len().map(|len| len == 0)
    }
}

/// The alarms that are due at `now`, from a place on.
fn until(now: Timestamp, after: Option<AlarmCursor>) -> Scan {
    let end = now.as_millis().saturating_add(1).to_be_bytes();
    let scan = Scan::range([BY_TIME], join(&[&[BY_TIME], &end]));
    match after {
        Some(AlarmCursor(last)) => scan.after(last.key()),
        None => scan,
    }
}

const fn damaged() -> QueryError {
    QueryError::Damaged { table: NAME }
}

fn waiting_key(message: MessageId) -> Vec<u8> {
    join(&[&[WAITING], message.as_bytes()])
}

/// What is open of an unfinished message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    alarm: Timestamp,
    expires_at: Timestamp,
    open: Vec<(RecipientIndex, Timestamp)>,
}

impl Waiting {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let alarm = Timestamp::from_millis(reader.u64()?);
        let expires_at = Timestamp::from_millis(reader.u64()?);
        let mut open = Vec::with_capacity(reader.rest().len() / 9);
        while !reader.is_empty() {
            open.push((RecipientIndex(reader.u8()?), Timestamp::from_millis(reader.u64()?)));
        }
        Ok(Self { alarm, expires_at, open })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.open.len() * 9);
        bytes.extend_from_slice(&self.alarm.as_millis().to_le_bytes());
        bytes.extend_from_slice(&self.expires_at.as_millis().to_le_bytes());
        for (recipient, next) in &self.open {
            bytes.push(recipient.0);
            bytes.extend_from_slice(&next.as_millis().to_le_bytes());
        }
        bytes
    }

    /// The rule of [`model::message::Message::next_alarm`].
    fn next(&self) -> Option<Timestamp> {
        self.open.iter().map(|(_, next)| *next).min().map(|next| next.min(self.expires_at))
    }

    fn evolve(&mut self, step: &Step, at: Timestamp) {
        match step {
            Step::Accepted(_) | Step::Complained { .. } => {}
            Step::Scheduled(scheduled) => {
                for (_, next) in &mut self.open {
                    *next = scheduled.until;
                }
            }
            Step::Deferred { recipient, next_attempt_at, .. } => {
                if let Some((_, next)) = self.open.iter_mut().find(|(open, _)| open == recipient) {
                    *next = *next_attempt_at;
                }
            }
            Step::Ended { recipient, .. } | Step::Returned { recipient, .. } => {
                self.end(*recipient);
            }
            Step::RetryRequested => {
                for (_, next) in &mut self.open {
                    *next = (*next).min(at);
                }
            }
        }
    }

    fn end(&mut self, recipient: RecipientIndex) {
        self.open.retain(|(open, _)| *open != recipient);
    }
}

/// Folds the alarms.
#[derive(Default)]
pub(crate) struct AlarmsProjection {
    gathered: Gathered,
}

impl AlarmsProjection {
    fn begin(message: MessageId, origin: &Origin, round: &mut Round<'_>) -> Result<(), Halt> {
        let open = (0..=u8::MAX).map(RecipientIndex).zip(&origin.accepted.recipients);
        let mut waiting = Waiting {
            alarm: origin.at,
            expires_at: origin.accepted.expires_at,
            open: open.map(|(index, _)| (index, origin.at)).collect(),
        };
        let Some(at) = waiting.next() else { return Ok(()) };
        waiting.alarm = at;
        round.put_new(waiting_key(message), waiting.to_bytes());
        round.put_new(Alarm { at, message }.key(), alarm_value(origin, &waiting.open));
        count(round, |count| count.saturating_add(1))
    }
}

fn count(round: &mut Round<'_>, change: impl FnOnce(u64) -> u64) -> Result<(), Halt> {
    let row = round.edit_or(COUNT_KEY, || 0_u64.to_le_bytes().to_vec())?;
    let count: &mut [u8; 8] = row.first_chunk_mut().ok_or_else(|| malformed(NAME))?;
    *count = change(u64::from_le_bytes(*count)).to_le_bytes();
    Ok(())
}

impl Projection for AlarmsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        3
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let StreamId::Message(message) = fact.recorded.stream else { return Ok(()) };
        let step = match fact.known {
            Known::Began(origin) => {
                self.gathered.begin(origin);
                return Self::begin(message, origin, round);
            }
            Known::Went(step) => step,
            Known::Other(_) => return Ok(()),
        };
        if let Some(origin) = fact.origin {
            self.gathered.step(origin, step);
        }
        let key = waiting_key(message);
        // No row: the message has ended, and nothing that comes late wakes it again.
        let Some(row) = round.edit(&key)? else { return Ok(()) };
        let mut waiting = Waiting::read(row).map_err(|Malformed| malformed(NAME))?;
        let before = Alarm { at: waiting.alarm, message };
        let open_before = waiting.open.len();
        waiting.evolve(step, fact.recorded.at);
        if let Some(origin) = fact.origin {
            self.gathered.close(origin, open_before.saturating_sub(waiting.open.len()));
        }
        let Some(at) = waiting.next() else {
            round.delete(key);
            round.delete(before.key());
            return count(round, |count| count.saturating_sub(1));
        };
        waiting.alarm = at;
        *row = waiting.to_bytes();
        let moved = at != before.at;
        if moved {
            round.delete(before.key());
        }
        if (moved || waiting.open.len() != open_before)
            && let Some(origin) = fact.origin
        {
            round.put(Alarm { at, message }.key(), alarm_value(origin, &waiting.open));
        }
        Ok(())
    }

    fn settle(&mut self, round: &mut Round<'_>) -> Result<(), Halt> {
        self.gathered.settle(round)
    }

    fn forget(&mut self) {
        self.gathered.forget();
    }
}
