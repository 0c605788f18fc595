//! How much is let in at once: requests by number, content by octets.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::entropy::Lots;

/// Octets per permit: a semaphore counts to less than the octets of a large memory.
const UNIT: u64 = 1_024;
/// Largest content that a bound on octets must leave room for: the largest record and its head.
pub(crate) const LARGEST_BYTES: u64 = eventlog::MAX_SEALED_BYTES as u64;

/// Two bounds, taken together.
pub(crate) struct Admission {
    requests: Arc<Semaphore>,
    octets: Arc<Semaphore>,
    units: u32,
}

/// A request's place among those being recorded.
pub(crate) struct Admitted {
    _request: OwnedSemaphorePermit,
}

/// Room in memory for one message's content.
pub(crate) struct Room {
    _octets: OwnedSemaphorePermit,
}

/// A bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overloaded;

impl Overloaded {
    /// When to come back: about a second, spread so that not everybody comes at once.
    pub(crate) fn retry_after(lots: &Lots) -> Duration {
        Duration::from_millis(lots.spread_ms(1_500))
    }
}

impl Admission {
    pub(crate) fn new(requests: usize, octets: u64) -> Self {
        let units = u32::try_from(octets / UNIT).unwrap_or(u32::MAX >> 3).min(u32::MAX >> 3);
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            octets: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// A place for a request with this much content, if there is one now.
    pub(crate) fn try_admit(&self, octets: u64) -> Result<(Admitted, Room), Overloaded> {
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Overloaded)?;
        let octets = Arc::clone(&self.octets)
            .try_acquire_many_owned(self.units_of(octets))
            .map_err(|_| Overloaded)?;
        Ok((Admitted { _request: request }, Room { _octets: octets }))
    }

    /// Room for content that is read back, as soon as there is some; `None` once admission ended.
    pub(crate) async fn room(&self, octets: u64) -> Option<Room> {
        let octets =
            Arc::clone(&self.octets).acquire_many_owned(self.units_of(octets)).await.ok()?;
        Some(Room { _octets: octets })
    }

    /// Content in memory, in octets.
    pub(crate) fn content_bytes(&self) -> u64 {
        let free = u64::try_from(self.octets.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.units).saturating_sub(free) * UNIT
    }

    /// Lets no request in any more.
    pub(crate) fn end(&self) {
        self.requests.close();
    }

    fn units_of(&self, octets: u64) -> u32 {
        u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_bounds_hold_and_are_given_back() {
        let admission = Admission::new(2, 10 * UNIT);
        let first = admission.try_admit(6 * UNIT).unwrap();
        assert!(admission.try_admit(5 * UNIT).is_err());
        let second = admission.try_admit(4 * UNIT).unwrap();
        assert_eq!(admission.content_bytes(), 10 * UNIT);
        drop(second);
        let third = admission.try_admit(1).unwrap();
        assert!(admission.try_admit(1).is_err(), "two requests are let in");
        drop((first, third));
        assert_eq!(admission.content_bytes(), 0);
        // What is larger than the whole bound gets in alone instead of never.
        assert!(admission.room(1_000 * UNIT).await.is_some());
        admission.end();
        assert!(admission.try_admit(1).is_err());
    }
}
