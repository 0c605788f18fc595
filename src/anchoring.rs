//! Signed checkpoints are posted to somebody else, who so can tell whether the record was changed or
//! put back.
//!
//! The newest one is all that matters: it covers those before. So what cannot be posted waits for
//! nothing but its next attempt, and gives way to a newer one. Nothing waits for a post.

use std::{sync::Arc, time::Duration};

use eventlog::{Notary, Position};
use mail::{
    dns::{DnsOptions, Resolver},
    https::{HttpsUrl, Poster},
    smtp::TlsClient,
};
use metrics::{counter, gauge};
use tokio::time::sleep;

use crate::{Failure, config::Config};

/// How long one attempt may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Between an attempt that failed and the next one: doubled each time, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Whom to post to, and how.
#[derive(Debug)]
pub(crate) struct Anchoring {
    url: HttpsUrl,
    poster: Poster,
    first_wait: Duration,
}

impl Anchoring {
    /// As configured, if it is.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(url) = &config.log.checkpoint_url else { return Ok(None) };
        let url = url.parse().map_err(|error| {
            Failure::usage(format!("configuration: log.checkpoint_url: {error}"))
        })?;
        let dns = DnsOptions {
            servers: config.dns.servers.as_ref().map(|servers| servers.0.clone()),
            ..DnsOptions::default()
        };
        let resolver = Resolver::new(&dns).map_err(Failure::failed)?;
        let tls = TlsClient::new(&[]).map_err(Failure::failed)?;
        let private = config.delivery.allow_private_networks;
        let poster = Poster::new(resolver, &tls, private, DEADLINE);
        Ok(Some(Self { url, poster, first_wait: FIRST_WAIT }))
    }

    /// Posts what is signed, for as long as it is polled.
    pub(crate) async fn run(self, notary: Arc<Notary>) {
        let mut signed = notary.signed();
        let mut posted = Position::START;
        let mut wait = self.first_wait;
        loop {
            let newest = notary.newest().filter(|newest| newest.head().position > posted);
            let Some(newest) = newest else {
                if signed.wait_for(|position| *position > posted).await.is_err() {
                    return;
                }
                continue;
            };
            match self.poster.post(&self.url, newest.to_string()).await {
                Ok(()) => {
                    posted = newest.head().position;
                    wait = self.first_wait;
                    counter!("lumora_checkpoint_posts_total", "outcome" => "taken").increment(1);
                    #[expect(clippy::cast_precision_loss, reason = "a figure")]
                    gauge!("lumora_checkpoint_posted_position").set(posted.get() as f64);
                }
                Err(error) => {
                    counter!("lumora_checkpoint_posts_total", "outcome" => "failed").increment(1);
                    // Its path may be what lets us in.
                    tracing::warn!(host = %self.url.host(), %error, "a checkpoint was not posted");
                    sleep(wait).await;
                    wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Mutex,
    };

    use eventlog::{Append, EventLog, InstanceKey, MemoryLog, NewEvent, SignedCheckpoint, Version};
    use model::{EventId, InstanceId, StreamId, Timestamp};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use sandbox::dns::DnsServer;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const HOST: &str = "anchor.test";

    /// Somebody who takes checkpoints, over TLS on loopback, and answers as is told.
    struct Taker {
        port: u16,
        root: CertificateDer<'static>,
        dns: DnsServer,
        taken: Arc<Mutex<Vec<String>>>,
        status: Arc<Mutex<&'static str>>,
    }

    impl Taker {
        async fn start() -> Self {
            let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
            let root = made.cert.der().clone();
            let private = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![root.clone()], PrivateKeyDer::Pkcs8(private))
                .unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let dns = DnsServer::start().await.unwrap();
            dns.add_address(HOST, IpAddr::from(Ipv4Addr::LOCALHOST)).unwrap();
            let taken = Arc::<Mutex<Vec<String>>>::default();
            let status = Arc::new(Mutex::new("200 OK"));
            let (takes, answers) = (Arc::clone(&taken), Arc::clone(&status));
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (takes, answers) = (Arc::clone(&takes), Arc::clone(&answers));
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        let Ok(mut stream) = acceptor.accept(socket).await else { return };
                        let mut request = Vec::new();
                        // Head, and the note with an empty line in it and a line feed at its end.
                        while !(String::from_utf8_lossy(&request).contains("\n\n\u{2014} ")
                            && request.ends_with(b"\n"))
                        {
                            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        takes.lock().unwrap().push(String::from_utf8(request).unwrap());
                        let status = *answers.lock().unwrap();
                        if status.is_empty() {
                            // Silent until the other end leaves.
                            drop(stream.read(&mut [0]).await);
                            return;
                        }
                        let location = "location: https://elsewhere.test/";
                        let answer =
                            format!("HTTP/1.1 {status}\r\n{location}\r\ncontent-length: 0\r\n\r\n");
                        drop(stream.write_all(answer.as_bytes()).await);
                        drop(stream.shutdown().await);
                    });
                }
            });
            Self { port, root, dns, taken, status }
        }

        fn poster(&self, roots: &[CertificateDer<'_>], private: bool) -> Poster {
            let servers = Some(vec![self.dns.address()]);
            let resolver = Resolver::new(&DnsOptions { servers, ..DnsOptions::default() }).unwrap();
            let tls = TlsClient::new(roots).unwrap();
            Poster::new(resolver, &tls, private, Duration::from_millis(1_500))
        }

        fn url(&self) -> HttpsUrl {
            format!("https://{HOST}:{}/checkpoints?of=me", self.port).parse().unwrap()
        }

        fn answers(&self, status: &'static str) {
            *self.status.lock().unwrap() = status;
        }

        async fn takes(&self, count: usize) -> Vec<String> {
            for _ in 0..2_000 {
                let taken = self.taken.lock().unwrap().clone();
                if taken.len() >= count {
                    return taken;
                }
                sleep(Duration::from_millis(10)).await;
            }
            panic!("{count} posts did not come: {:?}", self.taken.lock().unwrap());
        }
    }

    async fn happen(log: &Arc<dyn EventLog>, number: u8) {
        let data = br#"{"type":"test.happened","v":1}"#;
        let event = NewEvent { id: EventId::from_bytes([number; 16]), data: data[..].into() };
        let append = Append {
            stream: StreamId::Instance(InstanceId::THIS),
            expected: Version::new(u64::from(number)),
            at: Timestamp::from_millis(1_000),
            events: vec![event],
            content: Vec::new(),
        };
        log.append(append).await.unwrap();
    }

    fn note(request: &str) -> SignedCheckpoint {
        let (head, note) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /checkpoints?of=me HTTP/1.1\r\n"), "{head}");
        note.parse().unwrap()
    }

    #[tokio::test]
    async fn each_checkpoint_is_posted_and_of_those_that_waited_the_newest_alone() {
        let taker = Taker::start().await;
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let verifier = key.verifier().clone();
        let notary = Arc::new(Notary::open(dir.path(), Arc::clone(&log), key, None).unwrap());
        let poster = taker.poster(std::slice::from_ref(&taker.root), true);
        let first_wait = Duration::from_millis(50);
        let anchoring = Anchoring { url: taker.url(), poster, first_wait };
        let running = tokio::spawn(anchoring.run(Arc::clone(&notary)));
        happen(&log, 0).await;
        notary.sign(Timestamp::from_millis(2_000)).unwrap();
        let first = note(&taker.takes(1).await[0]);
        assert!(first.is_signed_by(&verifier) && first.head().position.get() == 1);
        // It is taken; there is nothing to post until the next one. A redirect is no success.
        taker.answers("307 Temporary Redirect");
        for number in 1..4 {
            happen(&log, number).await;
            notary.sign(Timestamp::from_millis(2_000)).unwrap();
        }
        let failed = taker.takes(3).await.len();
        taker.answers("204 No Content");
        let all = taker.takes(failed + 1).await;
        let last = note(all.last().unwrap());
        assert_eq!(last.head().position.get(), 4, "the newest wins");
        running.abort();
    }

    #[tokio::test]
    async fn what_is_not_proven_or_lies_inside_this_network_gets_nothing() {
        use mail::https::PostError;
        let taker = Taker::start().await;
        let root = std::slice::from_ref(&taker.root);
        let post =
            async |poster: Poster| poster.post(&taker.url(), "a\n\n\u{2014} b\n".into()).await;
        assert_eq!(post(taker.poster(root, false)).await, Err(PostError::Unreachable));
        let unproven = post(taker.poster(&[], true)).await;
        assert!(matches!(unproven, Err(PostError::Tls(_))), "{unproven:?}");
        assert!(taker.taken.lock().unwrap().is_empty());
        for (status, result) in [
            ("200 OK", Ok(())),
            ("302 Found", Err(PostError::Status(302))),
            ("500 Internal Server Error", Err(PostError::Status(500))),
            ("", Err(PostError::Timeout)),
        ] {
            taker.answers(status);
            assert_eq!(post(taker.poster(root, true)).await, result, "{status}");
        }
    }
}
