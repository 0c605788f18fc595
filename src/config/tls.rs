//! How TLS of the API is set.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use certificates::{Authority, Files};
use model::address::DomainName;
use serde::Deserialize;

use super::{Config, ConfigError, Http, OneOrMany};

/// Most names of a certificate: what authorities take.
const MAX_NAMES: usize = 100;

/// TLS of the API's listener: files, or an authority that issues them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTls {
    /// The certificate with its chain, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM; for its owner alone to read.
    pub key_file: Option<PathBuf>,
    /// `http.tls.acme.*`
    pub acme: Option<AcmeSettings>,
}

/// Who issues the certificate (RFC 8555).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeSettings {
    /// The URL of the authority's directory.
    pub directory: String,
    /// How the authority reaches those who run this server: `mailto:` URLs.
    pub contact: OneOrMany<String>,
    /// The names that the certificate is for.
    pub domains: OneOrMany<DomainName>,
    /// Whether the authority's terms of service are agreed to.
    pub accept_terms: bool,
    /// By whom the authority's own certificate is trusted, in PEM; the public roots when not set.
    pub root_file: Option<PathBuf>,
    /// Where account and certificate are kept; `<data_dir>/acme` when not set.
    pub state_dir: Option<PathBuf>,
}

/// From where the certificate comes.
#[derive(Debug)]
pub(crate) enum TlsSource {
    Files(Files),
    Authority(Authority),
}

impl HttpTls {
    fn source(&self, data_dir: &Path) -> Result<TlsSource, ConfigError> {
        match (&self.certificate_file, &self.key_file, &self.acme) {
            (Some(certificate), Some(key), None) => {
                let (certificate, key) = (certificate.clone(), key.clone());
                Ok(TlsSource::Files(Files { certificate, key }))
            }
            (None, None, Some(acme)) => acme.authority(data_dir).map(TlsSource::Authority),
            _ => Err(invalid("needs certificate_file and key_file, or acme instead of both")),
        }
    }
}

impl AcmeSettings {
    fn authority(&self, data_dir: &Path) -> Result<Authority, ConfigError> {
        let contacts = &self.contact.0;
        for (wrong, problem) in [
            (!self.directory.starts_with("https://"), "acme.directory must be an https URL"),
            (self.domains.0.is_empty(), "acme.domains must name a domain"),
            (self.domains.0.len() > MAX_NAMES, "acme.domains must name 100 domains at most"),
            (!self.accept_terms, "acme.accept_terms must be true: the authority asks for it"),
            (
                !contacts.iter().all(|contact| contact.starts_with("mailto:")),
                "acme.contact must be written as mailto:you@acme.com",
            ),
        ] {
            if wrong {
                return Err(invalid(problem));
            }
        }
        Ok(Authority {
            directory: self.directory.clone(),
            root_file: self.root_file.clone(),
            contacts: contacts.clone(),
            names: self.domains.0.iter().map(ToString::to_string).collect(),
            directory_of_state: self.state_dir.clone().unwrap_or_else(|| data_dir.join("acme")),
        })
    }
}

impl Config {
    /// From where the certificate of the API's listener comes, if it speaks TLS. Links that do not say
    /// https would lead to where nobody answers, and cookies would be sent there.
    pub(crate) fn tls_source(&self) -> Result<Option<TlsSource>, ConfigError> {
        let Some(tls) = &self.http.tls else { return Ok(None) };
        if self.http.public_url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
            let problem = "must begin with `https://` where http.tls is set".to_owned();
            return Err(ConfigError::Invalid { key: "http.public_url", problem });
        }
        tls.source(&self.data_dir).map(Some)
    }
}

impl Http {
    /// Who is told the metrics. Where TLS is on, strangers may be at the other end without anything in
    /// between that could keep them off.
    pub(crate) fn metrics_from(&self) -> Option<Vec<api::Network>> {
        let this_host = || {
            let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            own.map(|ip| api::Network(ip.into())).to_vec()
        };
        let set = self.metrics_from.as_ref().map(|networks| networks.0.clone());
        set.or_else(|| self.tls.as_ref().map(|_| this_host()))
    }
}

fn invalid(problem: &str) -> ConfigError {
    ConfigError::Invalid { key: "http.tls", problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::TlsSource;
    use crate::config::tests::load;

    #[test]
    fn tls_needs_both_files_and_makes_the_public_address_https() {
        let files = "[http.tls]\ncertificate_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
        let config = load(files, &[]).unwrap();
        assert_eq!(config.public_url(), "https://127.0.0.1:8080");
        assert_eq!(load("", &[]).unwrap().http.metrics_from(), None);
        let told = config.http.metrics_from().unwrap();
        assert_eq!(
            told.iter().map(|net| net.0.to_string()).collect::<Vec<_>>(),
            ["127.0.0.1/32", "::1/128"]
        );
        let everybody = format!("[http]\nmetrics_from = [\"10.0.0.0/8\"]\n{files}");
        assert_eq!(load(&everybody, &[]).unwrap().http.metrics_from().unwrap().len(), 1);
        let variables =
            [("LUMORA_HTTP__TLS__CERTIFICATE_FILE", "c"), ("LUMORA_HTTP__TLS__KEY_FILE", "k")];
        assert!(load("", &variables).unwrap().http.tls.is_some());
        for toml in [
            "[http.tls]\ncertificate_file = \"c.pem\"",
            "[http.tls]\nkey_file = \"k.pem\"",
            "[http.tls]",
            "[http.tls]\ncertificate_file = \"c.pem\"\nkey_file = \"k.pem\"\nversion = \"1.0\"",
            &format!("[http]\npublic_url = \"http://mail.acme.test\"\n{files}"),
        ] {
            let refused = load(toml, &[]).unwrap_err().to_string();
            assert!(
                ["http.tls", "http.public_url", "version"].iter().any(|key| refused.contains(key)),
                "{toml}: {refused}"
            );
        }
    }

    const ACME: &str = "[http.tls.acme]\ndirectory = \"https://acme.example/directory\"\n\
                        domains = [\"mail.acme.test\"]\naccept_terms = true\n";

    #[test]
    fn an_authority_can_stand_in_the_place_of_files() {
        let config = load(&format!("data_dir = \"/var/l\"\n{ACME}"), &[]).unwrap();
        let Some(TlsSource::Authority(authority)) = config.tls_source().unwrap() else { panic!() };
        assert_eq!(authority.names, ["mail.acme.test"]);
        assert_eq!(authority.directory_of_state, std::path::Path::new("/var/l/acme"));
        for (from, to) in [
            ("https://acme", "http://acme"),
            ("[\"mail.acme.test\"]", "[]"),
            ("[\"mail.acme.test\"]", "[\"192.0.2.1\"]"),
            ("accept_terms = true", ""),
            ("accept_terms = true", "accept_terms = true\ncontact = \"you@acme.test\""),
            ("[http.tls.acme]", "[http.tls]\ncertificate_file = \"c\"\n[http.tls.acme]"),
            ("accept_terms", "accept_term"),
        ] {
            let toml = ACME.replace(from, to);
            assert_ne!(toml, ACME);
            assert!(load(&toml, &[]).is_err(), "{toml}");
        }
    }
}
