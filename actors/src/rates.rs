//! How often a key may ask.

use std::{num::NonZeroU32, sync::Arc};

use governor::{
    Quota, RateLimiter,
    clock::Clock as GovernorClock,
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use model::ApiKeyId;
use projections::KeyView;

use crate::clock::Clock;

/// Keys whose use is remembered; beyond it all are forgotten, which is a burst at the most.
const MOST_KEYS: usize = 100_000;

/// Whether a request may go on, and what its answer says about the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateDecision {
    /// Requests per minute.
    pub limit: u32,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// Seconds until the whole limit is there again.
    pub reset_s: u32,
    /// Whether this request may go on.
    pub allowed: bool,
    /// Seconds until the next one may, when this one may not.
    pub retry_after_s: u32,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>;

struct Metered {
    per_minute: u32,
    limiter: Limiter,
}

/// The platform's clock, for the limiter.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now().as_millis().saturating_mul(1_000_000))
    }
}

/// One limiter for each key that was used.
pub(crate) struct Rates {
    clock: Ticks,
    keys: papaya::HashMap<ApiKeyId, Arc<Metered>>,
}

impl Rates {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock: Ticks(clock), keys: papaya::HashMap::new() }
    }

    /// Counts a request of `key`.
    pub(crate) fn count(&self, key: &KeyView) -> RateDecision {
        let limit = NonZeroU32::new(key.rate_limit_per_minute).unwrap_or(NonZeroU32::MIN);
        let keys = self.keys.pin();
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        let known = keys.get(&key.id).filter(|metered| metered.per_minute == limit.get());
        let metered = known.cloned().unwrap_or_else(|| {
            let limiter =
                RateLimiter::direct_with_clock(Quota::per_minute(limit), self.clock.clone())
                    .with_middleware();
            let metered = Arc::new(Metered { per_minute: limit.get(), limiter });
            // Of two that race the first stays, so that neither loses its count.
            if keys.contains_key(&key.id) {
                keys.insert(key.id, Arc::clone(&metered));
                metered
            } else {
                Arc::clone(keys.get_or_insert(key.id, metered))
            }
        });
        drop(keys);
        decide(&metered.limiter, &self.clock, limit.get())
    }
}

fn decide(limiter: &Limiter, clock: &Ticks, limit: u32) -> RateDecision {
    match limiter.check() {
        Ok(snapshot) => {
            let remaining = snapshot.remaining_burst_capacity();
            let used = u64::from(limit.saturating_sub(remaining));
            let reset_s = (used * 60).div_ceil(u64::from(limit));
            let reset_s = u32::try_from(reset_s).unwrap_or(60);
            RateDecision { limit, remaining, reset_s, allowed: true, retry_after_s: 0 }
        }
        Err(until) => {
            let wait = until.wait_time_from(GovernorClock::now(clock));
            let retry_after_s = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(60);
            let retry_after_s = retry_after_s.clamp(1, 60);
            RateDecision { limit, remaining: 0, reset_s: 60, allowed: false, retry_after_s }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use model::{AppId, TenantId, Timestamp};
    use projections::{KeyStatus, LastUse};

    use super::*;
    use crate::clock::TestClock;

    fn key(per_minute: u32) -> KeyView {
        KeyView {
            id: ApiKeyId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            app: AppId::from_bytes([3; 16]),
            name: "test".into(),
            prefix: "lum_sk_abcde".into(),
            scopes: BTreeSet::new(),
            rate_limit_per_minute: per_minute,
            status: KeyStatus::Active,
            expires_at: None,
            allowed_domains: Box::default(),
            allowed_addresses: Box::default(),
            created_at: Timestamp::from_millis(0),
            last_use: LastUse::default(),
        }
    }

    #[test]
    fn a_key_may_ask_as_often_as_its_limit_says() {
        let clock = TestClock::new(Timestamp::from_millis(1_000_000));
        let rates = Rates::new(Arc::new(clock.clone()));
        for left in (0..60).rev() {
            let decision = rates.count(&key(60));
            assert!(decision.allowed);
            assert_eq!((decision.limit, decision.remaining), (60, left));
        }
        let refused = rates.count(&key(60));
        assert!(!refused.allowed);
        assert_eq!((refused.remaining, refused.retry_after_s), (0, 1));
        clock.advance(Duration::from_secs(1));
        assert!(rates.count(&key(60)).allowed);
        assert!(!rates.count(&key(60)).allowed);
        // Another limit counts anew.
        assert!(rates.count(&key(120)).allowed);
    }
}
