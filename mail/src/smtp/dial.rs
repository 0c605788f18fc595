//! The way to a mail host: TCP, or what stands in its place.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use tokio::net::TcpSocket;

use crate::stream::Socket;

/// The future of a [`Dial::dial`].
pub type Dialling<'a> = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send + 'a>>;

/// A connection that stands.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub socket: Socket,
    /// This end's address, where it is known.
    pub from: Option<IpAddr>,
}

/// Opens connections to mail hosts. How long that may take is the caller's to say.
///
/// What stands in the place of [`Tcp`] carries the same octets: everything above it is the same.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// A connection to `to`; from the address `from`, where one is given.
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> Dialling<'_>;
}

/// Dials by TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> Dialling<'_> {
        Box::pin(async move {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(from) = from {
                socket.bind(SocketAddr::new(from, 0))?;
            }
            let stream = socket.connect(to).await?;
            // Commands and the end of a message are small and must not wait for an
            // acknowledgement.
            stream.set_nodelay(true)?;
            let from = stream.local_addr().ok().map(|address| address.ip());
            Ok(Dialled { socket: Box::new(stream), from })
        })
    }
}
