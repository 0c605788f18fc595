//! A sending domain: proof that it is the tenant's, and the keys that sign for it.

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
        /// The DNS was asked.
        DomainChecked = "domain.checked" v 1,
        /// The tenant gave the domain up.
        DomainRemoved = "domain.removed" v 1,
    }
}

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

/// See [`DomainEvent::DomainChecked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainChecked {
    /// How the domain stands after it.
    pub status: DomainStatus,
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
}

impl Domain {
    /// Takes in what happened at `at`.
    pub fn evolve(&mut self, event: &DomainEvent, at: Timestamp) {
        match event {
            DomainEvent::DomainAdded(added) => self.added = Some(added.clone()),
            DomainEvent::DkimKeyAdded(key) => self.keys.push(key.clone()),
            DomainEvent::DomainChecked(checked) => {
                self.status = checked.status;
                self.records.clone_from(&checked.records);
                self.checked_at = Some(at);
            }
            DomainEvent::DomainRemoved(_) => self.removed = true,
        }
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
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(domain: &Domain, command: &Command) -> Result<Vec<DomainEvent>, Refusal> {
    match command {
        Command::Add(added, keys) => {
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
            let status = status_after(domain.status, records);
            Ok(vec![DomainChecked { status, records: records.clone() }.into()])
        }
        Command::Remove => {
            domain.added().ok_or(Refusal::Unknown)?;
            Ok(vec![DomainRemoved {}.into()])
        }
    }
}

/// A domain that was verified stays so while the DNS merely gives no answer: an outage of somebody
/// else's name server must not stop a tenant's mail.
fn status_after(before: DomainStatus, records: &[CheckedRecord]) -> DomainStatus {
    let required = || records.iter().filter(|record| record.required);
    let was_verified = before == DomainStatus::Verified;
    if required().any(|r| matches!(r.status, RecordStatus::Missing | RecordStatus::Mismatch)) {
        return match before {
            DomainStatus::Verified | DomainStatus::Failed => DomainStatus::Failed,
            DomainStatus::Pending | DomainStatus::TemporaryFailure => DomainStatus::Pending,
        };
    }
    if required().any(|r| r.status != RecordStatus::Verified) || required().next().is_none() {
        return if was_verified { before } else { DomainStatus::TemporaryFailure };
    }
    DomainStatus::Verified
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

    fn status(checks: &[&[RecordStatus]]) -> DomainStatus {
        let mut given = vec![added().into(), key().into()];
        for check in checks {
            let records = check.iter().map(|s| found(RecordPurpose::Dkim, *s, true)).collect();
            given.extend(decide(&fold(&given), &Command::RecordCheck(records)).unwrap());
        }
        fold(&given).status()
    }

    #[test]
    fn a_domain_is_added_once_and_with_a_key() {
        let add = Command::Add(added(), vec![key()]);
        let events = decide(&Domain::default(), &add).unwrap();
        assert_eq!(events, vec![added().into(), key().into()]);
        assert_eq!(decide(&fold(&events), &add), Err(Refusal::AlreadyExists));
        let keyless = Command::Add(added(), vec![]);
        assert_eq!(decide(&Domain::default(), &keyless), Err(Refusal::NoKey));
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
    fn a_silent_dns_does_not_demote_and_a_vanished_record_does() {
        use RecordStatus::{Missing, TemporaryFailure, Verified};
        assert_eq!(status(&[&[Verified], &[TemporaryFailure]]), DomainStatus::Verified);
        assert_eq!(status(&[&[Verified], &[Missing]]), DomainStatus::Failed);
        assert_eq!(status(&[&[Verified], &[Missing], &[Verified]]), DomainStatus::Verified);
    }

    #[test]
    fn records_that_are_merely_wise_do_not_hold_a_domain_up() {
        let records = vec![
            found(RecordPurpose::Ownership, RecordStatus::Verified, true),
            found(RecordPurpose::Dmarc, RecordStatus::Missing, false),
        ];
        assert_eq!(status_after(DomainStatus::Pending, &records), DomainStatus::Verified);
    }

    #[test]
    fn a_removed_domain_is_unknown() {
        let removed = fold(&[added().into(), key().into(), DomainRemoved {}.into()]);
        assert_eq!(decide(&removed, &Command::Remove), Err(Refusal::Unknown));
        assert_eq!(removed.added(), None);
    }

    #[test]
    fn selectors_are_single_labels() {
        for text in ["", "-a", "a-", "a.b", "A", "a_b", &"a".repeat(64)] {
            assert_eq!(Selector::parse(text), None, "{text}");
        }
    }
}
