//! A relay, named by a URL or part by part.

use std::{net::IpAddr, str::FromStr};

use super::options::{ClientOptions, Credentials, SMTP_PORT, TlsPolicy};

/// The port of submission (RFC 6409), and of submission inside TLS (RFC 8314).
const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;

/// Where to hand all mail instead of to each receiver's host.
///
/// | URL | TLS | port unless given |
/// |---|---|---|
/// | `smtp://host` | opportunistic | 25 |
/// | `smtp://user:password@host` | required | 587 |
/// | `smtps://user:password@host` | from the first octet | 465 |
/// | `smtp+clear://user:password@host` | never: for a relay on the same machine | 25 |
///
/// User and password are percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    /// The host's name, or an address (IPv6 without brackets).
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// How it is secured.
    pub tls: TlsPolicy,
    /// Who we are to it.
    pub credentials: Option<Credentials>,
}

/// The text is not a smarthost's URL. It is not repeated, for it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a smarthost: smtp://host, smtp://user:password@host:587 or smtps://user:password@host"
)]
pub struct InvalidSmarthost;

impl Smarthost {
    /// A relay, part by part. Without a port it has the usual one of its TLS: 25 where that is
    /// opportunistic, 587 where it is required, 465 where it is implicit.
    pub fn new(
        host: &str,
        port: Option<u16>,
        tls: TlsPolicy,
        credentials: Option<Credentials>,
    ) -> Result<Self, InvalidSmarthost> {
        let is_address = host.parse::<IpAddr>().is_ok();
        let fit = |credentials: &Credentials| credentials.check().is_ok();
        if !(is_address || is_host_name(host)) || !credentials.as_ref().is_none_or(fit) {
            return Err(InvalidSmarthost);
        }
        let usual_port = match tls {
            TlsPolicy::Implicit => SUBMISSIONS_PORT,
            TlsPolicy::Required => SUBMISSION_PORT,
            _ => SMTP_PORT,
        };
        Ok(Self { host: host.into(), port: port.unwrap_or(usual_port), tls, credentials })
    }

    /// The options with this host's port, TLS and credentials.
    pub fn apply(&self, options: ClientOptions) -> ClientOptions {
        ClientOptions {
            port: self.port,
            tls: self.tls.clone(),
            credentials: self.credentials.clone(),
            ..options
        }
    }
}

impl FromStr for Smarthost {
    type Err = InvalidSmarthost;

    fn from_str(text: &str) -> Result<Self, InvalidSmarthost> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidSmarthost)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let in_clear = scheme == "smtp+clear";
        let credentials = user.map(|user| read_credentials(user, in_clear)).transpose()?;
        let (tls, usual_port) = match (scheme, &credentials) {
            ("smtp", None) => (TlsPolicy::Opportunistic, SMTP_PORT),
            ("smtp", Some(_)) => (TlsPolicy::Required, SUBMISSION_PORT),
            ("smtps", _) => (TlsPolicy::Implicit, SUBMISSIONS_PORT),
            ("smtp+clear", _) => (TlsPolicy::Never, SMTP_PORT),
            _ => return Err(InvalidSmarthost),
        };
        let (host, port) = read_place(place)?;
        Ok(Self { host: host.into(), port: port.unwrap_or(usual_port), tls, credentials })
    }
}

fn read_credentials(text: &str, in_clear: bool) -> Result<Credentials, InvalidSmarthost> {
    let (user, password) = text.split_once(':').ok_or(InvalidSmarthost)?;
    let decoded = |text| crate::percent::decoded(text).ok_or(InvalidSmarthost);
    let (user, password) = (decoded(user)?, decoded(password)?);
    let credentials = Credentials { user, password, in_clear };
    credentials.check().map(|()| credentials)
}

impl Credentials {
    fn check(&self) -> Result<(), InvalidSmarthost> {
        // A NUL separates them in AUTH PLAIN (RFC 4616).
        let Self { user, password, .. } = self;
        let fit = !user.is_empty() && !user.contains('\0') && !password.contains('\0');
        fit.then_some(()).ok_or(InvalidSmarthost)
    }
}

fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn read_place(place: &str) -> Result<(&str, Option<u16>), InvalidSmarthost> {
    let (host, port) = if let Some(inner) = place.strip_prefix('[') {
        let (host, port) = inner.split_once(']').ok_or(InvalidSmarthost)?;
        let _: std::net::Ipv6Addr = host.parse().map_err(|_| InvalidSmarthost)?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')) };
        (host, port.map(|port| port.ok_or(InvalidSmarthost)).transpose()?)
    } else {
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        };
        if !is_host_name(host) {
            return Err(InvalidSmarthost);
        }
        (host, port)
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(InvalidSmarthost));
    Ok((host, port.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Smarthost {
        text.parse().unwrap()
    }

    #[test]
    fn urls_are_read() {
        let plain = read("smtp://relay.example");
        assert_eq!((plain.tls, plain.port), (TlsPolicy::Opportunistic, 25));
        let submission = read("smtp://ada:p%40ss%3a@relay.example");
        assert_eq!((submission.tls, submission.port), (TlsPolicy::Required, 587));
        let credentials = submission.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("ada", "p@ss:"));
        assert!(!credentials.in_clear);
        let implicit = read("smtps://a:b@relay.example:4650/");
        assert_eq!((implicit.tls, implicit.port), (TlsPolicy::Implicit, 4650));
        let local = read("smtp+clear://a:b@[::1]:2525");
        assert_eq!((local.tls, local.port, &*local.host), (TlsPolicy::Never, 2525, "::1"));
        assert!(local.credentials.unwrap().in_clear);
    }

    #[test]
    fn parts_make_a_relay_with_the_usual_port_of_its_tls() {
        let credentials = |user: &str| {
            let password = "secret".to_owned();
            Some(Credentials { user: user.to_owned(), password, in_clear: false })
        };
        for (tls, port) in
            [(TlsPolicy::Opportunistic, 25), (TlsPolicy::Required, 587), (TlsPolicy::Implicit, 465)]
        {
            let relay = Smarthost::new("relay.example", None, tls, credentials("ada")).unwrap();
            assert_eq!(relay.port, port);
            assert!(!format!("{relay:?}").contains("secret"));
        }
        let relay = Smarthost::new("::1", Some(2525), TlsPolicy::Required, None).unwrap();
        assert_eq!((&*relay.host, relay.port), ("::1", 2525));
        for (host, user) in [
            ("", "ada"),
            ("relay example", "ada"),
            ("relay.example:25", "ada"),
            ("relay.example", ""),
            ("relay.example", "a\0b"),
        ] {
            let refused = Smarthost::new(host, None, TlsPolicy::Required, credentials(user));
            assert_eq!(refused, Err(InvalidSmarthost), "{host} {user}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_never_repeated() {
        for text in [
            "",
            "relay.example",
            "http://relay.example",
            "smtp://",
            "smtp://a@relay.example",
            "smtp://:b@relay.example",
            "smtp://a:b%0@relay.example",
            "smtp://a:b%00@relay.example",
            "smtp://relay.example:0",
            "smtp://relay.example:x",
            "smtp://relay example",
            "smtp://[::1",
            "smtp://[::1]x",
            "smtp://[relay]",
        ] {
            let error = text.parse::<Smarthost>().unwrap_err();
            assert!(!error.to_string().contains("b%0"), "{text}");
        }
        assert!(!format!("{:?}", read("smtp://a:secret@relay.example")).contains("secret"));
    }
}
