//! The grammar of SPF records (RFC 7208, sections 4.6, 5, 6, 7 and 12), strictly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::tags::excerpt;

/// How a match is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A name that a term asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// As it stands.
    Name(String),
    /// With macros, whose values only a receiver knows.
    Macro,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

impl Network {
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// Prefix lengths for both families: `/24//64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DualPrefix {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

impl DualPrefix {
    pub(super) const fn around(self, address: IpAddr) -> Network {
        let prefix = if address.is_ipv4() { self.v4 } else { self.v6 };
        Network { address, prefix }
    }
}

/// What an address is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(Target),
    A(Option<Target>, DualPrefix),
    Mx(Option<Target>, DualPrefix),
    Ptr(Option<Target>),
    Ip(Network),
    Exists(Target),
}

/// A mechanism and how its match is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpfRecord {
    pub(super) directives: Vec<Directive>,
    /// Where to go on; only when no directive is `all`.
    pub(super) redirect: Option<Target>,
}

/// Whether a TXT record is an SPF record (section 4.5).
pub(super) fn is_spf(text: &str) -> bool {
    let (version, rest) = text.split_at_checked(6).unwrap_or((text, ""));
    version.eq_ignore_ascii_case("v=spf1") && (rest.is_empty() || rest.starts_with(' '))
}

impl SpfRecord {
    /// Reads a record; what is wrong in words otherwise.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut record = Self { directives: vec![], redirect: None };
        let mut explained = false;
        // The first term is the version.
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            if !term.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("“{}” has characters that are not allowed", excerpt(term)));
            }
            if let Some((name, value)) = modifier(term) {
                if name.eq_ignore_ascii_case("redirect") {
                    if record.redirect.replace(target(value)?).is_some() {
                        return Err("redirect= occurs twice".into());
                    }
                } else if name.eq_ignore_ascii_case("exp") {
                    target(value)?;
                    if std::mem::replace(&mut explained, true) {
                        return Err("exp= occurs twice".into());
                    }
                } else {
                    macros(value)?;
                }
            } else {
                record.directives.push(directive(term)?);
            }
        }
        if record.directives.iter().any(|directive| directive.mechanism == Mechanism::All) {
            record.redirect = None;
        }
        Ok(record)
    }
}

/// A modifier is `name=value`, where no `:` or `/` comes before the `=`.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_name.then_some((name, value))
}

fn directive(term: &str) -> Result<Directive, String> {
    let (qualifier, rest) = match term.split_at_checked(1) {
        Some(("+", rest)) => (Qualifier::Pass, rest),
        Some(("-", rest)) => (Qualifier::Fail, rest),
        Some(("~", rest)) => (Qualifier::SoftFail, rest),
        Some(("?", rest)) => (Qualifier::Neutral, rest),
        _ => (Qualifier::Pass, term),
    };
    let name_len = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at(name_len);
    let mechanism = match (name.to_ascii_lowercase().as_str(), argument.strip_prefix(':')) {
        ("all", None) if argument.is_empty() => Mechanism::All,
        ("include", Some(name)) => Mechanism::Include(target(name)?),
        ("exists", Some(name)) => Mechanism::Exists(target(name)?),
        ("ip4", Some(network)) => Mechanism::Ip(ip4(network)?),
        ("ip6", Some(network)) => Mechanism::Ip(ip6(network)?),
        ("ptr", Some(name)) => Mechanism::Ptr(Some(target(name)?)),
        ("ptr", None) if argument.is_empty() => Mechanism::Ptr(None),
        ("a", _) => dual(argument).map(|(target, prefix)| Mechanism::A(target, prefix))?,
        ("mx", _) => dual(argument).map(|(target, prefix)| Mechanism::Mx(target, prefix))?,
        _ => return Err(format!("“{}” is not a mechanism of SPF", excerpt(term))),
    };
    Ok(Directive { qualifier, mechanism })
}

/// `[":" domain] ["/" prefix4] ["//" prefix6]`.
fn dual(argument: &str) -> Result<(Option<Target>, DualPrefix), String> {
    let (argument, v6) = match argument.split_once("//") {
        Some((before, digits)) => (before, prefix(digits, 128)?),
        None => (argument, 128),
    };
    // A slash may stand in a macro; the prefix is behind the last one.
    let (argument, v4) = match argument.rsplit_once('/') {
        Some((before, digits)) if !digits.contains('}') => (before, prefix(digits, 32)?),
        _ => (argument, 32),
    };
    let target = match argument.strip_prefix(':') {
        Some(name) => Some(target(name)?),
        None if argument.is_empty() => None,
        None => return Err(format!("“{}” is not a domain or a prefix", excerpt(argument))),
    };
    Ok((target, DualPrefix { v4, v6 }))
}

/// Digits without a leading zero, at most `longest`.
fn prefix(digits: &str, longest: u8) -> Result<u8, String> {
    let plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    let value = if plain { digits.parse::<u8>().ok() } else { None };
    value
        .filter(|value| *value <= longest)
        .ok_or_else(|| format!("/{} is not a prefix length up to {longest}", excerpt(digits)))
}

fn ip4(text: &str) -> Result<Network, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, digits)) => (address, prefix(digits, 32)?),
        None => (text, 32),
    };
    let address = address.parse::<Ipv4Addr>();
    let address = address.map_err(|_| format!("ip4:{} is not an IPv4 address", excerpt(text)))?;
    Ok(Network { address: address.into(), prefix: length })
}

fn ip6(text: &str) -> Result<Network, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, digits)) => (address, prefix(digits, 128)?),
        None => (text, 128),
    };
    let address = address.parse::<Ipv6Addr>();
    let address = address.map_err(|_| format!("ip6:{} is not an IPv6 address", excerpt(text)))?;
    Ok(Network { address: address.into(), prefix: length })
}

/// A domain-spec: macros and text, ending in a label that is no number, or in a macro.
fn target(text: &str) -> Result<Target, String> {
    let not_a_domain = || format!("“{}” is not a domain name", excerpt(text));
    let name = text.strip_suffix('.').unwrap_or(text);
    if macros(text)? {
        return if name.ends_with('}') || name.rsplit('.').next().is_some_and(is_top_label) {
            Ok(Target::Macro)
        } else {
            Err(not_a_domain())
        };
    }
    let mut labels = name.rsplit('.');
    let well_formed = labels.next().is_some_and(is_top_label)
        && labels.clone().next().is_some()
        && labels.all(|label| (1..=63).contains(&label.len()))
        && name.len() <= 253;
    if well_formed { Ok(Target::Name(name.to_ascii_lowercase())) } else { Err(not_a_domain()) }
}

fn is_top_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.bytes().all(|byte| byte.is_ascii_digit())
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether the text has macros; an error when it has a `%` that is none (section 7.1).
fn macros(text: &str) -> Result<bool, String> {
    let mut found = false;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        found = true;
        let after = rest.get(at + 1..).unwrap_or_default();
        rest = match after.split_at_checked(1) {
            Some(("%" | "_" | "-", rest)) => rest,
            Some(("{", body)) => {
                let end = body.find('}').filter(|end| body.get(..*end).is_some_and(is_macro_body));
                let end = end.ok_or_else(|| format!("“{}” has a broken macro", excerpt(text)))?;
                body.get(end + 1..).unwrap_or_default()
            }
            _ => return Err(format!("“{}” has a % that is no macro", excerpt(text))),
        };
    }
    Ok(found)
}

/// A letter, digits, perhaps `r`, and delimiters.
fn is_macro_body(body: &str) -> bool {
    let Some(rest) = body.strip_prefix(|letter: char| "slodiphcrtvSLODIPHCRTV".contains(letter))
    else {
        return false;
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix(['r', 'R']).unwrap_or(rest);
    rest.bytes().all(|byte| b".-+,/_=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_receivers_take_are_read() {
        for text in [
            "v=spf1",
            "v=spf1 -all",
            "V=SPF1  +mx A -ALL ",
            "v=spf1 a:mx.example.com/24//64 mx/30 mx:example.org//96 ~all",
            "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ip4:198.51.100.1 ?all",
            "v=spf1 include:_spf.example.com redirect=_spf.example.org",
            "v=spf1 exists:%{ir}.%{v}._spf.%{d2} exp=explain._spf.%{d} ptr ptr:example.com -all",
            "v=spf1 include:%{d}.example.com. unknown=%{d2}%%%_ -all",
        ] {
            assert!(is_spf(text), "{text}");
            assert!(SpfRecord::read(text).is_ok(), "{text}: {:?}", SpfRecord::read(text));
        }
        for text in ["v=spf10 -all", "v=spf", "spf1 -all", "v=spf1\t-all", " v=spf1"] {
            assert!(!is_spf(text), "{text}");
        }
    }

    #[test]
    fn records_that_receivers_reject_are_named() {
        for (terms, word) in [
            ("foo:bar", "not a mechanism"),
            ("all:example.com", "not a mechanism"),
            ("include", "not a mechanism"),
            ("include:", "not a domain"),
            ("include:localhost", "not a domain"),
            ("include:1.2.3.4", "not a domain"),
            ("a:example.com/33", "prefix"),
            ("a/024", "prefix"),
            ("mx//129", "prefix"),
            ("ax", "not a mechanism"),
            ("ip4:1.2.3", "IPv4"),
            ("ip4:2001:db8::1", "IPv4"),
            ("ip4:1.2.3.4/", "prefix"),
            ("ip6:1.2.3.4", "IPv6"),
            ("ip6:2001:db8::/129", "prefix"),
            ("redirect=a.example redirect=b.example", "twice"),
            ("redirect=", "not a domain"),
            ("exp=a.example exp=b.example", "twice"),
            ("exists:%{x}.example.com", "macro"),
            ("exists:%(d).example.com", "macro"),
            ("include:ex\u{e4}mple.com", "characters"),
            ("-", "not a mechanism"),
        ] {
            let problem = SpfRecord::read(&format!("v=spf1 {terms} -all")).unwrap_err();
            assert!(problem.contains(word), "{terms}: {problem}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, ip: &str| {
            let network = ip4(network).or_else(|_| ip6(network)).unwrap();
            network.contains(ip.parse().unwrap())
        };
        assert!(holds("192.0.2.128/25", "192.0.2.200"));
        assert!(!holds("192.0.2.128/25", "192.0.2.100"));
        assert!(holds("0.0.0.0/0", "8.8.8.8"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("192.0.2.1", "192.0.2.1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "2001:db9::1"));
    }

    #[test]
    fn all_ends_a_redirect() {
        let record = SpfRecord::read("v=spf1 -all redirect=a.example").unwrap();
        assert_eq!(record.redirect, None);
    }
}
