//! What callers ask for, and what they are told.

use std::{collections::BTreeMap, fmt};

use model::{
    ApiKeyId, AppId, By, MessageId, TemplateId, TenantId, Timestamp,
    address::Mailbox,
    content::Body,
    delivery::TlsDemand,
    message::{MessageStatus, Tag},
    retry::Lifetime,
    template::Slug,
};
use serde_json::{Map, Value};

/// Who asks: known from the API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whose app it is.
    pub tenant: TenantId,
    /// The app that sends.
    pub app: AppId,
    /// The key that the request came with.
    pub key: ApiKeyId,
}

impl Caller {
    /// What the caller's requests are recorded to come of.
    pub const fn by(&self) -> By {
        By::Key(self.key)
    }
}

/// A caller's name for a request, under which it is carried out once.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Longest key, in octets.
    pub const MAX_OCTETS: usize = 256;

    /// Reads a key: 1 to 256 printable ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        ((1..=Self::MAX_OCTETS).contains(&text.len()) && printable).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// A caller's key can be built from an order number or an address: it stays out of logs.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// A template as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateRef {
    /// By its identifier.
    Id(TemplateId),
    /// By its name within the app.
    Slug(Slug),
    /// By what can name none. To callers an id is opaque: a garbled one is unknown, not wrong.
    Unknown,
}

impl TemplateRef {
    /// Reads either form.
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.parse().ok().map(Self::Id);
        id.or_else(|| Slug::parse(text).map(Self::Slug))
    }
}

/// A template and what is put into it.
#[derive(Clone, PartialEq, Eq)]
pub struct TemplateCall {
    /// Which template.
    pub template: TemplateRef,
    /// Which version; the newest when absent.
    pub version: Option<u32>,
    /// What is put into it.
    pub variables: Map<String, Value>,
}

// What is put into a template is somebody's name and more.
impl fmt::Debug for TemplateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TemplateCall({:?}, {:?})", self.template, self.version)
    }
}

/// A message to be sent. Its texts were checked where they came in.
#[derive(Clone, Default)]
pub struct SendRequest {
    /// The author; the app's default sender when absent.
    pub from: Option<Mailbox>,
    /// Recipients named in the `To` header.
    pub to: Vec<Mailbox>,
    /// Recipients named in the `Cc` header.
    pub cc: Vec<Mailbox>,
    /// Recipients named nowhere.
    pub bcc: Vec<Mailbox>,
    /// Where answers go.
    pub reply_to: Vec<Mailbox>,
    /// The subject line; with a template it may be empty, and then is the template's.
    pub subject: String,
    /// What is sent; its texts are the template's when there is one.
    pub body: Body,
    /// What makes subject and texts.
    pub template: Option<TemplateCall>,
    /// The caller's labels.
    pub tags: Vec<Tag>,
    /// The caller's own values.
    pub metadata: BTreeMap<String, String>,
    /// What is demanded of the way to the receivers.
    pub tls: TlsDemand,
    /// Whether it is bulk mail, which its one recipient can unsubscribe from.
    pub bulk: bool,
    /// Not before this time.
    pub scheduled_at: Option<Timestamp>,
    /// How long it is worth sending, from then on.
    pub expires_after: Option<Lifetime>,
    /// Makes a repetition of this request answer as the first did.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl fmt::Debug for SendRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipients = self.to.len() + self.cc.len() + self.bcc.len();
        write!(f, "SendRequest({recipients} recipients)")
    }
}

/// A message was taken over: it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: MessageId,
    /// How it stands.
    pub status: MessageStatus,
    /// Whether an earlier request with the same idempotency key did it.
    pub idempotent_replay: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_keys_are_short_and_printable() {
        assert!(IdempotencyKey::parse("order 4711/a").is_some());
        assert!(IdempotencyKey::parse(&"k".repeat(256)).is_some());
        for text in ["", "a\nb", "é", "\u{7f}", &"k".repeat(257)] {
            assert_eq!(IdempotencyKey::parse(text), None, "{text:?}");
        }
    }
}
