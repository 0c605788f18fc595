//! Points in time, as milliseconds since the Unix epoch.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
///
/// In events it is the bare number, which is a third of the size of the text.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// The text was not an RFC 3339 time between 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct InvalidTime;

impl Timestamp {
    /// The last millisecond of the year 9999: RFC 3339 ends there.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// From milliseconds since the epoch; later than the year 9999 becomes [`Timestamp::MAX`].
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This much earlier, at the least the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The start of the hour or day (or other whole unit) that this lies in, in UTC.
    #[must_use]
    pub const fn floor_to(self, unit_ms: u64) -> Self {
        if unit_ms == 0 { self } else { Self(self.0 - self.0 % unit_ms) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).map(jiff::Timestamp::from_millisecond) {
            Ok(Ok(time)) => write!(f, "{time:.3}"),
            _ => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTime)?;
        u64::try_from(time.as_millisecond()).map(Self::from_millis).map_err(|_| InvalidTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_rfc_3339_in_utc_with_milliseconds() {
        let time = Timestamp::from_millis(1_764_000_000_123);
        assert_eq!(time.to_string(), "2025-11-24T16:00:00.123Z");
        assert_eq!("2025-11-24T17:00:00.123+01:00".parse(), Ok(time));
    }

    #[test]
    fn the_end_of_time_can_be_written() {
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
    }

    #[test]
    fn before_the_epoch_and_nonsense_are_refused() {
        for text in ["1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "yesterday", ""] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn flooring_gives_the_start_of_the_unit() {
        let hour = 3_600_000;
        assert_eq!(Timestamp::from_millis(hour * 5 + 17).floor_to(hour).as_millis(), hour * 5);
    }
}
