//! The certificates that this server's listeners show, changed without a restart.
//!
//! # Contract
//! - A chain is shown only with the key that belongs to it. What cannot be read, or does not belong
//!   together, leaves shown what was shown before.
//! - A key's file that others can read is refused, as the master key's is.
//! - TLS 1.2 and 1.3, by the one provider of cryptography that is in the tree.
//! - Knows no configuration and no clock: whoever owns a [`Certificate`] says when its files are
//!   looked at again, or a new one is asked for, and what is done about what was found.
//! - Nobody is asked but the authority that is named.
//!
//! # Why
//! - Certificates are renewed every few weeks by another program, which writes their files. Asking
//!   for a restart each time would be forgotten once.
//! - **Files are told apart by time, size and place on the disk.** A renewal that moves a link to an
//!   older file, or writes twice within a tick of the file system's clock, is a change, too.

mod acme;
mod files;
mod shown;
mod validity;

pub use self::{
    acme::{Acme, AcmeError, Authority},
    files::{Files, Unusable},
    shown::{Certificate, Looked, VALIDATION},
    validity::Validity,
};
