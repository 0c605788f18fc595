//! Octets to and from the peer, each wait with a deadline.

use std::{
    fmt::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use model::delivery::Fault;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout_at},
};

use super::reply::{Lines, MAX_LINE_OCTETS, Partial};
use crate::stream::Stream;

/// How much is read at once. Replies are small.
const READ_OCTETS: usize = 4 * 1024;

/// A stream with what was read ahead and what is to be written.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    inbox: Vec<u8>,
    /// Where the unread part of `inbox` starts.
    start: usize,
    /// What the next [`Wire::send`] writes.
    pub(super) outbox: Vec<u8>,
}

impl Wire {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, inbox: Vec::new(), start: 0, outbox: Vec::new() }
    }

    /// Gives the stream back for a handshake; what is buffered must be nothing.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Whether the peer sent more than was asked for.
    pub(super) const fn has_read_ahead(&self) -> bool {
        self.start < self.inbox.len()
    }

    /// Puts a command into the outbox.
    pub(super) fn put(&mut self, command: impl fmt::Display) {
        let mut line = Line(&mut self.outbox);
        // Writing into memory does not fail.
        write!(line, "{command}").unwrap_or_default();
    }

    /// Writes the outbox in one go. A peer that has already said something that nobody asked for
    /// is not written to: its replies could be taken for answers to other commands.
    pub(super) async fn send(&mut self, deadline: Instant) -> Result<(), Fault> {
        let write = async {
            self.stream.write_all(&self.outbox).await?;
            self.stream.flush().await
        };
        let done = timeout_at(deadline, write).await;
        self.outbox.clear();
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Fault::Disconnected),
            Err(_) => Err(Fault::Timeout),
        }
    }

    /// Reads one whole reply before `deadline`.
    pub(super) async fn reply(&mut self, deadline: Instant) -> Result<Lines, Fault> {
        timeout_at(deadline, self.read_reply()).await.unwrap_or(Err(Fault::Timeout))
    }

    async fn read_reply(&mut self) -> Result<Lines, Fault> {
        let mut partial = Partial::default();
        let mut searched = 0;
        loop {
            let unread = self.inbox.get(self.start..).unwrap_or_default();
            let ahead = unread.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', ahead) {
                let end = searched + at;
                let line = unread.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let whole = partial.take(line).map_err(|_| Fault::Protocol)?;
                self.start += end + 1;
                searched = 0;
                if let Some(lines) = whole {
                    return Ok(lines);
                }
            } else {
                searched = unread.len();
                if searched > MAX_LINE_OCTETS {
                    return Err(Fault::Protocol);
                }
                self.fill().await?;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        self.inbox.drain(..self.start);
        self.start = 0;
        self.inbox.reserve(READ_OCTETS);
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) | Err(_) => Err(Fault::Disconnected),
            Ok(_) => Ok(()),
        }
    }

    /// Whether an idle peer has neither left nor spoken, as far as can be told without waiting.
    pub(super) fn is_quiet(&mut self) -> bool {
        if self.has_read_ahead() {
            return false;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // Nobody needs waking: the next read asks again with a waker of its own.
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        matches!(read, Poll::Pending)
    }

    /// Closes in order: with TLS, the peer learns that nothing was cut off.
    pub(super) async fn close(mut self, deadline: Instant) {
        // Whether the peer still listens changes nothing for us.
        drop(timeout_at(deadline, self.stream.shutdown()).await);
    }
}

/// Lets a command be formatted straight into the outbox.
struct Line<'a>(&'a mut Vec<u8>);

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
