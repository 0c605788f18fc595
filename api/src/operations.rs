//! The operations, by subject: parse, ask, map. No rule of the product stands here.

mod insight;
mod messages;
mod sending;
mod system;

use std::{sync::Arc, time::Duration};

use poem::web::Data;
use poem_openapi::Tags;
use projections::QueryError;

use self::{
    insight::InsightOperations, messages::MessageOperations, sending::SendingOperations,
    system::SystemOperations,
};
use crate::{
    parts::Shared,
    problem::{Code, Problem},
};

/// All operations.
pub(crate) type Operations =
    (SendingOperations, MessageOperations, InsightOperations, SystemOperations);

/// All operations.
pub(crate) const fn operations() -> Operations {
    (SendingOperations, MessageOperations, InsightOperations, SystemOperations)
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
    /// For those who run the server.
    System,
}

/// What every operation is given.
type SharedData<'a> = Data<&'a Arc<Shared>>;

fn query_problem(error: QueryError) -> Problem {
    match error {
        QueryError::TooWide => {
            Problem::field("from", "covers too much: ask for a shorter time or a longer interval")
        }
        error => Problem::internal("a read model failed", &error),
    }
}

/// Whole seconds, rounded up: who comes back early is refused again.
fn overloaded(retry_after: Duration) -> Problem {
    let seconds = u64::try_from(retry_after.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
    Problem::new(Code::Overloaded).retry_after_s(seconds)
}

fn unavailable() -> Problem {
    /// A disk that is full or gone is not mended in a second.
    const RETRY_AFTER_S: u64 = 10;
    Problem::new(Code::Unavailable).retry_after_s(RETRY_AFTER_S)
}
