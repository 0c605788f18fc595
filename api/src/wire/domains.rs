//! Sending domains, and the DNS records that they publish.

use actors::ExpectedRecord;
use model::domain::{CheckedRecord, DomainStatus, RecordPurpose, RecordStatus};
use poem_openapi::{ApiResponse, Enum, Object, payload::Json, types::Example};
use projections::DomainView;

use super::{Time, pauses::PauseWire, time::EXAMPLE_TIME};

pub(crate) const EXAMPLE_DOMAIN: &str = "dom_01kb05yt7qe5tvnr4w8jhjkz2s";

/// A domain to send from. Unknown fields are refused.
#[derive(Object)]
#[oai(example)]
pub(crate) struct NewDomainBody {
    /// Its name, one of your own: no top-level domain and no public mail provider's. Names in other
    /// scripts may be written as they are. Each subdomain that is sent from is added by itself.
    #[oai(validator(min_length = 1, max_length = 253))]
    pub domain: String,
}

/// A sending domain.
#[derive(Object)]
#[oai(rename = "Domain", rename_all = "camelCase", example)]
pub(crate) struct DomainWire {
    /// Which domain.
    pub id: String,
    /// Its name, as the DNS writes it.
    pub domain: String,
    /// How it stands.
    pub status: DomainState,
    /// What to publish in the DNS, and what was found when it was last asked.
    pub records: Vec<RecordWire>,
    /// When it was added.
    pub created_at: Time,
    /// When the DNS was last asked; `null` when it never was.
    #[oai(nullable)]
    pub checked_at: Option<Time>,
    /// The pause that holds back what it sends; absent while that is delivered.
    #[oai(skip_serializing_if_is_none)]
    pub paused: Option<PauseWire>,
}

/// A DNS record to publish.
#[derive(Object)]
#[oai(rename = "DnsRecord", rename_all = "camelCase", example)]
pub(crate) struct RecordWire {
    /// What it is for.
    pub purpose: PurposeName,
    /// Its type: `TXT` or `MX`.
    #[oai(rename = "type")]
    pub kind: String,
    /// Its name, without the final dot.
    pub name: String,
    /// Its value, as it is typed into a DNS provider's form.
    pub value: String,
    /// Whether the domain needs it to be verified. The others make delivery better.
    pub required: bool,
    /// What was found of it.
    pub status: RecordState,
    /// What stands at its name.
    pub found: Vec<String>,
    /// What is wrong and how to mend it, in words; `null` when nothing is known to be.
    #[oai(nullable)]
    pub problem: Option<String>,
}

/// The tenant's domains, oldest first.
#[derive(Object)]
#[oai(rename = "DomainList", example)]
pub(crate) struct DomainsAnswer {
    /// The domains.
    pub data: Vec<DomainWire>,
}

/// How a domain stands: `pending` was not verified yet, `verified` may be sent from, `failed` has
/// lost required records, `temporary_failure` got no answer from the DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "DomainStatus", rename_all = "snake_case")]
pub(crate) enum DomainState {
    Pending,
    Verified,
    Failed,
    TemporaryFailure,
}

/// What a record is for: `ownership` proves that the domain is yours, `dkim` publishes the key that
/// messages are signed with, `spf` names the servers that may send, `dmarc` says what receivers do
/// with what fails, `return_path` is where bounces go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "RecordPurpose", rename_all = "snake_case")]
pub(crate) enum PurposeName {
    Ownership,
    Dkim,
    Spf,
    Dmarc,
    ReturnPath,
}

/// How a record stands: `pending` was not looked up yet, `verified` is as it should be, `missing` is
/// not there, `mismatch` says something else, `temporary_failure` got no answer from the DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "RecordStatus", rename_all = "snake_case")]
pub(crate) enum RecordState {
    Pending,
    Verified,
    Missing,
    Mismatch,
    TemporaryFailure,
}

/// The answer to a new domain.
#[derive(ApiResponse)]
pub(crate) enum NewDomainAnswer {
    /// The domain waits for its records to be published.
    #[oai(status = 201)]
    Created(Json<DomainWire>),
}

/// The answer to the removal of a domain.
#[derive(ApiResponse)]
pub(crate) enum RemovedAnswer {
    /// Nothing new is sent from the domain. Messages that were taken over are still delivered.
    #[oai(status = 204)]
    Removed,
}

impl DomainWire {
    /// A domain with the records that it should publish.
    pub(crate) fn of(view: &DomainView, expected: Vec<ExpectedRecord>) -> Self {
        let checked = |record: &ExpectedRecord| {
            let same = |checked: &&CheckedRecord| {
                checked.purpose == record.purpose && *checked.name == *record.name
            };
            view.records.iter().find(same)
        };
        let records =
            expected.into_iter().map(|record| RecordWire::of(checked(&record).cloned(), record));
        Self {
            id: view.id.to_string(),
            domain: view.name.to_string(),
            status: match view.status {
                DomainStatus::Pending => DomainState::Pending,
                DomainStatus::Verified => DomainState::Verified,
                DomainStatus::Failed => DomainState::Failed,
                DomainStatus::TemporaryFailure => DomainState::TemporaryFailure,
            },
            records: records.collect(),
            created_at: Time(view.created_at),
            checked_at: view.last_asked_at().map(Time),
            paused: None,
        }
    }
}

impl RecordWire {
    fn of(checked: Option<CheckedRecord>, record: ExpectedRecord) -> Self {
        let status = checked.as_ref().map_or(RecordStatus::Pending, |checked| checked.status);
        let (found, problem) = match checked {
            Some(CheckedRecord { found, problem, .. }) => (found, problem),
            None => (Vec::new(), None),
        };
        Self {
            purpose: match record.purpose {
                RecordPurpose::Ownership => PurposeName::Ownership,
                RecordPurpose::Dkim => PurposeName::Dkim,
                RecordPurpose::Spf => PurposeName::Spf,
                RecordPurpose::Dmarc => PurposeName::Dmarc,
                RecordPurpose::ReturnPath => PurposeName::ReturnPath,
            },
            kind: record.record_type.to_owned(),
            name: record.name,
            value: record.value,
            required: record.required,
            status: match status {
                RecordStatus::Pending => RecordState::Pending,
                RecordStatus::Verified => RecordState::Verified,
                RecordStatus::Missing => RecordState::Missing,
                RecordStatus::Mismatch => RecordState::Mismatch,
                RecordStatus::TemporaryFailure => RecordState::TemporaryFailure,
            },
            found: found.into_iter().map(Into::into).collect(),
            problem: problem.map(Into::into),
        }
    }
}

impl Example for NewDomainBody {
    fn example() -> Self {
        Self { domain: "mail.acme.com".into() }
    }
}

impl Example for DomainWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_DOMAIN.into(),
            domain: "mail.acme.com".into(),
            status: DomainState::Pending,
            records: vec![RecordWire::example()],
            created_at: Time(EXAMPLE_TIME),
            checked_at: Some(Time(EXAMPLE_TIME)),
            paused: None,
        }
    }
}

impl Example for RecordWire {
    fn example() -> Self {
        Self {
            purpose: PurposeName::Ownership,
            kind: "TXT".into(),
            name: "_lumora.mail.acme.com".into(),
            value: "lumora-verify=3k9w0c2v7x5h1q8r4t6y3k9w0c2v7x5h".into(),
            required: true,
            status: RecordState::Missing,
            found: vec!["v=spf1 -all".into()],
            problem: Some("There is no record of this type at this name.".into()),
        }
    }
}

impl Example for DomainsAnswer {
    fn example() -> Self {
        Self { data: vec![DomainWire::example()] }
    }
}
