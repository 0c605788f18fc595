//! What the portal's changes answer when they are not made.

use actors::{ChangeError, SignInError};
use model::{domain, tenant};

use crate::{
    operations::{overloaded, unavailable},
    problem::{Code, Problem},
};

/// Of accounts, apps and keys.
pub(crate) fn change_problem(error: ChangeError) -> Problem {
    match error {
        ChangeError::Tenant(refusal) => match refusal {
            tenant::Refusal::AlreadyExists => Problem::new(Code::AlreadyExists),
            tenant::Refusal::Unknown => Problem::new(Code::NotFound),
            tenant::Refusal::TooMany => Problem::new(Code::LimitReached),
            tenant::Refusal::PausedByOperator(_) => Problem::new(Code::PausedByOperator),
            tenant::Refusal::NoScope => Problem::field("scopes", "must grant at least one scope"),
            tenant::Refusal::BeyondPermissions => {
                Problem::field("scopes", "must not go beyond the app's permissions")
            }
            tenant::Refusal::TooManyAllowed => {
                Problem::field("allowedDomains", "has too many entries")
            }
            tenant::Refusal::RateLimit => {
                Problem::field("rateLimitPerMinute", "must be 1 to 1000000")
            }
            tenant::Refusal::AlreadyExpired => Problem::field("expiresAt", "must be in the future"),
        },
        ChangeError::InvalidName => {
            Problem::field("name", "must have 1 to 100 characters, none a control character")
        }
        ChangeError::Unavailable => unavailable(),
        ChangeError::NotYetVisible => {
            unavailable().saying("It was recorded, and will show shortly.")
        }
        error => Problem::internal("a change failed", &error),
    }
}

/// Of domains.
pub(crate) fn domain_problem(error: ChangeError) -> Problem {
    let ChangeError::Domain(refusal) = error else { return change_problem(error) };
    match refusal {
        domain::Refusal::AlreadyExists => Problem::new(Code::AlreadyExists),
        domain::Refusal::Unknown => Problem::new(Code::NotFound),
        domain::Refusal::TooMany => Problem::new(Code::LimitReached),
        domain::Refusal::PublicSuffix => Problem::field(
            "domain",
            "is a public suffix: names are registered below it, and nobody owns it alone",
        ),
        domain::Refusal::TooLong => {
            Problem::field("domain", "is too long: the names of its records would not fit")
        }
        domain::Refusal::Freemail => Problem::field(
            "domain",
            "belongs to a mailbox provider: only they can publish records there",
        ),
        domain::Refusal::PausedByOperator(_) => Problem::new(Code::PausedByOperator),
        domain::Refusal::KeyNotShown => Problem::new(Code::KeyNotPublished),
        domain::Refusal::NoKey => Problem::internal("a domain without a key", &refusal),
    }
}

/// Of signing in, and of passwords; `field` is the new password's.
pub(super) fn sign_in_problem(error: SignInError, field: &str) -> Problem {
    match error {
        SignInError::InvalidCredentials => Problem::new(Code::InvalidCredentials),
        SignInError::Throttled { retry_after } => {
            let seconds = u64::try_from(retry_after.as_millis().div_ceil(1_000));
            Problem::new(Code::TooManyAttempts).retry_after_s(seconds.unwrap_or(u64::MAX))
        }
        SignInError::Weak(weak) => Problem::field(field, &weak.to_string()),
        SignInError::Overloaded { retry_after } => overloaded(retry_after),
        SignInError::Change(error) => change_problem(error),
    }
}
