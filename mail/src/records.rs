//! The DNS records that a sending domain publishes.

use std::net::IpAddr;

use model::{
    address::DomainName,
    domain::{CheckedRecord, RecordPurpose, Selector},
};

use crate::dns::Resolver;

/// What a domain should publish.
#[derive(Debug, Clone, Copy)]
pub struct DomainSpec<'a> {
    /// The sending domain.
    pub domain: &'a DomainName,
    /// What proves that it is the tenant's.
    pub ownership_token: &'a str,
    /// Its DKIM keys: the selector and the TXT record made with the key.
    pub dkim: &'a [(Selector, String)],
    /// This server's own name: receives bounces, and is what SPF lets send.
    pub mail_host: &'a str,
    /// The addresses this server sends from; those of `mail_host` when empty.
    pub sending_addresses: &'a [IpAddr],
}

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRecord {
    /// What it is for.
    pub purpose: RecordPurpose,
    /// `TXT` or `MX`.
    pub record_type: &'static str,
    /// Its name, without the final dot.
    pub name: String,
    /// Its value, as typed into a DNS provider's form.
    pub value: String,
    /// Whether the domain is not verified without it.
    pub required: bool,
}

/// The records that the domain should publish.
pub fn expected(_spec: &DomainSpec<'_>) -> Vec<ExpectedRecord> {
    todo!()
}

/// Looks all of them up, past every cache.
pub async fn check(_resolver: &Resolver, _spec: &DomainSpec<'_>) -> Vec<CheckedRecord> {
    todo!()
}
