//! Evidence: what happened to a message, as it was recorded, with the proofs that it stands in the
//! log that was signed. Whoever has the instance's public key checks it without the server.
//!
//! # Contract
//! - [`gather`] makes a [`Bundle`] of all events of a message, each with its stored bytes and the
//!   proof that these are in the tree of a signed checkpoint.
//! - [`verify`] needs the bundle's text and the public key, and nothing else. What it lets pass was
//!   recorded, in that order, before the checkpoint was signed; nothing between the first and the
//!   last event is left out.
//! - [`certify`] says of an erasure that it is done, in a signed text of its own;
//!   [`verify_certificate`] checks that.
//! - [`why`] walks an event's causes back to who or what began it; it proves nothing, and what it
//!   tells are events that a bundle can prove.
//! - `docs/evidence.md` says how to check a bundle without this code.
//!
//! # Why
//! - **The stored bytes are the proof; the fields beside them are for reading**, and `verify`
//!   compares the two, so nobody can show one thing and prove another.
//! - **Replies are opened**, for they are what is disputed, and the key that opens them is in the
//!   bundle, so that the text can be compared with what was recorded. Once the content was
//!   forgotten, codes, hosts, addresses and times are still proved, and no text is left.
//! - **A room of its own**: the API, the command line and a checker elsewhere need the same form,
//!   and the log knows nothing of messages.

mod bundle;
mod certificate;
mod gather;
mod verify;
mod why;

pub use bundle::{Bundle, Proved, open_reply};
pub use certificate::{Certified, NoCertificate, certify, is_certificate, verify_certificate};
pub use gather::{GatherError, MAX_EVENTS, gather, reply_key};
pub use verify::{Flaw, MAX_BUNDLE_BYTES, Report, verify};
pub use why::{InvalidName, MAX_STEPS, Named, Step, Trail, WhyError, why};
