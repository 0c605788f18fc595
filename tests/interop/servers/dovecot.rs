//! Dovecot's LMTP server, for a Postfix in front of it.

use std::net::SocketAddr;

use super::{Place, Running, free_address};

/// A Dovecot of our own, with the mailboxes that it was told of and one named `full`, which is.
pub(crate) struct Dovecot {
    _running: Running,
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
}

impl Dovecot {
    pub(crate) fn start(mailboxes: &[String]) -> Self {
        let place = Place::new("dovecot");
        let address = free_address();
        place.directory("mail", "dovecot:dovecot");
        place.directory("run", "root:root");
        let mut users: String =
            mailboxes.iter().map(|name| format!("{name}:{{PLAIN}}x::::::\n")).collect();
        users.push_str("full:{PLAIN}x::::::userdb_quota_rule=*:bytes=1\n");
        place.write("users", &users);
        let text = CONFIGURATION
            .replace("{place}", place.text("").trim_end_matches('/'))
            .replace("{ip}", &address.ip().to_string())
            .replace("{port}", &address.port().to_string());
        place.write("dovecot.conf", &text);
        let command = ["dovecot", "-F", "-c", &place.text("dovecot.conf")];
        let mut running = Running::start(&place, None, &command);
        running.listens(address, true, &place);
        Self { _running: running, place, address }
    }

    /// The line of Postfix's `main.cf` that puts it in front.
    pub(crate) fn transport(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("virtual_mailbox_maps =\nvirtual_transport = lmtp:inet:[{ip}]:{port}")
    }

    pub(crate) fn delivered(&self) -> Vec<String> {
        self.place.delivered("mail")
    }

    pub(crate) fn log(&self) -> String {
        self.place.read("log")
    }
}

const CONFIGURATION: &str = "
base_dir = {place}/run
state_dir = {place}/run
log_path = {place}/log
protocols = lmtp
listen = {ip}
ssl = no
default_internal_user = dovecot
default_login_user = dovenull
hostname = mx.dovecot.test
first_valid_uid = 1
mail_location = maildir:{place}/mail/%n
mail_uid = dovecot
mail_gid = dovecot
auth_username_format = %Ln
mail_plugins = quota
plugin {
  quota = maildir:User quota
}
passdb {
  driver = passwd-file
  args = {place}/users
}
userdb {
  driver = passwd-file
  args = {place}/users
}
service lmtp {
  inet_listener lmtp {
    address = {ip}
    port = {port}
  }
}
";
