//! The throttle of sign-ins: guessing is slowed down, nobody is locked out.
//!
//! # Why
//! - **By account and address together** first: who guesses at an account from one place waits
//!   longer and longer, up to a quarter of an hour (OWASP Authentication Cheat Sheet, "Login
//!   throttling"). Its owner, elsewhere, does not.
//! - **By address**: who tries one password on many accounts is slowed down as well. An IPv6 address
//!   counts with its /64, which is one customer's.
//! - **By account alone**, from many addresses at once: mildly, one guess in five seconds, and not
//!   for an address from which its owner signed in before. A longer wait would let anybody lock
//!   anybody out.
//! - **Counted before the password is looked at**, so that guesses made at once count as many.
//! - **In memory**: a restart forgives, which gives a guesser a few guesses.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use model::{Timestamp, event::RecipientHash};
use parking_lot::Mutex;

/// Failures that cost nothing: of an account from one address, of an address, of an account.
const FREE: [u32; 3] = [5, 20, 50];
/// The wait after the first failure that costs; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait, of each kind.
const LONGEST_WAIT: [Duration; 3] =
    [Duration::from_mins(15), Duration::from_mins(15), Duration::from_secs(5)];
/// After this without a failure everything is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_hours(1);
/// Whose failures are remembered; beyond it those that were looked at least are forgotten.
const MOST_REMEMBERED: u64 = 100_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Pair(RecipientHash, IpAddr),
    Address(IpAddr),
    Account(RecipientHash),
}

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// The counts.
pub(crate) struct Throttle {
    failures: moka::sync::Cache<Counted, Arc<Mutex<Failures>>>,
    known: moka::sync::Cache<(RecipientHash, IpAddr), ()>,
}

/// It is too early for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooEarly {
    pub(crate) retry_after: Duration,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self {
            failures: moka::sync::Cache::new(MOST_REMEMBERED),
            known: moka::sync::Cache::new(MOST_REMEMBERED),
        }
    }

    /// Lets an attempt at an account begin, and counts it as a failure until it is known to be
    /// none.
    pub(crate) fn begin(
        &self,
        account: RecipientHash,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), TooEarly> {
        let address = network(address);
        let is_known = self.known.contains_key(&(account, address));
        let mut counted =
            vec![(Counted::Pair(account, address), 0), (Counted::Address(address), 1)];
        if !is_known {
            counted.push((Counted::Account(account), 2));
        }
        self.strike(&counted, now)
    }

    /// The same for what has no account yet: a registration.
    pub(crate) fn begin_unnamed(&self, address: IpAddr, now: Timestamp) -> Result<(), TooEarly> {
        self.strike(&[(Counted::Address(network(address)), 1)], now)
    }

    /// The attempt was no failure.
    pub(crate) fn forgive(&self, account: RecipientHash, address: IpAddr) {
        let address = network(address);
        self.known.insert((account, address), ());
        self.failures.invalidate(&Counted::Pair(account, address));
        // One failure less, not all of them: who owns one account must not guess at others freely.
        for counted in [Counted::Address(address), Counted::Account(account)] {
            if let Some(failures) = self.failures.get(&counted) {
                let mut failures = failures.lock();
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    fn strike(&self, counted: &[(Counted, usize)], now: Timestamp) -> Result<(), TooEarly> {
        let all: Vec<_> = counted
            .iter()
            .map(|(key, kind)| (self.failures.get_with(*key, Arc::default), *kind))
            .collect();
        let wait =
            all.iter().filter_map(|(failures, kind)| wait(*failures.lock(), *kind, now)).max();
        if let Some(retry_after) = wait {
            return Err(TooEarly { retry_after });
        }
        for (failures, _) in all {
            let mut failures = failures.lock();
            let forgiven = now.since(failures.last) >= FORGIVEN_AFTER;
            failures.count = if forgiven { 1 } else { failures.count.saturating_add(1) };
            failures.last = now;
        }
        Ok(())
    }
}

/// How long it is until the next attempt of a kind; `None`: it may be made now.
fn wait(failures: Failures, kind: usize, now: Timestamp) -> Option<Duration> {
    let (free, longest) = (FREE.get(kind)?, LONGEST_WAIT.get(kind)?);
    let costly = failures.count.checked_sub(*free)?;
    let doubled = FIRST_WAIT.saturating_mul(1 << costly.min(20));
    let until = failures.last.plus(doubled.min(*longest));
    (until > now).then(|| until.since(now))
}

/// The network that one customer has: an IPv4 address, or the /64 of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use model::event::KeyedHash;

    use super::*;

    const ADA: RecipientHash = KeyedHash([1; 16]);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn who_guesses_waits_longer_and_longer_and_the_owner_does_not() {
        let throttle = Throttle::new();
        for _ in 0..5 {
            assert_eq!(throttle.begin(ADA, ip(1), at(0)), Ok(()));
        }
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16] {
            let TooEarly { retry_after } = throttle.begin(ADA, ip(1), at(now)).unwrap_err();
            assert_eq!(retry_after, Duration::from_secs(expected));
            now += expected;
            assert_eq!(throttle.begin(ADA, ip(1), at(now)), Ok(()));
        }
        for _ in 0..20 {
            now += 900;
            assert_eq!(throttle.begin(ADA, ip(1), at(now)), Ok(()), "never more than 15 minutes");
        }
        assert_eq!(throttle.begin(ADA, ip(2), at(now)), Ok(()), "from elsewhere");
    }

    #[test]
    fn success_and_time_forgive() {
        let throttle = Throttle::new();
        for _ in 0..5 {
            throttle.begin(ADA, ip(1), at(0)).unwrap();
        }
        throttle.forgive(ADA, ip(1));
        for _ in 0..5 {
            throttle.begin(ADA, ip(1), at(0)).unwrap();
        }
        assert!(throttle.begin(ADA, ip(1), at(0)).is_err());
        for _ in 0..5 {
            throttle.begin(ADA, ip(1), at(3_600)).unwrap();
        }
    }

    #[test]
    fn one_password_on_many_accounts_is_slowed_down_too() {
        let throttle = Throttle::new();
        let account = |n: u8| KeyedHash([n; 16]);
        for n in 0..20 {
            throttle.begin(account(n), ip(1), at(0)).unwrap();
        }
        assert!(throttle.begin(account(20), ip(1), at(0)).is_err());
        assert!(throttle.begin_unnamed(ip(1), at(0)).is_err());
        // A whole /64 is one address.
        let v6 = |last| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for n in 0..20 {
            throttle.begin(account(n), v6(u16::from(n)), at(0)).unwrap();
        }
        assert!(throttle.begin(account(20), v6(99), at(0)).is_err());
    }

    #[test]
    fn many_addresses_do_not_lock_an_owner_out() {
        let throttle = Throttle::new();
        throttle.begin(ADA, ip(200), at(0)).unwrap();
        throttle.forgive(ADA, ip(200));
        for n in 0..50 {
            throttle.begin(ADA, ip(n), at(0)).unwrap();
        }
        let TooEarly { retry_after } = throttle.begin(ADA, ip(60), at(0)).unwrap_err();
        assert!(retry_after <= Duration::from_secs(5));
        assert_eq!(throttle.begin(ADA, ip(200), at(0)), Ok(()), "signed in there before");
    }
}
