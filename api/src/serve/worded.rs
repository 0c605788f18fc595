use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use poem::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{edge::new_request_id, problem::Code};

/// A stream on which the answers that hyper gives by itself, to what it cannot read as a request,
/// get the form of ours: hyper has no place to say what they are to be.
pub(super) struct Worded<S> {
    inner: S,
    /// Lines that its head has beside its own.
    protection: Arc<str>,
    /// What stands for an answer of hyper's until all of it is written.
    instead: Option<Instead>,
}

struct Instead {
    bytes: Vec<u8>,
    written: usize,
    /// How long the answer was that it stands for.
    covers: usize,
}

impl<S> Worded<S> {
    pub(super) const fn new(inner: S, protection: Arc<str>) -> Self {
        Self { inner, protection, instead: None }
    }
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    /// Writes what stands for the answer.
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(instead) = &mut self.instead else { return Poll::Ready(Ok(0)) };
        while let Some(rest) = instead.bytes.get(instead.written..).filter(|rest| !rest.is_empty())
        {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            instead.written = instead.written.saturating_add(written);
        }
        let covers = instead.covers;
        self.instead = None;
        Poll::Ready(Ok(covers))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            self.instead = instead(bytes, &self.protection);
        }
        if self.instead.is_some() {
            return self.poll_instead(context);
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Such an answer is a head, and a head comes alone or first.
        let first = bytes.iter().find(|slice| !slice.is_empty());
        if self.instead.is_none() {
            self.instead = first.and_then(|slice| instead(slice, &self.protection));
        }
        if self.instead.is_some() {
            return self.poll_instead(context);
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// What stands for these bytes, if they are an answer that hyper gives by itself: a head without a
/// body and without the request id that all of ours have. `protection` goes into its head.
fn instead(bytes: &[u8], protection: &str) -> Option<Instead> {
    let code = match bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
        b"400" => Code::BadRequest,
        b"414" => Code::UriTooLong,
        b"431" => Code::HeadTooLarge,
        _ => return None,
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let lower = text.to_ascii_lowercase();
    let whole = lower.ends_with("\r\n\r\n") && lower.contains("\r\ncontent-length: 0\r\n");
    if !whole || lower.contains("\r\nx-request-id:") {
        return None;
    }
    Some(Instead { bytes: closing(code, protection), written: 0, covers: bytes.len() })
}

/// An answer before a connection closes, as the bytes of HTTP/1.1. `protection` goes into its head.
pub(super) fn closing(code: Code, protection: &str) -> Vec<u8> {
    let body = json!({ "error": code.as_str(), "message": code.words() }).to_string();
    let (status, id, length): (StatusCode, _, _) = (code.status(), new_request_id(), body.len());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {id}\r\n\
         {protection}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    answer.into_bytes()
}
