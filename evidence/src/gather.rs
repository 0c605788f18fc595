//! Making a bundle.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eventlog::{
    ContentError, EventLog, Notary, NotaryError, Position, Purpose, ReadError, Recorded, ReplyKey,
    TreeHash, Vault, Version,
};
use model::{MessageId, StreamId, Timestamp, content::Head};
use serde_json::Value;

use crate::bundle::{Bundle, FORMAT, Proved, open_reply, sealed_reply, written};

/// Most events of one bundle. Fifty recipients tried for two days have a tenth of it.
pub const MAX_EVENTS: usize = 20_000;
/// Events read at once.
const PAGE: usize = 1_000;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The newest event is not yet in the tree: again in a moment.
    #[error("the newest event is not yet in the tree")]
    NotYet,
    /// More than [`MAX_EVENTS`].
    #[error("the message has more than {MAX_EVENTS} events")]
    TooMany,
    /// An event is not what was written.
    #[error("position {0}: the event is not readable")]
    Unreadable(Position),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing could be signed.
    #[error(transparent)]
    Notary(#[from] NotaryError),
}

/// The evidence of a message; `None` when there is none of this id. Blocks on the disk. `now`: the
/// time of the signature, if one is needed that covers the newest event.
pub fn gather(
    log: &dyn EventLog,
    vault: &Vault,
    notary: &Notary,
    message: MessageId,
    now: Timestamp,
) -> Result<Option<Bundle>, GatherError> {
    let events = read(log, message)?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
    let signed = notary.covering(last.position, now)?.ok_or(GatherError::NotYet)?;
    let size = signed.head().position;
    let reply_key = reply_key(log, vault, message, first);
    let prove = |recorded: &Recorded| -> Result<Proved, GatherError> {
        let proof = log.inclusion(recorded.position, size)?;
        let event: Value = serde_json::from_slice(&recorded.data)
            .map_err(|_| GatherError::Unreadable(recorded.position))?;
        let sealed = sealed_reply(recorded);
        let opened = reply_key.as_ref().zip(sealed.as_ref());
        Ok(Proved {
            position: recorded.position.get(),
            stream: recorded.stream,
            version: recorded.version.get(),
            id: recorded.id,
            at: written(recorded.at),
            event,
            reply: opened.and_then(|(key, sealed)| open_reply(key, message, sealed)),
            leaf: STANDARD.encode(recorded.to_bytes()),
            proof: proof.iter().map(TreeHash::to_string).collect(),
        })
    };
    let events = events.iter().map(prove).collect::<Result<_, _>>()?;
    let checkpoint = signed.to_string();
    Ok(Some(Bundle { format: FORMAT.to_owned(), message, checkpoint, events, reply_key }))
}

fn read(log: &dyn EventLog, message: MessageId) -> Result<Vec<Recorded>, GatherError> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let after = events.last().map_or(Version::NONE, |last| last.version);
        let page = log.read_stream(StreamId::Message(message), after, PAGE)?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
        if events.len() > MAX_EVENTS {
            return Err(GatherError::TooMany);
        }
    }
}

/// The key to the replies, which lies in the message's head; `first` is the message's first event.
/// `None` once the content was forgotten, or when it cannot be read. Blocks on the disk.
pub fn reply_key(
    log: &dyn EventLog,
    vault: &Vault,
    message: MessageId,
    first: &Recorded,
) -> Option<ReplyKey> {
    let sealed = match log.read_content(first.content.first()?) {
        Ok(sealed) => sealed,
        // What is known of the message is proved all the same.
        Err(ContentError::Forgotten | ContentError::Damaged { .. } | ContentError::Io(_)) => {
            return None;
        }
    };
    let opened = vault.open(Purpose::MessageHead, message.as_bytes(), &sealed).ok()?;
    let head = Head::from_bytes(&opened).ok()?;
    Some(ReplyKey::from_bytes(head.reply_key))
}
