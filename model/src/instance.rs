//! What holds for the whole instance: the receivers that nothing is delivered to for now; what was
//! pruned of its log; and what happened to it as a whole.
//!
//! There is one instance to a log, so its stream has one name: [`InstanceId::THIS`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    address::DomainName,
    event::{SealedText, events, is_zero},
    ids::InstanceId,
    pause::{self, Pause, PausedByOperator, Who},
    time::Timestamp,
};

/// Most receivers that are paused at once.
pub const MAX_PAUSED_SITES: usize = 1_000;

impl InstanceId {
    /// The one instance of a log.
    pub const THIS: Self = Self::from_bytes([0; 16]);
}

events! {
    /// An event of the instance.
    InstanceEvent {
        /// Nothing is delivered to a receiver for now.
        SitePaused = "instance.site_paused" v 1,
        /// It is delivered to again.
        SiteResumed = "instance.site_resumed" v 1,
        /// Somebody asked to be signed in as nobody that there is.
        SignInRefused = "instance.sign_in_refused" v 1,
        /// The master key was replaced by a new one.
        MasterKeyRotated = "instance.master_key_rotated" v 1,
        /// The record was put back to a backup: what it held behind is not in it any more.
        Restored = "instance.restored" v 1,
        /// Messages that ended long ago were pruned from the log.
        LogPruned = "instance.log_pruned" v 1,
    }
}

/// See [`InstanceEvent::SitePaused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SitePaused {
    /// The receiver: a recipients' domain, or a mail host, whichever domain's mail it takes.
    pub site: DomainName,
    /// Who paused.
    pub by: Who,
    /// Why, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<SealedText>,
}

/// See [`InstanceEvent::SiteResumed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteResumed {
    /// The receiver, as it was paused.
    pub site: DomainName,
    /// Who resumed.
    pub by: Who,
}

/// See [`InstanceEvent::SignInRefused`]. Of attempts within an hour the first has an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInRefused {
    /// Attempts before this one that were refused and that no event tells of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u32,
}

/// See [`InstanceEvent::MasterKeyRotated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterKeyRotated {
    /// How many keys the ring holds since.
    pub keys: u32,
}

/// See [`InstanceEvent::Restored`]. It stands right behind the last event that the backup held, so
/// positions after it, and numbers of feeds, were given to other events once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The last position that the backup held.
    pub through: u64,
    /// When the backup was taken.
    pub backed_up_at: Timestamp,
    /// Whether the key that signed the record until then was not to be had, and another one signs
    /// from here on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_anew: bool,
}

/// See [`InstanceEvent::LogPruned`]. Numbers are of all that was ever pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPruned {
    /// The last position that was looked at: no event after it was pruned.
    pub up_to: u64,
    /// When its event was recorded.
    pub up_to_at: Timestamp,
    /// Messages that are gone.
    pub messages: u64,
    /// Their events.
    pub events: u64,
    /// Runs of positions that they stood at.
    pub gaps: u64,
    /// BLAKE3 over what is kept of each run, 64 hexadecimal digits: as in the signed stub.
    pub stubs: Box<str>,
}

/// The instance folded from its events. [`Instance::default`] is one that nothing happened to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    paused: BTreeMap<DomainName, Pause>,
    pruned: Option<LogPruned>,
}

impl Instance {
    /// Takes in what happened at `at`.
    pub fn evolve(&mut self, event: &InstanceEvent, at: Timestamp) {
        match event {
            InstanceEvent::SitePaused(paused) => {
                self.paused.insert(paused.site.clone(), Pause { since: at, by: paused.by });
            }
            InstanceEvent::SiteResumed(resumed) => {
                self.paused.remove(&resumed.site);
            }
            InstanceEvent::SignInRefused(_)
            | InstanceEvent::MasterKeyRotated(_)
            | InstanceEvent::Restored(_) => {}
            InstanceEvent::LogPruned(pruned) => self.pruned = Some(pruned.clone()),
        }
    }

    /// The pause that a receiver is held by.
    pub fn pause(&self, site: &DomainName) -> Option<Pause> {
        self.paused.get(site).copied()
    }
}

/// What somebody wants of the instance.
#[derive(Debug, Clone)]
pub enum Command {
    /// Deliver nothing to a receiver for now.
    PauseSite(SitePaused),
    /// Deliver to it again.
    ResumeSite(SiteResumed),
    /// Note that nobody was signed in.
    RefuseSignIn(SignInRefused),
    /// Note that there is another master key.
    NoteMasterKey(MasterKeyRotated),
    /// Know that the log was pruned.
    RecordPruning(LogPruned),
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than [`MAX_PAUSED_SITES`].
    #[error("1000 receivers are paused already")]
    TooMany,
    /// It is not theirs to resume.
    #[error(transparent)]
    PausedByOperator(#[from] PausedByOperator),
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(instance: &Instance, command: &Command) -> Result<Vec<InstanceEvent>, Refusal> {
    match command {
        Command::PauseSite(paused) => {
            let held = instance.pause(&paused.site);
            if held.is_none() && instance.paused.len() >= MAX_PAUSED_SITES {
                return Err(Refusal::TooMany);
            }
            let news = pause::begins(held, paused.by);
            Ok(news.then(|| paused.clone().into()).into_iter().collect())
        }
        Command::ResumeSite(resumed) => {
            let news = pause::ends(instance.pause(&resumed.site), resumed.by)?;
            Ok(news.then(|| resumed.clone().into()).into_iter().collect())
        }
        Command::RefuseSignIn(refused) => Ok(vec![refused.clone().into()]),
        Command::NoteMasterKey(rotated) => Ok(vec![rotated.clone().into()]),
        Command::RecordPruning(pruned) => {
            let news = instance.pruned.as_ref() != Some(pruned);
            Ok(news.then(|| pruned.clone().into()).into_iter().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, StreamId};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn site(name: &str) -> DomainName {
        DomainName::parse(name).unwrap()
    }

    fn paused(name: &str) -> SitePaused {
        SitePaused { site: site(name), by: Who::Operator, reason: None }
    }

    fn resumed(name: &str) -> SiteResumed {
        SiteResumed { site: site(name), by: Who::Operator }
    }

    fn given(events: &[InstanceEvent]) -> Instance {
        let mut instance = Instance::default();
        for event in events {
            let stream = StreamId::Instance(InstanceId::THIS);
            let Event::Instance(read) =
                Event::decode(stream, &event.encode(&crate::By::CommandLine.into())).unwrap()
            else {
                panic!("an event of the instance")
            };
            assert_eq!(&read, event);
            instance.evolve(&read, NOW);
        }
        instance
    }

    #[test]
    fn a_receiver_is_paused_until_it_is_resumed() {
        let (pause, resume) =
            (Command::PauseSite(paused("a.test")), Command::ResumeSite(resumed("a.test")));
        assert_eq!(decide(&given(&[]), &pause), Ok(vec![paused("a.test").into()]));
        let held = given(&[paused("a.test").into()]);
        assert_eq!(held.pause(&site("a.test")), Some(Pause { since: NOW, by: Who::Operator }));
        assert_eq!(held.pause(&site("b.test")), None);
        assert_eq!(decide(&held, &pause), Ok(vec![]));
        assert_eq!(decide(&held, &resume), Ok(vec![resumed("a.test").into()]));
        let over = given(&[paused("a.test").into(), resumed("a.test").into()]);
        assert_eq!(over, Instance::default());
        assert_eq!(decide(&over, &resume), Ok(vec![]));
    }

    #[test]
    fn what_is_only_told_changes_nothing() {
        let refuse = Command::RefuseSignIn(SignInRefused { others: 2 });
        let rotate = Command::NoteMasterKey(MasterKeyRotated { keys: 3 });
        for command in [refuse, rotate] {
            let told = decide(&given(&[]), &command).unwrap();
            assert_eq!((told.len(), given(&told)), (1, Instance::default()));
        }
    }

    #[test]
    fn what_was_paused_stays_so_when_a_backup_is_put_back() {
        let backed_up_at = Timestamp::from_millis(7);
        let restored = Restored { through: 4_711, backed_up_at, signed_anew: true };
        let held = given(&[paused("a.test").into(), restored.into()]);
        assert_eq!(held, given(&[paused("a.test").into()]));
    }

    #[test]
    fn a_pruning_is_recorded_once() {
        let pruned = |up_to| LogPruned {
            up_to,
            up_to_at: NOW,
            messages: 3,
            events: 7,
            gaps: 1,
            stubs: "00".repeat(32).into(),
        };
        let record = |up_to| Command::RecordPruning(pruned(up_to));
        assert_eq!(decide(&given(&[]), &record(9)), Ok(vec![pruned(9).into()]));
        let known = given(&[pruned(9).into()]);
        assert_eq!(decide(&known, &record(9)), Ok(vec![]), "a stop came between the two");
        assert_eq!(decide(&known, &record(12)), Ok(vec![pruned(12).into()]));
    }

    #[test]
    fn the_number_of_paused_receivers_is_bounded() {
        let name = |number: usize| format!("s{number}.test");
        let all: Vec<_> =
            (0..MAX_PAUSED_SITES).map(|number| paused(&name(number)).into()).collect();
        let full = given(&all);
        let pause = |number| decide(&full, &Command::PauseSite(paused(&name(number))));
        assert_eq!(pause(MAX_PAUSED_SITES), Err(Refusal::TooMany));
        assert_eq!(pause(7), Ok(vec![]), "it is paused already");
    }
}
