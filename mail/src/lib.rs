//! The mail wire: everything between a message as content and another mail server's reply.
//!
//! # Contract
//! - Knows the nouns of `model` and no actor, no log, no HTTP.
//! - Reports what it saw as [`model::delivery::Outcome`] and never judges: whether a person is
//!   gone or a message is tried again is the model's rule.
//! - Everything that a peer can choose is bounded: line and reply lengths, counts, bytes, and the
//!   time that each step and the whole may take.
//! - Nothing leaves with a bare CR, a bare LF or a NUL in it, and no address, reply text or
//!   content is logged.
//!
//! # Why
//! - **An SMTP session of our own behind lettre's commands.** lettre's client gives up at the
//!   first refused recipient, writes the message and its final dot apart (44 ms a message without
//!   `TCP_NODELAY`), compares `STARTTLS` by case, keeps what was buffered before the handshake,
//!   reads reply lines without bound and has no PIPELINING. Its command and parameter types are
//!   right, so they spell the bytes; the dialogue is here, where each recipient keeps its own
//!   reply and each command its own deadline.
//! - **The receiver is product code.** [`sink`] is what `lumora dev` shows mail with, and the
//!   same server receives in tests and benchmarks: no mock stands where a real peer can.

pub mod compose;
pub mod dkim;
pub mod dns;
pub mod https;
mod percent;
pub mod policy;
pub mod records;
pub mod report;
pub mod sink;
pub mod smtp;
mod stream;
pub mod tls_report;
