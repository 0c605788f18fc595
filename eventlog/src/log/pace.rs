//! How long a group waits for more appends before it is written.
//!
//! # Why
//! Those who were answered last come again a moment later. Where many append at once, a group that
//! is written as soon as its first append is there catches few of them, and each message pays for
//! more syncs. So a group that is smaller than the one before waits once, for no longer than that
//! one took: half the syncs, for at most twice the time (PostgreSQL's `commit_delay` and
//! `commit_siblings` are the same thought, set by hand). Who appends alone never waits.

use std::time::Duration;

/// Fewer at once do not wait for one another.
const CROWD: usize = 4;
/// However slow the disk is.
const LONGEST: Duration = Duration::from_millis(1);

/// What the last group was like.
#[derive(Debug, Default)]
pub(super) struct Pace {
    appends: usize,
    took: Duration,
}

impl Pace {
    /// How long a group of so many appends waits for more.
    pub(super) fn wait(&self, appends: usize) -> Duration {
        let few = self.appends < CROWD || appends >= self.appends;
        if few { Duration::ZERO } else { self.took.min(LONGEST) }
    }

    /// A group of so many appends was written and synced in this time.
    pub(super) const fn wrote(&mut self, appends: usize, took: Duration) {
        self.appends = appends;
        self.took = took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_waits_and_no_longer_than_its_last_write_took() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(1), Duration::ZERO, "nothing is known yet");
        let took = Duration::from_micros(300);
        pace.wrote(CROWD - 1, took);
        assert_eq!(pace.wait(1), Duration::ZERO);
        pace.wrote(CROWD, took);
        assert_eq!(pace.wait(1), took);
        assert_eq!(pace.wait(CROWD), Duration::ZERO, "as many as last time are there");
        pace.wrote(64, Duration::from_secs(2));
        assert_eq!(pace.wait(63), LONGEST);
        pace.wrote(1, took);
        assert_eq!(pace.wait(1), Duration::ZERO, "the others have gone");
    }
}
