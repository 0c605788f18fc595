//! The server: connections within bounds, and an orderly end.
//!
//! # Why
//! poem's own server gives no deadline to the head of a request: half of one holds a connection
//! for ever, and its idle time-out does not end it. So the connections are run by hyper directly,
//! which has such a deadline; it also covers the wait between two requests. HTTP/1.1 alone, with TLS
//! and without: every client and proxy speaks it, and what does not run cannot be attacked (rapid
//! reset, silent prefaces).

mod handshake;
mod places;
mod stream;
mod worded;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actors::network;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Addr, Endpoint, Request, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    handshake::Handshakes,
    places::{Place, Places},
    stream::Patient,
    worded::Worded,
};
use crate::{
    parts::{ApiOptions, ApiParts, Shared},
    peer, protection,
};

/// Longest head of a request, in bytes; hyper answers 431 beyond it.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// After a failed accept (no file descriptor is free, say) the listener rests: trying at once would
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the API until `shutdown` ends; then takes no connection any more, lets requests under way
/// finish for [`ApiOptions::stop_within`], and cuts off what is left.
pub async fn serve(
    listener: TcpListener,
    parts: ApiParts,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let options = parts.options.clone();
    let shared = Shared::new(parts);
    let app = crate::wired(Arc::clone(&shared));
    let local = listener.local_addr()?;
    let room = Arc::new(Semaphore::new(options.max_connections.max(1)));
    let (stop, stopped) = watch::channel(false);
    let protection = protection::lines(&options.public_url).into();
    let handshakes = options.tls.clone().map(|tls| Handshakes {
        tls,
        deadline: options.handshake_deadline,
        patience: options.write_idle,
    });
    let (places, own) = (Arc::default(), options.clone());
    let server = Server { app, local, options: own, places, protection, handshakes, stopped };
    let server = Arc::new(server);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // The permit comes first: a connection that cannot be served stays in the system's queue.
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            (permit, accepted) = accepted => match (permit, accepted) {
                (Ok(permit), Ok((stream, remote))) => {
                    // Who has its share is cut off at once; what waited of others comes next.
                    if let Some(place) = server.place(remote.ip()) {
                        let server = Arc::clone(&server);
                        connections.spawn(async move {
                            server.connection(stream, remote).await;
                            drop((permit, place));
                        });
                    }
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
                (Err(_closed), _) => break,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
    drop(listener);
    shared.stop_waiting();
    // Without a receiver there is no connection to tell.
    stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(options.stop_within, all).await.is_err() {
        tracing::warn!("connections are cut off that did not end in time");
        connections.shutdown().await;
    }
    Ok(())
}

struct Server<E> {
    app: E,
    local: SocketAddr,
    options: ApiOptions,
    places: Arc<Places>,
    /// Lines of the head of every answer.
    protection: Arc<str>,
    handshakes: Option<Handshakes>,
    stopped: watch::Receiver<bool>,
}

impl<E> Server<E> {
    /// A place for one more connection from this address. A proxy of ours speaks for many.
    fn place(&self, remote: IpAddr) -> Option<Place> {
        let (remote, options) = (remote.to_canonical(), &self.options);
        let is_proxy = peer::is_among(remote, &options.trusted_proxies);
        let most = if is_proxy { usize::MAX } else { options.max_connections_per_address };
        self.places.take(network(remote), most.max(1))
    }
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    async fn connection(self: Arc<Self>, stream: TcpStream, remote: SocketAddr) {
        // Small answers must not wait for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let mut stopped = self.stopped.clone();
        let Some(handshakes) = &self.handshakes else {
            let stream = Patient::new(stream, self.options.write_idle);
            return self.speak(stream, remote, Scheme::HTTP).await;
        };
        let secured = tokio::select! {
            secured = handshakes.shake(stream) => secured,
            () = told(&mut stopped) => None,
        };
        if let Some(secured) = secured {
            self.speak(secured, remote, Scheme::HTTPS).await;
        }
    }

    /// Answers the requests of a connection.
    async fn speak<S>(self: Arc<Self>, stream: S, remote: SocketAddr, scheme: Scheme)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = Arc::clone(&self);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (server, scheme) = (Arc::clone(&server), scheme.clone());
            async move {
                let local = LocalAddr(Addr::SocketAddr(server.local));
                let remote = RemoteAddr(Addr::SocketAddr(remote));
                let request = Request::from((request, local, remote, scheme));
                let response = server.app.get_response(request).await;
                Ok::<_, std::convert::Infallible>(hyper::Response::from(response))
            }
        });
        let stream = TokioIo::new(Worded::new(stream, Arc::clone(&self.protection)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.head_deadline)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Strangers hang up and send nonsense all day.
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Ends once the server stops.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // The sender lives as long as the server: its end is a stop, too.
    drop(stopped.wait_for(|stopped| *stopped).await);
}
