//! The outside: a directory, a name server and mail servers, all on loopback.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use lumora::config::{Config, OneOrMany, Span};
use mail::sink::SinkOptions;
use sandbox::dns::DnsServer;
use tempfile::TempDir;

use super::inbox::Inbox;

/// The receivers' mail host.
pub(crate) const MAIL_HOST: &str = "mx.receiver.test";
/// The platform's own name.
pub(crate) const OWN_HOST: &str = "lumora.platform.test";

/// A world.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) dns: DnsServer,
    /// The mail server behind [`MAIL_HOST`], on 127.0.0.1.
    pub(crate) inbox: Inbox,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(SinkOptions { name: MAIL_HOST.to_owned(), ..SinkOptions::default() }).await
    }

    /// A world whose mail server is set up like this.
    pub(crate) async fn with(options: SinkOptions) -> Self {
        let dns = DnsServer::start().await.unwrap();
        let inbox = Inbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).await;
        dns.add_address(MAIL_HOST, inbox.ip()).unwrap();
        dns.add_address(OWN_HOST, Ipv4Addr::LOCALHOST.into()).unwrap();
        Self { dir: TempDir::new().unwrap(), dns, inbox }
    }

    /// A domain whose mail goes to [`MAIL_HOST`].
    pub(crate) fn receives(&self, domain: &str) {
        self.dns.add_mx(domain, 10, MAIL_HOST).unwrap();
    }

    /// Another address of this machine; every mail server has the port of the first.
    pub(crate) fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    /// A second mail server with a name of its own.
    pub(crate) async fn second_inbox(&self, host: &str, last: u8) -> Inbox {
        let address = (Self::address(last), self.inbox.port()).into();
        let options = SinkOptions { name: host.to_owned(), ..SinkOptions::default() };
        self.dns.add_address(host, Self::address(last)).unwrap();
        Inbox::start(address, options).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// How a platform in this world is set up.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config { data_dir: self.data_dir(), ..Config::default() };
        config.http.listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.dns.servers = Some(OneOrMany(vec![self.dns.address()]));
        config.delivery.smtp_port = self.inbox.port();
        config.delivery.helo_name = Some(OWN_HOST.parse().unwrap());
        config.delivery.allow_private_networks = true;
        let retry = Span(Duration::from_millis(400));
        config.delivery.retry_schedule = Some(OneOrMany(vec![retry]));
        config
    }

    /// The same as a file, for a server in a process of its own.
    pub(crate) fn config_file(&self, retry: &str) -> PathBuf {
        let text = format!(
            "data_dir = '{}'\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [dns]\nservers = [\"{}\"]\n\
             [delivery]\nsmtp_port = {}\nhelo_name = \"{OWN_HOST}\"\n\
             allow_private_networks = true\nretry_schedule = [\"{retry}\"]\n",
            self.data_dir().display(),
            self.dns.address(),
            self.inbox.port(),
        );
        let path = self.path("lumora.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Publishes records as `(type, name, value)`.
    pub(crate) fn publish<'a>(
        &self,
        records: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) {
        for (kind, name, value) in records {
            match kind {
                "TXT" => self.dns.add_txt(name, value).unwrap(),
                "MX" => {
                    let host = value.split_ascii_whitespace().last().unwrap();
                    self.dns.add_mx(name, 10, host.trim_end_matches('.')).unwrap();
                }
                other => panic!("a record of type {other}"),
            }
        }
    }
}
