//! The server behind TLS, on a real socket: what it speaks, what it shows, and who is cut off.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::Duration,
};

use api::ApiOptions;
use certificates::{Certificate, Files, Looked};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    serving::{PATIENCE, Served, rest},
    world::{EMAIL, PASSWORD},
};

const NAME: &str = "mail.acme.test";
const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: mail.acme.test\r\n\r\n";

/// A server whose certificate lies in files.
struct Secured {
    served: Served,
    files: Files,
    certificate: Arc<Certificate>,
    /// The certificate that was written last.
    trusted: CertificateDer<'static>,
    _dir: TempDir,
}

/// Writes a new pair; its certificate.
fn renew(files: &Files) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
    made.cert.der().clone()
}

impl Secured {
    async fn start(options: ApiOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        let trusted = renew(&files);
        let certificate = Certificate::load(files.clone()).unwrap();
        let tls = Some(certificate.server(&[b"http/1.1"]).unwrap());
        let public_url = format!("https://{NAME}");
        let served = Served::start(ApiOptions { tls, public_url, ..options }).await;
        Self { served, files, certificate, trusted, _dir: dir }
    }

    async fn shake(
        &self,
        trusted: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = self.served.connect().await;
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
        timeout(PATIENCE, shaken).await.expect("an end of the handshake")
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.shake(&self.trusted, &[&TLS13, &TLS12], &["h2", "http/1.1"]).await.unwrap()
    }
}

/// The next answer, whose body is JSON.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    let mut piece = [0; 4_096];
    while !text.ends_with('}') {
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.expect("an answer").unwrap();
        assert!(read > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

#[tokio::test]
async fn behind_tls_answers_bind_browsers_and_cookies_to_it() {
    let secured = Secured::start(ApiOptions::default()).await;
    let mut stream = secured.connect().await;
    let body = json!({ "email": EMAIL, "password": PASSWORD }).to_string();
    let login = format!(
        "POST /portal/login HTTP/1.1\r\nhost: {NAME}\r\norigin: https://{NAME}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(login.as_bytes()).await.unwrap();
    let answered = answer(&mut stream).await.to_ascii_lowercase();
    assert!(answered.starts_with("http/1.1 200 "), "{answered}");
    assert!(answered.contains("strict-transport-security: max-age=31536000\r\n"), "{answered}");
    let cookie = answered.lines().find(|line| line.starts_with("set-cookie: ")).unwrap();
    for word in ["lumora_session=", "secure", "httponly", "samesite=strict"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    // One connection carries many requests here, too.
    stream.write_all(ASK).await.unwrap();
    assert!(answer(&mut stream).await.contains("\"ok\""));
}

#[tokio::test]
async fn new_files_are_shown_from_the_next_handshake_on_and_broken_ones_never() {
    let mut secured = Secured::start(ApiOptions::default()).await;
    let mut before = secured.connect().await;
    let first = secured.trusted.clone();
    secured.trusted = renew(&secured.files);
    assert!(matches!(secured.certificate.look(), Looked::Renewed));
    let mut after = secured.connect().await;
    assert!(secured.shake(&first, &[&TLS13], &[]).await.is_err(), "the first is shown no more");
    for broken in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        fs::write(&secured.files.key, broken).unwrap();
        assert!(matches!(secured.certificate.look(), Looked::Refused(_)));
        secured.connect().await;
    }
    // Whoever was there stays.
    for stream in [&mut before, &mut after] {
        stream.write_all(ASK).await.unwrap();
        assert!(answer(stream).await.contains("\"ok\""));
    }
}

/// The beginning of a `ClientHello`: the head of a record of 512 octets, and a few of them.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

#[tokio::test]
async fn who_stalls_in_the_handshake_is_cut_off() {
    let handshake_deadline = Duration::from_millis(200);
    let secured = Secured::start(ApiOptions { handshake_deadline, ..ApiOptions::default() }).await;
    let mut silent = secured.served.connect().await;
    let mut half = secured.served.connect().await;
    half.write_all(HALF_A_HELLO).await.unwrap();
    let mut endless = secured.served.connect().await;
    let (mut reader, mut writer) = endless.split();
    // Octet by octet: each one in time does not make the whole one so.
    let trickle = async {
        while writer.write_all(&[HALF_A_HELLO[0]]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = async {
        let mut heard = Vec::new();
        drop(reader.read_to_end(&mut heard).await);
    };
    timeout(PATIENCE, async {
        tokio::select! { () = trickle => {}, () = ended => {} }
    })
    .await
    .expect("a trickle ends");
    assert_eq!(rest(&mut silent).await, "");
    rest(&mut half).await;
    // Who came in time has as long as without TLS.
    let mut stream = secured.connect().await;
    tokio::time::sleep(handshake_deadline * 2).await;
    stream.write_all(ASK).await.unwrap();
    assert!(answer(&mut stream).await.contains("\"ok\""));
}

#[tokio::test]
async fn a_stalled_handshake_takes_a_place_of_its_address_and_of_all() {
    let options = ApiOptions { max_connections_per_address: 2, ..ApiOptions::default() };
    let secured = Secured::start(options.clone()).await;
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut stream = secured.served.connect().await;
        stream.write_all(HALF_A_HELLO).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(rest(&mut secured.served.connect().await).await, "", "no place for a third");
    drop(stalled);

    let handshake_deadline = Duration::from_millis(200);
    let options = ApiOptions { max_connections: 1, handshake_deadline, ..options };
    let secured = Secured::start(options).await;
    let stalled = secured.served.connect().await;
    // Served once the first has been cut off, which does nothing for it.
    let mut next = secured.connect().await;
    next.write_all(ASK).await.unwrap();
    assert!(answer(&mut next).await.contains("\"ok\""));
    drop(stalled);
}

#[tokio::test]
async fn a_request_without_tls_is_refused_in_words() {
    let secured = Secured::start(ApiOptions::default()).await;
    let long = "x".repeat(60_000);
    for request in [
        secured.served.head("GET /v1/emails/logs", ""),
        secured.served.head("POST /v1/email/send", "content-length: 60000\r\n") + &long,
    ] {
        let mut stream = secured.served.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answered = rest(&mut stream).await;
        assert!(answered.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answered}");
        assert!(answered.contains("\"error\":\"tls_required\""), "{answered}");
        assert!(answered.contains("x-request-id: req_"), "{answered}");
        assert!(!answered.contains("strict-transport-security"), "{answered}");
        assert!(!answered.contains("location"), "{answered}");
    }
    for nonsense in [&b"\x05\x01\x00"[..], b"\x00\x00", b"{}", b"ssh"] {
        let mut stream = secured.served.connect().await;
        stream.write_all(nonsense).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }
}

#[tokio::test]
async fn tls_is_1_2_at_least_and_what_it_carries_is_http_1_1() {
    let secured = Secured::start(ApiOptions::default()).await;
    for version in [&TLS12, &TLS13] {
        let stream = secured.shake(&secured.trusted, &[version], &["h2", "http/1.1"]).await;
        let stream = stream.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    assert!(secured.shake(&secured.trusted, &[&TLS13], &[]).await.is_ok(), "it need not be said");
    let refused = secured.shake(&secured.trusted, &[&TLS13], &["h2"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    for (minor, older) in [(1, "TLS 1.0"), (2, "TLS 1.1")] {
        let mut stream = secured.served.connect().await;
        stream.write_all(&hello(minor)).await.unwrap();
        let mut heard = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("it closes"));
        // A fatal alert: protocol_version (RFC 8446, section 6.2).
        assert_eq!(heard.first(), Some(&21), "{older}: {heard:?}");
        assert_eq!(heard[heard.len() - 2..], [2, 70], "{older}: {heard:?}");
    }
}

/// A `ClientHello` whose newest version is 3.`minor`, with a cipher suite that TLS 1.2 has, too.
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; one suite; no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // supported_groups, ec_point_formats and signature_algorithms.
    body.extend([0, 22, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test]
async fn http_2_is_not_spoken_however_it_is_asked_for() {
    let secured = Secured::start(ApiOptions::default()).await;
    let mut stream = secured.connect().await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for number in 0..1_000_u32 {
        let id = (2 * number + 1).to_be_bytes();
        // HEADERS with `:method: GET`, `:scheme: https`, `:path: /`; then RST_STREAM: CANCEL.
        flood.extend([&[0, 0, 3, 1, 5][..], &id, &[0x82, 0x87, 0x84]].concat());
        flood.extend([&[0, 0, 4, 3, 0][..], &id, &[0, 0, 0, 8]].concat());
    }
    // It may be cut off before all is written.
    drop(stream.write_all(&flood).await);
    let mut heard = Vec::new();
    drop(timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("it closes"));
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{heard}");
    assert_eq!(heard.matches("HTTP/1.1").count(), usize::from(!heard.is_empty()), "{heard}");
}

#[tokio::test]
async fn metrics_are_told_to_those_alone_that_may_have_them() {
    for (network, told) in [("127.0.0.0/8", true), ("192.0.2.0/24", false)] {
        let metrics_from = Some(vec![network.parse().unwrap()]);
        let secured = Secured::start(ApiOptions { metrics_from, ..ApiOptions::default() }).await;
        let mut stream = secured.connect().await;
        let ask = "GET /metrics HTTP/1.1\r\nhost: mail.acme.test\r\nconnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut heard = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard.contains("lumora_up 1"), told, "{heard}");
        let status = if told { "HTTP/1.1 200 " } else { "HTTP/1.1 404 " };
        assert!(heard.starts_with(status), "{heard}");
        stream = secured.connect().await;
        stream.write_all(ASK).await.unwrap();
        assert!(answer(&mut stream).await.contains("\"ok\""));
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let mut secured = Secured::start(ApiOptions::default()).await;
    let mut stalled = secured.served.connect().await;
    stalled.write_all(HALF_A_HELLO).await.unwrap();
    let mut idle = secured.connect().await;
    idle.write_all(ASK).await.unwrap();
    answer(&mut idle).await;
    secured.served.stop.take().unwrap().send(()).unwrap();
    timeout(PATIENCE, secured.served.serving).await.expect("it ends").unwrap().unwrap();
    rest(&mut stalled).await;
}
