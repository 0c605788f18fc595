//! A sending domain: proof that it is the tenant's, and the keys that sign for it.

mod freemail;

use std::time::Duration;

use psl::Psl as _;
use serde::{Deserialize, Serialize};

use crate::{
    address::DomainName,
    event::{SealedText, events},
    ids::TenantId,
    time::Timestamp,
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

/// What a DNS record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordPurpose {
    /// Proves that the domain is the tenant's.
    Ownership,
    /// Publishes the key that messages are signed with (RFC 6376).
    Dkim,
    /// Names the servers that may send (RFC 7208).
    Spf,
    /// Says what receivers do with what fails (RFC 9989).
    Dmarc,
    /// Where bounces go.
    ReturnPath,
}

/// What was found of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// Not looked up yet.
    Pending,
    /// It is as it should be.
    Verified,
    /// There is none.
    Missing,
    /// There is one that does not fit.
    Mismatch,
    /// The DNS gave no answer.
    TemporaryFailure,
}

/// How a domain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum DomainStatus {
    /// Never verified; its records were not there when last looked for.
    #[default]
    Pending,
    /// The required records were there when last looked for.
    Verified,
    /// Required records were there once and are gone.
    Failed,
    /// The DNS gave no answer, and the domain was not verified before.
    TemporaryFailure,
}

/// The name of a DKIM key: one DNS label (RFC 6376, section 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Selector(Box<str>);

impl Selector {
    /// Reads a selector: 1 to 63 letters, digits and inner hyphens, in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        well_formed.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a selector"))
    }
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DkimAlgorithm {
    /// RSA with 2048 bits and SHA-256.
    Rsa2048,
    /// Ed25519 with SHA-256 (RFC 8463).
    Ed25519,
}

/// See [`DomainEvent::DomainAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainAdded {
    /// Who wants to send from it.
    pub tenant: TenantId,
    /// Its name.
    pub name: DomainName,
    /// What the tenant publishes as proof; another one for each tenant.
    pub ownership_token: Box<str>,
}

/// See [`DomainEvent::DkimKeyAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimKeyAdded {
    /// Its name.
    pub selector: Selector,
    /// How it signs.
    pub algorithm: DkimAlgorithm,
    /// The TXT record to publish.
    pub public_record: Box<str>,
    /// The private key in PKCS#8, sealed.
    pub private_key: SealedText,
}

/// What was found of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRecord {
    /// Which record.
    pub purpose: RecordPurpose,
    /// Where it was looked for.
    pub name: Box<str>,
    /// What was found.
    pub status: RecordStatus,
    /// Whether the domain needs it to be verified.
    pub required: bool,
    /// What stands there, cut to a sane length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Box<str>>,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<str>>,
}

/// See [`DomainEvent::DkimKeyRetired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimKeyRetired {
    /// Its name.
    pub selector: Selector,
}

/// See [`DomainEvent::DomainChecked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainChecked {
    /// How the domain stands after it.
    pub status: DomainStatus,
    /// Since when required records of a verified domain have been missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Each record.
    pub records: Vec<CheckedRecord>,
}

/// See [`DomainEvent::DomainRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRemoved {}

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
                self.records.clone_from(&checked.records);
                self.checked_at = Some(at);
            }
            DomainEvent::DomainRemoved(_) => self.removed = true,
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

    /// The keys that sign for it, oldest first.
    pub fn keys(&self) -> &[DkimKeyAdded] {
        &self.keys
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
    /// Give it up.
    Remove,
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
    /// No more domains.
    #[error("the limit on the number of domains is reached")]
    TooMany,
    /// The keys in use were never seen in the DNS: publish those first.
    #[error("the present key was not seen in the DNS yet")]
    KeyNotShown,
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
    }
}

/// Whether a name can be one tenant's own.
pub fn check_name(name: &DomainName) -> Result<(), Refusal> {
    let text = name.as_str();
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
    let checked = DomainChecked { status, failing_since, records: records.to_vec() };
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
    records.iter().any(|record| {
        record.purpose == RecordPurpose::Dkim
            && record.status == RecordStatus::Verified
            && record
                .name
                .strip_prefix(selector.as_str())
                .is_some_and(|rest| rest.starts_with("._domainkey."))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn added() -> DomainAdded {
        DomainAdded {
            tenant: TenantId::from_bytes([1; 16]),
            name: DomainName::parse("mail.acme.com").unwrap(),
            ownership_token: "token".into(),
        }
    }

    fn key() -> DkimKeyAdded {
        DkimKeyAdded {
            selector: Selector::parse("lum1").unwrap(),
            algorithm: DkimAlgorithm::Rsa2048,
            public_record: "v=DKIM1; k=rsa; p=AA".into(),
            private_key: SealedText("sealed".into()),
        }
    }

    fn found(purpose: RecordPurpose, status: RecordStatus, required: bool) -> CheckedRecord {
        CheckedRecord {
            purpose,
            name: "_lumora.mail.acme.com".into(),
            status,
            required,
            found: vec![],
            problem: None,
        }
    }

    fn fold(given: &[DomainEvent]) -> Domain {
        let stream = crate::StreamId::Domain(crate::DomainId::from_bytes([9; 16]));
        let mut domain = Domain::default();
        for event in given {
            let crate::Event::Domain(read) = crate::Event::decode(stream, &event.encode()).unwrap()
            else {
                panic!("a domain's event")
            };
            assert_eq!(&read, event);
            domain.evolve(&read, Timestamp::default());
        }
        domain
    }

    const HOUR: Duration = Duration::from_hours(1);

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn check(domain: &mut Domain, records: Vec<CheckedRecord>, hours: u64) -> Vec<DomainEvent> {
        let events = decide(domain, &Command::RecordCheck(records), at(hours)).unwrap();
        for event in &events {
            domain.evolve(event, at(hours));
        }
        events
    }

    /// The status after checks, an hour apart.
    fn status(checks: &[&[RecordStatus]]) -> DomainStatus {
        let mut domain = fold(&[added().into(), key().into()]);
        for (hour, statuses) in checks.iter().enumerate() {
            let records = statuses.iter().map(|s| found(RecordPurpose::Dkim, *s, true)).collect();
            check(&mut domain, records, hour as u64);
        }
        domain.status()
    }

    fn shown(selectors: &[(&str, RecordStatus)]) -> Vec<CheckedRecord> {
        let record = |(selector, status): &(&str, RecordStatus)| CheckedRecord {
            name: format!("{selector}._domainkey.mail.acme.com").into(),
            required: *status == RecordStatus::Verified,
            ..found(RecordPurpose::Dkim, *status, true)
        };
        selectors.iter().map(record).collect()
    }

    fn named(selector: &str) -> DkimKeyAdded {
        DkimKeyAdded { selector: Selector::parse(selector).unwrap(), ..key() }
    }

    #[test]
    fn a_domain_is_added_once_and_with_a_key() {
        let add = Command::Add(added(), vec![key()]);
        let events = decide(&Domain::default(), &add, at(0)).unwrap();
        assert_eq!(events, vec![added().into(), key().into()]);
        assert_eq!(decide(&fold(&events), &add, at(0)), Err(Refusal::AlreadyExists));
        let keyless = Command::Add(added(), vec![]);
        assert_eq!(decide(&Domain::default(), &keyless, at(0)), Err(Refusal::NoKey));
    }

    #[test]
    fn all_required_records_verify_a_domain() {
        use RecordStatus::{Mismatch, Missing, TemporaryFailure, Verified};
        assert_eq!(status(&[]), DomainStatus::Pending);
        assert_eq!(status(&[&[Verified, Verified]]), DomainStatus::Verified);
        assert_eq!(status(&[&[Verified, Missing]]), DomainStatus::Pending);
        assert_eq!(status(&[&[Mismatch]]), DomainStatus::Pending);
        assert_eq!(status(&[&[TemporaryFailure]]), DomainStatus::TemporaryFailure);
        assert_eq!(status(&[&[]]), DomainStatus::TemporaryFailure);
    }

    #[test]
    fn a_silent_dns_does_not_demote() {
        use RecordStatus::{Missing, TemporaryFailure, Verified};
        assert_eq!(status(&[&[Verified], &[TemporaryFailure]]), DomainStatus::Verified);
        assert_eq!(status(&[&[Verified], &[Missing]]), DomainStatus::Verified, "within the grace");
        assert_eq!(status(&[&[Verified], &[Missing], &[Verified]]), DomainStatus::Verified);
    }

    #[test]
    fn a_vanished_record_demotes_after_the_grace_and_no_sooner() {
        use RecordStatus::{Missing, TemporaryFailure, Verified};
        let one = |status| vec![found(RecordPurpose::Ownership, status, true)];
        let mut domain = fold(&[added().into(), key().into()]);
        check(&mut domain, one(Verified), 0);
        check(&mut domain, one(Missing), 10);
        assert_eq!(domain.failing_since, Some(at(10)));
        // An outage in between neither ends nor restarts the grace.
        check(&mut domain, one(TemporaryFailure), 40);
        check(&mut domain, one(Missing), 81);
        assert_eq!((domain.status(), domain.failing_since), (DomainStatus::Verified, Some(at(10))));
        check(&mut domain, one(Missing), 82);
        assert_eq!((domain.status(), domain.failing_since), (DomainStatus::Failed, None));
        // A failed domain is verified again as soon as its records are back.
        check(&mut domain, one(TemporaryFailure), 83);
        assert_eq!(domain.status(), DomainStatus::Failed);
        check(&mut domain, one(Verified), 84);
        assert_eq!(domain.status(), DomainStatus::Verified);
        // A record that came back in time begins a new grace when it goes again.
        check(&mut domain, one(Missing), 90);
        check(&mut domain, one(Verified), 91);
        check(&mut domain, one(Missing), 170);
        assert_eq!(
            (domain.status(), domain.failing_since),
            (DomainStatus::Verified, Some(at(170)))
        );
    }

    #[test]
    fn a_look_that_finds_nothing_new_is_recorded_once_a_day() {
        let verified = || vec![found(RecordPurpose::Dkim, RecordStatus::Verified, true)];
        let mut domain = fold(&[added().into(), key().into()]);
        assert_eq!(check(&mut domain, verified(), 0).len(), 1);
        assert!(check(&mut domain, verified(), 23).is_empty());
        assert_eq!(check(&mut domain, verified(), 24).len(), 1);
        let other = vec![found(RecordPurpose::Dkim, RecordStatus::TemporaryFailure, true)];
        assert_eq!(check(&mut domain, other, 25).len(), 1);
    }

    #[test]
    fn a_new_key_takes_over_once_it_is_seen_and_the_old_one_retires_a_week_later() {
        use RecordStatus::{Missing, Verified};
        let rotate = Command::Rotate(vec![named("lum2")]);
        let mut domain = fold(&[added().into(), key().into()]);
        assert_eq!(decide(&domain, &rotate, at(0)), Err(Refusal::KeyNotShown));
        check(&mut domain, shown(&[("lum1", Verified)]), 0);
        for event in decide(&domain, &rotate, at(1)).unwrap() {
            domain.evolve(&event, at(1));
        }
        assert_eq!(domain.pending_key(), Some(&named("lum2")));
        // Asked again, the new key is the one that waits.
        let again = Command::Rotate(vec![named("lum3")]);
        assert_eq!(decide(&domain, &again, at(1)), Ok(vec![]));
        let waiting = shown(&[("lum1", Verified), ("lum2", Missing)]);
        check(&mut domain, waiting, 500);
        assert_eq!((domain.status(), domain.keys().len()), (DomainStatus::Verified, 2));
        check(&mut domain, shown(&[("lum1", Verified), ("lum2", Verified)]), 501);
        assert_eq!(domain.pending_key(), None);
        let week = 7 * 24;
        check(&mut domain, shown(&[("lum1", Missing), ("lum2", Verified)]), 500 + week);
        assert_eq!(domain.keys().len(), 2, "what it signed may still be under way");
        let events = check(&mut domain, shown(&[("lum2", Verified)]), 501 + week);
        assert_eq!(events.len(), 2);
        assert_eq!(domain.keys(), [named("lum2")]);
        // Nothing retires the key that signs.
        check(&mut domain, shown(&[("lum2", Verified)]), 502 + 3 * week);
        assert_eq!(domain.keys(), [named("lum2")]);
    }

    #[test]
    fn a_domain_is_looked_at_often_at_first_and_rarely_later() {
        let next = |status, failing, checked: u64| {
            next_check_at(status, failing, at(0), Some(at(checked))).since(at(checked))
        };
        assert_eq!(next(DomainStatus::Pending, None, 0), Duration::from_mins(5));
        assert_eq!(next(DomainStatus::Pending, None, 2), Duration::from_mins(30));
        assert_eq!(next(DomainStatus::TemporaryFailure, None, 30), 6 * HOUR);
        assert_eq!(next(DomainStatus::Pending, None, 1_000), 24 * HOUR);
        assert_eq!(next(DomainStatus::Verified, None, 5), 24 * HOUR);
        assert_eq!(next(DomainStatus::Verified, Some(at(5)), 5), HOUR);
        assert_eq!(next(DomainStatus::Failed, None, 5), 6 * HOUR);
        assert_eq!(
            next_check_at(DomainStatus::Pending, None, at(1), None).since(at(1)),
            Duration::from_mins(5)
        );
    }

    #[test]
    fn what_is_nobody_s_own_is_refused() {
        let refused = |name: &str| check_name(&DomainName::parse(name).unwrap()).unwrap_err();
        for suffix in ["co.uk", "github.io", "xn--55qx5d.cn"] {
            assert_eq!(refused(suffix), Refusal::PublicSuffix, "{suffix}");
        }
        for provider in ["gmail.com", "outlook.com", "web.de", "yahoo.co.uk", "qq.com"] {
            assert_eq!(refused(provider), Refusal::Freemail, "{provider}");
        }
        for own in [
            "acme.com",
            "mail.acme.co.uk",
            "me.github.io",
            "demo.lumora.test",
            "shop.example",
            "mail.gmail.com.acme.com",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(check_name(&DomainName::parse(own).unwrap()), Ok(()), "{own}");
        }
    }

    #[test]
    fn records_that_are_merely_wise_do_not_hold_a_domain_up() {
        let records = vec![
            found(RecordPurpose::Ownership, RecordStatus::Verified, true),
            found(RecordPurpose::Dmarc, RecordStatus::Missing, false),
        ];
        assert_eq!(
            status_after(&Domain::default(), &records, at(0)),
            (DomainStatus::Verified, None)
        );
    }

    #[test]
    fn a_removed_domain_is_unknown() {
        let removed = fold(&[added().into(), key().into(), DomainRemoved {}.into()]);
        assert_eq!(decide(&removed, &Command::Remove, at(0)), Err(Refusal::Unknown));
        assert_eq!(removed.added(), None);
    }

    #[test]
    fn selectors_are_single_labels() {
        for text in ["", "-a", "a-", "a.b", "A", "a_b", &"a".repeat(64)] {
            assert_eq!(Selector::parse(text), None, "{text}");
        }
    }
}
