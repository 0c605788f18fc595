//! A platform with its listener for bounces, and places for mail servers around it.

use std::net::{Ipv4Addr, SocketAddr};

use lumora::config::Config;

use crate::{
    platform::support::{
        app::{SENDING_DOMAIN, TestApp},
        eventually,
        world::World,
    },
    servers::{exim::Exim, opensmtpd::OpenSmtpd, postfix},
};

/// The platform's name as a mail host.
const HOSTNAME: &str = "mx.lumora.test";
/// The domain for which the platform signs all mail, beside its sender's.
pub(crate) const OWN_DOMAIN: &str = "lumora.test";

/// The domain of return paths.
pub(crate) fn return_domain() -> String {
    format!("bounces.{SENDING_DOMAIN}")
}

/// A platform whose messages have signed return paths and three signatures.
pub(crate) async fn start(edit: impl FnOnce(&mut Config)) -> TestApp {
    let app = TestApp::start_in(World::new().await, |config| {
        config.delivery.signing_domain = Some(OWN_DOMAIN.parse().unwrap());
        config.inbound.listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        config.inbound.hostname = Some(HOSTNAME.to_owned());
        config.delivery.ed25519_signature = true;
        edit(config);
    })
    .await;
    let (name, record) = own_record(&app);
    app.world.dns.add_txt(&name, &record).unwrap();
    app
}

/// The name and the value of the record of the platform's own key.
pub(crate) fn own_record(app: &TestApp) -> (String, String) {
    let name = format!("lumora._domainkey.{OWN_DOMAIN}");
    let key = std::fs::read(app.config.own_keys_dir().join(&name)).unwrap();
    let key: serde_json::Value = serde_json::from_slice(&key).unwrap();
    (name, key["record"].as_str().unwrap().to_owned())
}

/// Where the platform takes bounces.
pub(crate) fn returns(app: &TestApp) -> SocketAddr {
    app.node().inbound_address().unwrap()
}

/// The mail host of `domain`: an address of its own, with the port that all have.
pub(crate) fn mail_host(app: &TestApp, domain: &str, last: u8) -> SocketAddr {
    let host = format!("mx.{domain}");
    app.world.dns.add_address(&host, World::address(last)).unwrap();
    app.world.dns.add_mx(domain, 10, &host).unwrap();
    (World::address(last), app.world.inbox.port()).into()
}

/// A Postfix for `domain` that sends its reports to the platform.
pub(crate) fn postfix(app: &TestApp, domain: &str, last: u8, extra: &[String]) -> postfix::Postfix {
    let address = mail_host(app, domain, last);
    let returns = returns(app);
    let (ip, port) = (returns.ip(), returns.port());
    let back = format!("{} = smtp:[{ip}]:{port}", return_domain());
    let mut settings = vec![format!("transport_maps = inline:{{ {{ {back} }} }}")];
    settings.extend_from_slice(extra);
    postfix::Postfix::start(&postfix::Setup { address, domain, settings })
}

/// An Exim for `domain`, likewise.
pub(crate) fn exim(app: &TestApp, domain: &str, last: u8) -> Exim {
    Exim::start(mail_host(app, domain, last), domain, &return_domain(), returns(app))
}

/// An OpenSMTPD for `domain`, likewise; behind it is the world's own mail server.
pub(crate) fn opensmtpd(app: &TestApp, domain: &str, last: u8) -> OpenSmtpd {
    let address = mail_host(app, domain, last);
    let behind = (app.world.inbox.ip(), app.world.inbox.port()).into();
    OpenSmtpd::start(address, domain, behind, &return_domain(), returns(app))
}

/// Waits until so many messages lie in a server's mailboxes, and gives all of them.
pub(crate) async fn all_delivered(
    server: &str,
    count: usize,
    delivered: impl Fn() -> Vec<String>,
) -> Vec<String> {
    let files = eventually(&format!("{server} has delivered {count}"), async || {
        let files = delivered();
        (files.len() >= count).then_some(files)
    })
    .await;
    assert_eq!(files.len(), count, "{server}: {files:#?}");
    files
}
