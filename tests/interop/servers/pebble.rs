//! Pebble, the authority that Let's Encrypt's own people test ACME clients with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;

use super::{Place, Running, free_address};

/// An authority that validates at a port of ours and asks a name server of ours. It refuses one in
/// twenty nonces, so that clients show whether they try again.
pub(crate) struct Pebble {
    _running: Running,
    place: Place,
    address: SocketAddr,
    /// Where it tells of itself.
    pub(crate) management: SocketAddr,
}

impl Pebble {
    pub(crate) fn start(validated_port: u16, dns: SocketAddr, validity: Duration) -> Self {
        let place = Place::new("pebble");
        let (address, management) = (free_address(), free_address());
        place.certificate("localhost", "root:root");
        let config = json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": place.text("cert.pem"),
            "privateKey": place.text("key.pem"),
            "httpPort": 1,
            "tlsPort": validated_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": validity.as_secs(),
        } });
        place.write("config.json", &config.to_string());
        let (config, dns) = (place.text("config.json"), dns.to_string());
        let command = ["env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5", "pebble"];
        let arguments = ["-config", &config, "-dnsserver", &dns];
        let mut running = Running::start(&place, None, &[&command[..], &arguments].concat());
        running.listens(address, false, &place);
        running.listens(management, false, &place);
        Self { _running: running, place, address, management }
    }

    /// The URL of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// The file of the certificate that it shows itself.
    pub(crate) fn own_certificate_file(&self) -> PathBuf {
        self.place.text("cert.pem").into()
    }

    pub(crate) fn own_certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.own_certificate_file()).unwrap()
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        self.place.read("output")
    }
}
