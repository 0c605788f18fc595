//! `[delivery.smarthosts.NAME]` and `[[delivery.routes]]`: by which ways mail leaves.

use std::{collections::HashMap, fmt, io::Read as _, path::PathBuf};

use mail::smtp::{Credentials, Smarthost, TlsPolicy};
use model::routing::{DomainPattern, Label, RouteRule, Routes, WayOut, Ways};
use serde::Deserialize;

use super::{Config, ConfigError, OneOrMany};

/// What the relay of `delivery.smarthost` is called.
const SMARTHOST: &str = "smarthost";
/// Most relays.
const MOST_RELAYS: usize = 100;
/// Longest password, in octets.
const LONGEST_SECRET: u64 = 4_096;

/// A text that is not printed by mistake.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How a relay is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayTls {
    /// TLS whenever it is offered, with any certificate.
    Opportunistic,
    /// STARTTLS with a checked certificate, or nothing.
    #[default]
    Required,
    /// TLS from the first octet, with a checked certificate.
    Implicit,
}

/// A relay.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelaySettings {
    /// Its name, or its address.
    pub host: String,
    /// Its port: 587, or 25 with `opportunistic` and 465 with `implicit`.
    pub port: Option<u16>,
    /// How it is spoken to.
    pub tls: RelayTls,
    /// Who we are to it.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file that holds the password and nothing else.
    pub password_file: Option<PathBuf>,
}

/// A route.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSettings {
    /// Recipients' domains: `example.com`, `*.example.com` for all below, `*` for all others.
    pub domain: OneOrMany<String>,
    /// `direct` or names of relays, in the order in which they are tried.
    pub ways: OneOrMany<String>,
}

impl RelaySettings {
    fn invalid(name: &str, problem: impl fmt::Display) -> ConfigError {
        ConfigError::Invalid { key: "delivery.smarthosts", problem: format!("{name}: {problem}") }
    }

    /// The relay; its password is read.
    fn relay(&self, name: &str) -> Result<Smarthost, ConfigError> {
        let tls = match self.tls {
            RelayTls::Opportunistic => TlsPolicy::Opportunistic,
            RelayTls::Required => TlsPolicy::Required,
            RelayTls::Implicit => TlsPolicy::Implicit,
        };
        self.check(name)?;
        let credentials = match &self.username {
            Some(user) => {
                let (user, password) = (user.clone(), self.password(name)?);
                Some(Credentials { user, password, in_clear: false })
            }
            None => None,
        };
        let port = self.port;
        Smarthost::new(&self.host, port, tls, credentials).map_err(|_| {
            let problem = "host must be a name or an address, and username no empty text";
            Self::invalid(name, problem)
        })
    }

    /// Whether it can be a relay, as far as that can be told without its password.
    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let invalid = |problem: &str| Err(Self::invalid(name, problem));
        let secrets =
            usize::from(self.password.is_some()) + usize::from(self.password_file.is_some());
        if self.host.is_empty() {
            return invalid("host is missing");
        }
        if self.port == Some(0) {
            return invalid("port must be 1 to 65535");
        }
        match (&self.username, secrets) {
            (Some(_), 1) if self.tls == RelayTls::Opportunistic => {
                invalid("credentials are sent over checked TLS alone: set tls")
            }
            (Some(_), 1) | (None, 0) => Ok(()),
            (Some(_), _) => invalid("username needs either password or password_file"),
            (None, _) => invalid("a password needs a username"),
        }
    }

    fn password(&self, name: &str) -> Result<String, ConfigError> {
        if let Some(Secret(password)) = &self.password {
            return Ok(password.clone());
        }
        let Some(file) = &self.password_file else { return Ok(String::new()) };
        let unreadable = |error: &dyn fmt::Display| {
            Self::invalid(name, format!("password_file: {}: {error}", file.display()))
        };
        let mut text = String::new();
        std::fs::File::open(file)
            .and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text))
            .map_err(|error| unreadable(&error))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() || password.contains(['\r', '\n']) {
            return Err(unreadable(&"holds no single line"));
        }
        Ok(password.to_owned())
    }
}

impl Config {
    /// The relays by their names; their passwords are read.
    pub fn relays(&self) -> Result<HashMap<Label, Smarthost>, ConfigError> {
        let mut relays = HashMap::new();
        if let Some(url) = &self.delivery.smarthost {
            let relay = url.parse().map_err(|error: mail::smtp::InvalidSmarthost| {
                ConfigError::Invalid { key: "delivery.smarthost", problem: error.to_string() }
            })?;
            relays.insert(label("delivery.smarthost", SMARTHOST)?, relay);
        }
        for (name, settings) in &self.delivery.smarthosts {
            let label = label("delivery.smarthosts", name)?;
            if relays.insert(label, settings.relay(name)?).is_some() {
                let problem = format!("{name}: is the name of the relay in delivery.smarthost");
                return Err(ConfigError::Invalid { key: "delivery.smarthosts", problem });
            }
        }
        Ok(relays)
    }

    /// By which ways mail leaves, and whether it can.
    pub fn routes(&self) -> Result<Routes, ConfigError> {
        let invalid = |problem: String| ConfigError::Invalid { key: "delivery.routes", problem };
        let smarthost = self.delivery.smarthost.as_ref().map(|_| SMARTHOST);
        if self.delivery.smarthosts.len() > MOST_RELAYS {
            let problem = format!("must be at most {MOST_RELAYS} relays");
            return Err(ConfigError::Invalid { key: "delivery.smarthosts", problem });
        }
        for (name, settings) in &self.delivery.smarthosts {
            label("delivery.smarthosts", name)?;
            settings.check(name)?;
        }
        let way = |text: &String| {
            let way: WayOut =
                text.parse().map_err(|error| invalid(format!("`{text}`: {error}")))?;
            match &way {
                WayOut::Relay(name)
                    if !self.delivery.smarthosts.contains_key(name.as_str())
                        && smarthost != Some(name.as_str()) =>
                {
                    Err(invalid(format!("ways: there is no relay `{text}`")))
                }
                _ => Ok(way),
            }
        };
        let mut rules = Vec::new();
        for RouteSettings { domain, ways } in &self.delivery.routes {
            let patterns = domain.0.iter().map(|text| {
                let pattern = text.parse::<DomainPattern>();
                pattern.map_err(|error| invalid(format!("domain: `{text}`: {error}")))
            });
            let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
            if patterns.is_empty() {
                return Err(invalid("domain is missing".to_owned()));
            }
            let ways = ways.0.iter().map(way).collect::<Result<Vec<_>, _>>()?;
            let ways = Ways::new(ways).map_err(|error| invalid(format!("ways: {error}")))?;
            rules.push(RouteRule { patterns, ways });
        }
        let others = match smarthost {
            Some(name) => WayOut::Relay(label("delivery.smarthost", name)?),
            None => WayOut::Direct,
        };
        Routes::new(Ways::only(others), rules).map_err(|error| invalid(error.to_string()))
    }
}

pub(super) fn label(key: &'static str, name: &str) -> Result<Label, ConfigError> {
    Label::parse(name)
        .map_err(|error| ConfigError::Invalid { key, problem: format!("`{name}`: {error}") })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{super::tests::load, *};

    fn ways(config: &Config, domain: &str) -> Vec<String> {
        let routes = config.routes().unwrap();
        let ways = routes.ways(&domain.parse().unwrap());
        ways.as_slice().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn routes_name_relays_and_secrets_come_from_files_or_the_environment() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"p@ss word\r\n").unwrap();
        let toml = format!(
            r#"
            [delivery]
            smarthost = "smtp://relay.example"
            [delivery.smarthosts.first]
            host = "smtp.first.example"
            username = "ada"
            password_file = "{}"
            [delivery.smarthosts.second]
            host = "192.0.2.7"
            port = 2465
            tls = "implicit"
            username = "ben"
            [[delivery.routes]]
            domain = ["corp.example", "*.corp.example"]
            ways = ["first", "second", "direct"]
            [[delivery.routes]]
            domain = "*"
            ways = ["smarthost", "direct"]
            "#,
            file.path().display()
        );
        let variables = [("LUMORA_DELIVERY__SMARTHOSTS__SECOND__PASSWORD", "from outside")];
        let config = load(&toml, &variables).unwrap();
        assert_eq!(ways(&config, "eu.corp.example"), ["first", "second", "direct"]);
        assert_eq!(ways(&config, "example.com"), ["smarthost", "direct"]);
        let relays = config.relays().unwrap();
        assert_eq!(relays.len(), 3);
        let relay = |name: &str| relays[&Label::parse(name).unwrap()].clone();
        let first = relay("first");
        assert_eq!((first.port, &first.tls), (587, &TlsPolicy::Required));
        assert_eq!(first.credentials.unwrap().password, "p@ss word");
        let second = relay("second");
        assert_eq!((&*second.host, second.port), ("192.0.2.7", 2_465));
        assert_eq!(second.credentials.unwrap().password, "from outside");
        assert!(!format!("{config:?}").contains("from outside"));
    }

    #[test]
    fn the_one_smarthost_takes_everything_where_no_route_says_otherwise() {
        let config = load("[delivery]\nsmarthost = \"smtp://relay.example\"", &[]).unwrap();
        assert_eq!(ways(&config, "example.com"), ["smarthost"]);
        assert_eq!(ways(&load("", &[]).unwrap(), "example.com"), ["direct"]);
    }

    #[test]
    fn what_cannot_be_a_relay_or_a_route_is_named() {
        let relay = |lines: &str| format!("[delivery.smarthosts.one]\n{lines}\n");
        let route = |lines: &str| {
            format!(
                "[delivery.smarthosts.one]\nhost = \"a.example\"\n[[delivery.routes]]\n{lines}\n"
            )
        };
        for (toml, named) in [
            (relay(""), "host"),
            (relay("host = \"a.example\"\nport = 0"), "port"),
            (relay("host = \"a.example\"\nusername = \"ada\""), "password"),
            (relay("host = \"a.example\"\npassword = \"x\""), "username"),
            (
                relay(
                    "host = \"a.example\"\ntls = \"opportunistic\"\nusername = \"ada\"\npassword = \"x\"",
                ),
                "tls",
            ),
            (relay("host = \"a.example\"\ntls = \"none\""), "none"),
            (relay("host = \"a.example\"\nuser = \"ada\""), "user"),
            ("[delivery.smarthosts.direct]\nhost = \"a.example\"".to_owned(), "direct"),
            (route("ways = \"one\""), "domain"),
            (route("domain = \"example.com\""), "ways"),
            (route("domain = \"example.com\"\nways = [\"one\", \"one\"]"), "ways"),
            (route("domain = \"example.com\"\nways = \"two\""), "two"),
            (route("domain = \"exa mple\"\nways = \"one\""), "exa mple"),
            (route("domain = [\"example.com\", \"example.com\"]\nways = \"one\""), "example.com"),
        ] {
            let error = load(&toml, &[]).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("= \"x\""), "{toml}: {error}");
        }
        let both = "[delivery]\nsmarthost = \"smtp://a.example\"\n[delivery.smarthosts.smarthost]\nhost = \"b.example\"";
        assert!(load(both, &[]).unwrap().relays().is_err());
        let absent =
            relay("host = \"a.example\"\nusername = \"ada\"\npassword_file = \"/nowhere/at/all\"");
        let error = load(&absent, &[]).unwrap().relays().unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
