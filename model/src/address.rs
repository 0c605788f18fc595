//! Mailbox addresses and domain names (RFC 5321, RFC 5322, RFC 5890).
//!
//! # Why
//! The parser is stricter than the grammar. Quoted local parts, comments, groups, source routes,
//! address literals and hosts without a dot are all legal somewhere and have all been used to make
//! two programs disagree on who a recipient is. Nobody sends transactional mail to them, so they
//! are refused by name instead of interpreted.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Longest local part, in octets (RFC 5321, section 4.5.3.1.1).
pub const MAX_LOCAL_OCTETS: usize = 64;
/// Longest domain, in octets (RFC 5321, section 4.5.3.1.2; 253 without the final dot).
pub const MAX_DOMAIN_OCTETS: usize = 253;
/// Longest address: a path of 256 octets less its brackets (RFC 5321, section 4.5.3.1.3).
pub const MAX_ADDRESS_OCTETS: usize = 254;
/// Longest display name, in octets: ours, for a header must stay readable.
pub const MAX_NAME_OCTETS: usize = 512;

/// Why a text is not an address that mail can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// There is no text.
    #[error("the address is empty")]
    Empty,
    /// There is no `@`.
    #[error("the address has no @")]
    NoAt,
    /// Longer than [`MAX_ADDRESS_OCTETS`] or [`MAX_LOCAL_OCTETS`].
    #[error("the address is longer than mail allows")]
    TooLong,
    /// The part before the `@` is not a dot-atom.
    #[error("the part before the @ is empty or has characters that are not allowed there")]
    Local,
    /// The part after the `@` is an address literal such as `[192.0.2.1]`.
    #[error("an IP address in brackets is not accepted as a mail domain")]
    Literal,
    /// The part after the `@` has no dot.
    #[error("the domain has no dot")]
    NoDot,
    /// The part after the `@` is not a domain name.
    #[error("the domain is not a valid domain name")]
    Domain,
    /// The display name has control characters or is too long.
    #[error("the display name has control characters or is too long")]
    Name,
    /// `Name <address>` with something that does not fit.
    #[error("expected user@host or Name <user@host>")]
    Form,
}

/// A domain name as it stands in the DNS: A-labels in lower case, no final dot, at least one dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// Reads a name in A-label or U-label form (UTS 46, transitional processing off).
    ///
    /// One final dot is allowed and dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(InvalidAddress::Domain);
        }
        if text.starts_with('[') {
            return Err(InvalidAddress::Literal);
        }
        // Bounded before the conversion, whose cost grows with the input.
        if text.len() > MAX_DOMAIN_OCTETS * 4 {
            return Err(InvalidAddress::TooLong);
        }
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::STD3)
            .map_err(|_| InvalidAddress::Domain)?;
        if ascii.len() > MAX_DOMAIN_OCTETS {
            return Err(InvalidAddress::TooLong);
        }
        let mut labels = 0;
        for label in ascii.split('.') {
            let inner = label.as_bytes();
            let well_formed = !inner.is_empty()
                && inner.len() <= 63
                && inner.first() != Some(&b'-')
                && inner.last() != Some(&b'-')
                && inner.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
            if !well_formed {
                return Err(InvalidAddress::Domain);
            }
            labels += 1;
        }
        if labels < 2 {
            return Err(InvalidAddress::NoDot);
        }
        // A last label of digits is an IPv4 address in some spelling, never a domain.
        let last_is_number = ascii
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if last_is_number {
            return Err(InvalidAddress::Literal);
        }
        Ok(Self(ascii.into_owned().into_boxed_str()))
    }

    /// `localhost.localdomain`: the name of a host that has no other.
    pub fn localhost() -> Self {
        Self("localhost.localdomain".into())
    }

    /// The A-label form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form for people: U-labels where they are valid.
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(other.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// An address that mail can be sent to or from: dot-atom local part and domain.
///
/// The local part keeps its case, for only its host may interpret it (RFC 5321, section 2.4);
/// [`EmailAddress::canonical`] is the form by which people are recognised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress {
    local: Box<str>,
    domain: DomainName,
}

/// RFC 5322 `atext`, and any non-ASCII character that prints (RFC 6532).
fn is_atom_character(character: char) -> bool {
    if character.is_ascii() {
        character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character)
    } else {
        !character.is_control() && !character.is_whitespace() && !is_invisible(character)
    }
}

/// Characters that show nothing or reorder what stands around them: line and paragraph
/// separators, zero-width and bidirectional controls, byte-order mark, tags.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

impl EmailAddress {
    /// Reads `user@host`, nothing around it.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidAddress::NoAt)?;
        if local.len() > MAX_LOCAL_OCTETS {
            return Err(InvalidAddress::TooLong);
        }
        if local.split('.').any(|atom| atom.is_empty() || !atom.chars().all(is_atom_character)) {
            return Err(InvalidAddress::Local);
        }
        let domain = DomainName::parse(domain)?;
        if local.len() + 1 + domain.as_str().len() > MAX_ADDRESS_OCTETS {
            return Err(InvalidAddress::TooLong);
        }
        Ok(Self { local: local.into(), domain })
    }

    /// What stands before the `@`, as written.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// What stands after the `@`, as A-labels.
    pub const fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// Whether the envelope needs SMTPUTF8 (RFC 6531): the local part is not ASCII.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// The form by which a person is recognised (suppression, search): all in lower case.
    ///
    /// No large provider distinguishes case in local parts, so treating `Ada@` and `ada@` as two
    /// people would let a suppressed one through.
    pub fn canonical(&self) -> String {
        format!("{}@{}", self.local.to_lowercase(), self.domain)
    }
}

/// A display name: printable, one line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DisplayName(Box<str>);

impl DisplayName {
    /// Reads a name; `None` when nothing is left after trimming.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidAddress> {
        let breaks_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if text.len() > MAX_NAME_OCTETS || text.contains(breaks_line) {
            return Err(InvalidAddress::Name);
        }
        let text = text.trim();
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An address with the name that is shown beside it (RFC 5322, section 3.4 `mailbox`).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mailbox {
    /// The address.
    pub email: EmailAddress,
    /// The name shown, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
}

impl Mailbox {
    /// Reads `user@host`, `<user@host>`, `Name <user@host>` or `"Quoted, Name" <user@host>`.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        if text.len() > MAX_NAME_OCTETS + MAX_DOMAIN_OCTETS * 4 + MAX_LOCAL_OCTETS {
            return Err(InvalidAddress::TooLong);
        }
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        let Some(before_end) = text.strip_suffix('>') else {
            return Ok(Self { email: EmailAddress::parse(text)?, name: None });
        };
        let (name, address) = before_end.rsplit_once('<').ok_or(InvalidAddress::Form)?;
        let name = name.trim_matches(' ');
        let name = match name.strip_prefix('"') {
            Some(rest) => unquote(rest)?,
            // Specials outside quotes hint at a list, a comment or a second address.
            None if name.contains(['<', '>', '"', '@', ',', ';', ':', '\\']) => {
                return Err(InvalidAddress::Form);
            }
            None => name.to_owned(),
        };
        Ok(Self { email: EmailAddress::parse(address)?, name: DisplayName::parse(&name)? })
    }
}

/// The inside of a quoted string whose opening quote is gone (RFC 5322, section 3.2.4).
fn unquote(text: &str) -> Result<String, InvalidAddress> {
    let mut name = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' if characters.as_str().is_empty() => return Ok(name),
            '"' => return Err(InvalidAddress::Form),
            '\\' => name.push(characters.next().ok_or(InvalidAddress::Form)?),
            other => name.push(other),
        }
    }
    Err(InvalidAddress::Form)
}

macro_rules! text_type {
    ($name:ident, $write:expr, $read:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $write(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidAddress;

            fn from_str(text: &str) -> Result<Self, InvalidAddress> {
                $read(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

text_type!(
    DomainName,
    |name: &DomainName, f: &mut fmt::Formatter<'_>| f.write_str(&name.0),
    DomainName::parse
);
text_type!(
    EmailAddress,
    |address: &EmailAddress, f: &mut fmt::Formatter<'_>| {
        write!(f, "{}@{}", address.local, address.domain)
    },
    EmailAddress::parse
);
text_type!(
    DisplayName,
    |name: &DisplayName, f: &mut fmt::Formatter<'_>| f.write_str(&name.0),
    |text| DisplayName::parse(text)?.ok_or(InvalidAddress::Name)
);

/// Names are kept as A-labels in lower case, so they are equal and hashed as their text is.
impl std::borrow::Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// An address or a name that is printed by mistake must not become a leak of personal data.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…@{}", self.domain)
    }
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DisplayName(…)")
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({:?})", self.email)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_addresses_are_read_as_written() {
        for text in ["ada@example.com", "a.b+tag@mail.example.co.uk", "o'hara@example.org"] {
            assert_eq!(EmailAddress::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn international_domains_become_a_labels_and_locals_need_smtputf8() {
        let address = EmailAddress::parse("użytkownik@Bücher.example").unwrap();
        assert_eq!(address.domain().as_str(), "xn--bcher-kva.example");
        assert_eq!(address.domain().to_unicode(), "bücher.example");
        assert!(address.needs_smtputf8());
        assert!(!EmailAddress::parse("u@bücher.example").unwrap().needs_smtputf8());
    }

    #[test]
    fn what_is_not_an_address_is_refused_by_name() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_domain = format!("a@{}example.com", "a.".repeat(150));
        for (text, why) in [
            ("", InvalidAddress::Empty),
            ("ada", InvalidAddress::NoAt),
            ("@example.com", InvalidAddress::Local),
            ("a..b@example.com", InvalidAddress::Local),
            (".a@example.com", InvalidAddress::Local),
            ("\"a b\"@example.com", InvalidAddress::Local),
            ("a(comment)@example.com", InvalidAddress::Local),
            ("@a,@b:c@example.com", InvalidAddress::Local),
            ("a@b@example.com", InvalidAddress::Local),
            ("a\0b@example.com", InvalidAddress::Local),
            ("a\r\n@example.com", InvalidAddress::Local),
            ("a\u{2028}b@example.com", InvalidAddress::Local),
            ("a\u{202e}b@example.com", InvalidAddress::Local),
            ("a@[127.0.0.1]", InvalidAddress::Literal),
            ("a@127.0.0.1", InvalidAddress::Literal),
            ("a@localhost", InvalidAddress::NoDot),
            ("a@exa mple.com", InvalidAddress::Domain),
            ("a@-example.com", InvalidAddress::Domain),
            ("a@example..com", InvalidAddress::Domain),
            ("a@example.com>", InvalidAddress::Domain),
            ("a@exa_mple.com", InvalidAddress::Domain),
            (&long_local, InvalidAddress::TooLong),
            (&long_domain, InvalidAddress::TooLong),
        ] {
            assert_eq!(EmailAddress::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn mailboxes_have_names_in_any_script() {
        let read = |text: &str| {
            let mailbox = Mailbox::parse(text).unwrap();
            (mailbox.name.map(|name| name.to_string()), mailbox.email.to_string())
        };
        let ada = || "ada@example.com".to_owned();
        assert_eq!(read("ada@example.com"), (None, ada()));
        assert_eq!(read("<ada@example.com>"), (None, ada()));
        assert_eq!(read("Ada Lovelace <ada@example.com>"), (Some("Ada Lovelace".into()), ada()));
        assert_eq!(read("愛達 <ada@example.com>"), (Some("愛達".into()), ada()));
        assert_eq!(
            read(r#""Lovelace, \"Ada\"" <ada@example.com>"#),
            (Some(r#"Lovelace, "Ada""#.into()), ada())
        );
    }

    #[test]
    fn mailboxes_that_could_be_read_in_two_ways_are_refused() {
        for text in [
            "a@example.com, b@example.com",
            "a@example.com <b@example.com>",
            "A <a@example.com> <b@example.com>",
            "A\r\nBcc: x@example.com <a@example.com>",
            "A\u{2028} <a@example.com>",
            "\"A <a@example.com>",
            "A; <a@example.com>",
            "A <a@example.com",
            "A a@example.com>",
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_person() {
        let mailbox = Mailbox::parse("Ada <ada@example.com>").unwrap();
        let printed = format!("{mailbox:?}");
        assert!(!printed.contains("ada@") && !printed.contains("Ada"));
    }

    #[test]
    fn a_subdomain_lies_within_its_parent_and_a_lookalike_does_not() {
        let parent = DomainName::parse("acme.com").unwrap();
        assert!(DomainName::parse("mail.acme.com").unwrap().is_within(&parent));
        assert!(parent.is_within(&parent));
        assert!(!DomainName::parse("notacme.com").unwrap().is_within(&parent));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}|[a-z@.<>\" ]{0,40}") {
            if let Ok(mailbox) = Mailbox::parse(&text) {
                let written = mailbox.email.to_string();
                prop_assert_eq!(EmailAddress::parse(&written).unwrap(), mailbox.email);
                prop_assert!(!written.contains(['\r', '\n', '\0', '<', '>', ' ']));
            }
        }
    }
}
