//! Delivery that is paused.

use model::pause::{MAX_REASON_CHARACTERS, Who};
use poem_openapi::{Enum, Object, types::Example};
use projections::{PauseView, Paused};

use super::{Time, time::EXAMPLE_TIME};

const _: () = assert!(MAX_REASON_CHARACTERS == 200, "as the schema says");

/// Why delivery is paused. Unknown fields are refused.
#[derive(Object)]
#[oai(example)]
pub(crate) struct PauseBody {
    /// In your words, for those who ask why mail waits: one line. It is shown as long as the pause
    /// holds, and recorded sealed.
    #[oai(validator(min_length = 1, max_length = 200), skip_serializing_if_is_none)]
    pub reason: Option<String>,
}

/// How delivery stands.
#[derive(Object)]
#[oai(rename = "Delivery", example)]
pub(crate) struct DeliveryWire {
    /// The pause that holds all of your mail back; `null` while it is delivered.
    #[oai(nullable)]
    pub paused: Option<PauseWire>,
}

/// A pause. Mail is accepted as ever, waits, and expires when its time runs out.
#[derive(Object)]
#[oai(rename = "Pause", example)]
pub(crate) struct PauseWire {
    /// What is paused.
    pub scope: PauseScope,
    /// Since when.
    pub since: Time,
    /// Who paused. What an operator paused, only an operator resumes.
    pub by: PausedBy,
    /// Why, if they said so.
    #[oai(skip_serializing_if_is_none)]
    pub reason: Option<String>,
}

/// What is paused: `tenant` all of your mail, `domain` what a sending domain sends, `receiver` what
/// goes to a receiver, whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum PauseScope {
    Tenant,
    Domain,
    Receiver,
}

/// Who paused: a `user` of yours, or an `operator` of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum PausedBy {
    User,
    Operator,
}

impl PauseWire {
    /// As a tenant sees it. Why a receiver is paused is between the operators and the receiver.
    pub(crate) fn of(paused: &Paused, view: &PauseView) -> Self {
        let (scope, reason) = match paused {
            Paused::Tenant(_) => (PauseScope::Tenant, view.reason.clone()),
            Paused::Domain(_) => (PauseScope::Domain, view.reason.clone()),
            Paused::Site(_) => (PauseScope::Receiver, None),
        };
        let by = match view.by {
            Who::User(_) => PausedBy::User,
            Who::Operator => PausedBy::Operator,
        };
        Self { scope, since: Time(view.since), by, reason }
    }
}

impl Example for PauseBody {
    fn example() -> Self {
        Self { reason: Some("the campaign has a wrong link".into()) }
    }
}

impl Example for DeliveryWire {
    fn example() -> Self {
        Self { paused: Some(PauseWire::example()) }
    }
}

impl Example for PauseWire {
    fn example() -> Self {
        Self {
            scope: PauseScope::Tenant,
            since: Time(EXAMPLE_TIME),
            by: PausedBy::User,
            reason: PauseBody::example().reason,
        }
    }
}
