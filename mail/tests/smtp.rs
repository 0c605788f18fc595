//! The SMTP client: against a server that misbehaves, against one that does not, and with TLS.
#![allow(
    clippy::large_futures,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "smtp/delivery.rs"]
mod delivery;
#[path = "smtp/interop.rs"]
mod interop;
#[path = "smtp/misbehaviour.rs"]
mod misbehaviour;
#[path = "support/scripted.rs"]
mod scripted;
#[path = "smtp/tls.rs"]
mod tls;
