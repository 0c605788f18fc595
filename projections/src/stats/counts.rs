//! The counters.

use serde::Serialize;

use crate::codec::{Malformed, Reader, put_varint};

/// How many recipients came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Taken over.
    pub accepted: u64,
    /// Taken by their mail host.
    pub delivered: u64,
    /// Not settled by the first attempt; they count under their end, too.
    pub deferred: u64,
    /// Refused for good.
    pub bounced: u64,
    /// Given up.
    pub failed: u64,
    /// On the suppression list.
    pub suppressed: u64,
    /// Complained about what they got; they count under their end, too.
    pub complained: u64,
    /// Taken back by the caller.
    pub canceled: u64,
}

/// One of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    Accepted,
    Delivered,
    Deferred,
    Bounced,
    Failed,
    Suppressed,
    Canceled,
    Complained,
}

impl Counts {
    /// Recipients that have not ended.
    pub const fn in_flight(&self) -> u64 {
        let ended = self
            .delivered
            .saturating_add(self.bounced)
            .saturating_add(self.failed)
            .saturating_add(self.suppressed)
            .saturating_add(self.canceled);
        self.accepted.saturating_sub(ended)
    }

    pub(super) fn add(&mut self, counter: Counter, by: i64) {
        let counter = match counter {
            Counter::Accepted => &mut self.accepted,
            Counter::Delivered => &mut self.delivered,
            Counter::Deferred => &mut self.deferred,
            Counter::Bounced => &mut self.bounced,
            Counter::Failed => &mut self.failed,
            Counter::Suppressed => &mut self.suppressed,
            Counter::Canceled => &mut self.canceled,
            Counter::Complained => &mut self.complained,
        };
        *counter = counter.saturating_add_signed(by);
    }

    /// Adds other counts to these.
    pub(super) fn merge(&mut self, other: &Self) {
        let mine = self.fields_mut();
        for (mine, other) in mine.into_iter().zip(other.fields()) {
            *mine = mine.saturating_add(other);
        }
    }

    const fn fields(&self) -> [u64; 8] {
        [
            self.accepted,
            self.delivered,
            self.deferred,
            self.bounced,
            self.failed,
            self.suppressed,
            self.complained,
            self.canceled,
        ]
    }

    const fn fields_mut(&mut self) -> [&mut u64; 8] {
        [
            &mut self.accepted,
            &mut self.delivered,
            &mut self.deferred,
            &mut self.bounced,
            &mut self.failed,
            &mut self.suppressed,
            &mut self.complained,
            &mut self.canceled,
        ]
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.fields().into_iter().for_each(|count| put_varint(out, count));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut counts = Self::default();
        for field in counts.fields_mut() {
            *field = reader.varint()?;
        }
        Ok(counts)
    }
}
