//! Exim, with Debian's build and a short configuration.

use std::net::SocketAddr;

use super::{Place, Running, home};

/// The user that the server changes to; `apart` knows it.
const OWNER: &str = "64901:64901";

/// An Exim of our own. It takes mail for everybody at its domain and finds only afterwards that
/// there is no mailbox for names that begin with `gone`.
pub(crate) struct Exim {
    _running: Running,
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
}

impl Exim {
    /// Reports for `return_domain` go to `returns`.
    pub(crate) fn start(
        address: SocketAddr,
        domain: &str,
        return_domain: &str,
        returns: SocketAddr,
    ) -> Self {
        let place = Place::new("exim");
        for name in ["spool", "log", "mail"] {
            place.directory(name, OWNER);
        }
        place.certificate(&format!("mx.{domain}"), OWNER);
        let package = home().join("exim");
        let exim = place.text("package/usr/sbin/exim4");
        let text = configuration(&place, address, domain)
            .replace("{exim}", &exim)
            .replace("{return_domain}", return_domain)
            .replace("{return_ip}", &returns.ip().to_string())
            .replace("{return_port}", &returns.port().to_string());
        place.write("exim.conf", &text);
        let mut running =
            Running::start(&place, Some(package.as_path()), &[exim.as_str(), "-bdf", "-q1s"]);
        running.listens(address, true, &place);
        Self { _running: running, place, address }
    }

    pub(crate) fn delivered(&self) -> Vec<String> {
        self.place.delivered("mail")
    }

    pub(crate) fn log(&self) -> String {
        self.place.read("log/mainlog")
    }
}

fn configuration(place: &Place, address: SocketAddr, domain: &str) -> String {
    CONFIGURATION
        .replace("{place}", place.text("").trim_end_matches('/'))
        .replace("{ip}", &address.ip().to_string())
        .replace("{port}", &address.port().to_string())
        .replace("{domain}", domain)
}

const CONFIGURATION: &str = "
exim_path = {exim}
spool_directory = {place}/spool
log_file_path = {place}/log/%slog
pid_file_path = {place}/spool/exim.pid
primary_hostname = mx.{domain}
daemon_smtp_ports = {port}
local_interfaces = {ip}
deliver_drop_privilege
acl_smtp_rcpt = rcpt
smtputf8_advertise_hosts = *
tls_certificate = {place}/cert.pem
tls_privatekey = {place}/key.pem
host_lookup =
rfc1413_hosts =
message_size_limit = 50M
keep_environment =
begin acl
rcpt:
  accept domains = {domain}
  deny message = relay not permitted
begin routers
returns:
  driver = manualroute
  domains = {return_domain}
  route_list = * {return_ip}
  self = send
  transport = returns
boxes:
  driver = accept
  domains = {domain}
  local_parts = ! ^gone
  transport = boxes
begin transports
returns:
  driver = smtp
  port = {return_port}
  allow_localhost
boxes:
  driver = appendfile
  maildir_format
  directory = {place}/mail
  create_directory
  return_path_add
begin retry
* * F,1h,1s
";
