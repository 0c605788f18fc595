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
mod conservation;
mod feed;
mod follower;
mod log_engine;
mod logs;
mod messages;
mod policies;
mod privacy;
mod rebuild;
mod replay;
mod stats;
mod support;
mod tls_sessions;
