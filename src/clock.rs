//! The real clock: the only place that asks the system for the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actors::Clock;
use eventlog::BoxFuture;
use model::Timestamp;

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everything is given")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        // Slept in pieces, for the system's clock may be set while a long sleep goes on.
        const PIECE: Duration = Duration::from_secs(30);
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(PIECE)).await;
            }
        })
    }
}
