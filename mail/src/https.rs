//! HTTPS to hosts that somebody else named: what is dialled is what was checked.
//!
//! # Why
//! A general HTTP client resolves names by itself, and what it dials then is not what was checked:
//! a hostile name would make this server ask its own network. Here the resolved addresses are
//! checked and dialled.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use model::address::DomainName;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    dns::{Resolver, may_be_dialled},
    smtp::TlsClient,
};

/// Most addresses of a host that are tried.
const MOST_ADDRESSES: usize = 4;
/// How long one of them may take to answer the call.
const CONNECT: Duration = Duration::from_secs(3);
/// Largest head of an answer, in octets, and most fields in it.
pub(crate) const MAX_HEAD_OCTETS: usize = 16 * 1024;
pub(crate) const MAX_FIELDS: usize = 64;
/// Largest body of an answer that is read, in octets: nothing in it matters.
const MAX_ANSWER_OCTETS: usize = 16 * 1024;
const HTTPS_PORT: u16 = 443;

/// Dials a host at an address that was checked; `None` where there is none that answers.
pub(crate) async fn dial(
    resolver: &Resolver,
    host: &str,
    port: u16,
    allow_private_networks: bool,
) -> Option<TcpStream> {
    let ips = resolver.addresses(host).await.ok()?;
    let allowed = |ip: &IpAddr| allow_private_networks || may_be_dialled(*ip);
    for ip in ips.into_iter().filter(allowed).take(MOST_ADDRESSES) {
        if let Ok(Ok(socket)) = timeout(CONNECT, TcpStream::connect((ip, port))).await {
            return Some(socket);
        }
    }
    None
}

/// An address to post to: `https`, a host by its name, a port, a path. Nobody logs in by it.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    host: DomainName,
    port: u16,
    path: Box<str>,
}

/// The text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected https://host[:port][/path], without user, password and fragment")]
pub struct InvalidHttpsUrl;

impl FromStr for HttpsUrl {
    type Err = InvalidHttpsUrl;

    fn from_str(text: &str) -> Result<Self, InvalidHttpsUrl> {
        let rest = text.strip_prefix("https://").ok_or(InvalidHttpsUrl)?;
        let (authority, path) = match rest.find('/') {
            Some(place) => rest.split_at(place),
            None => (rest, "/"),
        };
        let plain = |c: char| c.is_ascii_graphic() && !"#\"<>\\^`{|}".contains(c);
        if authority.contains(['@', '?']) || !path.chars().all(plain) || path.len() > 2_048 {
            return Err(InvalidHttpsUrl);
        }
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| InvalidHttpsUrl)?),
            None => (authority, HTTPS_PORT),
        };
        let host = DomainName::parse(host).map_err(|_| InvalidHttpsUrl)?;
        if port == 0 { Err(InvalidHttpsUrl) } else { Ok(Self { host, port, path: path.into() }) }
    }
}

impl HttpsUrl {
    /// Whom it is of: all of it that may be told, for the path may be what lets us in.
    pub const fn host(&self) -> &DomainName {
        &self.host
    }
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpsUrl(https://{}:{}/…)", self.host, self.port)
    }
}

/// Why something was not posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// No address of the host's that may be dialled answers.
    #[error("the host has no address that answers and may be dialled")]
    Unreachable,
    /// Its certificate does not prove its name, or it does not speak TLS.
    #[error("TLS: {0}")]
    Tls(Box<str>),
    /// It did not speak HTTP as agreed.
    #[error("no HTTP answer")]
    NoAnswer,
    /// It answered with a status that is no success. A redirect is none.
    #[error("it answered {0}")]
    Status(u16),
    /// It took too long.
    #[error("it did not answer in time")]
    Timeout,
}

/// Posts small texts, each over a connection of its own.
pub struct Poster {
    resolver: Resolver,
    connector: TlsConnector,
    allow_private_networks: bool,
    deadline: Duration,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Poster {
    /// `deadline`: how long one attempt may take in all.
    pub fn new(
        resolver: Resolver,
        tls: &TlsClient,
        allow_private_networks: bool,
        deadline: Duration,
    ) -> Self {
        let connector = TlsConnector::from(tls.https());
        Self { resolver, connector, allow_private_networks, deadline }
    }

    /// Posts a text, once. The host must prove its name; no redirect is followed.
    ///
    /// # Errors
    /// It is not known to have been taken: any status but 2yz is a failure.
    pub async fn post(&self, url: &HttpsUrl, text: String) -> Result<(), PostError> {
        let posted = timeout(self.deadline, self.exchange(url, text)).await;
        posted.unwrap_or(Err(PostError::Timeout))
    }

    async fn exchange(&self, url: &HttpsUrl, text: String) -> Result<(), PostError> {
        let host = url.host.to_string();
        let socket = dial(&self.resolver, &host, url.port, self.allow_private_networks).await;
        let socket = socket.ok_or(PostError::Unreachable)?;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| PostError::Tls("the host has no name for TLS".into()))?;
        let stream = self.connector.connect(name, socket).await;
        let stream = stream.map_err(|error| PostError::Tls(error.to_string().into()))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_OCTETS)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| PostError::NoAnswer)?;
        let authority = if url.port == HTTPS_PORT { host } else { format!("{host}:{}", url.port) };
        let request = Request::post(&*url.path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "lumora")
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(text)))
            .map_err(|_| PostError::NoAnswer)?;
        let asked = async move {
            let answer = sender.send_request(request).await.map_err(|_| PostError::NoAnswer)?;
            let status = answer.status();
            // Read, so that the other end is not cut off in the middle; it may say what it wants.
            drop(Limited::new(answer.into_body(), MAX_ANSWER_OCTETS).collect().await);
            if status.is_success() { Ok(()) } else { Err(PostError::Status(status.as_u16())) }
        };
        // The connection ends when the request is done with; how it ends says nothing more.
        let (posted, _ended) = tokio::join!(asked, connection);
        posted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_what_is_odd_is_refused() {
        let told = |url: HttpsUrl| format!("https://{}:{}{}", url.host, url.port, url.path);
        let read = |text: &str| text.parse::<HttpsUrl>().map(told);
        for (text, known) in [
            ("https://log.example", "https://log.example:443/"),
            ("https://log.example/", "https://log.example:443/"),
            ("https://Log.Example:8443/a/b?c=d%20", "https://log.example:8443/a/b?c=d%20"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(known));
        }
        let secret: HttpsUrl = "https://log.example/a-token".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "HttpsUrl(https://log.example:443/…)");
        for wrong in [
            "",
            "http://log.example/",
            "https://",
            "https://me:secret@log.example/",
            "https://log.example:0/",
            "https://log.example:x/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://log.example/a b",
            "https://log.example/a\r\nx: y",
            "https://log.example/#a",
            "https://log.example?a",
        ] {
            assert_eq!(read(wrong), Err(InvalidHttpsUrl), "{wrong}");
        }
    }
}
