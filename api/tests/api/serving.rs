//! The server on a real socket: hostile connections, bounds, an orderly end.

use std::{net::SocketAddr, time::Duration};

use api::ApiOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::world::{World, email};

/// Longest wait for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(crate) async fn start(options: ApiOptions) -> Self {
        let world = World::start_with(options, |parts| parts).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(api::serve(listener, world.parts.clone(), async move {
            drop(stopped.await);
        }));
        Self { world, address, stop: Some(stop), serving }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn head(&self, method_and_path: &str, headers: &str) -> String {
        format!(
            "{method_and_path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n{headers}\r\n",
            self.world.key
        )
    }
}

/// All that comes until the other side closes.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    drop(read.expect("the server closes the connection"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What comes until `mark`.
pub(crate) async fn until(stream: &mut TcpStream, mark: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4_096];
    while !text.contains(mark) {
        let read = timeout(PATIENCE, stream.read(&mut chunk)).await.expect("an answer").unwrap();
        assert!(read > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    text
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let served = Served::start(ApiOptions::default()).await;
    let mut stream = served.connect().await;
    let body = email().to_string();
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    for _ in 0..2 {
        let request = served.head("POST /v1/email/send", &headers) + &body;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = until(&mut stream, "idempotentReplay\":false").await;
        assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_told_so_in_the_form_of_all_errors() {
    let public_url = "https://mail.acme.test".to_owned();
    let served = Served::start(ApiOptions { public_url, ..ApiOptions::default() }).await;
    let long = "a".repeat(70_000);
    for (request, status, error) in [
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), 400, "bad_request"),
        (served.head("POST /v1/email/send", "content-length: -1\r\n"), 400, "bad_request"),
        (served.head("GET /v1/emails/logs", "x-a: \u{7f}\r\n"), 400, "bad_request"),
        (served.head(&format!("GET /{long}"), ""), 414, "uri_too_long"),
        (
            served.head("GET /v1/emails/logs", &"x-a: b\r\n".repeat(200)),
            431,
            "request_header_fields_too_large",
        ),
    ] {
        let mut stream = served.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        for header in [
            "content-type: application/json",
            "x-request-id: req_",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "strict-transport-security: max-age=",
        ] {
            assert!(head.contains(header), "{answer}");
        }
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"], error);
    }
    let mut preface = served.connect().await;
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let answer = rest(&mut preface).await;
    assert!(!answer.contains("HTTP/1.1 2") && !answer.contains('\0'), "{answer}");
}

#[tokio::test]
async fn half_a_head_and_silence_end() {
    let options = ApiOptions { head_deadline: Duration::from_millis(100), ..ApiOptions::default() };
    let served = Served::start(options).await;
    let mut silent = served.connect().await;
    let mut half = served.connect().await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").await.unwrap();
    assert!(!rest(&mut silent).await.contains("200"));
    assert!(!rest(&mut half).await.contains("200"));
    let mut idle = served.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_endless_body_is_refused_with_an_answer() {
    let options = ApiOptions { max_body_bytes: 50_000, ..ApiOptions::default() };
    let served = Served::start(options).await;
    let stream = served.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let headers = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let head = served.head("POST /v1/email/send", headers);
    let flood = tokio::spawn(async move {
        writer.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
        while writer.write_all(chunk.as_bytes()).await.is_ok() {}
    });
    let mut answer = vec![0; 16];
    timeout(PATIENCE, reader.read_exact(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    flood.abort();
}

#[tokio::test]
async fn a_large_body_that_is_refused_still_gets_its_answer() {
    let options = ApiOptions { max_body_bytes: 6_000_000, ..ApiOptions::default() };
    let served = Served::start(options).await;
    let mut stream = served.connect().await;
    let body = " ".repeat(10_000_000);
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(served.head("POST /v1/email/send", &headers).as_bytes()).await.unwrap();
    // More than any socket's buffers hold: it goes out only while the server reads.
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = until(&mut stream, "payload_too_large").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn one_who_reads_nothing_is_cut_off() {
    let write_idle = Duration::from_millis(100);
    let options = ApiOptions { write_idle, max_connections: 1, ..ApiOptions::default() };
    let served = Served::start(options).await;
    let mut greedy = served.connect().await;
    // More than any socket's buffers hold.
    let request = "GET /docs/swagger-ui.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(40);
    greedy.write_all(request.as_bytes()).await.unwrap();
    // There is room for one: the next is answered once the first is gone, which reads nothing.
    let mut next = served.connect().await;
    next.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut next, "\"ok\"").await;
    drop(greedy);
}

#[tokio::test]
async fn connections_have_a_bound_and_the_next_one_waits() {
    let options = ApiOptions { max_connections: 1, ..ApiOptions::default() };
    let served = Served::start(options).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = served.connect().await;
    first.write_all(ask).await.unwrap();
    until(&mut first, "\"ok\"").await;
    let mut second = served.connect().await;
    second.write_all(ask).await.unwrap();
    let mut chunk = [0; 1];
    let early = timeout(Duration::from_millis(100), second.read(&mut chunk)).await;
    assert!(early.is_err(), "it is answered only once there is room");
    drop(first);
    until(&mut second, "\"ok\"").await;
}

#[tokio::test]
async fn one_address_has_its_share_of_connections_and_a_proxy_of_ours_all() {
    let options = ApiOptions { max_connections_per_address: 2, ..ApiOptions::default() };
    let served = Served::start(options.clone()).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(ask).await.unwrap();
        until(&mut stream, "\"ok\"").await;
        held.push(stream);
    }
    let mut third = served.connect().await;
    // It may be gone before all is written.
    drop(third.write_all(ask).await);
    assert_eq!(rest(&mut third).await, "");
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut elsewhere = elsewhere.connect(served.address).await.unwrap();
    elsewhere.write_all(ask).await.unwrap();
    until(&mut elsewhere, "\"ok\"").await;

    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let served = Served::start(ApiOptions { trusted_proxies, ..options }).await;
    for _ in 0..4 {
        let mut stream = served.connect().await;
        stream.write_all(ask).await.unwrap();
        until(&mut stream, "\"ok\"").await;
        held.push(stream);
    }
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_cuts_off_the_rest() {
    let options = ApiOptions { stop_within: Duration::from_secs(3), ..ApiOptions::default() };
    let mut served = Served::start(options).await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut idle, "\"ok\"").await;
    let body = email().to_string();
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let mut busy = served.connect().await;
    let head = served.head("POST /v1/email/send", &headers);
    busy.write_all(format!("{head}{}", &body[..10]).as_bytes()).await.unwrap();
    let mut stuck = served.connect().await;
    stuck.write_all(format!("{head}{}", &body[..10]).as_bytes()).await.unwrap();
    // Both are under way once the server has asked nobody else: an answer on a third connection.
    let mut third = served.connect().await;
    third.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut third, "\"ok\"").await;
    served.stop.take().unwrap().send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed at once");
    busy.write_all(&body.as_bytes()[10..]).await.unwrap();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    timeout(PATIENCE, served.serving).await.expect("the server ends").unwrap().unwrap();
    assert_eq!(rest(&mut stuck).await, "");
    assert!(TcpStream::connect(served.address).await.is_err());
}
