//! The rules of a message: given what happened, when something is wanted, then this follows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

mod accepting;
mod attempts;
mod causes;
mod ending;
mod properties;
mod returning;
mod scenario;
mod status;
