//! The log on real files: the contract, crashes, damage, full disks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "tests fail loudly"
)]

mod backup;
mod close;
mod contract;
mod damage;
mod disk_full;
mod fixture;
mod kill;
mod mounts;
mod power_cut;
mod properties;
mod prune;
mod reading;
mod recovery;
mod store;
mod support;
mod tamper;
mod writer;
