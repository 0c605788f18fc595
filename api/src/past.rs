//! What was at a time: the `at` of a query string.

use model::Timestamp;

use crate::{
    params::Query,
    problem::{Findings, Problem},
};

/// The time that is asked about, if one is: nobody knows what will be.
pub(crate) fn asked(at: Query<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let mut findings = Findings::default();
    let at = at.take(&mut findings);
    if at.is_some_and(|at| at > now) {
        findings.add("at", "must not be in the future");
    }
    if findings.is_empty() { Ok(at) } else { Err(findings.into_problem()) }
}
