//! Checking a bundle with nothing but a public key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eventlog::{
    Position, Recorded, SignedCheckpoint, TreeHash, VerifierKey, Version, verify_inclusion,
};
use model::{MessageId, StreamId, Timestamp};
use serde_json::Value;

use crate::bundle::{Bundle, FORMAT, Proved, open_reply, sealed_reply, written};

/// Longest bundle that is read, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 256 * 1024 * 1024;

/// What a bundle proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of this message,
    pub message: MessageId,
    /// so many events were recorded,
    pub events: u64,
    /// up to this position,
    pub last_position: Position,
    /// before this time, by the clock of the server that signed.
    pub signed_at: Timestamp,
    /// So many texts of replies are those that were recorded.
    pub replies: u64,
}

/// The first thing in a bundle that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not a bundle, or one of a later format.
    #[error("not a bundle of evidence: {0}")]
    NotABundle(String),
    /// The checkpoint is none, or the key did not sign it.
    #[error("the checkpoint was not signed by {0}")]
    NotSigned(String),
    /// It holds no event.
    #[error("there is no event")]
    Empty,
    /// An event does not hold.
    #[error("event {place}: {what}")]
    Event {
        /// The how many-th, from 1.
        place: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Checks a bundle's text against the instance's public key.
pub fn verify(text: &[u8], key: &VerifierKey) -> Result<Report, Flaw> {
    let not_a_bundle = |why: String| Flaw::NotABundle(why);
    if text.len() > MAX_BUNDLE_BYTES {
        return Err(not_a_bundle("it is too long".to_owned()));
    }
    let bundle: Bundle =
        serde_json::from_slice(text).map_err(|error| not_a_bundle(error.to_string()))?;
    if bundle.format != FORMAT {
        return Err(not_a_bundle(format!("its format is not {FORMAT}")));
    }
    let signed: SignedCheckpoint =
        bundle.checkpoint.parse().map_err(|_| Flaw::NotSigned(key.name().to_owned()))?;
    if !signed.is_signed_by(key) {
        return Err(Flaw::NotSigned(key.name().to_owned()));
    }
    let mut before: Option<Recorded> = None;
    let mut replies = 0;
    for (index, proved) in bundle.events.iter().enumerate() {
        let flaw = |what| Flaw::Event { place: index + 1, what };
        let recorded = proved_event(proved, &signed).map_err(flaw)?;
        if recorded.stream != StreamId::Message(bundle.message) {
            return Err(flaw("it is not of this message"));
        }
        let (version, position) =
            before.as_ref().map_or((Version::NONE, Position::START), |b| (b.version, b.position));
        if recorded.version != version.next() {
            return Err(flaw("an event before it is left out"));
        }
        if recorded.position <= position {
            return Err(flaw("it stands before the one before it"));
        }
        if let Some(text) = &proved.reply {
            let opened = sealed_reply(&recorded).zip(bundle.reply_key.as_ref());
            let opened = opened.and_then(|(sealed, key)| open_reply(key, bundle.message, &sealed));
            if opened.as_ref() != Some(text) {
                return Err(flaw("the reply is not the one that was recorded"));
            }
            replies += 1;
        }
        before = Some(recorded);
    }
    let last = before.ok_or(Flaw::Empty)?;
    Ok(Report {
        message: bundle.message,
        events: last.version.get(),
        last_position: last.position,
        signed_at: signed.at(),
        replies,
    })
}

/// The event that a leaf holds, if it is in the signed tree and what is shown beside it.
fn proved_event(proved: &Proved, signed: &SignedCheckpoint) -> Result<Recorded, &'static str> {
    let leaf = STANDARD.decode(&proved.leaf).map_err(|_| "the leaf is not base 64")?;
    let recorded = Recorded::from_bytes(&leaf).ok_or("the leaf is not an event")?;
    let steps = proved.proof.iter().map(|hash| TreeHash::from_base64(hash));
    let proof: Vec<TreeHash> = steps.collect::<Option<_>>().ok_or("the proof is not of hashes")?;
    let head = signed.head();
    let index = recorded.position.get().checked_sub(1).ok_or("it has no position")?;
    let hash = TreeHash::of_leaf(&leaf);
    if !verify_inclusion(hash, index, head.position.get(), &proof, head.root) {
        return Err("it is not in the signed tree");
    }
    let event: Value =
        serde_json::from_slice(&recorded.data).map_err(|_| "the event is not readable")?;
    let shown = (proved.position, proved.stream, proved.version, proved.id);
    let holds = shown
        == (recorded.position.get(), recorded.stream, recorded.version.get(), recorded.id)
        && proved.at == written(recorded.at)
        && proved.event == event;
    if holds { Ok(recorded) } else { Err("what is shown is not what is proved") }
}
