//! A small world on loopback for `lumora dev`, the platform tests and the bench.
//!
//! [`dns::DnsServer`] is a real authoritative name server on a UDP and a TCP port. What it serves
//! can be changed while it runs, and it can be told to fail as name servers do.
//!
//! # Contract
//! - It binds to loopback alone, on a port that the system chooses.
//! - It stops when it is dropped.
//!
//! # Why
//! A resolver that is tested against a stub proves what the stub believes. Here every answer crosses
//! a socket in DNS wire format, so truncation, negative answers and time-outs are the real ones.

pub mod dns;
