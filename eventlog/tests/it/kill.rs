//! SIGKILL at any moment loses nothing that was acknowledged.

use std::time::{Duration, Instant};

use eventlog::{EventLog as _, verify};

use crate::{
    support::{everything, open},
    writer,
};

/// A sequence of pseudo-random numbers (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

/// `LUMORA_KILL_ROUNDS` sets how often; 100 times if not set.
#[test]
fn what_was_acknowledged_survives_sigkill() {
    let rounds: u64 =
        std::env::var("LUMORA_KILL_ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}, {rounds} rounds");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let log_dir = dir.path().join("log");
    let mut acknowledged = Vec::new();
    let (mut torn, mut rebuilt) = (0, 0);
    for round in 0..rounds {
        // Sometimes in the middle of opening, mostly while it writes, sometimes long enough for
        // several rounds of the sealer.
        let (count, at_most) = match random.below(10) {
            0 | 1 => (0, random.below(40)),
            2 => (usize::MAX, 600 + random.below(900)),
            _ => (usize::try_from(1 + random.below(1500)).unwrap(), 300),
        };
        let mut child = writer::start(&log_dir, round);
        let deadline = Instant::now() + Duration::from_millis(at_most);
        let enough = |have| {
            if count == 0 {
                std::thread::sleep(Duration::from_millis(at_most));
            }
            have >= count || (have > 0 && Instant::now() >= deadline)
        };
        let acks = writer::acknowledged(&mut child, enough, |child| child.kill().unwrap());
        acknowledged.extend(acks);

        let log = open(&log_dir);
        torn += u64::from(log.recovery().torn_bytes > 0);
        rebuilt += u64::from(log.recovery().rebuilt.is_some());
        let events = everything(&log);
        writer::assert_all_there(&log, &events, &acknowledged);
        assert!(log.health().writable);
        drop(log);
        if round % 25 == 24 {
            verify(&log_dir, &mut |_, _| {}).unwrap();
        }
    }
    let count = acknowledged.len();
    println!("{count} appends acknowledged, {torn} torn frames, {rebuilt} rebuilds");
    assert!(count > 0);
    verify(&log_dir, &mut |_, _| {}).unwrap();
}
