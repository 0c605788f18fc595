//! Fields of a target's octets.

/// What parts them: no octet of UTF-8.
const BETWEEN: u8 = 0xff;

/// The fields, as text; what is no UTF-8 becomes U+FFFD.
pub(crate) fn texts(octets: &[u8]) -> impl Iterator<Item = String> {
    parts(octets).map(|field| String::from_utf8_lossy(field).into_owned())
}

/// The fields.
pub(crate) fn parts(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    octets.split(|octet| *octet == BETWEEN)
}
