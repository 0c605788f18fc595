//! Whether an address leads to a name, and that name back to the address.

use std::net::IpAddr;

use super::{LookupError, Resolver};

/// Names of one address that are looked up again.
const MAX_NAMES: usize = 8;

/// What the DNS says of an address. Receivers look its name up, and that name's addresses again
/// (RFC 1912, section 2.1), and many refuse mail from who has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointer {
    /// It leads to this name, which leads back to it.
    Confirmed(String),
    /// It leads to these names, none of which leads back.
    OneWay(Vec<String>),
    /// It has no name.
    Missing(LookupError),
    /// Nobody knows: the DNS gave no usable answer.
    Unanswered,
}

/// Looks an address up, and its name again.
pub async fn pointer(resolver: &Resolver, ip: IpAddr) -> Pointer {
    let names = match resolver.ptr(ip).await {
        Ok(names) => names,
        Err(LookupError::Unavailable) => return Pointer::Unanswered,
        Err(error) => return Pointer::Missing(error),
    };
    let mut unanswered = false;
    for name in names.iter().take(MAX_NAMES) {
        match resolver.addresses(name).await {
            Ok(back) if back.contains(&ip) => return Pointer::Confirmed(name.clone()),
            Ok(_) | Err(LookupError::NoSuchDomain | LookupError::NoRecords) => {}
            Err(LookupError::Unavailable) => unanswered = true,
        }
    }
    if unanswered { Pointer::Unanswered } else { Pointer::OneWay(names) }
}
