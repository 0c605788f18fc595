//! Randomness for identifiers, secrets and jitter.

use std::{fmt, sync::Arc};

use model::{EventId, Timestamp, retry::Jitter};

/// No random bytes could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes could be had")]
pub struct NoEntropy;

/// Random bytes for secrets, salts and what nothing else hangs on: always the operating system's.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// A new event's id.
pub(crate) fn event_id(now: Timestamp) -> Result<EventId, NoEntropy> {
    bytes().map(|random| EventId::new(now, random))
}

/// Where that comes from on which the course of things hangs: the ids of what is new, the jitter of
/// waits, the order among equals. Secrets, salts and nonces never come from here.
pub trait Chance: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The operating system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsChance;

impl Chance for OsChance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        getrandom::fill(bytes).map_err(|_| NoEntropy)
    }
}

/// Draws by chance. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lots(Arc<dyn Chance>);

impl fmt::Debug for Lots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lots").finish_non_exhaustive()
    }
}

impl Default for Lots {
    fn default() -> Self {
        Self::new(Arc::new(OsChance))
    }
}

impl Lots {
    pub(crate) fn new(chance: Arc<dyn Chance>) -> Self {
        Self(chance)
    }

    /// Bytes for an identifier.
    pub(crate) fn bytes<const N: usize>(&self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Bits on which nothing hangs but the spreading of load: zero when there are none.
    pub(crate) fn bits(&self) -> u64 {
        self.bytes().map_or(0, u64::from_le_bytes)
    }

    /// The jitter of one decision.
    pub(crate) fn jitter(&self) -> Jitter {
        Jitter::from_random(self.low_bits())
    }

    /// `ms` moved by up to a fifth to either side.
    pub(crate) fn spread_ms(&self, ms: u64) -> u64 {
        ms - ms / 5 + u64::from(self.low_bits()) % (ms / 5 * 2).max(1)
    }

    fn low_bits(&self) -> u32 {
        self.bytes().map_or(0, u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_stays_within_a_fifth() {
        let lots = Lots::default();
        for _ in 0..1_000 {
            assert!((800..1_200).contains(&lots.spread_ms(1_000)));
        }
        assert_eq!(lots.spread_ms(0), 0);
    }
}
