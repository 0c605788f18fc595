//! Times in log-linear buckets: exact below 64 ms, then 32 buckets to each doubling. A bucket's
//! middle is at most 1/64 of the true time away from it, so quantiles are good to 1.6 %, and hours
//! add up bucket by bucket.

use std::{collections::BTreeMap, time::Duration};

use crate::codec::{Malformed, Reader};

/// Buckets to a doubling, as a power of two.
const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;
/// Below this many milliseconds each has a bucket of its own.
const EXACT: u64 = 2 * STEPS;
/// A row: bucket (2) and count (8), in the order of buckets.
const ENTRY: usize = 10;

/// The bucket of a time in milliseconds.
fn bucket(ms: u64) -> u16 {
    let number = if ms < EXACT {
        ms
    } else {
        let shift = ms.ilog2() - STEP_BITS;
        EXACT + u64::from(shift - 1) * STEPS + ((ms >> shift) - STEPS)
    };
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The middle of a bucket, in milliseconds.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT {
        return bucket;
    }
    let shift = (bucket - EXACT) / STEPS + 1;
    let step = (bucket - EXACT) % STEPS + STEPS;
    (step << shift) + (1 << (shift - 1))
}

/// Counts one time in a row.
pub(super) fn record(row: &mut Vec<u8>, time: Duration) -> Result<(), Malformed> {
    let wanted = bucket(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut at = 0;
    for entry in row.chunks_exact_mut(ENTRY) {
        let (number, count) = entry.split_first_chunk_mut().ok_or(Malformed)?;
        let number = u16::from_le_bytes(*number);
        if number == wanted {
            let count: &mut [u8; 8] = count.first_chunk_mut().ok_or(Malformed)?;
            *count = u64::from_le_bytes(*count).saturating_add(1).to_le_bytes();
            return Ok(());
        }
        if number > wanted {
            break;
        }
        at += ENTRY;
    }
    let new = wanted.to_le_bytes().into_iter().chain(1_u64.to_le_bytes());
    row.splice(at..at, new);
    Ok(())
}

/// Times of many rows together.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: BTreeMap<u16, u64>,
    total: u64,
}

impl Histogram {
    /// Adds a row.
    pub(super) fn merge(&mut self, row: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(row);
        while !reader.is_empty() {
            let (bucket, count) = (reader.u16()?, reader.u64()?);
            let sum = self.buckets.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
            self.total = self.total.saturating_add(count);
        }
        Ok(())
    }

    /// The time below or at which `percent` of all lie, in milliseconds; `None` without any.
    pub(super) fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let rank = (u128::from(self.total) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0_u128;
        for (bucket, count) in &self.buckets {
            seen += u128::from(*count);
            if seen >= rank {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: u64, truth: u64) -> bool {
        // 3 % of the truth, in whole milliseconds.
        found.abs_diff(truth) * 100 <= truth * 3
    }

    #[test]
    fn buckets_follow_one_another_without_gaps() {
        let mut last = bucket(0);
        for ms in 1..200_000 {
            let next = bucket(ms);
            assert!(next == last || next == last + 1, "{ms}");
            last = next;
        }
        assert_eq!(bucket(u64::MAX), 64 + 58 * 32 - 1);
    }

    proptest! {
        #[test]
        fn a_bucket_is_within_three_percent(ms in 0_u64..u64::MAX / 128) {
            prop_assert!(close(middle(bucket(ms)), ms), "{} for {ms}", middle(bucket(ms)));
        }

        #[test]
        fn percentiles_are_within_three_percent(
            times in proptest::collection::vec(0_u64..200_000_000, 1..400),
            cut in 0_usize..400,
            percent in 1_usize..=100,
        ) {
            let cut = cut.min(times.len());
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for (index, ms) in times.iter().enumerate() {
                let row = if index < cut { &mut first } else { &mut second };
                record(row, Duration::from_millis(*ms)).unwrap();
            }
            let mut merged = Histogram::default();
            merged.merge(&first).unwrap();
            merged.merge(&second).unwrap();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let truth = sorted[rank - 1];
            let found = merged.percentile_ms(percent as u64).unwrap();
            prop_assert!(close(found, truth), "{found} for {truth}");
        }
    }

    #[test]
    fn nothing_has_no_percentile_and_a_cut_row_is_refused() {
        assert_eq!(Histogram::default().percentile_ms(50), None);
        assert_eq!(Histogram::default().merge(&[1, 0, 1]), Err(Malformed));
    }
}
