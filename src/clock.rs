//! The real clock: the only place that asks the system for the time of day.
//!
//! # Why
//! The system's time can be set back, and the log's cannot: what is recorded then has the time of
//! the last event. Whatever is due by that time would wait until the system has caught up, for hours
//! perhaps, and limits on rates would refuse everybody as long. So the time here never goes back. It
//! goes on from where it was, a tenth slower than the system's, until that has caught up; and at a
//! start it goes on from the log's last event.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actors::Clock;
use eventlog::BoxFuture;
use model::Timestamp;
use parking_lot::Mutex;

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// One for the process: everybody must see the same time.
static STEADY: Mutex<Steady> = Mutex::new(Steady { shown: None });

/// A log or a clock that is ahead of the system by more than this is worth a word.
const WORTH_A_WORD: Duration = Duration::from_secs(5);

impl SystemClock {
    /// The time is not before `at`, from now on: that is when the last event was recorded.
    pub fn not_before(at: Timestamp) {
        let at = Duration::from_millis(at.as_millis());
        let ahead = at.saturating_sub(system_time());
        if ahead > WORTH_A_WORD {
            tracing::warn!(?ahead, "the system's time is before that of the log's last event");
        }
        STEADY.lock().show(at, Instant::now());
    }
}

/// Since the epoch.
fn system_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything is given")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// A time that never goes back.
#[derive(Debug, Default)]
struct Steady {
    /// The last time that was shown, and when that was by a clock that nobody sets.
    shown: Option<(Duration, Instant)>,
}

impl Steady {
    /// The time to show when the system says `time`.
    fn show(&mut self, time: Duration, now: Instant) -> Duration {
        let least = self.shown.map_or(Duration::ZERO, |(shown, at)| {
            let passed = now.saturating_duration_since(at);
            shown.saturating_add(passed.saturating_sub(passed / 10))
        });
        let time = time.max(least);
        self.shown = Some((time, now));
        time
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = {
            // Asked for within the lock: of two that race, the later one must not be the earlier.
            let mut steady = STEADY.lock();
            steady.show(system_time(), Instant::now())
        };
        Timestamp::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        // Slept in pieces, for the system's clock may be set while a long sleep goes on.
        const PIECE: Duration = Duration::from_secs(30);
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(PIECE)).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_time_that_is_set_back_goes_on_and_comes_together_with_the_systems_again() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        let shown = steady.show(100 * HOUR, start);
        assert_eq!(shown, 100 * HOUR);
        // Ahead with the system, and not back with it.
        assert_eq!(steady.show(103 * HOUR, start + SECOND), 103 * HOUR);
        let back = steady.show(100 * HOUR, start + 2 * SECOND);
        assert_eq!(back, 103 * HOUR + SECOND * 9 / 10);
        // It still passes, however often it is looked at.
        let mut last = back;
        for millis in 1..=1_000 {
            let at = start + 2 * SECOND + Duration::from_millis(millis);
            let shown = steady.show(100 * HOUR + Duration::from_millis(millis), at);
            assert!(shown > last, "{millis}");
            last = shown;
        }
        assert_eq!(last, back + SECOND * 9 / 10);
        // Three hours are made good in thirty.
        assert!(steady.show(129 * HOUR, start + 29 * HOUR) > 129 * HOUR);
        assert_eq!(steady.show(131 * HOUR, start + 31 * HOUR), 131 * HOUR);
    }

    #[test]
    fn the_time_goes_on_from_what_it_must_not_be_before() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        steady.show(200 * HOUR, start);
        assert_eq!(steady.show(100 * HOUR, start + 10 * SECOND), 200 * HOUR + 9 * SECOND);
    }
}
