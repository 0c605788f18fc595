//! How TLS of the API is set.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use certificates::Files;
use serde::Deserialize;

use super::{ConfigError, Http};

/// TLS of the API's listener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTls {
    /// The certificate with its chain, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM; for its owner alone to read.
    pub key_file: Option<PathBuf>,
}

impl HttpTls {
    /// The files that are shown.
    pub(crate) fn files(&self) -> Result<Files, ConfigError> {
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                Ok(Files { certificate: certificate.clone(), key: key.clone() })
            }
            _ => Err(invalid("needs certificate_file and key_file")),
        }
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

    /// Links that do not say https would lead to where nobody answers, and cookies would be sent
    /// there.
    pub(super) fn check_tls(&self) -> Result<(), ConfigError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        tls.files()?;
        if self.public_url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
            let problem = "must begin with `https://` where http.tls is set".to_owned();
            return Err(ConfigError::Invalid { key: "http.public_url", problem });
        }
        Ok(())
    }
}

fn invalid(problem: &str) -> ConfigError {
    ConfigError::Invalid { key: "http.tls", problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
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
}
