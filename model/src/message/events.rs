//! What happens to a message.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    address::DomainName,
    content::RecipientKind,
    delivery::{BounceClass, EnhancedCode, Fault, Peer, Stage, TlsDemand, Trouble},
    domain::Selector,
    event::{KeyedHash, RecipientHash, RequestHash, SealedText, events},
    ids::{ApiKeyId, AppId, DomainId, RecipientIndex, TemplateId, TenantId},
    pause::Who,
    time::Timestamp,
};

events! {
    /// An event of a message.
    MessageEvent {
        /// The message is ours to deliver: the caller has, or gets, its 202.
        Accepted = "message.accepted" v 1,
        /// It waits for a time that the caller named.
        Scheduled = "message.scheduled" v 1,
        /// A recipient is on the suppression list and gets nothing.
        Suppressed = "message.suppressed" v 1,
        /// The receiver took responsibility for a recipient.
        Delivered = "message.delivered" v 1,
        /// An attempt did not settle a recipient; there is a next one.
        Deferred = "message.deferred" v 1,
        /// The receiver refused a recipient for good.
        Bounced = "message.bounced" v 1,
        /// We gave up on a recipient.
        Failed = "message.failed" v 1,
        /// A recipient's delivery was taken back.
        Canceled = "message.canceled" v 1,
        /// A report says that a recipient did not get it after all.
        Returned = "message.returned" v 1,
        /// A recipient complained about it.
        Complained = "message.complained" v 1,
        /// Somebody wants those who wait for another attempt to have it now.
        RetryRequested = "message.retry_requested" v 1,
    }
}

impl MessageEvent {
    /// The recipient that it is about; `None`: it is about all.
    pub const fn recipient(&self) -> Option<RecipientIndex> {
        match self {
            Self::Accepted(_) | Self::Scheduled(_) | Self::RetryRequested(_) => None,
            Self::Suppressed(event) => Some(event.recipient),
            Self::Delivered(event) => Some(event.attempt.recipient),
            Self::Deferred(event) => Some(event.attempt.recipient),
            Self::Bounced(event) => Some(event.attempt.recipient),
            Self::Failed(event) => Some(event.recipient),
            Self::Canceled(event) => Some(event.recipient),
            Self::Returned(event) => Some(event.recipient),
            Self::Complained(event) => Some(event.recipient),
        }
    }
}

/// A caller's label, shown in lists and statistics. Tags are kept with the events, for ever: they
/// are for kinds of mail, not for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Tag(Box<str>);

impl Tag {
    /// Longest tag, in octets.
    pub const MAX_OCTETS: usize = 64;

    /// Reads a tag: 1 to 64 octets, no control characters, no white space at the ends.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = !text.is_empty()
            && text.len() <= Self::MAX_OCTETS
            && text.trim() == text
            && !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
        well_formed.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a tag"))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// See [`MessageEvent::Accepted`]. Its content lies beside it: head first, then body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whose message it is.
    pub tenant: TenantId,
    /// The app that sent it.
    pub app: AppId,
    /// The key that the request came with.
    pub key: ApiKeyId,
    /// The sending domain, verified at that time.
    pub domain: DomainId,
    /// Its name.
    pub from: DomainName,
    /// Who gets it; [`RecipientIndex`] counts in this order.
    pub recipients: Vec<AcceptedRecipient>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// The template that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateUse>,
    /// What is demanded of the way to its receivers.
    #[serde(default, skip_serializing_if = "TlsDemand::is_opportunistic")]
    pub tls: TlsDemand,
    /// Whether it is bulk mail, which its recipient can unsubscribe from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bulk: bool,
    /// Size of the content, in octets.
    pub size: u64,
    /// When trying ends.
    pub expires_at: Timestamp,
    /// Set when the request had an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestHash>,
}

/// What a message was made with: a version never changes, so this says for ever what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TemplateUse {
    /// The template.
    pub id: TemplateId,
    /// Which version of it.
    pub version: u32,
}

/// A recipient without saying who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRecipient {
    /// How it is addressed.
    pub kind: RecipientKind,
    /// Its mail domain.
    pub domain: DomainName,
    /// By which it is found again.
    pub hash: RecipientHash,
}

/// See [`MessageEvent::Scheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Not before this time.
    pub until: Timestamp,
}

/// See [`MessageEvent::Suppressed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// Why it is on the list.
    pub reason: SuppressionReason,
}

/// Why an address is on the suppression list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    /// It does not exist.
    Bounce,
    /// Its owner complained.
    Complaint,
    /// Somebody put it there.
    Manual,
    /// Its owner wants no bulk mail any more (RFC 8058); other mail goes on.
    Unsubscribe,
}

impl SuppressionReason {
    /// Whether an address that is listed for this gets a message, bulk or not.
    pub const fn lets_through(self, bulk: bool) -> bool {
        matches!(self, Self::Unsubscribe) && !bulk
    }

    /// Whether an address that is listed for this is listed anew for another reason.
    pub fn yields_to(self, other: Self) -> bool {
        self == Self::Unsubscribe && other != self
    }
}

/// One attempt at one recipient, as far as it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// The how many-th attempt at it, from 1.
    pub attempt: u16,
    /// How far it got.
    pub stage: Stage,
    /// What was answered there.
    #[serde(flatten)]
    pub answer: RecordedAnswer,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// What was transmitted, once all of it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// A message as it was transmitted, without saying what it says: its signature, which nobody else
/// can make, keeps guesses of it from being tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sent {
    /// Of headers, signatures and body, before dots were doubled (RFC 5321, section 4.5.2).
    pub sha256: Sha256,
    /// Their length.
    pub octets: u64,
    /// The selectors of the sending domain's DKIM keys that signed it.
    pub dkim: Vec<Selector>,
}

/// A SHA-256, written in lower-case hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KeyedHash(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        KeyedHash::deserialize(deserializer).map(|KeyedHash(bytes)| Self(bytes))
    }
}

/// An answer as it may stand in the log: codes in clear, text sealed under the message's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedAnswer {
    /// The server's reply.
    Reply {
        /// The three-digit code.
        code: u16,
        /// The enhanced status code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enhanced: Option<EnhancedCode>,
        /// The text, sealed: it can echo an address.
        text: SealedText,
    },
    /// No reply.
    Fault(Fault),
}

/// See [`MessageEvent::Delivered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The attempt that did it.
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// See [`MessageEvent::Deferred`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// The attempt that did not do it.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// When the next one is due.
    pub next_attempt_at: Timestamp,
    /// The receiver may have taken the message all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outcome_unknown: bool,
    /// What of ours is to be mended, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// See [`MessageEvent::Bounced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounced {
    /// The attempt that was refused.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// Why.
    pub class: BounceClass,
    /// The version of the rules that say so; absent before versions were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    /// What of ours is to be mended, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// See [`MessageEvent::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// How many attempts there were.
    pub attempt: u16,
    /// Why we gave up.
    pub reason: FailureReason,
}

/// Why we gave up on a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The time for trying ran out.
    Expired,
    /// The content was removed before delivery.
    ContentGone,
    /// The content could not be turned into a message.
    ContentInvalid,
}

/// See [`MessageEvent::Canceled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canceled {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// Why; absent: the caller took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
}

/// Why a delivery was taken back by somebody else than the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The recipient is to be forgotten.
    Erasure,
}

/// See [`MessageEvent::Returned`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// Why.
    pub class: BounceClass,
    /// The version of the rules that say so; absent before versions were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    /// What of ours is to be mended, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The reply code that the report tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The enhanced status code that it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<EnhancedCode>,
    /// Its words, sealed: they can echo an address. Empty when they could not be.
    pub text: SealedText,
    /// Whether the recipient had counted as delivered until now.
    pub was_delivered: bool,
}

/// See [`MessageEvent::Complained`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complained {
    /// Which recipient.
    pub recipient: RecipientIndex,
}

/// See [`MessageEvent::RetryRequested`]. Every recipient that is open is due at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRequested {
    /// Who asked.
    pub by: Who,
}
