//! Reading lines and messages with strict line ends.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::stream::Stream;

/// Longest command line, in octets: RFC 5321 asks for 512, extensions for more, a challenge of
/// AUTH for 12 288 at the most. We take none of the latter.
const MAX_LINE_OCTETS: usize = 4_096;
/// Longest text line, in octets: RFC 5321 allows 1 000; more is taken from careless senders.
const MAX_TEXT_LINE_OCTETS: usize = 64 * 1024;
/// How much of an unread rest is read before the connection closes, and for how long.
const FAREWELL_OCTETS: u64 = 1024 * 1024;
const FAREWELL: Duration = Duration::from_secs(2);
/// How much is read at once. A message of usual size comes in one piece.
const READ_OCTETS: usize = 16 * 1024;
/// How much is read at once while a large message comes in.
const BULK_OCTETS: usize = 128 * 1024;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The sender left or the network did.
    Gone,
    /// The sender was silent for too long.
    Idle,
    /// A line did not end in CRLF.
    BareLineEnd,
    /// A command line was too long.
    LongLine,
}

/// What came before the final dot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// The message, dots unstuffed.
    Whole(Vec<u8>),
    /// It was above the limit; it was read to its end and thrown away.
    TooLarge,
}

/// A connection with what was read ahead and what is still to be written.
pub(super) struct Wire {
    pub(super) stream: Stream,
    idle: Duration,
    inbox: Vec<u8>,
    /// Where the unread part of `inbox` starts.
    start: usize,
    outbox: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: Stream, idle: Duration) -> Self {
        Self { stream, idle, inbox: Vec::new(), start: 0, outbox: Vec::new() }
    }

    /// Sends what is in the outbox and closes. The rest of what the sender writes is read for a
    /// moment: closing with unread octets resets the connection, and the reply would be lost.
    pub(super) async fn close(mut self) {
        if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let mut rest = self.stream.take(FAREWELL_OCTETS);
        let mut nowhere = tokio::io::sink();
        let drain = tokio::io::copy(&mut rest, &mut nowhere);
        // However it ends, the connection closes.
        drop(timeout(FAREWELL, drain).await);
    }

    /// Whether there is something read ahead.
    pub(super) fn has_read_ahead(&self) -> bool {
        self.start < self.inbox.len()
    }

    fn unread(&self) -> &[u8] {
        self.inbox.get(self.start..).unwrap_or_default()
    }

    /// Puts a line into the outbox. It leaves when the sender's commands are used up, so that a
    /// pipelined group gets its replies in one segment.
    pub(super) fn reply(&mut self, line: &str) {
        self.outbox.extend_from_slice(line.as_bytes());
        self.outbox.extend_from_slice(b"\r\n");
    }

    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.outbox).await?;
            self.stream.flush().await
        };
        let done = timeout(self.idle, write).await.map_err(|_| Ended::Idle)?;
        done.map_err(|_| Ended::Gone)?;
        self.outbox.clear();
        Ok(())
    }

    async fn fill(&mut self, at_once: usize) -> Result<(), Ended> {
        self.flush().await?;
        if self.start > 0 {
            self.inbox.drain(..self.start);
            self.start = 0;
        }
        self.inbox.reserve(at_once);
        let read = timeout(self.idle, self.stream.read_buf(&mut self.inbox)).await;
        match read.map_err(|_| Ended::Idle)? {
            Ok(0) | Err(_) => Err(Ended::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// The next command line without its end.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Ended> {
        let mut searched = 0;
        loop {
            let unread = self.unread();
            let ahead = unread.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', ahead) {
                let end = searched + at;
                let line = unread.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").ok_or(Ended::BareLineEnd)?;
                if line.len() > MAX_LINE_OCTETS {
                    return Err(Ended::LongLine);
                }
                let line = line.to_vec();
                self.start += end + 1;
                return Ok(line);
            }
            searched = unread.len();
            if searched > MAX_LINE_OCTETS {
                return Err(Ended::LongLine);
            }
            self.fill(READ_OCTETS).await?;
        }
    }

    /// Reads a message up to its final dot.
    pub(super) async fn data(&mut self, limit: usize) -> Result<Data, Ended> {
        let mut message = Vec::new();
        let mut too_large = false;
        // Between calls of `take_lines` the unread part holds one unfinished line.
        loop {
            match self.take_lines(&mut message)? {
                true if too_large || message.len() > limit => return Ok(Data::TooLarge),
                true => return Ok(Data::Whole(message)),
                false => {}
            }
            if message.len() > limit {
                too_large = true;
                message.clear();
            }
            if self.unread().len() > MAX_TEXT_LINE_OCTETS {
                return Err(Ended::LongLine);
            }
            let bulk = message.len() + self.unread().len() > READ_OCTETS;
            self.fill(if bulk { BULK_OCTETS } else { READ_OCTETS }).await?;
        }
    }

    /// Moves whole lines into `message`; true when the final dot was among them.
    fn take_lines(&mut self, message: &mut Vec<u8>) -> Result<bool, Ended> {
        let unread = self.inbox.get(self.start..).unwrap_or_default();
        // Lines are copied in runs; a run ends where a dot is left out.
        let (mut run_start, mut line_start) = (0, 0);
        let mut ended = false;
        for at in memchr::memchr_iter(b'\n', unread) {
            let line = unread.get(line_start..=at).unwrap_or_default();
            let inner = line.strip_suffix(b"\r\n").ok_or(Ended::BareLineEnd)?;
            if memchr::memchr(b'\r', inner).is_some() {
                return Err(Ended::BareLineEnd);
            }
            if inner.first() == Some(&b'.') {
                message.extend_from_slice(unread.get(run_start..line_start).unwrap_or_default());
                run_start = line_start + 1;
                if inner == b"." {
                    ended = true;
                    run_start = at + 1;
                    line_start = at + 1;
                    break;
                }
            }
            line_start = at + 1;
        }
        message.extend_from_slice(unread.get(run_start..line_start).unwrap_or_default());
        self.start += line_start;
        Ok(ended)
    }
}
