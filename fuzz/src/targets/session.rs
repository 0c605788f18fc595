//! What a mail host says: the whole of a session, from the greeting to the reply to the final dot.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use mail::smtp::{
    ClientOptions, Connection, Dial, Dialled, Dialling, Envelope, TlsClient, TlsPolicy, connect,
};
use model::{
    address::{DomainName, EmailAddress},
    delivery::{Answer, MAX_REPLY_OCTETS, Outcome},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, Runtime},
};

/// A mail host that says these octets, a few at a time, and leaves.
#[derive(Debug)]
struct Host {
    says: Vec<u8>,
    at: usize,
    piece: usize,
    hears: Arc<parking::Heard>,
}

/// What was written to the host.
mod parking {
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    pub(super) struct Heard(pub(super) Mutex<Vec<u8>>);
}

impl AsyncRead for Host {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = (self.at + self.piece.min(buffer.remaining())).min(self.says.len());
        buffer.put_slice(&self.says[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Host {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hears.0.lock().unwrap().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Leads to the host, whoever is dialled. A second connection hears the same.
#[derive(Debug)]
struct ToHost {
    says: Vec<u8>,
    hears: Arc<parking::Heard>,
}

impl Dial for ToHost {
    fn dial(&self, _to: SocketAddr, _from: Option<IpAddr>) -> Dialling<'_> {
        let piece = self.says.first().map_or(1, |first| usize::from(*first).max(1));
        let host = Host {
            says: self.says.get(1..).unwrap_or_default().to_vec(),
            at: 0,
            piece,
            hears: Arc::clone(&self.hears),
        };
        Box::pin(async move { Ok(Dialled { socket: Box::new(host), from: None }) })
    }
}

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().build().unwrap());
}

/// The first octet says in how large pieces the others come.
pub(super) fn run(octets: &[u8]) {
    static TLS: OnceLock<TlsClient> = OnceLock::new();
    let tls = TLS.get_or_init(|| TlsClient::new(&[]).unwrap());
    let hears = Arc::new(parking::Heard::default());
    let mut options = ClientOptions::new(DomainName::parse("lumora.example").unwrap());
    // What a handshake makes of octets is not ours.
    options.tls = TlsPolicy::Never;
    options.dial = Arc::new(ToHost { says: octets.to_vec(), hears: Arc::clone(&hears) });
    let ip = IpAddr::from([192, 0, 2, 1]);
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            match connect("mx.example", ip, &options, tls).await {
                Ok(connection) => deliver(connection).await,
                Err(failure) => check(&failure.outcome),
            }
        });
    });
    let heard = hears.0.lock().unwrap();
    let line_ends = heard.iter().filter(|octet| **octet == b'\n').count();
    let pairs = heard.windows(2).filter(|pair| pair == b"\r\n").count();
    let returns = heard.iter().filter(|octet| **octet == b'\r').count();
    assert!(line_ends == pairs && returns == pairs, "a bare CR or LF left");
}

async fn deliver(mut connection: Connection) {
    let address = |text: &str| EmailAddress::parse(text).unwrap();
    let sender = address("shop@acme.example");
    let several =
        [address("ada@example.com"), address("bob@example.com"), address("żó@example.com")];
    for recipients in [&several[..1], &several[..], &several[..2]] {
        let envelope = Envelope { sender: Some(&sender), recipients, smtputf8: false };
        let message: [&[u8]; 2] = [b"Subject: a\r\n", b"\r\n.dot\r\nlast\r\n"];
        let done = connection.deliver(&envelope, &message).await;
        assert_eq!(done.outcomes.len(), recipients.len(), "an outcome for each");
        done.outcomes.iter().for_each(check);
        if done.retry_at_once {
            assert!(!done.reusable, "a dead connection that could be used again");
        }
        if !done.reusable {
            return;
        }
    }
    connection.quit().await;
}

fn check(outcome: &Outcome) {
    // A verdict follows from everything.
    let _verdict = outcome.verdict();
    if let Answer::Reply(reply) = &outcome.answer {
        assert!((200..600).contains(&reply.code), "{}", reply.code);
        assert!(reply.text.len() <= MAX_REPLY_OCTETS);
        let bad = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}');
        assert!(!reply.text.contains(bad), "{:?}", reply.text);
    }
}
