//! How long things took.

use std::time::Duration;

/// Durations in order of length.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// From durations in any order.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The duration, in milliseconds, that so many of a thousand do not exceed; 0 for none.
    pub fn permille_ms(&self, permille: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (self.0.len() * permille / 1_000).min(last);
        self.0.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    }
}

/// The value in the middle; 0 for none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
