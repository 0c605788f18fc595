//! A sending domain: proof that it is the tenant's, and the keys that sign for it.

pub mod compliance;
mod events;
mod freemail;
#[cfg(test)]
mod tests;

use std::time::Duration;

use psl::Psl as _;

use crate::{
    address::DomainName,
    event::events,
    pause::{self, Pause, PausedByOperator},
    time::Timestamp,
};

pub use events::{
    CheckedRecord, DkimAlgorithm, DkimKeyAdded, DkimKeyRetired, DomainAdded, DomainChecked,
    DomainPaused, DomainRemoved, DomainResumed, DomainStatus, RecordPurpose, RecordStatus,
    Selector,
};

events! {
    /// An event of a domain.
    DomainEvent {
        /// A tenant wants to send from the domain.
        DomainAdded = "domain.added" v 1,
        /// There is a new key to sign with.
        DkimKeyAdded = "domain.dkim_key_added" v 1,
        /// A key signs no more, and its record may be taken away.
        DkimKeyRetired = "domain.dkim_key_retired" v 1,
        /// The DNS was asked.
        DomainChecked = "domain.checked" v 1,
        /// The tenant gave the domain up.
        DomainRemoved = "domain.removed" v 1,
        /// Nothing that the domain sends is delivered for now.
        DomainPaused = "domain.paused" v 1,
        /// Its mail is delivered again.
        DomainResumed = "domain.resumed" v 1,
    }
}

/// How long required records of a verified domain may be missing before it is one no more: a mistake
/// in a DNS provider's form must not stop a tenant's mail.
pub const GRACE: Duration = Duration::from_hours(72);
/// How long a key that another took the place of stays: what it signed must have arrived.
pub const RETIRE_AFTER: Duration = Duration::from_hours(7 * 24);
/// A check that found nothing new is recorded when the last record is older than this.
pub const RECORD_UNCHANGED_EVERY: Duration = Duration::from_hours(24);
/// Most domains of one tenant.
pub const MAX_DOMAINS: usize = 1_000;
/// Longest name: with a selector's labels before it, a name of the DNS has 253 octets at most.
pub const MAX_NAME_OCTETS: usize = 253 - "lum________._domainkey.".len();

/// A domain folded from its events. [`Domain::default`] is one that was never added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Domain {
    added: Option<DomainAdded>,
    removed: bool,
    status: DomainStatus,
    keys: Vec<DkimKeyAdded>,
    records: Vec<CheckedRecord>,
    checked_at: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    /// The newest key that the DNS has shown, and since when.
    shown: Option<(Selector, Timestamp)>,
    signing: Vec<Selector>,
    returns_bounces: bool,
    paused: Option<Pause>,
}

impl Domain {
    /// Takes in what happened at `at`.
    pub fn evolve(&mut self, event: &DomainEvent, at: Timestamp) {
        match event {
            DomainEvent::DomainAdded(added) => self.added = Some(added.clone()),
            DomainEvent::DkimKeyAdded(key) => self.keys.push(key.clone()),
            DomainEvent::DkimKeyRetired(retired) => {
                self.keys.retain(|key| key.selector != retired.selector);
            }
            DomainEvent::DomainChecked(checked) => {
                self.status = checked.status;
                self.failing_since = checked.failing_since;
                let newest = self.newest_shown(&checked.records).cloned();
                if let Some(newest) = newest
                    && self.shown.as_ref().is_none_or(|(known, _)| *known != newest)
                {
                    self.shown = Some((newest, at));
                }
                self.signing = signing_after(&self.keys, &self.signing, checked);
                self.returns_bounces = checked.returns_bounces();
                self.records.clone_from(&checked.records);
                self.checked_at = Some(at);
            }
            DomainEvent::DomainRemoved(_) => self.removed = true,
            DomainEvent::DomainPaused(paused) => {
                self.paused = Some(Pause { since: at, by: paused.by });
            }
            DomainEvent::DomainResumed(_) => self.paused = None,
        }
    }

    /// The newest key whose record was found. A second signature's key follows the first's.
    fn newest_shown(&self, records: &[CheckedRecord]) -> Option<&Selector> {
        let signing = self.keys.iter().rev().filter(|key| key.algorithm == DkimAlgorithm::Rsa2048);
        signing.map(|key| &key.selector).find(|selector| is_shown(records, selector))
    }

    /// A key whose record is still to be published, while an older one signs.
    pub fn pending_key(&self) -> Option<&DkimKeyAdded> {
        let (shown, _) = self.shown.as_ref()?;
        let newest = self.keys.iter().rev().find(|key| key.algorithm == DkimAlgorithm::Rsa2048)?;
        (newest.selector != *shown).then_some(newest)
    }

    /// What was added; `None` for a domain that was not, or was removed.
    pub fn added(&self) -> Option<&DomainAdded> {
        self.added.as_ref().filter(|_| !self.removed)
    }

    /// How it stands.
    pub const fn status(&self) -> DomainStatus {
        self.status
    }

    /// The keys that sign for it, or will, oldest first.
    pub fn keys(&self) -> &[DkimKeyAdded] {
        &self.keys
    }

    /// The keys to sign with now: see [`signers`].
    pub fn signers(&self) -> Vec<&DkimKeyAdded> {
        signers(&self.keys, &self.signing)
    }

    /// What was found of each record when the DNS was last asked.
    pub fn records(&self) -> &[CheckedRecord] {
        &self.records
    }

    /// When the DNS was last asked.
    pub const fn checked_at(&self) -> Option<Timestamp> {
        self.checked_at
    }
}

/// What somebody wants of a domain.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin to send from it: add it, with its first keys.
    Add(DomainAdded, Vec<DkimKeyAdded>),
    /// Note what the DNS said.
    RecordCheck(Vec<CheckedRecord>),
    /// Sign with new keys, once their records are seen.
    Rotate(Vec<DkimKeyAdded>),
    /// Give it up. What waits because it is paused is delivered then.
    Remove,
    /// Deliver nothing that it sends for now.
    Pause(DomainPaused),
    /// Deliver again.
    Resume(DomainResumed),
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was added before.
    #[error("the domain exists already")]
    AlreadyExists,
    /// There is no such domain.
    #[error("there is no such domain")]
    Unknown,
    /// A domain without a key could not sign.
    #[error("a domain needs a key to sign with")]
    NoKey,
    /// Everybody's: names are registered below it.
    #[error("names are registered below this one: it is nobody's own")]
    PublicSuffix,
    /// A provider of mailboxes: its users cannot publish records there.
    #[error("a mailbox provider's domain cannot be a tenant's own")]
    Freemail,
    /// More than [`MAX_NAME_OCTETS`].
    #[error("the name leaves no room for those of its records")]
    TooLong,
    /// No more domains.
    #[error("the limit on the number of domains is reached")]
    TooMany,
    /// The keys in use were never seen in the DNS: publish those first.
    #[error("the present key was not seen in the DNS yet")]
    KeyNotShown,
    /// It is not theirs to resume.
    #[error(transparent)]
    PausedByOperator(#[from] PausedByOperator),
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(
    domain: &Domain,
    command: &Command,
    now: Timestamp,
) -> Result<Vec<DomainEvent>, Refusal> {
    match command {
        Command::Add(added, keys) => {
            check_name(&added.name)?;
            if domain.added.is_some() {
                return Err(Refusal::AlreadyExists);
            }
            if keys.is_empty() {
                return Err(Refusal::NoKey);
            }
            let keys = keys.iter().cloned().map(DomainEvent::from);
            Ok(std::iter::once(added.clone().into()).chain(keys).collect())
        }
        Command::RecordCheck(records) => {
            domain.added().ok_or(Refusal::Unknown)?;
            Ok(record_check(domain, records, now))
        }
        Command::Rotate(keys) => {
            domain.added().ok_or(Refusal::Unknown)?;
            if domain.shown.is_none() {
                return Err(Refusal::KeyNotShown);
            }
            // One at a time: asked again, the new key that waits is the answer.
            if domain.pending_key().is_some() {
                return Ok(Vec::new());
            }
            if keys.is_empty() {
                return Err(Refusal::NoKey);
            }
            Ok(keys.iter().cloned().map(DomainEvent::from).collect())
        }
        Command::Remove => {
            domain.added().ok_or(Refusal::Unknown)?;
            Ok(vec![DomainRemoved {}.into()])
        }
        Command::Pause(paused) => {
            domain.added().ok_or(Refusal::Unknown)?;
            let news = pause::begins(domain.paused, paused.by);
            Ok(news.then(|| paused.clone().into()).into_iter().collect())
        }
        Command::Resume(resumed) => {
            domain.added().ok_or(Refusal::Unknown)?;
            let news = pause::ends(domain.paused, resumed.by)?;
            Ok(news.then(|| resumed.clone().into()).into_iter().collect())
        }
    }
}

/// The keys to sign with: those that were chosen, or the oldest of each kind while none ever was.
pub fn signers<'a>(keys: &'a [DkimKeyAdded], chosen: &[Selector]) -> Vec<&'a DkimKeyAdded> {
    let chosen: Vec<_> = keys.iter().filter(|key| chosen.contains(&key.selector)).collect();
    if !chosen.is_empty() {
        return chosen;
    }
    let oldest = |algorithm| keys.iter().find(|key| key.algorithm == algorithm);
    [DkimAlgorithm::Rsa2048, DkimAlgorithm::Ed25519].into_iter().filter_map(oldest).collect()
}

/// The keys that sign after a check, when these did before: what it says, or what its records say
/// where it is older than that.
pub fn signing_after(
    keys: &[DkimKeyAdded],
    before: &[Selector],
    checked: &DomainChecked,
) -> Vec<Selector> {
    let chosen = checked.signing.clone();
    chosen.unwrap_or_else(|| signing(keys, before, &checked.records))
}

/// Of each kind the newest key whose record the DNS shows, or else the one before unless its record
/// is gone: an answer that did not come says nothing. While that is none, those before stay.
fn signing(keys: &[DkimKeyAdded], before: &[Selector], records: &[CheckedRecord]) -> Vec<Selector> {
    let is_gone = |selector: &Selector| {
        let gone = |status| matches!(status, RecordStatus::Missing | RecordStatus::Mismatch);
        records.iter().any(|record| record.is_of_key(selector) && gone(record.status))
    };
    let chosen = |algorithm| {
        let of_kind = || keys.iter().rev().filter(move |key| key.algorithm == algorithm);
        let mut shown = of_kind().filter(|key| is_shown(records, &key.selector));
        let kept = |key: &&DkimKeyAdded| before.contains(&key.selector) && !is_gone(&key.selector);
        shown.next().or_else(|| of_kind().find(kept)).map(|key| key.selector.clone())
    };
    let kinds = [DkimAlgorithm::Rsa2048, DkimAlgorithm::Ed25519];
    let chosen: Vec<_> = kinds.into_iter().filter_map(chosen).collect();
    if chosen.is_empty() { before.to_vec() } else { chosen }
}

/// Whether bounces come back below the domain. No answer changes nothing.
fn returns_bounces(before: bool, records: &[CheckedRecord]) -> bool {
    let record = records.iter().find(|record| record.purpose == RecordPurpose::ReturnPath);
    record.map_or(before, |record| match record.status {
        RecordStatus::Verified => true,
        RecordStatus::Missing | RecordStatus::Mismatch => false,
        RecordStatus::Pending | RecordStatus::TemporaryFailure => before,
    })
}

/// Whether a name can be one tenant's own.
pub fn check_name(name: &DomainName) -> Result<(), Refusal> {
    let text = name.as_str();
    if text.len() > MAX_NAME_OCTETS {
        return Err(Refusal::TooLong);
    }
    // A name below a suffix that nobody registered, such as a private network's, is its own.
    let suffix = psl::List.suffix(text.as_bytes());
    if suffix.is_some_and(|suffix| suffix == text.as_bytes()) {
        return Err(Refusal::PublicSuffix);
    }
    if freemail::is_freemail(text) {
        return Err(Refusal::Freemail);
    }
    Ok(())
}

/// When a domain is looked at again: often while somebody waits for it, daily once it stands.
pub fn next_check_at(
    status: DomainStatus,
    failing_since: Option<Timestamp>,
    created_at: Timestamp,
    checked_at: Option<Timestamp>,
) -> Timestamp {
    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);
    let last = checked_at.unwrap_or(created_at);
    let age = last.since(created_at);
    let waited_for = matches!(status, DomainStatus::Pending | DomainStatus::TemporaryFailure);
    last.plus(match status {
        DomainStatus::Verified if failing_since.is_some() => HOUR,
        DomainStatus::Failed => 6 * HOUR,
        _ if waited_for && age < HOUR => 5 * MINUTE,
        _ if waited_for && age < 24 * HOUR => 30 * MINUTE,
        _ if waited_for && age < 7 * 24 * HOUR => 6 * HOUR,
        _ => 24 * HOUR,
    })
}

fn record_check(domain: &Domain, records: &[CheckedRecord], now: Timestamp) -> Vec<DomainEvent> {
    let (status, failing_since) = status_after(domain, records, now);
    let same = (status, failing_since) == (domain.status, domain.failing_since)
        && records == domain.records;
    // The log must not grow by looking.
    let recent = domain.checked_at.is_some_and(|at| now.since(at) < RECORD_UNCHANGED_EVERY);
    if same && recent {
        return Vec::new();
    }
    let checked = DomainChecked {
        status,
        failing_since,
        records: records.to_vec(),
        signing: Some(signing(&domain.keys, &domain.signing, records)),
        returns_bounces: Some(returns_bounces(domain.returns_bounces, records)),
    };
    let mut events = vec![checked.into()];
    events.extend(retired(domain, records, now).map(DomainEvent::from));
    events
}

/// Older keys than the one that the DNS has shown for long enough.
fn retired<'a>(
    domain: &'a Domain,
    records: &[CheckedRecord],
    now: Timestamp,
) -> impl Iterator<Item = DkimKeyRetired> + 'a {
    let settled = domain.shown.as_ref().filter(|(selector, since)| {
        now.since(*since) >= RETIRE_AFTER && is_shown(records, selector)
    });
    let place = settled
        .and_then(|(selector, _)| domain.keys.iter().position(|key| key.selector == *selector));
    let older = domain.keys.iter().take(place.unwrap_or(0));
    older.map(|key| DkimKeyRetired { selector: key.selector.clone() })
}

fn is_shown(records: &[CheckedRecord], selector: &Selector) -> bool {
    let shows = |record: &CheckedRecord| record.status == RecordStatus::Verified;
    records.iter().any(|record| record.is_of_key(selector) && shows(record))
}

/// A domain that was verified stays so while the DNS merely gives no answer, and for [`GRACE`] when
/// records are gone: neither an outage of somebody else's name server nor a mistake in a form must
/// stop a tenant's mail at once.
fn status_after(
    domain: &Domain,
    records: &[CheckedRecord],
    now: Timestamp,
) -> (DomainStatus, Option<Timestamp>) {
    let before = domain.status;
    let required = || records.iter().filter(|record| record.required);
    if required().any(|r| matches!(r.status, RecordStatus::Missing | RecordStatus::Mismatch)) {
        return match before {
            DomainStatus::Verified => {
                let since = domain.failing_since.unwrap_or(now);
                if now.since(since) < GRACE {
                    (DomainStatus::Verified, Some(since))
                } else {
                    (DomainStatus::Failed, None)
                }
            }
            DomainStatus::Failed => (DomainStatus::Failed, None),
            DomainStatus::Pending | DomainStatus::TemporaryFailure => (DomainStatus::Pending, None),
        };
    }
    if required().any(|r| r.status != RecordStatus::Verified) || required().next().is_none() {
        return match before {
            DomainStatus::Verified | DomainStatus::Failed => (before, domain.failing_since),
            DomainStatus::Pending | DomainStatus::TemporaryFailure => {
                (DomainStatus::TemporaryFailure, None)
            }
        };
    }
    (DomainStatus::Verified, None)
}
