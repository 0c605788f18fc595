//! How fast a receiver is gone at: never beyond its limits, and slower after it said so.

use std::{num::NonZeroU32, time::Duration};

use super::Limits;
use crate::time::Timestamp;

/// The whole of the limits, in thousandths.
const WHOLE: u32 = 1_000;
/// What a success gives back: from the half to the whole in fifty.
const STEP: u32 = 10;
/// Never less than this part: the way back takes some hundred successes at the most.
const FLOOR: u32 = WHOLE / 64;
/// How far messages may come together before the rate counts: a burst of a second's worth.
const BURST_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60_000_000;
/// How long a receiver that asked for less is remembered after its last word.
const MEMORY: Duration = Duration::from_mins(10);

/// Connections and rate at this moment: additive increase, multiplicative decrease, as TCP finds
/// out what a path bears (RFC 5681, section 3.1).
#[derive(Debug, Clone)]
pub struct Pace {
    limits: Limits,
    permille: u32,
    /// When the next message may begin if the rate were kept exactly, in microseconds.
    next_us: u64,
    turn: u64,
    slowed_at: Option<Timestamp>,
}

/// What became of a wish for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slowed {
    /// It was about what began before the last one: connections that are turned away together are
    /// one wish.
    Before,
    /// There is half as much from now on.
    Halved,
    /// There is no less than one connection: only leaving in peace is left.
    AtFloor,
}

impl Pace {
    /// At the limits.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, permille: WHOLE, next_us: 0, turn: 0, slowed_at: None }
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connections at once, now.
    pub fn connections(&self) -> NonZeroU32 {
        self.part_of(self.limits.connections)
    }

    /// Messages in a minute, now.
    pub fn per_minute(&self) -> Option<NonZeroU32> {
        self.limits.per_minute.map(|limit| self.part_of(limit))
    }

    fn part_of(&self, limit: NonZeroU32) -> NonZeroU32 {
        let part = u64::from(limit.get()) * u64::from(self.permille) / u64::from(WHOLE);
        u32::try_from(part).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }

    /// Counts wishes for less. Who begins something keeps it, for [`Pace::slow`] and
    /// [`Pace::well`].
    pub const fn turn(&self) -> u64 {
        self.turn
    }

    /// Takes leave to begin a message at `now`, or says when to ask again.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let Some(per_minute) = self.per_minute() else { return Ok(()) };
        let interval_us = MINUTE_US / u64::from(per_minute.get());
        let burst_us = BURST_US.saturating_sub(interval_us);
        let now_us = now.as_millis().saturating_mul(1_000);
        if self.next_us > now_us.saturating_add(burst_us) {
            let at_us = self.next_us.saturating_sub(burst_us);
            return Err(Timestamp::from_millis(at_us.div_ceil(1_000)));
        }
        self.next_us = self.next_us.max(now_us).saturating_add(interval_us);
        Ok(())
    }

    /// The receiver wants less; what it says this of began at the turn `seen`.
    pub fn slow(&mut self, seen: u64, now: Timestamp) -> Slowed {
        if seen != self.turn {
            return Slowed::Before;
        }
        let at_floor = self.connections() == NonZeroU32::MIN;
        self.permille = (self.permille / 2).max(FLOOR);
        self.turn = self.turn.saturating_add(1);
        self.slowed_at = Some(now);
        if at_floor { Slowed::AtFloor } else { Slowed::Halved }
    }

    /// Something that began at the turn `seen` went well.
    pub fn well(&mut self, seen: u64) {
        if seen == self.turn {
            self.permille = (self.permille + STEP).min(WHOLE);
        }
    }

    /// Until when what was learnt must not be forgotten; `None` when it may be.
    pub fn remember_until(&self) -> Option<Timestamp> {
        self.slowed_at.filter(|_| self.permille < WHOLE).map(|at| at.plus(MEMORY))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn pace(connections: u32, per_minute: Option<u32>) -> Pace {
        Pace::new(Limits {
            connections: NonZeroU32::new(connections).unwrap(),
            messages_per_connection: NonZeroU32::new(100).unwrap(),
            per_minute: per_minute.and_then(NonZeroU32::new),
        })
    }

    #[test]
    fn a_wish_for_less_halves_and_successes_give_back_step_by_step() {
        let mut pace = pace(8, Some(600));
        assert_eq!(pace.slow(pace.turn(), NOW), Slowed::Halved);
        assert_eq!((pace.connections().get(), pace.per_minute().unwrap().get()), (4, 300));
        assert_eq!(pace.slow(pace.turn(), NOW), Slowed::Halved);
        assert_eq!((pace.connections().get(), pace.per_minute().unwrap().get()), (2, 150));
        let mut successes = 0;
        while pace.connections().get() < 8 {
            let before = pace.connections();
            pace.well(pace.turn());
            assert!(pace.connections().get() <= before.get() + 1, "one more at a time");
            successes += 1;
        }
        assert_eq!(successes, 75);
        assert_eq!(pace.remember_until(), None);
    }

    #[test]
    fn who_is_turned_away_together_counts_once() {
        let mut pace = pace(8, None);
        let seen = pace.turn();
        assert_eq!(pace.slow(seen, NOW), Slowed::Halved);
        for _ in 0..7 {
            assert_eq!(pace.slow(seen, NOW), Slowed::Before);
            // Nor does it count that others of then still got through.
            pace.well(seen);
        }
        assert_eq!(pace.connections().get(), 4);
    }

    #[test]
    fn with_one_connection_there_is_nothing_left_but_to_leave_in_peace() {
        let mut pace = pace(2, None);
        assert_eq!(pace.slow(pace.turn(), NOW), Slowed::Halved);
        for _ in 0..20 {
            assert_eq!(pace.slow(pace.turn(), NOW), Slowed::AtFloor);
        }
        assert_eq!(pace.connections().get(), 1);
        for _ in 0..100 {
            pace.well(pace.turn());
        }
        assert_eq!(pace.connections().get(), 2, "it recovers by itself");
    }

    #[test]
    fn what_was_learnt_is_kept_for_a_while() {
        let mut pace = pace(8, None);
        assert_eq!(pace.remember_until(), None);
        pace.slow(pace.turn(), NOW);
        assert_eq!(pace.remember_until(), Some(NOW.plus(MEMORY)));
    }

    #[test]
    fn a_slow_rate_is_kept_evenly() {
        let mut pace = pace(8, Some(6));
        let mut now = NOW;
        let mut begun = Vec::new();
        while begun.len() < 5 {
            match pace.take(now) {
                Ok(()) => begun.push(now.since(NOW).as_secs()),
                Err(at) => {
                    assert!(at > now, "waiting ends later");
                    now = at;
                }
            }
        }
        assert_eq!(begun, [0, 10, 20, 30, 40]);
    }

    proptest! {
        /// In no minute does more begin than the rate and one second's burst.
        #[test]
        fn the_rate_holds_in_every_minute(
            per_minute in 1_u32..2_000,
            steps in prop::collection::vec(0_u64..1_000, 1..300),
        ) {
            let mut pace = pace(8, Some(per_minute));
            let (mut now, mut begun) = (NOW, std::collections::VecDeque::new());
            let burst = per_minute.div_ceil(60);
            let most = usize::try_from(per_minute + burst + 1).unwrap();
            for step in steps {
                now = now.plus(Duration::from_millis(step));
                while pace.take(now).is_ok() {
                    begun.push_back(now);
                }
                begun.retain(|at| now.since(*at).as_secs() < 60);
                prop_assert!(begun.len() <= most, "{} in a minute", begun.len());
            }
        }
    }
}
