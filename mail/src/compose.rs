//! From content to the bytes of a message (RFC 5322, RFC 2045 to 2047, RFC 2231, RFC 2387).
//!
//! A message is composed once and is the same for all its recipients; whoever is addressed in
//! secret (`bcc`) stands in no header. The same content, Message-ID and date give the same bytes,
//! so a signature may be made again at a later attempt and an ambiguous delivery can be recognised
//! by its receiver.
//!
//! # Why
//! - **Always 7-bit.** What is not short ASCII lines becomes quoted-printable or base64, so no
//!   relay has a reason to convert the body and break its signature, and 8BITMIME is never needed.
//!   The one exception is an address with a non-ASCII local part in a header, which only an
//!   SMTPUTF8 server may get.
//! - **Header text is encoded here, the body by mail-builder.** mail-builder leaves ASCII text
//!   alone even where it looks like an encoded word, so a subject `=?utf-8?Q?…?=` would arrive as
//!   something else than what was sent; here every header text reads back as it was given.
//! - **mail-builder makes the parts.** 7 µs for a text and HTML message of 6 KB, 29 µs with a file
//!   of 60 KB; lettre's builder takes eight times as long.
//! - **No trailing blanks.** A body with a line that ends in a blank is encoded, for relays strip
//!   such blanks and verifiers differ in how they treat blank lines at the end.

mod header;
mod mime;

use mail_builder::headers::date::Date;
use model::{
    Timestamp,
    content::{Body, Head, RecipientKind},
};

use self::header::Field;

/// Longest name of an extra header field: with it on a line of its own there is room for a value.
pub const MAX_HEADER_NAME_OCTETS: usize = 70;
/// Longest Message-ID or Content-ID, without brackets.
pub const MAX_ID_OCTETS: usize = 250;

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
    /// Where the recipient of bulk mail unsubscribes with one click (RFC 8058). A `List-Unsubscribe`
    /// among the extra header fields takes its place.
    pub unsubscribe: Option<&'a str>,
}

/// A message ready to be signed: every line ends CRLF and is at most 998 octets long, and it is
/// the same for every recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// The message.
    pub bytes: Vec<u8>,
    /// Whether an address in its headers is not ASCII, so that it may only go to a server that
    /// offers SMTPUTF8 (RFC 6531). In all other cases the message is 7-bit throughout.
    pub needs_smtputf8: bool,
}

// Printed by mistake, a message must not become a leak.
impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Composed({} bytes)", self.bytes.len())
    }
}

/// Why content is no message. Names no content.
///
/// The API refuses all of these before anything is stored; here they are refused again, for what
/// leaves this room goes to strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// There is neither text nor HTML.
    #[error("the message has neither a text nor an HTML body")]
    NoBody,
    /// A body has a NUL character.
    #[error("a body has a NUL character")]
    Nul,
    /// CR, LF or NUL in a subject, name, header value or file name.
    #[error("a header text has a line break or a NUL character")]
    LineBreak,
    /// The name of an extra header field is not a token or is too long.
    #[error("the name of an extra header field is not valid")]
    HeaderName,
    /// An extra header field is one that the server writes itself.
    #[error("an extra header field is one that the server writes itself")]
    ReservedHeader,
    /// The Message-ID, a Content-ID or a link is not `printable ASCII` without brackets and blanks.
    #[error("a Message-ID, Content-ID or link is not valid")]
    Id,
}

/// Turns content into a message.
pub fn compose(outgoing: &Outgoing<'_>) -> Result<Composed, ComposeError> {
    let Outgoing { head, body, message_id, date, unsubscribe } = *outgoing;
    let mut bytes = Vec::with_capacity(estimated_octets(body));
    Field::start(&mut bytes, "From").mailboxes([&head.from]);
    let of_kind = |kind| head.recipients.iter().filter(move |recipient| recipient.kind == kind);
    for (name, kind) in [("To", RecipientKind::To), ("Cc", RecipientKind::Cc)] {
        if of_kind(kind).next().is_some() {
            let mailboxes = of_kind(kind).map(|recipient| &recipient.mailbox);
            Field::start(&mut bytes, name).mailboxes(mailboxes);
        }
    }
    if head.recipients.iter().all(|recipient| recipient.kind == RecipientKind::Bcc) {
        // An empty group (RFC 5322, section 3.4): some receivers dislike mail to nobody.
        Field::start(&mut bytes, "To").atoms("undisclosed-recipients:;");
    }
    if !head.reply_to.is_empty() {
        Field::start(&mut bytes, "Reply-To").mailboxes(&head.reply_to);
    }
    Field::start(&mut bytes, "Subject").exactly(one_line(&head.subject)?);
    let seconds = i64::try_from(date.as_millis() / 1_000).unwrap_or_default();
    Field::start(&mut bytes, "Date").atoms(&Date::new(seconds).to_rfc822());
    Field::start(&mut bytes, "Message-ID").atoms(&format!("<{}>", id(message_id)?));
    for (name, value) in &body.headers {
        check_name(name)?;
        // The field of its own wins over an extra header; two would be a malformed message.
        if name.eq_ignore_ascii_case("Reply-To") && !head.reply_to.is_empty() {
            continue;
        }
        Field::start(&mut bytes, name).loosely(one_line(value)?);
    }
    let own = |(name, _): &(String, String)| name.eq_ignore_ascii_case("List-Unsubscribe");
    if let Some(link) = unsubscribe.filter(|_| !body.headers.iter().any(own)) {
        Field::start(&mut bytes, "List-Unsubscribe").atoms(&format!("<{}>", id(link)?));
        Field::start(&mut bytes, "List-Unsubscribe-Post").atoms("List-Unsubscribe=One-Click");
    }
    bytes.extend_from_slice(b"MIME-Version: 1.0\r\n");
    let needs_smtputf8 = !bytes.is_ascii();

    mime::tree(body, message_id)?.write_part(&mut bytes);
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(Composed { bytes, needs_smtputf8 })
}

/// Enough for the common case: base64 makes four octets of three, and lines end.
fn estimated_octets(body: &Body) -> usize {
    let texts =
        body.text.as_ref().map_or(0, String::len) + body.html.as_ref().map_or(0, String::len);
    let files: usize = body.attachments.iter().map(|file| file.bytes.len() + 512).sum();
    2_048 + texts + texts / 4 + files + files / 2
}

fn one_line(text: &str) -> Result<&str, ComposeError> {
    if text.contains(['\r', '\n', '\0']) { Err(ComposeError::LineBreak) } else { Ok(text) }
}

/// An id as it stands between angle brackets (RFC 5322, section 3.6.4), generously.
fn id(text: &str) -> Result<&str, ComposeError> {
    let fits = !text.is_empty()
        && text.len() <= MAX_ID_OCTETS
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'));
    if fits { Ok(text) } else { Err(ComposeError::Id) }
}

/// Field names that the server owns; besides these every `Content-…`.
const RESERVED: [&str; 13] = [
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "date",
    "subject",
    "message-id",
    "mime-version",
    "dkim-signature",
    "return-path",
    "received",
    "authentication-results",
];

fn check_name(name: &str) -> Result<(), ComposeError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_HEADER_NAME_OCTETS || !name.bytes().all(is_token) {
        return Err(ComposeError::HeaderName);
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("content-") || RESERVED.contains(&&*lower) {
        return Err(ComposeError::ReservedHeader);
    }
    Ok(())
}
