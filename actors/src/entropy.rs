//! Randomness for identifiers, secrets and jitter.

use model::{EventId, Timestamp, retry::Jitter};

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub(crate) struct NoEntropy;

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// A new event's id.
pub(crate) fn event_id(now: Timestamp) -> Result<EventId, NoEntropy> {
    bytes().map(|random| EventId::new(now, random))
}

/// Random bits on which nothing hangs but the spreading of load: zero when there are none.
pub(crate) fn bits() -> u64 {
    getrandom::u64().unwrap_or(0)
}

/// The jitter of one decision.
pub(crate) fn jitter() -> Jitter {
    Jitter::from_random(low_bits())
}

/// `ms` moved by up to a fifth to either side.
pub(crate) fn spread_ms(ms: u64) -> u64 {
    ms - ms / 5 + u64::from(low_bits()) % (ms / 5 * 2).max(1)
}

fn low_bits() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_stays_within_a_fifth() {
        for _ in 0..1_000 {
            assert!((800..1_200).contains(&spread_ms(1_000)));
        }
        assert_eq!(spread_ms(0), 0);
    }
}
