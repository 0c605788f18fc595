//! The time of a life: the runtime's, which stands still while anybody is at work and leaps to the
//! next moment at which somebody will be.

use std::time::Duration;

use actors::Clock;
use eventlog::BoxFuture;
use model::Timestamp;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    base: Timestamp,
    begun: Instant,
}

/// Farther than any life goes.
const FAR: Duration = Duration::from_hours(24 * 365);

impl SimClock {
    /// Shows `base` now. Must be called inside the life's runtime.
    pub fn starting_at(base: Timestamp) -> Self {
        Self { base, begun: Instant::now() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.base.plus(self.begun.elapsed())
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let until = self.begun + at.since(self.base).min(FAR);
        Box::pin(tokio::time::sleep_until(until))
    }
}
