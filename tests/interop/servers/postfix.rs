//! Postfix, alone, in front of Dovecot's LMTP server, or as a relay.

use std::{net::SocketAddr, process::Command};

use super::{Place, Running};

/// A Postfix of our own.
pub(crate) struct Postfix {
    _running: Running,
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
}

/// Where a Postfix listens and what it takes mail for. What is not said is as Postfix has it.
pub(crate) struct Setup<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) domain: &'a str,
    /// Lines of `main.cf` beside the usual ones.
    pub(crate) settings: Vec<String>,
}

fn user_id(flag: &str) -> String {
    let output = Command::new("id").args([flag, "postfix"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Postfix {
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let place = Place::new("postfix");
        let domain = setup.domain;
        for name in ["etc", "queue"] {
            place.directory(name, "root:root");
        }
        for name in ["data", "mail"] {
            place.directory(name, "postfix:postfix");
        }
        place.certificate(&format!("mx.{domain}"), "root:root");
        place.write("etc/main.cf", &main_cf(&place, setup));
        place.write("etc/master.cf", &master_cf(setup.address));
        place.write("etc/mailboxes", &format!("@{domain} all/\n"));
        let command = ["postfix", "-c", &place.text("etc"), "start-fg"];
        let mut running = Running::start(&place, None, &command);
        running.listens(setup.address, true, &place);
        Self { _running: running, place, address: setup.address }
    }

    pub(crate) fn delivered(&self) -> Vec<String> {
        self.place.delivered("mail")
    }

    pub(crate) fn log(&self) -> String {
        self.place.read("data/maillog")
    }
}

fn main_cf(place: &Place, setup: &Setup<'_>) -> String {
    let Setup { domain, settings, .. } = setup;
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {queue}\n\
         data_directory = {data}\n\
         myhostname = mx.{domain}\n\
         mydestination =\n\
         mynetworks = 127.0.0.0/8\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         alias_maps =\n\
         alias_database =\n\
         local_recipient_maps =\n\
         virtual_mailbox_domains = {domain}\n\
         virtual_mailbox_base = {mail}\n\
         virtual_mailbox_maps = texthash:{etc}/mailboxes\n\
         virtual_uid_maps = static:{uid}\n\
         virtual_gid_maps = static:{gid}\n\
         virtual_minimum_uid = 1\n\
         message_size_limit = 52428800\n\
         virtual_mailbox_limit = 0\n\
         smtpd_peername_lookup = no\n\
         smtpd_recipient_restrictions = reject_unauth_destination\n\
         smtpd_tls_security_level = may\n\
         smtpd_tls_cert_file = {cert}\n\
         smtpd_tls_key_file = {key}\n\
         maillog_file = {data}/maillog\n\
         maillog_file_prefixes = {data}\n\
         {settings}\n",
        queue = place.text("queue"),
        data = place.text("data"),
        mail = place.text("mail"),
        etc = place.text("etc"),
        cert = place.text("cert.pem"),
        key = place.text("key.pem"),
        uid = user_id("-u"),
        gid = user_id("-g"),
        settings = settings.join("\n"),
    )
}

fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\n\
         postlog unix-dgram n - n - 1 postlogd\n\
         pickup unix n - n 60 1 pickup\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         verify unix - - n - 1 verify\n\
         flush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\n\
         showq unix n - n - - showq\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         discard unix - - n - - discard\n\
         local unix - n n - - local\n\
         virtual unix - n n - - virtual\n\
         lmtp unix - - n - - lmtp\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n"
    )
}
