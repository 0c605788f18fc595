//! When a deferred recipient is tried again (RFC 5321, section 4.5.4.1).

use std::{fmt, time::Duration};

use crate::{
    delivery::{Answer, Outcome, Stage},
    time::Timestamp,
};

/// A first refusal by greylisting (RFC 6647) is tried again after this: most greylists let a
/// sender in after one to five minutes.
pub const GREYLIST_DELAY: Duration = Duration::from_mins(1);

/// How far a delay may be moved, in thousandths of it, to either side.
const JITTER_PERMILLE: i64 = 200;

/// A random number drawn at the edge, from −1000 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter(i16);

impl Jitter {
    /// From any random bits.
    pub const fn from_random(bits: u32) -> Self {
        Self((bits % 2001) as i16 - 1000)
    }
}

/// How long a message is worth sending, where its caller says so: a one-time code is useless after
/// ten minutes. From 1 minute to 7 days, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(u32);

/// The text is no [`Lifetime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a length of time such as 10m, with s, m, h or d, from 1 minute to 7 days")]
pub struct InvalidLifetime;

impl Lifetime {
    const LEAST_S: u32 = 60;
    const MOST_S: u32 = 7 * 86_400;

    /// Reads `90s`, `10m`, `48h` or `7d`.
    pub fn parse(text: &str) -> Result<Self, InvalidLifetime> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidLifetime)?;
        let (number, unit) = text.split_at(unit_at);
        let unit_s: u32 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(InvalidLifetime),
        };
        let number: u32 = number.parse().map_err(|_| InvalidLifetime)?;
        let seconds = number.checked_mul(unit_s).ok_or(InvalidLifetime)?;
        let bounded = (Self::LEAST_S..=Self::MOST_S).contains(&seconds);
        bounded.then_some(Self(seconds)).ok_or(InvalidLifetime)
    }

    /// The same as a duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// The delays between attempts, and the time after which there are no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    schedule: Vec<Duration>,
    expire_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        let schedule = [5, 15, 30, 60, 120, 240, 480]
            .into_iter()
            .map(|minutes| Duration::from_secs(minutes * MINUTE))
            .collect();
        Self { schedule, expire_after: Duration::from_hours(48) }
    }
}

/// A schedule that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a retry schedule has 1 to 100 delays, each above zero, and an expiry above zero")]
pub struct InvalidSchedule;

impl RetryPolicy {
    /// A policy with these delays; the last one repeats until `expire_after` has passed.
    pub fn new(schedule: Vec<Duration>, expire_after: Duration) -> Result<Self, InvalidSchedule> {
        let usable = (1..=100).contains(&schedule.len())
            && schedule.iter().all(|delay| !delay.is_zero())
            && !expire_after.is_zero();
        usable.then_some(Self { schedule, expire_after }).ok_or(InvalidSchedule)
    }

    /// The same delays with another expiry.
    pub fn with_expiry(self, expire_after: Duration) -> Result<Self, InvalidSchedule> {
        Self::new(self.schedule, expire_after)
    }

    /// When trying ends for a message that may be sent from `start` on. What its caller says
    /// counts, longer or shorter than what holds for the others.
    pub fn expires_at(&self, start: Timestamp, lifetime: Option<Lifetime>) -> Timestamp {
        start.plus(lifetime.map_or(self.expire_after, Lifetime::as_duration))
    }

    /// When to try again after the `attempt`-th attempt (from 1) ended at `now` with `outcome`.
    pub fn next_attempt_at(
        &self,
        attempt: u16,
        outcome: &Outcome,
        now: Timestamp,
        jitter: Jitter,
    ) -> Timestamp {
        let step = usize::from(attempt.saturating_sub(1));
        let delay = self.schedule.get(step).or(self.schedule.last()).copied().unwrap_or_default();
        let delay =
            if attempt == 1 && is_greylisting(outcome) { delay.min(GREYLIST_DELAY) } else { delay };
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 2_000_000);
        let moved = millis + millis * JITTER_PERMILLE / 1_000 * i64::from(jitter.0) / 1_000;
        now.plus(Duration::from_millis(u64::try_from(moved).unwrap_or(1).max(1)))
    }
}

/// Greylists answer 450 or 451 to a recipient, or to the data, that they see for the first time.
fn is_greylisting(outcome: &Outcome) -> bool {
    matches!(&outcome.answer, Answer::Reply(reply)
        if matches!(reply.code, 450 | 451)
            && matches!(outcome.stage, Stage::RcptTo | Stage::Data | Stage::EndOfData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Fault, Reply};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn delay(policy: &RetryPolicy, attempt: u16, outcome: &Outcome, jitter: Jitter) -> Duration {
        policy.next_attempt_at(attempt, outcome, NOW, jitter).since(NOW)
    }

    #[test]
    fn delays_follow_the_schedule_and_the_last_one_repeats() {
        let policy = RetryPolicy::default();
        let outcome = Outcome::fault(Stage::Connect, Fault::Unreachable);
        let minutes: Vec<u64> = (1..=9)
            .map(|attempt| delay(&policy, attempt, &outcome, Jitter::default()).as_secs() / 60)
            .collect();
        assert_eq!(minutes, [5, 15, 30, 60, 120, 240, 480, 480, 480]);
    }

    #[test]
    fn jitter_moves_a_delay_by_a_fifth_at_the_most() {
        let policy = RetryPolicy::default();
        let outcome = Outcome::fault(Stage::Connect, Fault::Unreachable);
        assert_eq!(delay(&policy, 1, &outcome, Jitter(1000)).as_secs(), 360);
        assert_eq!(delay(&policy, 1, &outcome, Jitter(-1000)).as_secs(), 240);
        for bits in [0, 1, 2000, 2001, u32::MAX] {
            assert!(Jitter::from_random(bits).0.abs() <= 1000);
        }
    }

    #[test]
    fn greylisting_is_tried_again_early_once() {
        let policy = RetryPolicy::default();
        let reply = Reply { code: 451, enhanced: None, text: "greylisted".into() };
        let outcome = Outcome { stage: Stage::RcptTo, answer: Answer::Reply(reply), peer: None };
        assert_eq!(delay(&policy, 1, &outcome, Jitter::default()), GREYLIST_DELAY);
        assert_eq!(delay(&policy, 2, &outcome, Jitter::default()).as_secs(), 15 * 60);
    }

    #[test]
    fn lifetimes_are_a_minute_to_a_week() {
        for (text, seconds) in [
            ("60s", 60),
            ("1m", 60),
            ("10m", 600),
            ("48h", 172_800),
            ("7d", 604_800),
            ("0090s", 90),
        ] {
            assert_eq!(Lifetime::parse(text).unwrap().as_duration().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "m",
            "10",
            "59s",
            "0m",
            "8d",
            "169h",
            "604801s",
            "1.5h",
            "-1h",
            "+10m",
            "10 m",
            "10M",
            "1w",
            "10ms",
            "99999999999d",
            "4294967295d",
            "PT10M",
            "١٠m",
        ] {
            assert_eq!(Lifetime::parse(text), Err(InvalidLifetime), "{text}");
        }
    }

    #[test]
    fn a_schedule_that_would_spin_is_refused() {
        let day = Duration::from_hours(24);
        assert!(RetryPolicy::new(vec![], day).is_err());
        assert!(RetryPolicy::new(vec![Duration::ZERO], day).is_err());
        assert!(RetryPolicy::new(vec![day], Duration::ZERO).is_err());
        let policy = RetryPolicy::new(vec![Duration::from_millis(1)], day).unwrap();
        let outcome = Outcome::fault(Stage::Connect, Fault::Unreachable);
        assert!(!delay(&policy, 1, &outcome, Jitter(-1000)).is_zero());
        let policy = RetryPolicy::new(vec![Duration::MAX], day).unwrap();
        assert!(delay(&policy, 1, &outcome, Jitter(1000)) > day);
    }
}
