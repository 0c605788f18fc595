//! Feedback reports (RFC 5965): somebody says that they did not want a message.

use mail_parser::{Message, MimeHeaders as _};
use model::address::EmailAddress;

use super::{
    MAX_FATES, address,
    fields::{block, get},
    parts, returned_header, text_of,
};

/// What is said (RFC 5965, section 7.3, and the IANA registry "Feedback Report Type Values").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedbackKind {
    /// The message is unwanted: `abuse`, `fraud`, `virus`, `opt-out` and what the registry does
    /// not know.
    Unwanted,
    /// It was wrongly taken for spam.
    NotSpam,
    /// A message failed authentication (RFC 6591). No person complained.
    AuthenticationFailure,
}

/// A feedback report.
#[derive(Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is said.
    pub kind: FeedbackKind,
    /// Envelope senders that the report tells of: its own fields first, then the copy's
    /// `Return-Path`.
    pub senders: Vec<EmailAddress>,
    /// Recipients that it tells of.
    pub recipients: Vec<EmailAddress>,
}

// An address that is printed by mistake must not become a leak.
impl std::fmt::Debug for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Complaint({:?})", self.kind)
    }
}

pub(super) fn read(message: &Message<'_>) -> Option<Complaint> {
    let part = parts(message).find(|part| part.is_content_type("message", "feedback-report"))?;
    let fields = block(&text_of(part));
    let kind = match get(&fields, "feedback-type").unwrap_or_default().to_ascii_lowercase().as_str()
    {
        "not-spam" => FeedbackKind::NotSpam,
        "auth-failure" | "dmarc" | "dkim" => FeedbackKind::AuthenticationFailure,
        _ => FeedbackKind::Unwanted,
    };
    let copy = returned_header(message);
    let all = |name: &str| {
        fields
            .iter()
            .filter(|(known, _)| known == name)
            .filter_map(|(_, value)| address(value))
            .take(MAX_FATES)
            .collect::<Vec<_>>()
    };
    let mut senders = all("original-mail-from");
    senders.extend(get(&copy, "return-path").and_then(address));
    let mut recipients = all("original-rcpt-to");
    recipients.extend(get(&copy, "to").and_then(address));
    Some(Complaint { kind, senders, recipients })
}
