//! Leaving a site in peace that closes its door or cannot be reached.

use std::time::Duration;

use model::{Timestamp, delivery::Outcome};

use crate::entropy::Lots;

/// The first pause; it doubles with each further trouble.
const FIRST_MS: u64 = 5_000;
/// The longest pause.
const LONGEST_MS: u64 = 600_000;

/// How a site behaved of late.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pause {
    /// Not before this time.
    pub(crate) until: Timestamp,
    /// What gave rise to it.
    pub(crate) cause: Option<Outcome>,
    /// Whether nothing has gone well since.
    pub(crate) in_trouble: bool,
    /// How many pauses there were since something went well.
    times: u32,
    /// Counts troubles and recoveries, so that those who began before one do not count again.
    pub(crate) turn: u64,
}

impl Pause {
    /// A worker that saw `turn` when it began ran into `cause`. Ten connections that are turned
    /// away together are one trouble.
    pub(crate) fn trouble(&mut self, turn: u64, cause: Outcome, now: Timestamp, lots: &Lots) {
        if turn != self.turn {
            return;
        }
        let doubled = FIRST_MS.saturating_mul(1_u64.checked_shl(self.times).unwrap_or(u64::MAX));
        let pause = Duration::from_millis(lots.spread_ms(doubled.min(LONGEST_MS)));
        *self = Self {
            until: now.plus(pause),
            cause: Some(cause),
            in_trouble: true,
            times: self.times.saturating_add(1),
            turn: self.turn + 1,
        };
    }

    /// A worker that saw `turn` when it began got through.
    pub(crate) fn well(&mut self, turn: u64) {
        if turn == self.turn && self.in_trouble {
            *self = Self { turn: self.turn + 1, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use model::delivery::{Fault, Stage};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn pauses_double_up_to_a_bound_and_end_when_all_is_well() {
        let cause = Outcome::fault(Stage::Connect, Fault::Unreachable);
        let mut pause = Pause::default();
        let mut lengths = Vec::new();
        for _ in 0..100 {
            pause.trouble(pause.turn, cause.clone(), NOW, &Lots::default());
            lengths.push(pause.until.since(NOW).as_millis());
        }
        assert!((4_000..=6_000).contains(&lengths[0]), "{lengths:?}");
        assert!((8_000..=12_000).contains(&lengths[1]));
        assert!(lengths[20..].iter().all(|length| (480_000..=720_000).contains(length)));
        pause.well(pause.turn);
        assert!(!pause.in_trouble && pause.until <= NOW);
    }

    #[test]
    fn troubles_met_together_count_once() {
        let cause = Outcome::fault(Stage::Connect, Fault::Unreachable);
        let mut pause = Pause::default();
        let seen = pause.turn;
        for _ in 0..10 {
            pause.trouble(seen, cause.clone(), NOW, &Lots::default());
        }
        assert!(pause.until.since(NOW).as_millis() <= 6_000);
        // Who began before the trouble and got through says nothing about the time after it.
        pause.well(seen);
        assert!(pause.in_trouble);
    }
}
