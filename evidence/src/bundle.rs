//! The form of a bundle.

use eventlog::{Recorded, ReplyKey};
use model::{
    EventId, MessageId, StreamId, Timestamp,
    event::{Event, SealedText},
    message::{Attempt, MessageEvent, RecordedAnswer},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What [`Bundle::format`] says.
pub(crate) const FORMAT: &str = "lumora-evidence-1";

/// A message's events with their proofs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    /// `lumora-evidence-1`.
    pub format: String,
    /// The message.
    pub message: MessageId,
    /// The signed checkpoint in whose tree the events are, as text.
    pub checkpoint: String,
    /// The events, the oldest first.
    pub events: Vec<Proved>,
    /// Opens the sealed texts of replies; absent once the content was forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_key: Option<ReplyKey>,
}

/// One event and its proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proved {
    /// Its place in the log.
    pub position: u64,
    /// Whose event.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: u64,
    /// Its id.
    pub id: EventId,
    /// When it was recorded, RFC 3339.
    pub at: String,
    /// The event itself.
    pub event: Value,
    /// What the receiver's server said, opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Its stored bytes, base 64: what is proved.
    pub leaf: String,
    /// The hashes beside its way to the root, base 64, the lowest first.
    pub proof: Vec<String>,
}

/// How a time is written.
pub(crate) fn written(at: Timestamp) -> String {
    at.to_string()
}

/// The sealed text of a reply that an event holds.
pub(crate) fn sealed_reply(recorded: &Recorded) -> Option<SealedText> {
    let Ok(Event::Message(event)) = Event::decode(recorded.stream, &recorded.data) else {
        return None;
    };
    let attempt: Attempt = match event {
        MessageEvent::Delivered(event) => event.attempt,
        MessageEvent::Deferred(event) => event.attempt,
        MessageEvent::Bounced(event) => event.attempt,
        _ => return None,
    };
    match attempt.answer {
        RecordedAnswer::Reply { text, .. } if !text.0.is_empty() => Some(text),
        _ => None,
    }
}

/// Opens the text of a reply to `message`; `None` when it is not sealed with this key.
pub fn open_reply(key: &ReplyKey, message: MessageId, sealed: &SealedText) -> Option<String> {
    let sealed = eventlog::Sealed::from_base64(&sealed.0).ok()?;
    let plain = key.open(message.as_bytes(), &sealed).ok()?;
    Some(String::from_utf8_lossy(&plain).into_owned())
}
