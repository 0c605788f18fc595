//! What the events of a domain carry.

use serde::{Deserialize, Serialize};

use crate::{address::DomainName, event::SealedText, ids::TenantId, pause::Who, time::Timestamp};

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

/// See [`super::DomainEvent::DomainAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainAdded {
    /// Who wants to send from it.
    pub tenant: TenantId,
    /// Its name.
    pub name: DomainName,
    /// What the tenant publishes as proof; another one for each tenant.
    pub ownership_token: Box<str>,
}

/// See [`super::DomainEvent::DkimKeyAdded`].
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

/// See [`super::DomainEvent::DkimKeyRetired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimKeyRetired {
    /// Its name.
    pub selector: Selector,
}

/// See [`super::DomainEvent::DomainChecked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainChecked {
    /// How the domain stands after it.
    pub status: DomainStatus,
    /// Since when required records of a verified domain have been missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Each record.
    pub records: Vec<CheckedRecord>,
    /// The keys that sign from now on. Absent in older records: those whose records are verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Vec<Selector>>,
    /// Whether bounces come back to a name below the domain from now on. Absent in older records:
    /// whether that record is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_bounces: Option<bool>,
}

impl DomainChecked {
    /// Whether bounces come back to a name below the domain.
    pub fn returns_bounces(&self) -> bool {
        self.returns_bounces.unwrap_or_else(|| {
            let mut of_kind =
                self.records.iter().filter(|r| r.purpose == RecordPurpose::ReturnPath);
            of_kind.any(|record| record.status == RecordStatus::Verified)
        })
    }
}

impl CheckedRecord {
    /// Whether it is where the key of this selector is published.
    pub fn is_of_key(&self, selector: &Selector) -> bool {
        let named = self.name.strip_prefix(selector.as_str());
        self.purpose == RecordPurpose::Dkim
            && named.is_some_and(|rest| rest.starts_with("._domainkey."))
    }
}

/// See [`super::DomainEvent::DomainRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRemoved {}

/// See [`super::DomainEvent::DomainPaused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPaused {
    /// Who paused.
    pub by: Who,
    /// Why, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<SealedText>,
}

/// See [`super::DomainEvent::DomainResumed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainResumed {
    /// Who resumed.
    pub by: Who,
}
