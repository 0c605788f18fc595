//! The built-in receiver, spoken to octet by octet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mail::sink::{
    AcceptAll, Action, Asked, MessageAction, Policy, Received, Sink, SinkOptions, SinkReply,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(
    options: SinkOptions,
    policy: impl Policy,
) -> (Sink, SocketAddr, mpsc::Receiver<Received>) {
    let (inbox, received) = mpsc::channel(8);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let sink = Sink::start(any, options, Arc::new(policy), Some(inbox)).await.unwrap();
    let address = sink.address();
    (sink, address, received)
}

/// Writes everything, one segment per piece, and reads until the sink closes.
async fn talk(address: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut heard = Vec::new();
    for piece in pieces {
        // A refusing sink may have closed already: what it said counts.
        if socket.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("the sink closes"));
    String::from_utf8(heard).unwrap()
}

fn codes(heard: &str) -> Vec<&str> {
    heard.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| &line[..3]).collect()
}

const ENVELOPE: &[u8] =
    b"EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";

#[tokio::test]
async fn a_pipelined_message_is_handed_on_as_it_was_sent() {
    let (_sink, address, mut received) = start(SinkOptions::default(), AcceptAll).await;
    let heard =
        talk(address, &[ENVELOPE, b"Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n.\r\nQUIT\r\n"]).await;
    assert_eq!(codes(&heard), ["220", "250", "250", "250", "354", "250", "221"], "{heard}");
    let message = received.recv().await.unwrap();
    assert_eq!(message.data, b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n");
    assert_eq!(message.mail_from, "a@x.example");
    assert_eq!(message.recipients, ["b@y.example"]);
    assert_eq!(message.helo, "c.example");
    assert!(!format!("{message:?}").contains("dot"));
}

#[tokio::test]
async fn segments_may_end_anywhere() {
    let whole = [ENVELOPE, b"..a\r\n.\r\n", b"QUIT\r\n"].concat();
    let (_sink, address, mut received) = start(SinkOptions::default(), AcceptAll).await;
    for size in [1, 2, 3, 5, 7] {
        let pieces: Vec<&[u8]> = whole.chunks(size).collect();
        let heard = talk(address, &pieces).await;
        assert_eq!(codes(&heard).last(), Some(&"221"), "{heard}");
        assert_eq!(received.recv().await.unwrap().data, b".a\r\n", "pieces of {size}");
    }
}

#[tokio::test]
async fn line_ends_that_smuggle_are_refused() {
    for body in [
        &b"a\n.\nMAIL FROM:<evil@x.example>\r\n.\r\n"[..],
        b"a\r\n.\n.\r\n",
        b"a\n.\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
        b"a\r.\r\n.\r\n",
        b"a\r\r\n.\r\n",
    ] {
        let (_sink, address, mut received) = start(SinkOptions::default(), AcceptAll).await;
        let heard = talk(address, &[ENVELOPE, body]).await;
        assert_eq!(codes(&heard).last(), Some(&"521"), "{body:?}: {heard}");
        assert!(received.try_recv().is_err());
    }
    let (_sink, address, _received) = start(SinkOptions::default(), AcceptAll).await;
    assert_eq!(codes(&talk(address, &[b"EHLO x\n"]).await), ["220", "521"]);
}

#[tokio::test]
async fn bounds_hold() {
    let options = SinkOptions { max_message_octets: 100, ..SinkOptions::default() };
    let (_sink, address, mut received) = start(options, AcceptAll).await;
    let large = [&b"x".repeat(60)[..], b"\r\n", &b"y".repeat(60), b"\r\n.\r\nQUIT\r\n"].concat();
    let heard = talk(address, &[ENVELOPE, &large]).await;
    assert_eq!(codes(&heard)[5..], ["552", "221"], "{heard}");
    let told = talk(address, &[b"HELO x\r\nMAIL FROM:<> SIZE=101\r\nQUIT\r\n"]).await;
    assert_eq!(codes(&told), ["220", "250", "552", "221"]);
    let endless = talk(address, &[&b"x".repeat(10_000)]).await;
    assert_eq!(codes(&endless), ["220", "500"]);
    let wide = [ENVELOPE, &b"x".repeat(200_000)].concat();
    assert_eq!(codes(&talk(address, &[&wide]).await).last(), Some(&"500"));
    assert!(received.try_recv().is_err());

    let options = SinkOptions { max_recipients: 1, max_connections: 1, ..SinkOptions::default() };
    let (_sink, address, _received) = start(options, AcceptAll).await;
    let heard =
        talk(address, &[b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n"]);
    assert_eq!(codes(&heard.await), ["220", "250", "250", "250", "452", "221"]);

    // The one place is given back when the connection before it is gone: poll for it.
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 3];
    first.read_exact(&mut greeting).await.unwrap();
    while &greeting == b"421" {
        first = TcpStream::connect(address).await.unwrap();
        first.read_exact(&mut greeting).await.unwrap();
    }
    assert_eq!(codes(&talk(address, &[]).await), ["421"]);
}

#[tokio::test]
async fn commands_out_of_order_are_refused() {
    let (_sink, address, _received) = start(SinkOptions::default(), AcceptAll).await;
    let heard = talk(
        address,
        &[b"MAIL FROM:<>\r\nHELO x\r\nRCPT TO:<a@b>\r\nDATA\r\nSTARTTLS\r\nfoo\r\nRSET\r\nQUIT\r\n"],
    )
    .await;
    let expected = ["220", "503", "250", "503", "503", "502", "500", "250", "221"];
    assert_eq!(codes(&heard), expected, "{heard}");
}

struct Moody {
    later: AtomicU32,
}

impl Policy for Moody {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        match asked.recipient.split('@').next() {
            Some("nobody") => Action::Reply(SinkReply::new(550, "5.1.1 no\r\n250 such user")),
            Some("later") if self.later.fetch_add(1, Ordering::Relaxed) < 2 => {
                Action::Reply(SinkReply::new(450, "4.7.1 later"))
            }
            Some("gone") => Action::Disconnect,
            _ => Action::Accept,
        }
    }

    fn message(&self, message: &Received) -> MessageAction {
        match message.recipients[0].split('@').next() {
            Some("spam") => MessageAction::Reply(SinkReply::new(554, "5.7.1 no")),
            Some("lost") => MessageAction::AcceptAndDisconnect,
            _ => MessageAction::Accept,
        }
    }
}

#[tokio::test]
async fn the_policy_is_asked() {
    let (_sink, address, mut received) =
        start(SinkOptions::default(), Moody { later: AtomicU32::new(0) }).await;
    let hello = b"EHLO x\r\nMAIL FROM:<>\r\n";
    let rcpt = |name: &str| format!("RCPT TO:<{name}@y.example>\r\n").into_bytes();
    let heard = talk(address, &[hello, &rcpt("nobody"), b"QUIT\r\n"]).await;
    assert_eq!(codes(&heard), ["220", "250", "250", "550", "221"], "{heard}");
    for expected in ["450", "450", "250"] {
        let heard = talk(address, &[hello, &rcpt("later"), b"QUIT\r\n"]).await;
        assert_eq!(codes(&heard)[3], expected);
    }
    assert_eq!(codes(&talk(address, &[hello, &rcpt("gone")]).await), ["220", "250", "250"]);
    let message = b"DATA\r\nhi\r\n.\r\n";
    let heard = talk(address, &[hello, &rcpt("spam"), message, b"QUIT\r\n"]).await;
    assert_eq!(codes(&heard)[4..], ["354", "554", "221"]);
    assert!(received.try_recv().is_err());
    let heard = talk(address, &[hello, &rcpt("lost"), message]).await;
    assert_eq!(codes(&heard)[4..], ["354"], "{heard}");
    assert_eq!(received.recv().await.unwrap().data, b"hi\r\n");
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_not_acknowledged() {
    let (_sink, address, received) = start(SinkOptions::default(), AcceptAll).await;
    drop(received);
    let heard = talk(address, &[ENVELOPE, b"hi\r\n.\r\nQUIT\r\n"]).await;
    assert_eq!(codes(&heard)[5..], ["451", "221"]);
}

#[tokio::test]
async fn a_stopped_sink_frees_its_port_and_its_connections() {
    let (sink, address, _received) = start(SinkOptions::default(), AcceptAll).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 3];
    socket.read_exact(&mut greeting).await.unwrap();
    sink.stop().await;
    let mut rest = Vec::new();
    drop(timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the connection closes"));
    drop(tokio::net::TcpListener::bind(address).await.expect("the port is free"));
}

#[tokio::test]
async fn a_connection_ends_however_busy_it_is() {
    let longest_connection = Some(Duration::from_millis(100));
    let options = SinkOptions { longest_connection, ..SinkOptions::default() };
    let (_sink, address, _inbox) = start(options, AcceptAll).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut heard = Vec::new();
    let busy = async {
        while socket.write_all(b"NOOP\r\n").await.is_ok() {
            let mut some = [0; 512];
            match socket.read(&mut some).await {
                Ok(0) | Err(_) => break,
                Ok(count) => heard.extend_from_slice(&some[..count]),
            }
        }
    };
    timeout(PATIENCE, busy).await.expect("the sink closes");
    let heard = String::from_utf8(heard).unwrap();
    assert_eq!(codes(&heard).last(), Some(&"421"), "{heard}");
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let options = SinkOptions { max_connections_per_address: 2, ..SinkOptions::default() };
    let (_sink, address, _inbox) = start(options, AcceptAll).await;
    let mut held = Vec::new();
    for expected in [b"220", b"220", b"421"] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut code = [0; 3];
        socket.read_exact(&mut code).await.unwrap();
        assert_eq!(&code, expected);
        held.push(socket);
    }
    // Another network is another sender.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    let mut code = [0; 3];
    other.read_exact(&mut code).await.unwrap();
    assert_eq!(&code, b"220");
}
