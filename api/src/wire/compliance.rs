//! What large receivers ask of whoever sends in bulk.

use model::domain::compliance::{Finding, Requirement, Standing};
use poem_openapi::{Enum, Object, types::Example};

use super::domains::EXAMPLE_DOMAIN;

/// The rules for bulk senders that Google, Yahoo and Microsoft have in common, held against what is
/// known of a domain.
#[derive(Object)]
#[oai(rename = "Compliance", rename_all = "camelCase", example)]
pub(crate) struct ComplianceAnswer {
    /// Which domain.
    pub domain_id: String,
    /// Its name.
    pub domain: String,
    /// Whether everything that can be told from here is met.
    pub compliant: bool,
    /// Each requirement.
    pub requirements: Vec<RequirementWire>,
}

/// A requirement.
#[derive(Object)]
#[oai(rename = "ComplianceRequirement", rename_all = "camelCase", example)]
pub(crate) struct RequirementWire {
    /// What is asked: `spf`, `dkim`, `dmarc`, `alignment`, `return_path`,
    /// `one_click_unsubscribe`, `complaint_rate`, `encryption`, `reverse_dns`.
    pub requirement: String,
    /// Whether it is met.
    pub status: RequirementState,
    /// What was found.
    pub found: String,
    /// What to do; `null` when it is met.
    #[oai(nullable)]
    pub to_do: Option<String>,
}

/// Whether a requirement is `met` or `unmet`; `unknown` is what cannot be told from here, or not
/// yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "ComplianceStatus", rename_all = "snake_case")]
pub(crate) enum RequirementState {
    Met,
    Unmet,
    Unknown,
}

impl ComplianceAnswer {
    pub(crate) fn of(domain_id: String, domain: String, findings: Vec<Finding>) -> Self {
        Self {
            domain_id,
            domain,
            compliant: findings.iter().all(|finding| finding.standing != Standing::Unmet),
            requirements: findings.into_iter().map(RequirementWire::from).collect(),
        }
    }
}

impl From<Finding> for RequirementWire {
    fn from(finding: Finding) -> Self {
        Self {
            requirement: finding.requirement.as_str().to_owned(),
            status: match finding.standing {
                Standing::Met => RequirementState::Met,
                Standing::Unmet => RequirementState::Unmet,
                Standing::Unknown => RequirementState::Unknown,
            },
            found: finding.found,
            to_do: finding.to_do,
        }
    }
}

impl Example for ComplianceAnswer {
    fn example() -> Self {
        Self {
            domain_id: EXAMPLE_DOMAIN.into(),
            domain: "mail.acme.com".into(),
            compliant: false,
            requirements: vec![RequirementWire::example()],
        }
    }
}

impl Example for RequirementWire {
    fn example() -> Self {
        Self {
            requirement: Requirement::Dmarc.as_str().into(),
            status: RequirementState::Unmet,
            found: "The record at _dmarc.mail.acme.com is missing, or says something else.".into(),
            to_do: Some("Publish the record that the domain shows.".into()),
        }
    }
}
