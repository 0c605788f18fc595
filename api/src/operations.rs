//! The operations, by subject: parse, ask, map. No rule of the product stands here.

mod evidence;
mod feed;
mod insight;
mod messages;
mod sending;
mod suppressions;
mod system;
mod templates;

use std::{sync::Arc, time::Duration};

use actors::ChangeError;
use bytes::Bytes;
use model::{suppression, template};
use poem::web::Data;
use poem_openapi::Tags;
use projections::QueryError;

use self::{
    evidence::EvidenceOperations, feed::FeedOperations, insight::InsightOperations,
    messages::MessageOperations, sending::SendingOperations, suppressions::SuppressionOperations,
    system::SystemOperations, templates::TemplateOperations,
};
use crate::{
    parts::Shared,
    portal::{
        accounts::Accounts, alerts::Alerts, apps::Apps, audit::Audit, delivery::Delivery,
        domains::Domains, erasures::Erasures, letters::Letters,
    },
    problem::{Code, Problem},
};

/// All operations.
pub(crate) type Operations = (
    SendingOperations,
    MessageOperations,
    EvidenceOperations,
    InsightOperations,
    FeedOperations,
    TemplateOperations,
    SuppressionOperations,
    Accounts,
    Apps,
    Domains,
    Letters,
    Alerts,
    Delivery,
    Erasures,
    Audit,
    SystemOperations,
);

/// All operations.
pub(crate) const fn operations() -> Operations {
    (
        SendingOperations,
        MessageOperations,
        EvidenceOperations,
        InsightOperations,
        FeedOperations,
        TemplateOperations,
        SuppressionOperations,
        Accounts,
        Apps,
        Domains,
        Letters,
        Alerts,
        Delivery,
        Erasures,
        Audit,
        SystemOperations,
    )
}

/// The parts of the document, in reading order.
#[derive(Tags)]
pub(crate) enum Topic {
    /// Send emails, and take back those that wait.
    Sending,
    /// Read how messages fare.
    Messages,
    /// Read every event of your app, and its sums.
    Insight,
    /// Write down once what you send often.
    Templates,
    /// Name those whom you do not write to.
    Suppressions,
    /// For those who run the server.
    System,
}

/// What every operation is given.
type SharedData<'a> = Data<&'a Arc<Shared>>;

/// Reads a body, a large one off the threads that answer everybody else.
async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    bytes: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    /// Read in less time than it takes to hand over.
    const SMALL_BYTES: usize = 64 * 1024;
    if bytes.len() < SMALL_BYTES {
        read(&bytes)
    } else {
        shared.reading(move |_| read(&bytes)).await
    }
}

/// What an app's own things answer to a change.
pub(crate) fn change_problem(error: ChangeError) -> Problem {
    match error {
        ChangeError::Template(refusal) => match refusal {
            template::Refusal::Unknown => Problem::new(Code::NotFound),
            template::Refusal::AlreadyExists => Problem::new(Code::AlreadyExists),
            template::Refusal::Changed => Problem::new(Code::TemplateChanged),
            template::Refusal::TooMany => Problem::new(Code::LimitReached),
            template::Refusal::TooLarge => Problem::field("body", "is larger than can be stored"),
        },
        ChangeError::Suppression(suppression::Refusal::Unknown) => Problem::new(Code::NotFound),
        ChangeError::Unavailable => unavailable(),
        ChangeError::NotYetVisible => {
            unavailable().saying("It was recorded, and will show shortly.")
        }
        error => Problem::internal("a change failed", &error),
    }
}

pub(crate) fn query_problem(error: QueryError) -> Problem {
    match error {
        QueryError::TooWide => {
            Problem::field("from", "covers too much: ask for a shorter time or a longer interval")
        }
        QueryError::Pruned { last } => {
            let words = format!("is too long ago: events up to {last} were pruned");
            let message = format!("Events up to {last} were pruned: go on after that number.");
            Problem::new(Code::EventsPruned).saying(message).blaming("after", words)
        }
        QueryError::PrunedUntil { at } => {
            Problem::field("from", &format!("is too long ago: events up to {at} were pruned"))
        }
        error => Problem::internal("a read model failed", &error),
    }
}

/// Whole seconds, rounded up: who comes back early is refused again.
pub(crate) fn overloaded(retry_after: Duration) -> Problem {
    let seconds = u64::try_from(retry_after.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
    Problem::new(Code::Overloaded).retry_after_s(seconds)
}

pub(crate) fn unavailable() -> Problem {
    /// A disk that is full or gone is not mended in a second.
    const RETRY_AFTER_S: u64 = 10;
    Problem::new(Code::Unavailable).retry_after_s(RETRY_AFTER_S)
}
