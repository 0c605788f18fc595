//! From content to the bytes of a message (RFC 5322, RFC 2045 to 2047, RFC 2231).

use model::{
    Timestamp,
    content::{Body, Head},
};

/// What a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Who and about what.
    pub head: &'a Head,
    /// What is sent.
    pub body: &'a Body,
    /// The Message-ID without its angle brackets; the same at every attempt.
    pub message_id: &'a str,
    /// The `Date` header.
    pub date: Timestamp,
}

/// A message ready to be signed: every line ends CRLF, and it is the same for every recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// The message.
    pub bytes: Vec<u8>,
    /// Whether an address in its headers is not ASCII, so that it may only go to a server that
    /// offers SMTPUTF8 (RFC 6531). In all other cases the message is 7-bit throughout.
    pub needs_smtputf8: bool,
}

/// Why content is no message. Names no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// Placeholder.
    #[error("there is neither a text nor an HTML body")]
    NoBody,
}

/// Composes.
pub fn compose(_outgoing: &Outgoing<'_>) -> Result<Composed, ComposeError> {
    todo!()
}
