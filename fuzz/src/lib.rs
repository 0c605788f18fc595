//! What reads octets of strangers, and what must hold whatever those octets are.
//!
//! # Contract
//! - A [`Target`] is a function of octets. It returns, or it panics and names what does not hold;
//!   the same octets always do the same.
//! - `corpus/<target>` holds octets that lead somewhere: examples written by hand, what a fuzzer
//!   kept of them, and everything that ever broke a target.
//! - Two drivers run the same functions. `cargo test -p fuzz` takes the whole corpus and some
//!   hundred changed copies of it, by a seed that it prints, with nothing but the toolchain.
//!   `.ci/fuzz SECONDS` lets libFuzzer look for new ways through the code.
//!
//! # Why
//! - **A target asks for more than that nothing panics**: what is read is written again and must
//!   read back as the same, what is composed must say to another reader what it was composed of,
//!   what has a bound must keep it.
//! - **Checksums are made right here.** Behind a CRC or a compression a changed octet would never
//!   be looked at; so targets take what lies beneath, and seal it themselves.
//! - **Fields are parted by the octet `ff`**, which no UTF-8 has: a corpus stays readable, and a
//!   fuzzer that inserts or drops one moves whole fields.
//! - **libFuzzer is not in the workspace** (`libfuzzer/`): its entry point needs a symbol of a given
//!   name, which the workspace's lints forbid, and nobody else should compile its C++.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "targets fail loudly: that is what they are for"
)]

mod fields;
pub mod mutation;
mod targets;

pub use targets::TARGETS;

/// Something that reads octets.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Reads them.
    ///
    /// # Panics
    /// Something that must hold does not.
    pub run: fn(&[u8]),
    /// Longest octets that are worth trying.
    pub max_octets: usize,
    /// Words of its language: changed octets that say something get further.
    pub words: &'static [&'static str],
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
