//! In which order alarms are looked at: those that have just gone off before those that went off
//! long ago.
//!
//! # Why
//! In order of time alone, who has just become due stands behind everybody who has been due for
//! long and finds no place: a tenant with a million messages for a site that takes ten a second
//! would make everybody else's retries late by the length of a pass. So each round takes a page of
//! the new ones, and then a page of the others.

use model::Timestamp;
use projections::{Alarm, AlarmCursor};

/// How far it has come, with the new ones and with the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// The last of the new ones that was looked at.
    fresh: AlarmCursor,
    /// The last of the others, in a pass that has not ended.
    after: Option<AlarmCursor>,
}

/// Alarms to be looked at together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) alarms: Vec<Alarm>,
    /// Whether everything that is due has been looked at.
    pub(super) last: bool,
    /// Whether somebody was passed over who comes without the alarm, or when there is room.
    pub(super) passed_over: bool,
}

/// What a look at the alarms found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Who is due and may be woken.
    pub(super) alarms: Vec<Alarm>,
    /// Where the next look goes on.
    pub(super) last: Option<AlarmCursor>,
    /// Whether nobody is due after that one.
    pub(super) whole: bool,
    /// Whether somebody was passed over who comes without the alarm, or when there is room.
    pub(super) passed_over: bool,
}

impl Rounds {
    /// To everything that is due at `now` nobody has looked yet, and none of it is new.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { fresh: AlarmCursor::past(now), after: None }
    }

    /// Whether a pass is about to begin.
    pub(super) const fn begins(&self) -> bool {
        self.after.is_none()
    }

    /// The next page. `due` looks at some of the alarms that are due after a place.
    pub(super) fn next<E>(
        &mut self,
        mut due: impl FnMut(Option<AlarmCursor>) -> Result<Looked, E>,
    ) -> Result<Page, E> {
        let fresh = due(Some(self.fresh))?;
        self.fresh = fresh.last.unwrap_or(self.fresh);
        let others = due(self.after)?;
        self.after = others.last.filter(|_| !others.whole);
        let last = others.whole && fresh.whole;
        let passed_over = others.passed_over || fresh.passed_over;
        let mut alarms = fresh.alarms;
        let count = alarms.len();
        let seen = |alarm: &Alarm| alarms.iter().take(count).any(|fresh| fresh == alarm);
        let others: Vec<Alarm> = others.alarms.into_iter().filter(|alarm| !seen(alarm)).collect();
        alarms.extend(others);
        Ok(Page { alarms, last, passed_over })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, convert::Infallible};

    use model::MessageId;

    use super::*;

    const LIMIT: usize = 10;

    fn alarm(at: u64, number: u8) -> Alarm {
        let (at, message) = (Timestamp::from_millis(at), MessageId::from_bytes([number; 16]));
        Alarm { at, message }
    }

    fn page(rounds: &mut Rounds, all: &BTreeSet<Alarm>, now: u64) -> Page {
        let due = |after: Option<AlarmCursor>| {
            let due = all.iter().filter(|alarm| alarm.at <= Timestamp::from_millis(now));
            let after = due.filter(|alarm| after.is_none_or(|after| alarm.cursor() > after));
            let alarms: Vec<Alarm> = after.take(LIMIT).copied().collect();
            let last = alarms.last().map(|alarm| alarm.cursor());
            let whole = alarms.len() < LIMIT;
            Ok::<_, Infallible>(Looked { whole, alarms, last, passed_over: false })
        };
        rounds.next(due).unwrap()
    }

    #[test]
    fn who_becomes_due_does_not_wait_for_those_who_have_been_for_long() {
        let mut all: BTreeSet<Alarm> = (0..200).map(|number| alarm(1_000, number)).collect();
        let mut rounds = Rounds::new(Timestamp::from_millis(1_000));
        assert_eq!(page(&mut rounds, &all, 1_000).alarms.len(), LIMIT);
        let new = alarm(1_500, 250);
        all.insert(new);
        assert!(!page(&mut rounds, &all, 1_499).alarms.contains(&new), "not before its time");
        assert!(page(&mut rounds, &all, 1_500).alarms.contains(&new), "in the next round");
    }

    #[test]
    fn a_pass_leaves_nobody_out() {
        let mut all: BTreeSet<Alarm> = (0..95).map(|number| alarm(1_000, number)).collect();
        all.extend((100..125).map(|number| alarm(2_000, number)));
        let mut rounds = Rounds::new(Timestamp::from_millis(1_000));
        let mut seen = BTreeSet::new();
        for round in 0.. {
            let page = page(&mut rounds, &all, 2_000);
            seen.extend(page.alarms);
            assert!(round < 20, "it ends");
            if page.last {
                break;
            }
        }
        assert_eq!(seen, all);
        assert!(rounds.begins());
        // The next pass looks at all of them again: who is still due had no place.
        assert_eq!(page(&mut rounds, &all, 2_000).alarms.len(), LIMIT);
    }

    #[test]
    fn nobody_is_in_a_page_twice() {
        let all: BTreeSet<Alarm> = (0..4).map(|number| alarm(1_000, number)).collect();
        let mut rounds = Rounds::new(Timestamp::from_millis(0));
        let page = page(&mut rounds, &all, 1_000);
        assert_eq!((page.alarms.len(), page.last), (4, true));
    }
}
