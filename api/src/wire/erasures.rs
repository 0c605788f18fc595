//! People who are to be forgotten.

use model::pause::Who;
use poem_openapi::{ApiResponse, Enum, Object, payload::Json, types::Example};
use projections::ErasureView;

use super::{Time, time::EXAMPLE_TIME};

pub(crate) const EXAMPLE_ERASURE: &str = "era_01kb05yt7qe5tvnr4w8jhjkz2w";
/// Messages that are named of those that are waited for.
pub(crate) const NAMED_MESSAGES: usize = 100;

/// Who is to be forgotten. Unknown fields are refused.
#[derive(Object)]
#[oai(example)]
pub(crate) struct NewErasure {
    /// Their address.
    pub email: String,
}

/// The forgetting of a person. It says nothing of who that is.
#[derive(Object)]
#[oai(rename = "Erasure", rename_all = "camelCase", example)]
pub(crate) struct ErasureWire {
    /// Which erasure.
    pub id: String,
    /// How it stands.
    pub status: ErasureStatus,
    /// When it was requested: what came later is not concerned.
    pub requested_at: Time,
    /// Who requested it.
    pub requested_by: RequestedBy,
    /// Messages that were found so far: to the person, from them, or that name their address.
    pub messages: u64,
    /// Letters to your domains' offices that were found so far.
    pub letters: u64,
    /// Those of the messages that have not ended for other recipients, at most 100 of them. Their
    /// content goes once they have; whoever does not want to wait cancels them.
    pub waits_for: Vec<String>,
    /// Suppression lists that know the person by a keyed hash alone from now on; absent until it
    /// is completed.
    #[oai(skip_serializing_if_is_none)]
    pub suppressions: Option<u64>,
    /// Sealed records that are overwritten; absent until it is completed.
    #[oai(skip_serializing_if_is_none)]
    pub records: Option<u64>,
    /// When it was completed.
    #[oai(skip_serializing_if_is_none)]
    pub completed_at: Option<Time>,
    /// The same, signed with this server's key: `lumora evidence verify` checks it. Absent until it
    /// is completed.
    #[oai(skip_serializing_if_is_none)]
    pub certificate: Option<String>,
}

/// One page of erasures, the newest first.
#[derive(Object)]
#[oai(rename = "ErasurePage", rename_all = "camelCase", example)]
pub(crate) struct ErasuresAnswer {
    /// The erasures.
    pub data: Vec<ErasureWire>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Give it as `cursor` to get them; absent when there are none.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// How an erasure stands: `running` while it is looked for what concerns the person and that is
/// overwritten, `waiting` for messages to end for others, `completed` once nothing can be read any
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum ErasureStatus {
    Running,
    Waiting,
    Completed,
}

/// Who requested it: a `user` of yours, or an `operator` of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum RequestedBy {
    User,
    Operator,
}

/// The answer to a request to forget somebody.
#[derive(ApiResponse)]
pub(crate) enum ErasureAnswer {
    /// It is recorded, and goes on by itself, also after a restart.
    #[oai(status = 202)]
    Accepted(Json<ErasureWire>),
}

impl ErasureWire {
    /// With what it waits for, and the certificate once there is one.
    pub(crate) fn of(
        view: &ErasureView,
        waits_for: &[model::MessageId],
        certificate: Option<String>,
    ) -> Self {
        let erased = view.state.erased();
        let status = match (erased, waits_for) {
            (Some(_), _) => ErasureStatus::Completed,
            (None, [_, ..]) if view.state.has_looked() => ErasureStatus::Waiting,
            (None, _) => ErasureStatus::Running,
        };
        let named = waits_for.iter().take(NAMED_MESSAGES);
        Self {
            id: view.id.to_string(),
            status,
            requested_at: Time(view.requested_at),
            requested_by: match view.requested.by {
                Who::User(_) => RequestedBy::User,
                Who::Operator => RequestedBy::Operator,
            },
            messages: view.state.messages().len() as u64,
            letters: view.state.letters().len() as u64,
            waits_for: named.map(ToString::to_string).collect(),
            suppressions: erased.map(|erased| erased.suppressions),
            records: erased.map(|erased| erased.records),
            completed_at: view.erased_at.map(Time),
            certificate,
        }
    }
}

impl Example for NewErasure {
    fn example() -> Self {
        Self { email: "ada@example.com".into() }
    }
}

impl Example for ErasureWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_ERASURE.into(),
            status: ErasureStatus::Completed,
            requested_at: Time(EXAMPLE_TIME),
            requested_by: RequestedBy::User,
            messages: 12,
            letters: 0,
            waits_for: Vec::new(),
            suppressions: Some(1),
            records: Some(26),
            completed_at: Some(Time(EXAMPLE_TIME)),
            certificate: Some(
                "lumora/5d1c0e7b9a2f4c31/erasure\nerasure era_01kb05yt7qe5tvnr4w8jhjkz2w\n\u{2026}\n\n\
                 \u{2014} lumora/5d1c0e7b9a2f4c31 \u{2026}\n"
                    .into(),
            ),
        }
    }
}

impl Example for ErasuresAnswer {
    fn example() -> Self {
        let next_cursor = Some("00000000000004d2".into());
        Self { data: vec![ErasureWire::example()], has_more: true, next_cursor }
    }
}
