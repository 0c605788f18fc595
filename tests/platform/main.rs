//! The whole platform against a real DNS server and real SMTP receivers on loopback, one scenario a
//! file.
#![allow(
    clippy::too_many_lines,
    clippy::match_wild_err_arm,
    clippy::format_collect,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests fail loudly"
)]

mod alerts;
mod audit_guide;
mod backup;
mod canary;
mod cancel;
mod causes;
mod commands;
mod conserved;
mod dead_first_mx;
mod deferred;
mod delivered;
mod dev;
mod doctor;
mod erasure;
mod evidence;
mod feed;
mod https;
mod idempotency;
mod inbound;
mod killed;
mod no_such_domain;
mod null_mx;
mod one_click;
mod own_signature;
mod queue;
mod read_models_deleted;
mod rebuilt;
mod reclassified;
mod refused_recipient;
mod restart;
mod retention;
mod rotated;
mod secrets;
mod servfail;
mod signed;
mod support;
mod thousand_messages;
mod tls;
mod tls_report;
mod walkthrough;
mod ways_out;
mod wrong_requests;
