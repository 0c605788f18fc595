//! What comes before the first request where the server speaks TLS.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{stream::Patient, worded};
use crate::{problem::Code, protection};

/// The type of a record that a handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// The one protocol that requests are read in.
const HTTP: &[u8] = b"http/1.1";
/// What is read of a request without TLS before its connection is closed, in octets.
const MAX_CLEAR_OCTETS: u64 = 64 * 1024;

/// How a server shakes hands.
pub(super) struct Handshakes {
    pub(super) tls: Arc<ServerConfig>,
    /// For all of a handshake, from the first octet that is waited for.
    pub(super) deadline: Duration,
    /// How long the other end may take nothing of what is written.
    pub(super) patience: Duration,
}

impl Handshakes {
    /// Shakes hands. `None`: the other end did not want to, did not manage in time, or does not
    /// speak TLS, which it is told.
    pub(super) async fn shake(&self, stream: TcpStream) -> Option<TlsStream<Patient<TcpStream>>> {
        match timeout(self.deadline, self.attempt(stream)).await {
            Ok(Ok(secured)) => secured,
            Ok(Err(error)) => {
                // Strangers hang up and send nonsense all day.
                tracing::debug!(%error, "a handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a handshake took too long");
                None
            }
        }
    }

    async fn attempt(
        &self,
        stream: TcpStream,
    ) -> io::Result<Option<TlsStream<Patient<TcpStream>>>> {
        let mut first = [0];
        // Left where it is: it belongs to the handshake.
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first == [HANDSHAKE] {
            let stream = Patient::new(stream, self.patience);
            let mut stream = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream).await?;
            let protocol = stream.get_ref().1.alpn_protocol();
            if protocol.is_none_or(|protocol| protocol == HTTP) {
                return Ok(Some(stream));
            }
            // An authority that validates a name has seen all by now (RFC 8737, section 3).
            stream.shutdown().await?;
            return Ok(None);
        }
        // Methods are upper case letters; whoever says anything else would not read an answer.
        if first.iter().all(u8::is_ascii_uppercase) {
            refuse(stream).await?;
        }
        Ok(None)
    }
}

/// Answers a request that came without TLS. It is refused and not sent elsewhere: a program that is
/// sent on goes on showing its key to the whole way first.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    // Without the header about TLS, which may not be sent like this (RFC 6797, section 7.2).
    stream.write_all(&worded::closing(Code::TlsRequired, &protection::lines(""))).await?;
    stream.shutdown().await?;
    // A connection that is closed with something unread is reset, perhaps before its answer was read.
    let mut rest = stream.take(MAX_CLEAR_OCTETS);
    let mut piece = [0; 4_096];
    while rest.read(&mut piece).await? > 0 {}
    Ok(())
}
