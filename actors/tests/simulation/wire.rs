//! A connection in memory: it takes its time, and may break at any octet.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    time::Sleep,
};

/// The sender's end.
#[derive(Debug)]
pub struct Line {
    inner: DuplexStream,
    latency: Duration,
    /// What has come and is still under way.
    arrived: Vec<u8>,
    under_way: Option<Pin<Box<Sleep>>>,
    /// Octets, both ways together, until it breaks.
    left: u64,
}

const BURST: usize = 4_096;

impl Line {
    pub fn new(inner: DuplexStream, latency: Duration, left: u64) -> Self {
        Self { inner, latency, arrived: Vec::new(), under_way: None, left }
    }

    fn broken() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.arrived.is_empty() {
            let mut burst = [0; BURST];
            let mut read = ReadBuf::new(&mut burst);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let count = read.filled().len() as u64;
            if this.left < count {
                this.left = 0;
                return Poll::Ready(Err(Self::broken()));
            }
            this.left -= count;
            this.arrived.extend_from_slice(read.filled());
            this.under_way = Some(Box::pin(tokio::time::sleep(this.latency)));
        }
        if let Some(sleep) = &mut this.under_way {
            ready!(sleep.as_mut().poll(cx));
            this.under_way = None;
        }
        let taken = this.arrived.len().min(buf.remaining());
        buf.put_slice(&this.arrived[..taken]);
        this.arrived.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let may = usize::try_from(this.left).unwrap_or(usize::MAX).min(buf.len());
        if may == 0 && !buf.is_empty() {
            return Poll::Ready(Err(Self::broken()));
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &buf[..may]))?;
        this.left -= written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
