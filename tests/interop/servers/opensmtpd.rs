//! OpenSMTPD.

use std::net::SocketAddr;

use super::{Place, Running, home};

/// The user that the server changes to; `apart` knows it.
const OWNER: &str = "64902:64902";

/// An OpenSMTPD of our own. It takes mail for everybody at `domain`, knows nobody at
/// `strict.<domain>`, and hands mail for `relayed.<domain>` on to `behind`.
pub(crate) struct OpenSmtpd {
    _running: Running,
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
}

impl OpenSmtpd {
    /// Reports for `return_domain` go to `returns`.
    pub(crate) fn start(
        address: SocketAddr,
        domain: &str,
        behind: SocketAddr,
        return_domain: &str,
        returns: SocketAddr,
    ) -> Self {
        let place = Place::new("opensmtpd");
        place.directory("mail", OWNER);
        place.certificate(&format!("mx.{domain}"), "root:root");
        let text = CONFIGURATION
            .replace("{place}", place.text("").trim_end_matches('/'))
            .replace("{ip}", &address.ip().to_string())
            .replace("{port}", &address.port().to_string())
            .replace("{domain}", domain)
            .replace("{behind}", &behind.to_string())
            .replace("{return_domain}", return_domain)
            .replace("{returns}", &returns.to_string());
        place.write("smtpd.conf", &text);
        let package = home().join("opensmtpd");
        let smtpd = place.text("package/usr/sbin/smtpd");
        let command = [smtpd.as_str(), "-d", "-v", "-f", &place.text("smtpd.conf")];
        let mut running = Running::start(&place, Some(package.as_path()), &command);
        running.listens(address, true, &place);
        Self { _running: running, place, address }
    }

    pub(crate) fn delivered(&self) -> Vec<String> {
        self.place.delivered("mail")
    }

    pub(crate) fn log(&self) -> String {
        self.place.read("output")
    }
}

const CONFIGURATION: &str = r#"
pki "host" cert "{place}/cert.pem"
pki "host" key "{place}/key.pem"
table boxes { "@{domain}" = "vmail" }
table users { vmail = "64902:64902:{place}/mail" }
listen on {ip} port {port} hostname mx.{domain} tls pki "host"
action "boxes" maildir "{place}/mail/all" virtual <boxes> userbase <users>
action "strict" maildir "{place}/mail/all" userbase <users>
action "relayed" relay host "smtp://{behind}"
action "returns" relay host "smtp://{returns}"
match from any for domain "{domain}" action "boxes"
match from any for domain "strict.{domain}" action "strict"
match from any for domain "relayed.{domain}" action "relayed"
match from any for domain "{return_domain}" action "returns"
"#;
