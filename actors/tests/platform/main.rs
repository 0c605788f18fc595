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
mod domains;
mod faults;
mod lifetimes;
mod lists;
mod pauses;
mod restart;
mod sites;
mod templates;
mod tls_reports;
mod walk;
mod world;
