//! Open files: every connection is one, and what a shell gives by default is too few.
//!
//! # Why
//! A process without a free descriptor cannot open a file, look up a name or dial a mail host. So
//! callers and deliveries get shares of what there is, and some is left for the rest: who opens
//! connections, however many, takes them from other callers alone.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for journal, content, read models, look-ups and policies; half of what there is, where that
/// is less.
const OWN: usize = 128;
/// Callers' connections at once, where there are descriptors enough.
const MOST_CALLERS: usize = 10_000;

/// What may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Connections of callers.
    pub(crate) callers: usize,
    /// Deliveries: each has a connection, and as many again are kept for the next message.
    pub(crate) in_flight: usize,
}

impl Shares {
    /// Of so many descriptors, where so many deliveries at once and so many connections of other
    /// mail servers are wanted.
    fn of(most: usize, max_in_flight: usize, inbound: usize) -> Self {
        let room = most.saturating_sub(OWN.min(most / 2)).saturating_sub(inbound);
        let in_flight = max_in_flight.min(room / 4).max(1);
        let callers = room.saturating_sub(2 * in_flight).clamp(1, MOST_CALLERS);
        Self { callers, in_flight }
    }
}

/// Takes as many as this process may have, and says how they are shared; with a warning where that
/// is less than what was asked for.
pub(crate) fn provide(max_in_flight: usize, inbound: usize) -> Shares {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let wanted = Rlimit { current: maximum, maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!(%error, "the limit on open files could not be raised");
        }
    }
    // Absent means without a limit.
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let shares = Shares::of(most, max_in_flight, inbound);
    if shares.in_flight < max_in_flight || shares.callers < MOST_CALLERS {
        tracing::warn!(
            most,
            deliveries = shares.in_flight,
            callers = shares.callers,
            "the limit on open files is low: it allows so many deliveries and callers at once"
        );
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_had_is_taken() {
        provide(1, 0);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }

    #[test]
    fn whatever_there_is_callers_and_deliveries_leave_some() {
        let plenty = Shares { callers: MOST_CALLERS, in_flight: 1_000 };
        assert_eq!(Shares::of(usize::MAX, 1_000, 50), plenty);
        assert_eq!(Shares::of(1 << 20, 1_000, 50), plenty);
        for most in 64..20_000 {
            for (max_in_flight, inbound) in [(1_000, most / 8), (20, 0), (1, most / 4)] {
                let Shares { callers, in_flight } = Shares::of(most, max_in_flight, inbound);
                assert!((1..=max_in_flight).contains(&in_flight), "{most}");
                assert!((1..=MOST_CALLERS).contains(&callers), "{most}");
                let left = most - callers.min(most) - 2 * in_flight - inbound;
                assert!(left >= OWN.min(most / 2), "{left} of {most}");
            }
        }
        assert_eq!(Shares::of(256, 20, 0), Shares { callers: 88, in_flight: 20 });
    }
}
