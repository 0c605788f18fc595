//! Fetching a policy over HTTPS (RFC 8461, section 3.3): the host proves its name, no redirect is
//! followed, and size and time are bounded.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use model::{address::DomainName, delivery::TlsFailure};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    PolicyOptions,
    sts::{MAX_POLICY_OCTETS, Policy},
};
use crate::{
    dns::Resolver,
    https::{MAX_FIELDS, MAX_HEAD_OCTETS, dial},
    smtp::TlsClient,
};

pub(super) struct Fetcher {
    pub(super) resolver: Resolver,
    connector: TlsConnector,
    port: u16,
    allow_private_networks: bool,
    deadline: Duration,
}

impl Fetcher {
    pub(super) fn new(resolver: Resolver, tls: &TlsClient, options: &PolicyOptions) -> Self {
        Self {
            resolver,
            connector: TlsConnector::from(tls.https()),
            port: options.https_port,
            allow_private_networks: options.allow_private_networks,
            deadline: options.fetch_deadline,
        }
    }

    /// The policy that a domain publishes, or what was wrong with it in the words of RFC 8460.
    pub(super) async fn fetch(&self, domain: &DomainName) -> Result<Policy, TlsFailure> {
        let fetched = timeout(self.deadline, self.get(domain)).await;
        let body = fetched.map_err(|_| TlsFailure::StsPolicyFetchError)??;
        let text = std::str::from_utf8(&body).map_err(|_| TlsFailure::StsPolicyInvalid)?;
        Policy::parse(text).map_err(|_| TlsFailure::StsPolicyInvalid)
    }

    async fn get(&self, domain: &DomainName) -> Result<Bytes, TlsFailure> {
        let host = format!("mta-sts.{domain}");
        let socket = dial(&self.resolver, &host, self.port, self.allow_private_networks).await;
        let socket = socket.ok_or(TlsFailure::StsPolicyFetchError)?;
        let name =
            ServerName::try_from(host.clone()).map_err(|_| TlsFailure::StsPolicyFetchError)?;
        let stream = self.connector.connect(name, socket).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(_)) => TlsFailure::StsWebpkiInvalid,
                _ => TlsFailure::StsPolicyFetchError,
            }
        })?;
        exchange(stream, &host).await.ok_or(TlsFailure::StsPolicyFetchError)
    }
}

/// One request and its answer, which must be 200 and plain text.
async fn exchange(stream: tokio_rustls::client::TlsStream<TcpStream>, host: &str) -> Option<Bytes> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_OCTETS)
        .max_headers(MAX_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let request = Request::get("/.well-known/mta-sts.txt")
        .header(header::HOST, host)
        .header(header::USER_AGENT, "lumora")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let asked = async move {
        let answer = sender.send_request(request).await.ok()?;
        let kind = answer.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if answer.status() != StatusCode::OK || !kind.eq_ignore_ascii_case("text/plain") {
            return None;
        }
        let body = Limited::new(answer.into_body(), MAX_POLICY_OCTETS);
        body.collect().await.ok().map(http_body_util::Collected::to_bytes)
    };
    // The connection ends when the request is done with; how it ends says nothing more.
    let (body, _ended) = tokio::join!(asked, connection);
    body
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("port", &self.port).finish_non_exhaustive()
    }
}
