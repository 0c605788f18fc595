//! What receivers publish: MTA-STS policies, and where reports of TLS sessions go.

use mail::{policy::sts::Policy, tls_report};

pub(super) fn run(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(policy) = Policy::parse(&text) {
        for host in ["mx.example.com", "a.mx.example.com", "", ".", "example.com"] {
            let _named = policy.names(host);
        }
    }
    for address in tls_report::addresses(text.split('\u{fffd}')) {
        assert!(!address.to_string().contains(['\r', '\n', '<', '>', ',']));
    }
}
