//! Answers from elsewhere than name servers.

use std::{future::Future, net::IpAddr, pin::Pin, time::Duration};

use hickory_resolver::{
    lookup::Lookup,
    proto::{
        op::Query,
        rr::{
            Name, RData, Record, RecordType,
            rdata::{A, AAAA, MX, PTR, TXT},
        },
    },
};

use tokio::time::Instant;

use super::{LookupError, Mx};

/// The future of a [`NameSource::look_up`].
pub type LookingUp<'a> = Pin<Box<dyn Future<Output = Result<Found, LookupError>> + Send + 'a>>;

/// What a name is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail hosts.
    Mx,
    /// Texts.
    Txt,
    /// Names of an address.
    Ptr,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameRecord {
    /// Of kind [`RecordKind::A`] or [`RecordKind::Aaaa`].
    Address(IpAddr),
    /// Of kind [`RecordKind::Mx`].
    Mx(Mx),
    /// Of kind [`RecordKind::Txt`]; longer ones than 255 octets are split as the DNS does it.
    Txt(String),
    /// Of kind [`RecordKind::Ptr`].
    Ptr(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The records.
    pub records: Vec<NameRecord>,
    /// How long they may be believed.
    pub ttl: Duration,
}

/// Answers questions in the place of name servers.
///
/// A [`Resolver`](super::Resolver) over it bounds and reads the answers as it does those of name
/// servers.
pub trait NameSource: Send + Sync + 'static {
    /// The records of one kind of `name`, which is in lower case and without its final dot. An
    /// answer without records counts as [`LookupError::NoRecords`].
    fn look_up<'a>(&'a self, name: &'a str, kind: RecordKind) -> LookingUp<'a>;
}

impl RecordKind {
    pub(super) const fn of(record_type: RecordType) -> Option<Self> {
        match record_type {
            RecordType::A => Some(Self::A),
            RecordType::AAAA => Some(Self::Aaaa),
            RecordType::MX => Some(Self::Mx),
            RecordType::TXT => Some(Self::Txt),
            RecordType::PTR => Some(Self::Ptr),
            _ => None,
        }
    }
}

impl NameRecord {
    /// Longest string of a TXT record, in octets (RFC 1035, section 3.3).
    const MAX_STRING: usize = 255;

    fn into_data(self) -> Option<RData> {
        Some(match self {
            Self::Address(IpAddr::V4(ip)) => RData::A(A(ip)),
            Self::Address(IpAddr::V6(ip)) => RData::AAAA(AAAA(ip)),
            Self::Mx(mx) => RData::MX(MX::new(mx.preference, Name::from_ascii(&*mx.host).ok()?)),
            Self::Txt(text) => {
                let strings = text.as_bytes().chunks(Self::MAX_STRING);
                RData::TXT(TXT::from_bytes(strings.collect()))
            }
            Self::Ptr(name) => RData::PTR(PTR(Name::from_ascii(&name).ok()?)),
        })
    }
}

impl Found {
    /// The same in the form in which name servers' answers come.
    pub(super) fn into_lookup(self, name: Name, record_type: RecordType) -> Lookup {
        let ttl = u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX);
        let data = self.records.into_iter().filter_map(NameRecord::into_data);
        let record = |data| Record::from_rdata(name.clone(), ttl, data);
        let records: Vec<_> = data.map(record).collect();
        // The runtime's clock, which is what its age is measured by.
        let until = Instant::now().into_std() + self.ttl;
        Lookup::new_with_deadline(Query::query(name, record_type), records, until)
    }
}
