//! The API as callers see it, on a real platform: a log in memory, read models on disk, DNS and
//! mail servers on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

mod access;
mod audited;
mod bad_requests;
mod batch;
mod delivery;
mod described;
mod domains;
mod edges;
mod faulty;
mod feed;
mod foreign;
mod injection;
mod keys;
mod objects;
mod past;
mod protected;
mod proxies;
mod reading;
mod sending;
mod serving;
mod sessions;
mod standing;
mod suppressions;
mod templates;
mod tls;
mod world;
