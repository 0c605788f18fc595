//! Chance that a seed decides.

use std::sync::{Arc, Mutex};

use actors::{Chance, NoEntropy};

/// Decides as a function of the seed and of what is asked: one question more or less elsewhere
/// changes no other answer.
#[derive(Debug, Clone, Copy)]
pub struct Dice(u64);

/// The answers to one question: a generator that the question starts (xorshift64*).
#[derive(Debug, Clone)]
pub struct Roll(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn ask(self, what: &str, about: &[&[u8]]) -> Roll {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.to_le_bytes()).update(what.as_bytes());
        for part in about {
            hasher.update(&[0]).update(part);
        }
        let mut state = [0; 8];
        hasher.finalize_xof().fill(&mut state);
        Roll(u64::from_le_bytes(state) | 1)
    }
}

impl Roll {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    /// From `least` on, less than `bound`.
    pub fn within(&mut self, least: u64, bound: u64) -> u64 {
        least + self.below(bound - least)
    }

    /// True in so many of a thousand cases.
    pub fn in_thousand(&mut self, cases: u64) -> bool {
        self.below(1_000) < cases
    }
}

/// What the platform draws.
#[derive(Clone)]
pub struct SeededChance(Arc<Mutex<Roll>>);

impl SeededChance {
    pub fn new(roll: Roll) -> Self {
        Self(Arc::new(Mutex::new(roll)))
    }
}

impl Chance for SeededChance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        let mut roll = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&roll.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
