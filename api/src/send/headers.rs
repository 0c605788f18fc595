//! Extra header fields: nothing that the server owns, nothing that could start another line.

use crate::{fields::Fields, problem::Findings};

/// Most extra header fields.
const MAX_HEADERS: usize = 50;
/// Longest name, in octets: on a line of its own it must leave room for a value.
const MAX_NAME_OCTETS: usize = 70;
/// Longest value, in octets: it is folded when sent, and a receiver must still take it.
const MAX_VALUE_OCTETS: usize = 2_000;

/// Fields that say who, what and whence: a second one of ours and theirs would let two programs
/// see two messages (RFC 5322, section 3.6).
const OWNED: [&str; 15] = [
    "from",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "sender",
    "date",
    "subject",
    "message-id",
    "mime-version",
    "dkim-signature",
    "domainkey-signature",
    "return-path",
    "received",
    "authentication-results",
];

const OWNED_PREFIXES: [&str; 3] = ["content-", "resent-", "arc-"];

/// Reads `headers`.
pub(crate) fn read(fields: &mut Fields<'_>, findings: &mut Findings) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (path, name, value) in fields.texts("headers", MAX_HEADERS, findings) {
        let repeated = headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name));
        match wrong_with(&name, &value) {
            Some(words) => findings.add(path, words),
            None if repeated => findings.add(path, "is given more than once"),
            None => headers.push((name.into_owned(), value.into_owned())),
        }
    }
    headers
}

fn wrong_with(name: &str, value: &str) -> Option<&'static str> {
    // RFC 5322, section 2.2: printable ASCII without the colon. Of these the ones that no
    // program trips over.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME_OCTETS || !name.bytes().all(plain) {
        return Some("must have a name of 1 to 70 letters, digits, - and _");
    }
    let lower = name.to_ascii_lowercase();
    if OWNED.contains(&lower.as_str())
        || OWNED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
    {
        return Some("is a header that the server writes itself");
    }
    if value.len() > MAX_VALUE_OCTETS {
        return Some("must have at most 2000 octets");
    }
    if super::has_control(value) {
        return Some("must not have line breaks or control characters");
    }
    None
}
