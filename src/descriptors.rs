//! Open files: every connection is one, and what a shell gives by default is too few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Callers' connections, journal, content and read models.
const BESIDE_DELIVERY: u64 = 1_024;

/// Takes as many as this process may have, and says so where they may not suffice for so many
/// deliveries at once: each has a connection, and as many again are kept for the next message.
pub(crate) fn provide(max_in_flight: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Absent means without a limit.
    let Some(most) = maximum else { return };
    if current.is_some_and(|current| current < most) {
        let wanted = Rlimit { current: maximum, maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!(%error, "the limit on open files could not be raised");
        }
    }
    let wanted = u64::try_from(max_in_flight).unwrap_or(u64::MAX).saturating_mul(2);
    if most < wanted.saturating_add(BESIDE_DELIVERY) {
        tracing::warn!(
            most,
            max_in_flight,
            "the limit on open files is too low for delivery.max_in_flight"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_had_is_taken() {
        provide(1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
