//! Whom an app does not write to.

use model::message::SuppressionReason;
use poem_openapi::{ApiResponse, Enum, Object, payload::Json, types::Example};
use projections::SuppressionView;

use super::{Time, time::EXAMPLE_TIME};

/// An address that is not to be written to. Unknown fields are refused, `null` counts as absent.
#[derive(Object)]
#[oai(rename = "NewSuppression", skip_serializing_if_is_none, example)]
pub(crate) struct NewSuppressionBody {
    /// The address.
    pub email: String,
    /// Why; `manual` if absent.
    pub reason: Option<Reason>,
}

/// An address that the app does not write to.
#[derive(Object)]
#[oai(rename = "Suppression", rename_all = "camelCase", example)]
pub(crate) struct SuppressionWire {
    /// The address, as it was given first; `null` when it came to the list by a report or a link of
    /// a message whose content was forgotten by then.
    #[oai(nullable)]
    pub email: Option<String>,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub created_at: Time,
}

/// One page of the suppression list, the newest first.
#[derive(Object)]
#[oai(rename = "SuppressionPage", rename_all = "camelCase", example)]
pub(crate) struct SuppressionsAnswer {
    /// The addresses.
    pub data: Vec<SuppressionWire>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Give it as `cursor` to get them; absent when there are none.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// Why an address is on the list: somebody put it there by hand, its owner complained, its mail
/// server said that it does not exist, or its owner unsubscribed, which holds for bulk mail alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "SuppressionReason", rename_all = "snake_case")]
pub(crate) enum Reason {
    Manual,
    Complaint,
    Bounce,
    Unsubscribe,
}

/// The answer to an address that is put on the list.
#[derive(ApiResponse)]
pub(crate) enum SuppressionAnswer {
    /// It was on the list already, and stays there as it was.
    #[oai(status = 200)]
    Listed(Json<SuppressionWire>),
    /// It is on the list from now on.
    #[oai(status = 201)]
    Added(Json<SuppressionWire>),
}

impl From<SuppressionReason> for Reason {
    fn from(reason: SuppressionReason) -> Self {
        match reason {
            SuppressionReason::Manual => Self::Manual,
            SuppressionReason::Complaint => Self::Complaint,
            SuppressionReason::Bounce => Self::Bounce,
            SuppressionReason::Unsubscribe => Self::Unsubscribe,
        }
    }
}

impl Reason {
    /// As the model has it.
    pub(crate) const fn parse(text: &str) -> Option<SuppressionReason> {
        Some(match text.as_bytes() {
            b"manual" => SuppressionReason::Manual,
            b"complaint" => SuppressionReason::Complaint,
            b"bounce" => SuppressionReason::Bounce,
            b"unsubscribe" => SuppressionReason::Unsubscribe,
            _ => return None,
        })
    }
}

impl From<SuppressionView> for SuppressionWire {
    fn from(view: SuppressionView) -> Self {
        Self {
            email: view.email.map(|email| email.to_string()),
            reason: view.reason.into(),
            created_at: Time(view.created_at),
        }
    }
}

impl Example for NewSuppressionBody {
    fn example() -> Self {
        Self { email: "ada@example.com".into(), reason: Some(Reason::Manual) }
    }
}

impl Example for SuppressionWire {
    fn example() -> Self {
        Self {
            email: Some("ada@example.com".into()),
            reason: Reason::Manual,
            created_at: Time(EXAMPLE_TIME),
        }
    }
}

impl Example for SuppressionsAnswer {
    fn example() -> Self {
        let next_cursor = Some("00000000000004d2".into());
        Self { data: vec![SuppressionWire::example()], has_more: true, next_cursor }
    }
}
