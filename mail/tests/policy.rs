//! What the way to a mail host must be: MTA-STS and DANE against real name, policy and mail
//! servers, and whoever stands in between.
#![allow(
    clippy::large_futures,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "support/authority.rs"]
#[allow(unreachable_pub, reason = "shared with other tests")]
mod authority;
#[path = "policy/dane.rs"]
mod dane;
#[path = "policy/mta_sts.rs"]
mod mta_sts;
#[path = "policy/policy_host.rs"]
mod policy_host;
#[path = "support/scripted.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod scripted;
#[path = "support/signed.rs"]
#[allow(unreachable_pub, reason = "shared with other tests")]
mod signed;
#[path = "support/dns.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod test_dns;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mail::{
    dns::{
        DnsOptions, Resolver,
        route::{RouteOptions, Router},
    },
    policy::{Policies, Terms},
    sink::{AcceptAll, Received, Sink, SinkOptions},
    smtp::{ClientOptions, Envelope, TlsClient, connect},
};
use model::{
    Timestamp,
    address::{DomainName, EmailAddress},
    delivery::{Fault, Outcome, Peer, Stage, TlsDemand, TlsFailure},
};
use tokio::sync::mpsc;

pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);

pub(crate) fn domain(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

pub(crate) fn dns_options(server: SocketAddr) -> DnsOptions {
    DnsOptions {
        servers: Some(vec![server]),
        timeout: Duration::from_millis(500),
        tries: 2,
        deadline: Duration::from_secs(10),
        failure_ttl: Duration::ZERO,
        ..DnsOptions::default()
    }
}

pub(crate) fn router(server: SocketAddr) -> Router {
    let options = RouteOptions { allow_private_networks: true, ..RouteOptions::default() };
    Router::new(Resolver::new(&dns_options(server)).unwrap(), options)
}

/// A mail server, and what it took.
pub(crate) async fn mail_host(
    tls: Option<Arc<rustls::ServerConfig>>,
) -> (Sink, mpsc::Receiver<Received>) {
    let (inbox, received) = mpsc::channel(64);
    let options = SinkOptions { tls, ..SinkOptions::default() };
    let any = SocketAddr::new(HOME, 0);
    (Sink::start(any, options, Arc::new(AcceptAll), Some(inbox)).await.unwrap(), received)
}

/// A delivery as the platform makes it: route, terms, policies, hosts in order.
pub(crate) struct Sender {
    pub(crate) router: Router,
    pub(crate) policies: Policies,
    pub(crate) tls: TlsClient,
    pub(crate) port: u16,
}

impl Sender {
    pub(crate) async fn terms(&self, to: &str, demand: TlsDemand) -> Result<Terms, Fault> {
        let to = domain(to);
        let route = self.router.route(&to).await.unwrap();
        self.policies.terms(&to, &route, demand, NOW).await
    }

    /// The outcome at the last host that was tried.
    pub(crate) async fn send(&self, to: &str, demand: TlsDemand) -> Outcome {
        let route = self.router.route(&domain(to)).await.unwrap();
        let terms = match self.terms(to, demand).await {
            Ok(terms) => terms,
            Err(fault) => return Outcome::fault(Stage::Dns, fault),
        };
        let policies = self.policies.of_hosts(&terms, &route).await;
        let route = match policies.passable(&route) {
            Ok(route) => route,
            Err((mx, failure)) => {
                let peer = Peer { tls_failure: Some(failure), ..Peer::new(&mx, None) };
                let refused = Outcome::fault(Stage::StartTls, Fault::TlsRequired);
                return Outcome { peer: Some(peer), ..refused };
            }
        };
        let mut last = Outcome::fault(Stage::Dns, Fault::NoMailHost);
        for candidate in self.router.candidates(&route, 7).await.unwrap() {
            let policy = policies.of(&candidate.mx).unwrap().clone();
            let mut options = ClientOptions::new("out.lumora.example".parse().unwrap());
            options.port = self.port;
            options.tls = policy;
            match connect(&candidate.mx, candidate.ip, &options, &self.tls).await {
                Ok(mut connection) => {
                    let address: EmailAddress = format!("ada@{to}").parse().unwrap();
                    let recipients = [address];
                    let envelope =
                        Envelope { sender: None, recipients: &recipients, smtputf8: false };
                    let sent = connection.deliver(&envelope, &[b"hi\r\n"]).await;
                    connection.quit().await;
                    return sent.outcomes.into_iter().next().unwrap();
                }
                Err(failed) => last = failed.outcome,
            }
        }
        last
    }
}

pub(crate) fn failure(outcome: &Outcome) -> Option<TlsFailure> {
    outcome.peer.as_ref()?.tls_failure
}
