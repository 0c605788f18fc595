//! Whether anybody is lost: recipients that were accepted, that ended and that are open, by app and
//! hour of acceptance.
//!
//! # Why
//! - **Ends are counted by events, who is open by what the alarms wait for.** These go different
//!   ways: an end that is recorded twice, or one that no alarm heard of, makes a difference.
//! - **Sums of a round are gathered** and written at its end: a row of all is changed by every event.

use std::collections::{BTreeMap, HashMap};

use eventlog::{Hour, Scan};
use model::{AppId, TenantId, Timestamp, conservation::Account, message::Step, tls_report::Day};
use serde::Serialize;

use super::{Alarms, damaged};
use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    fact::{Origin, malformed},
    layer::Round,
};

/// By app and hour: whose it is, and the sums.
const BY_HOUR: u8 = 4;
/// The sums of all.
const TOTAL_KEY: &[u8] = &[5];

const HOUR_MS: u64 = 3_600_000;

/// Recipients in numbers. Nobody is lost while accepted = ended + in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conservation {
    /// Taken over.
    pub accepted: u64,
    /// That have come to an end, counted by events.
    pub ended: u64,
    /// That an alarm waits for.
    pub in_flight: u64,
}

impl Conservation {
    /// By how much accepted and ended + in flight differ: 0, or somebody is lost or counted twice.
    pub const fn difference(&self) -> u64 {
        self.accepted.abs_diff(self.ended.saturating_add(self.in_flight))
    }

    const fn add(&mut self, other: &Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.ended = self.ended.saturating_add(other.ended);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { accepted: reader.u64()?, ended: reader.u64()?, in_flight: reader.u64()? })
    }

    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let numbers = [self.accepted, self.ended, self.in_flight];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }
}

/// What a round added to the sums of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Added {
    tenant: TenantId,
    accepted: u64,
    ended: u64,
    closed: u64,
}

impl Added {
    fn to(self, sums: &mut Conservation) {
        sums.accepted = sums.accepted.saturating_add(self.accepted);
        sums.ended = sums.ended.saturating_add(self.ended);
        let open = sums.in_flight.saturating_add(self.accepted);
        sums.in_flight = open.saturating_sub(self.closed);
    }
}

/// The sums of the round that is under way.
#[derive(Debug, Default)]
pub(super) struct Gathered(HashMap<(AppId, Hour), Added>);

impl Gathered {
    fn of(&mut self, origin: &Origin) -> &mut Added {
        let accepted = &origin.accepted;
        let none = Added { tenant: accepted.tenant, accepted: 0, ended: 0, closed: 0 };
        self.0.entry((accepted.app, Hour::of(origin.at))).or_insert(none)
    }

    /// A message was accepted.
    pub(super) fn begin(&mut self, origin: &Origin) {
        self.of(origin).accepted += origin.accepted.recipients.len() as u64;
    }

    /// Something happened to a message that may end a recipient.
    pub(super) fn step(&mut self, origin: &Origin, step: &Step) {
        let ends = match step {
            Step::Ended { .. } => true,
            // Who was delivered had ended before.
            Step::Returned { was_delivered, .. } => !was_delivered,
            Step::Accepted(_)
            | Step::Scheduled(_)
            | Step::Deferred { .. }
            | Step::Complained { .. }
            | Step::RetryRequested => false,
        };
        if ends {
            self.of(origin).ended += 1;
        }
    }

    /// No alarm waits for so many recipients any more.
    pub(super) fn close(&mut self, origin: &Origin, count: usize) {
        if count > 0 {
            self.of(origin).closed += count as u64;
        }
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Writes them down.
    pub(super) fn settle(&mut self, round: &mut Round<'_>) -> Result<(), Halt> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut total = match round.get(TOTAL_KEY)? {
            Some(row) => Conservation::read(&mut Reader::new(row)),
            None => Ok(Conservation::default()),
        }
        .map_err(|Malformed| malformed(super::NAME))?;
        for ((app, hour), added) in self.0.drain() {
            added.to(&mut total);
            let key = key(app, hour.get());
            let mut sums = match round.get(&key)? {
                Some(row) => read_row(row).map(|(_, sums)| sums),
                None => Ok(Conservation::default()),
            }
            .map_err(|Malformed| malformed(super::NAME))?;
            added.to(&mut sums);
            round.put(key, join(&[added.tenant.as_bytes(), &sums.to_bytes()]));
        }
        round.put(TOTAL_KEY.to_vec(), total.to_bytes().to_vec());
        Ok(())
    }
}

fn key(app: AppId, hour: u32) -> Vec<u8> {
    join(&[&[BY_HOUR], app.as_bytes(), &hour.to_be_bytes()])
}

fn read_row(row: &[u8]) -> Result<(TenantId, Conservation), Malformed> {
    let mut reader = Reader::new(row);
    let tenant = TenantId::from_bytes(reader.array()?);
    Ok((tenant, Conservation::read(&mut reader)?))
}

impl Alarms {
    /// The sums of all apps and times.
    pub fn conservation(&self) -> Result<Conservation, QueryError> {
        let Some(row) = self.table.get(TOTAL_KEY)? else { return Ok(Conservation::default()) };
        Conservation::read(&mut Reader::new(&row)).map_err(|Malformed| damaged())
    }

    /// The sums of an app's messages that were accepted from the hour of `from` on and before `to`;
    /// a begun hour counts whole.
    pub fn conservation_of(
        &self,
        app: AppId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Conservation, QueryError> {
        let end = Timestamp::from_millis(to.as_millis().saturating_add(HOUR_MS - 1));
        let scan = Scan::range(key(app, Hour::of(from).get()), key(app, Hour::of(end).get()));
        let mut sums = Conservation::default();
        for row in self.table.scan(scan) {
            let (_, of_hour) = read_row(&row?.1).map_err(|Malformed| damaged())?;
            sums.add(&of_hour);
        }
        Ok(sums)
    }

    /// The sums by tenant, app and day. Reads every row.
    pub fn conservation_by_day(&self) -> Result<BTreeMap<Account, Conservation>, QueryError> {
        let mut days: BTreeMap<Account, Conservation> = BTreeMap::new();
        for row in self.table.scan(Scan::prefix([BY_HOUR])) {
            let (key, value) = row?;
            let read = || -> Result<_, Malformed> {
                let mut reader = Reader::new(key.get(1..).ok_or(Malformed)?);
                let app = AppId::from_bytes(reader.array()?);
                let at = Timestamp::from_millis(u64::from(reader.key_u32()?) * HOUR_MS);
                let (tenant, sums) = read_row(&value)?;
                Ok((Account { tenant, app, day: Day::of(at) }, sums))
            };
            let (account, sums) = read().map_err(|Malformed| damaged())?;
            days.entry(account).or_default().add(&sums);
        }
        Ok(days)
    }
}
