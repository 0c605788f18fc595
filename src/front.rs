//! The API's listeners: the one that callers reach; where that speaks TLS, another one on loopback.
//!
//! # Why
//! Commands of this host (`lumora queue` and the like) ask the running server. The name that its
//! certificate proves is not the address at which they find it, so they would have to trust whatever
//! they are shown. A port on loopback, which the operators' file names, needs no such trust: it is
//! reached as the server without TLS always was.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use actors::Clock;
use api::{ApiOptions, ApiParts};
use certificates::{Acme, Certificate, VALIDATION};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    Failure,
    config::{Config, TlsSource},
    shown,
};

/// What the configuration calls the listener.
const TLS_KEY: &str = "http.tls";
/// Connections at once on loopback: commands have one each.
const MAX_INSIDE: usize = 16;

/// From where a certificate comes.
enum Source {
    Files(Arc<Certificate>),
    Acme(Arc<Acme>),
}

impl Source {
    /// Blocks.
    fn open(source: TlsSource) -> Result<Self, Failure> {
        match source {
            TlsSource::Files(files) => shown::load(TLS_KEY, files).map(Self::Files),
            TlsSource::Authority(authority) => {
                let opened = Acme::open(authority).map(Arc::new);
                let failed =
                    |error| Failure::usage(format!("configuration: {TLS_KEY}.acme: {error}"));
                opened.map(Self::Acme).map_err(failed)
            }
        }
    }

    fn certificate(&self) -> &Arc<Certificate> {
        match self {
            Self::Files(certificate) => certificate,
            Self::Acme(acme) => acme.certificate(),
        }
    }

    fn protocols(&self) -> &'static [&'static [u8]] {
        match self {
            Self::Files(_) => &[b"http/1.1"],
            Self::Acme(_) => &[b"http/1.1", VALIDATION],
        }
    }
}

/// Listeners that take no connection yet.
pub(crate) struct Front {
    public: TcpListener,
    inside: Option<TcpListener>,
    source: Option<Source>,
    address: SocketAddr,
}

impl Front {
    /// Listens as configured. What is wrong with a certificate is told before anything is opened.
    pub(crate) async fn bind(config: &Config) -> Result<Self, Failure> {
        let listen = config.http.listen;
        let failed = |error: io::Error| Failure::failed(format!("http.listen: {listen}: {error}"));
        let source = config.tls_source().map_err(Failure::usage)?;
        let source = match source {
            Some(source) => {
                let opening = tokio::task::spawn_blocking(move || Source::open(source));
                Some(opening.await.map_err(Failure::failed)??)
            }
            None => None,
        };
        let public = TcpListener::bind(listen).await.map_err(failed)?;
        let address = public.local_addr().map_err(failed)?;
        let inside = match source {
            Some(_) => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?),
            None => None,
        };
        Ok(Self { public, inside, source, address })
    }

    /// Where callers reach it.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where commands of this host reach it.
    pub(crate) fn inside_address(&self) -> Result<SocketAddr, Failure> {
        let inside = self.inside.as_ref().map_or(Ok(self.address), TcpListener::local_addr);
        inside.map_err(Failure::failed)
    }

    /// What looks after the certificate, for as long as it is polled.
    pub(crate) fn upkeep(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        Some(match self.source.as_ref()? {
            Source::Files(shown) => Box::pin(shown::watch(TLS_KEY, Arc::clone(shown), clock)),
            Source::Acme(acme) => Box::pin(shown::renew(TLS_KEY, Arc::clone(acme), clock)),
        })
    }

    /// Takes connections.
    pub(crate) fn serve(self, parts: &ApiParts) -> Result<Serving, Failure> {
        let tls = self.source.as_ref();
        let tls = tls.map(|source| source.certificate().server(source.protocols()));
        let tls = tls.transpose().map_err(Failure::failed)?;
        let with = |options: ApiOptions| ApiParts { options, ..parts.clone() };
        let inside = with(ApiOptions {
            max_connections: MAX_INSIDE,
            max_connections_per_address: MAX_INSIDE,
            trusted_proxies: Vec::new(),
            metrics_from: None,
            ..parts.options.clone()
        });
        let public = with(ApiOptions { tls, ..parts.options.clone() });
        let (stop, stopped) = watch::channel(false);
        let (ended_tx, ended) = watch::channel(false);
        let (listener, own) = (self.public, self.inside);
        let serving = tokio::spawn(async move {
            let inside = async {
                match own {
                    Some(own) => api::serve(own, inside, told(stopped.clone())).await,
                    None => Ok(()),
                }
            };
            let public = api::serve(listener, public, told(stopped.clone()));
            let (served, inside) = tokio::join!(public, inside);
            ended_tx.send_replace(true);
            served.and(inside)
        });
        Ok(Serving { stop, task: serving, ended })
    }
}

/// Ends once the server is to stop; a sender that is gone is the same wish.
async fn told(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Listeners that take connections, until this is dropped.
pub(crate) struct Serving {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<io::Result<()>>,
    pub(crate) ended: watch::Receiver<bool>,
}
