//! The platform on a log, read models, a real name server and real SMTP receivers on loopback.
#![allow(
    clippy::used_underscore_binding,
    clippy::single_match_else,
    clippy::match_same_arms,
    clippy::too_many_lines,
    clippy::print_stdout,
    clippy::range_plus_one,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests fail loudly"
)]

mod batch;
mod bounds;
mod causes;
mod domains;
mod faults;
mod idempotent;
mod lifetimes;
mod lists;
mod pauses;
mod restart;
mod sites;
mod templates;
mod tls_reports;
mod tls_rules;
mod walk;
mod ways;
mod world;

#[path = "../../../mail/tests/support/authority.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod authority;
#[path = "../../../mail/tests/policy/policy_host.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod policy_host;
#[path = "../../../mail/tests/support/scripted.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod scripted;
#[path = "../../../mail/tests/support/signed.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod signed;
