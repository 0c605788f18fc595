//! Peers that others wrote: Postfix, Exim, OpenSMTPD, Dovecot and postgrey take our mail over real
//! sockets, and dkimpy, authheaders, mailauth, OpenDKIM and SpamAssassin, which share no line of
//! code with us, judge it as it was received; Pebble issues certificates. `.ci/interop` brings them
//! and runs this.
#![allow(
    clippy::format_collect,
    clippy::needless_raw_string_hashes,
    clippy::match_wild_err_arm,
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    dead_code,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "../platform"]
mod platform {
    pub(crate) mod support;
}

mod greylisted;
mod issued;
mod judges;
mod received;
mod returned;
mod scored;
mod servers;
mod shapes;
mod smuggled;
mod stage;
