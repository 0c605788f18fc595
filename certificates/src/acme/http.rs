//! Asks the authority: HTTP/1.1 over TLS, one connection a request, everything within a bound.

use std::{io, path::Path, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Request, Response, Uri,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::AcmeError;

/// Longest time for a request and its answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest head of an answer, most fields in it, and largest body, in octets.
const MAX_HEAD_OCTETS: usize = 32 * 1024;
const MAX_FIELDS: usize = 64;
const MAX_BODY_OCTETS: usize = 256 * 1024;
/// Longest wait that an authority may ask for, in seconds.
const MAX_RETRY_AFTER_S: u64 = 3_600;
/// Where https is, unless a URL says otherwise.
const PORT: u16 = 443;

/// What is boxed where any error will do.
type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Asks one host alone.
#[derive(Clone)]
pub(super) struct Client {
    host: Arc<str>,
    port: u16,
    connector: TlsConnector,
}

impl Client {
    /// For the authority with this directory, which must prove its name to `root` or the public roots.
    pub(super) fn new(directory: &str, root: Option<&Path>) -> Result<Self, AcmeError> {
        let invalid = || AcmeError::Settings(format!("{directory}: must be an https URL"));
        let url: Uri = directory.parse().map_err(|_| invalid())?;
        let (host, port) = place(&url).ok_or_else(invalid)?;
        let roots = match root {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(path) => read_roots(path)?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AcmeError::Settings(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { host: host.into(), port, connector })
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Anything> {
        if place(request.uri()) != Some((self.host.to_string(), self.port)) {
            return Err("the directory names another host".into());
        }
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        head.headers.insert(HOST, HeaderValue::from_str(&authority)?);
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        // To the host itself, a path is what is asked for (RFC 9112, section 3.2.1).
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse()?;
        let request = Request::from_parts(head, Full::new(body));

        let socket = TcpStream::connect((&*self.host, self.port)).await?;
        let name = ServerName::try_from(self.host.to_string())?;
        let stream = self.connector.connect(name, socket).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_OCTETS)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(stream))
            .await?;
        let asked = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BODY_OCTETS).collect().await?.to_bytes();
            Ok::<_, Anything>(Response::from_parts(head, body))
        };
        // The connection ends when the request is done with; how it ends says nothing more.
        let (answer, _ended) = tokio::join!(asked, connection);
        let mut answer = answer?;
        bound_wait(answer.headers_mut());
        Ok(answer)
    }
}

/// The host and the port of an https URL without credentials.
fn place(url: &Uri) -> Option<(String, u16)> {
    let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    (url.scheme_str() == Some("https") && !host.is_empty())
        .then(|| (host.to_ascii_lowercase(), authority.port_u16().unwrap_or(PORT)))
}

/// A wait beyond reason is none: times are added up with it.
fn bound_wait(headers: &mut HeaderMap) {
    let seconds = headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
    if seconds.is_none_or(|seconds| seconds > MAX_RETRY_AFTER_S) {
        headers.remove(RETRY_AFTER);
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, AcmeError> {
    let unreadable =
        |problem: &str| AcmeError::State { path: path.to_owned(), problem: problem.to_owned() };
    let mut roots = RootCertStore::empty();
    let listed = CertificateDer::pem_file_iter(path).map_err(|_| unreadable("cannot be read"))?;
    for root in listed {
        let root = root.map_err(|_| unreadable("is no PEM"))?;
        roots.add(root).map_err(|_| unreadable("holds what is no certificate"))?;
    }
    if roots.is_empty() {
        return Err(unreadable("there is no certificate in it"));
    }
    Ok(roots)
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let answer = timeout(DEADLINE, client.ask(request)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            let (parts, body) = answer.map_err(Error::Other)?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_without_credentials_is_asked() {
        let found = |url: &str| url.parse::<Uri>().ok().as_ref().and_then(place);
        let at = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(found("https://acme.example/directory"), at("acme.example", 443));
        assert_eq!(found("https://ACME.example:14000/dir"), at("acme.example", 14_000));
        assert_eq!(found("https://[::1]:14000/dir"), at("::1", 14_000));
        for wrong in ["http://acme.example/", "acme.example", "https://", "https://u@acme.example/"]
        {
            assert_eq!(found(wrong), None, "{wrong}");
        }
        for wrong in ["http://acme.example/directory", "", "file:///etc/passwd"] {
            assert!(Client::new(wrong, None).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn another_host_is_not_asked_whatever_the_directory_says() {
        let client = Client::new("https://localhost:1/directory", None).unwrap();
        for url in ["https://localhost:2/new", "https://metadata.test:1/new", "http://localhost:1/"]
        {
            let request = Request::get(url).body(BodyWrapper::default()).unwrap();
            let refused = client.clone().ask(request).await.unwrap_err().to_string();
            assert_eq!(refused, "the directory names another host", "{url}");
        }
    }

    #[test]
    fn no_wait_is_beyond_reason() {
        for (wait, kept) in [("5", true), ("3600", true), ("3601", false), ("soon", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, wait.parse().unwrap());
            bound_wait(&mut headers);
            assert_eq!(headers.contains_key(RETRY_AFTER), kept, "{wait}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("18446744073709551615"));
        bound_wait(&mut headers);
        assert!(headers.is_empty());
    }
}
