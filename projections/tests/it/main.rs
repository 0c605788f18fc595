//! The read models, asked from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests fail loudly"
)]

mod alarms;
mod audit;
mod beside;
mod conservation;
mod disk_full;
mod feed;
mod follower;
mod listed;
mod log_engine;
mod logs;
mod messages;
#[expect(
    dead_code,
    clippy::print_stdout,
    reason = "what the tests of the log mount, as it stands there; it says why it skips"
)]
#[path = "../../../eventlog/tests/it/mounts.rs"]
mod mounts;
mod policies;
mod privacy;
mod pruned;
mod rebuild;
mod replay;
mod stats;
mod support;
mod tls_sessions;
