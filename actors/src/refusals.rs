//! Sign-ins that were refused: told in the log, and never so many that they fill it.
//!
//! # Why
//! - **Of an account's refusals the first within an hour has an event; the others are counted**, and
//!   the next event about it tells how many there were: another refusal once the hour is over, or the
//!   sign-in that succeeds. So whoever guesses, however fast, writes 24 small events a day for an
//!   account that there is.
//! - **All accounts that there are not are one**: their addresses are whatever somebody typed, and
//!   stand nowhere. That is 24 events a day more, of the instance.
//! - **Recorded beside the answer, not before it**: else the time to an answer would tell whether an
//!   account exists, and a full disk would keep people out. What cannot be recorded is counted.
//! - **Counts are of this process.** A restart forgets how many there were since the last event.

use std::{sync::Arc, time::Duration};

use model::{
    By, InstanceId, Timestamp,
    instance::{self, Instance, SignInRefused},
    user::{self, PasswordRefused, User},
};
use parking_lot::Mutex;
use projections::UserView;

use crate::{governed::carry_out, node::Node};

/// Refusals of an account within this have one event.
const TOLD_EVERY: Duration = Duration::from_hours(1);
/// When an event could not be written it is tried again no sooner.
const TRIED_EVERY: Duration = Duration::from_mins(1);
/// Accounts that are counted at once; beyond it the counts that were looked at least are forgotten.
const MOST_COUNTED: u64 = 100_000;

/// Who was not signed in: somebody that there is, or nobody.
type Account = Option<model::UserId>;

#[derive(Debug, Default)]
struct Tally {
    told_at: Option<Timestamp>,
    untold: u32,
}

/// The counts.
pub(crate) struct Refusals(moka::sync::Cache<Account, Arc<Mutex<Tally>>>);

impl Refusals {
    pub(crate) fn new() -> Self {
        Self(moka::sync::Cache::new(MOST_COUNTED))
    }

    fn tally(&self, account: Account) -> Arc<Mutex<Tally>> {
        self.0.get_with(account, Arc::default)
    }

    /// Counts a refusal; when it is to have an event, how many others there were since the last.
    fn note(&self, account: Account, now: Timestamp) -> Option<u32> {
        let tally = self.tally(account);
        let mut tally = tally.lock();
        if tally.told_at.is_some_and(|told_at| now.since(told_at) < TOLD_EVERY) {
            tally.untold = tally.untold.saturating_add(1);
            return None;
        }
        tally.told_at = Some(now);
        Some(std::mem::take(&mut tally.untold))
    }

    /// That many were not told after all; the next one in a while is to be. At once, a disk that is
    /// full would be written to as often as somebody asks.
    fn put_back(&self, account: Account, untold: u32, now: Timestamp) {
        let tally = self.tally(account);
        let mut tally = tally.lock();
        tally.told_at = Some(now.minus(TOLD_EVERY.saturating_sub(TRIED_EVERY)));
        tally.untold = tally.untold.saturating_add(untold);
    }

    /// What no event tells of yet: the caller records it, or gives it back.
    pub(crate) fn take_untold(&self, account: Account) -> u32 {
        let tally = self.0.get(&account);
        tally.map_or(0, |tally| std::mem::take(&mut tally.lock().untold))
    }

    /// What [`Refusals::take_untold`] took was not recorded.
    pub(crate) fn give_back(&self, account: Account, untold: u32) {
        if untold > 0 {
            let tally = self.tally(account);
            let mut tally = tally.lock();
            tally.untold = tally.untold.saturating_add(untold);
        }
    }
}

/// An attempt to be taken for `user`, or for nobody that there is, was refused; `by` made it.
pub(crate) fn note(node: &Arc<Node>, user: Option<&UserView>, by: By) {
    let account = user.map(|user| user.id);
    let Some(others) = node.refusals.note(account, node.now()) else { return };
    let node = Arc::clone(node);
    let tenant = user.map(|user| user.tenant);
    tokio::spawn(async move {
        let told = if let Some((user, tenant)) = account.zip(tenant) {
            let refused = user::Command::Refuse(PasswordRefused { tenant, others });
            carry_out::<User>(&node, user, vec![refused], by.into()).await.is_ok()
        } else {
            let refused = instance::Command::RefuseSignIn(SignInRefused { others });
            let instance = InstanceId::THIS;
            carry_out::<Instance>(&node, instance, vec![refused], by.into()).await.is_ok()
        };
        if !told {
            tracing::warn!("a refused sign-in was not recorded; the next one will tell of it");
            node.refusals.put_back(account, others.saturating_add(1), node.now());
        }
    });
}

#[cfg(test)]
mod tests {
    use model::UserId;

    use super::*;

    const ADA: Account = Some(UserId::from_bytes([1; 16]));

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_millis(60_000 * (1_000 + minutes))
    }

    #[test]
    fn a_million_guesses_of_a_day_are_twenty_four_events_that_count_all_of_them() {
        let refusals = Refusals::new();
        let (mut events, mut told) = (0, 0);
        for minute in 0..24 * 60 {
            for _ in 0..700 {
                if let Some(others) = refusals.note(ADA, at(minute)) {
                    events += 1;
                    told += others + 1;
                }
            }
        }
        assert_eq!(events, 24);
        assert_eq!(told + refusals.take_untold(ADA), 24 * 60 * 700);
        assert_eq!(refusals.note(None, at(0)), Some(0), "another account is counted by itself");
    }

    #[test]
    fn what_could_not_be_recorded_is_told_by_the_next_one() {
        let refusals = Refusals::new();
        assert_eq!(refusals.note(ADA, at(0)), Some(0));
        refusals.put_back(ADA, 1, at(0));
        assert_eq!(refusals.note(ADA, at(0)), None, "not as often as somebody asks");
        assert_eq!(refusals.note(ADA, at(1)), Some(2), "soon, for nothing is recorded yet");
        assert_eq!(refusals.note(ADA, at(2)), None);
        let untold = refusals.take_untold(ADA);
        assert_eq!(untold, 1);
        refusals.give_back(ADA, untold);
        assert_eq!(refusals.note(ADA, at(61)), Some(1));
    }
}
