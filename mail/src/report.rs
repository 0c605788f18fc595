//! What comes back: delivery status notifications (RFC 3464), the forms that older and stranger
//! servers use instead, and complaints (RFC 5965).
//!
//! # Contract
//! - [`read`] is a function of the message's octets. It believes nothing: who is named in a report
//!   is a claim, and whoever acts on it asks for proof that the report is about our message.
//! - Bounded: at most [`MAX_OCTETS`] of a message are looked at, [`MAX_PARTS`] parts, `MAX_LINES`
//!   lines of each, [`MAX_FATES`] recipients, and what comes before the field `Content-Type` has
//!   stood [`MAX_CONTENT_TYPES`] times.
//! - An automatic answer (RFC 3834) is no bounce, whatever it says.
//!
//! # Why
//! - **Fields of our own instead of mail-auth's `report` feature.** That reads DMARC aggregates
//!   too and brings an XML and a ZIP reader for them; what is used of a feedback report is five
//!   fields in the syntax that a status report has anyway.
//! - **Old forms by what they have in common.** Every server has its own words, and nearly all say
//!   "failed", name the address and show a copy of the message below. So the text before the copy
//!   is searched for the first and the second; a table of each server's layout would go stale. An
//!   address too many does no harm: only those that the message went to count.
//! - **`Content-Type` is counted before anything is parsed.** mail-parser builds messages within
//!   messages without a bound, and 20 000 of them overflow the stack when they are dropped; no
//!   level goes without such a field, or the one above it in a digest.

mod complaint;
mod fields;
mod notice;
mod status;

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};
use model::{
    address::EmailAddress,
    delivery::{Diagnosis, MAX_REPLY_OCTETS},
};

pub use self::complaint::{Complaint, FeedbackKind};

/// Octets of a message that are looked at.
pub const MAX_OCTETS: usize = 1024 * 1024;
/// Parts of a message that are looked at.
pub const MAX_PARTS: usize = 32;
/// How often the field `Content-Type` may stand in what is looked at.
pub const MAX_CONTENT_TYPES: usize = 40;
/// Recipients of one report.
pub const MAX_FATES: usize = 100;
/// Lines of a part that are looked at.
const MAX_LINES: usize = 4_000;

/// What became of a message, as its server tells (RFC 3464, section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It was not delivered, and will not be.
    Failed,
    /// Not yet.
    Delayed,
    /// It was delivered, or handed to somebody who gives no reports.
    Delivered,
}

/// What a report says of one recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Fate {
    /// What became of the message.
    pub action: Action,
    /// The address, as the sender knew it first where the report tells; then the one that it
    /// became on its way.
    pub addresses: Vec<EmailAddress>,
    /// Why.
    pub diagnosis: Diagnosis,
}

// An address that is printed by mistake must not become a leak.
impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fate({:?}, {} addresses)", self.action, self.addresses.len())
    }
}

/// What a message that came back is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It tells what became of a message.
    Delivery(Vec<Fate>),
    /// Somebody says something about a message that they got.
    Feedback(Complaint),
    /// A machine answers for somebody who is away, or the like.
    AutomaticReply,
    /// None of these.
    Other,
}

/// Two fields that people know a message by, decoded, each in one line of at most
/// [`MAX_REPLY_OCTETS`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headline {
    /// Who says that they wrote it.
    pub from: Option<String>,
    /// What they say that it is about.
    pub subject: Option<String>,
}

// An address that is printed by mistake must not become a leak.
impl std::fmt::Debug for Headline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Headline")
    }
}

/// The fields `From` and `Subject` of a message.
pub fn headline(octets: &[u8]) -> Headline {
    let octets = shallow(octets.get(..MAX_OCTETS).unwrap_or(octets));
    let Some(message) = MessageParser::default().parse_headers(octets) else {
        return Headline::default();
    };
    let from = message.from().and_then(|from| from.first()).and_then(|from| {
        let address = from.address.as_deref()?;
        Some(match from.name.as_deref() {
            Some(name) => one_line(&format!("{name} <{address}>")),
            None => one_line(address),
        })
    });
    Headline { from, subject: message.subject().map(one_line) }
}

/// Reads a message.
pub fn read(octets: &[u8]) -> Report {
    let octets = shallow(octets.get(..MAX_OCTETS).unwrap_or(octets));
    let Some(message) = MessageParser::default().parse(octets) else { return Report::Other };
    if let Some(complaint) = complaint::read(&message) {
        return Report::Feedback(complaint);
    }
    let mut fates = status::read(&message);
    if !fates.is_empty() {
        notice::explain(&message, &mut fates);
        return Report::Delivery(fates);
    }
    if notice::is_automatic_reply(&message) {
        return Report::AutomaticReply;
    }
    let fates = notice::read(&message);
    if fates.is_empty() { Report::Other } else { Report::Delivery(fates) }
}

/// What a message says, to be searched: its octets as they are, and what its parts and those of
/// messages inside it say, decoded. At most [`MAX_PARTS`] of each.
pub fn texts(octets: &[u8]) -> Vec<String> {
    let octets = octets.get(..MAX_OCTETS).unwrap_or(octets);
    let mut texts = vec![String::from_utf8_lossy(octets).into_owned()];
    if let Some(message) = MessageParser::default().parse(shallow(octets)) {
        for part in parts(&message) {
            texts.push(text_of(part));
            if let Some(inner) = part.message() {
                texts.extend(parts(inner).map(text_of));
            }
        }
    }
    texts
}

/// The beginning of a message that is too deep, for the copy below a report may be anything.
fn shallow(octets: &[u8]) -> &[u8] {
    const FIELD: &[u8] = b"content-type";
    let mut starts = memchr::memchr2_iter(b'c', b'C', octets).filter(|start| {
        let name = octets.get(*start..*start + FIELD.len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(FIELD))
    });
    match starts.nth(MAX_CONTENT_TYPES) {
        Some(end) => octets.get(..end).unwrap_or(octets),
        None => octets,
    }
}

/// The text of a part; that of a part in another character set as far as it can be told.
fn text_of(part: &mail_parser::MessagePart<'_>) -> String {
    match &part.body {
        PartType::Html(html) => mail_parser::decoders::html::html_to_text(html),
        PartType::Text(text) => text.to_string(),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => {
            String::from_utf8_lossy(octets).into_owned()
        }
        PartType::Message(_) | PartType::Multipart(_) => String::new(),
    }
}

/// The first parts of a message, but not those of messages inside it.
fn parts<'a, 'x>(
    message: &'a Message<'x>,
) -> impl Iterator<Item = &'a mail_parser::MessagePart<'x>> {
    message.parts.iter().take(MAX_PARTS)
}

/// The fields at the top of the message that a report is about, where it shows them.
fn returned_header(message: &Message<'_>) -> Vec<(String, String)> {
    for part in parts(message) {
        if let Some(inner) = part.message() {
            let known = |name: &str| {
                let value = inner.header_raw(name.to_owned())?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            };
            return ["Return-Path", "Message-ID", "To"].iter().filter_map(|n| known(n)).collect();
        }
        if part.is_content_type("text", "rfc822-headers") {
            return fields::block(&text_of(part));
        }
    }
    Vec::new()
}

/// The address in a field's value: after a type and `;`, within angle brackets, or alone.
fn address(value: &str) -> Option<EmailAddress> {
    let value = value.rsplit(';').next().unwrap_or(value);
    let inside = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    let text = inside.map_or(value, |(inside, _)| inside).trim();
    EmailAddress::parse(text.trim_matches(['"', '\''])).ok()
}

/// One line of printable text, cut where replies are.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX_REPLY_OCTETS {
            break;
        }
    }
    line.truncate(line.floor_char_boundary(MAX_REPLY_OCTETS));
    line
}
