//! Several messages in one request: all are taken over, or none is.
//!
//! Everything is found out before anything is written: who is refused, and why. Then all first
//! events are appended together, in one frame of the journal, and each message's actor is given its
//! content and goes on as if it had written its own.

use std::sync::Arc;

use eventlog::{Append, AppendError, HashPurpose, NewEvent, Sealed, Version};
use futures_util::future::join_all;
use model::{
    MessageId, StreamId, Timestamp,
    event::{KeyedHash, RequestHash},
    message::{Message, MessageEvent, MessageStatus, Refusal},
};

use crate::{
    Platform,
    admission::{Admitted, Room},
    entropy,
    error::{BatchError, SendError, SendRefusal},
    figures::Stopwatch,
    gateway::{Entry, Named, Prepared, first_half, octets, overloaded},
    letter::Content,
    message::{Msg, decide_first},
    node::Node,
    registry::Share,
    request::{Caller, IdempotencyKey, SendRequest, Sent},
    sourced::Sourced,
};

/// Most messages of one batch.
pub const MAX_BATCH: usize = 100;

impl Platform {
    /// Takes several messages over. Once this is answered, all are durable; an error means that
    /// none is, but for [`SendError::Unknown`].
    ///
    /// With an idempotency key a repetition of the same batch is answered as the first was. The
    /// requests' own keys are not looked at.
    pub async fn send_all(
        &self,
        caller: &Caller,
        requests: Vec<SendRequest>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Vec<Sent>, BatchError> {
        if requests.is_empty() || requests.len() > MAX_BATCH {
            return Err(BatchError::Whole(SendError::Internal));
        }
        let stopwatch = Stopwatch::start();
        let batch = Batch { node: self.node(), caller };
        let sent = batch.send(requests, key).await?;
        stopwatch.stop(&self.node().figures.accept_seconds);
        Ok(sent)
    }
}

struct Batch<'a> {
    node: &'a Arc<Node>,
    caller: &'a Caller,
}

/// The first events of a message, and what its actor is to have.
struct Drafted {
    message: MessageId,
    scheduled: bool,
    events: Vec<MessageEvent>,
    sealed: [Sealed; 2],
    content: Content,
}

impl Batch<'_> {
    async fn send(
        &self,
        requests: Vec<SendRequest>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Vec<Sent>, BatchError> {
        let places = self.admit(&requests)?;
        let names = self.names(&requests, key)?;
        if key.is_some()
            && let Some(sent) = self.earlier(&names).await?
        {
            return Ok(sent);
        }
        let drafted = self.draft(requests, &names, places).await?;
        match self.append(&drafted).await {
            Ok(()) => {}
            // Of two that race one wrote it: that one's answer is this one's too.
            Err(AppendError::Conflict { .. }) => {
                let sent = self.earlier(&names).await?;
                return sent.ok_or(BatchError::Whole(SendError::Unknown));
            }
            Err(AppendError::NotWritten(cause)) => {
                tracing::warn!(%cause, "a batch was not recorded");
                return Err(BatchError::Whole(SendError::Unavailable));
            }
            Err(error @ AppendError::Unknown(_)) => {
                tracing::warn!(%error, "a batch may have been recorded");
                return Err(BatchError::Whole(SendError::Unknown));
            }
            Err(error @ AppendError::Invalid(_)) => {
                tracing::error!(%error, "a batch could not be recorded");
                return Err(BatchError::Whole(SendError::Internal));
            }
        }
        Ok(drafted.into_iter().map(|drafted| self.hand_over(drafted)).collect())
    }

    /// Room in memory for each message, and one place for the request.
    fn admit(&self, requests: &[SendRequest]) -> Result<Vec<(Option<Admitted>, Room)>, BatchError> {
        let mut places = Vec::with_capacity(requests.len());
        for request in requests {
            let admitted = self.node.admission.try_admit(octets(request));
            let (admitted, room) = admitted.map_err(|_| overloaded(self.node))?;
            // A batch is one request, however many messages it has.
            places.push((places.is_empty().then_some(admitted), room));
        }
        Ok(places)
    }

    fn names(
        &self,
        requests: &[SendRequest],
        key: Option<&IdempotencyKey>,
    ) -> Result<Vec<Named>, BatchError> {
        let now = self.node.now();
        let Some(key) = key else {
            let name = |_| {
                let random = self.node.lots.bytes().map_err(|_| SendError::Internal)?;
                let message = MessageId::new(now, random);
                Ok(Named { message, request: None, exists: false })
            };
            return requests.iter().map(name).collect();
        };
        let whole = self.whole_hash(requests);
        let named = |place: u8| {
            // The first is named as if it were sent alone: one key is for one request, be it a
            // batch or not.
            let message = if place == 0 {
                self.entry(0).message_id(Some(key), now)?
            } else {
                let bytes = [self.caller.app.as_bytes(), &[1, place][..], key.as_str().as_bytes()];
                let hash = self.node.vault.keyed_hash(HashPurpose::IdempotencyKey, &bytes.concat());
                MessageId::from_bytes(first_half(hash))
            };
            Ok(Named { message, request: Some(whole), exists: false })
        };
        (0_u8..).take(requests.len()).map(named).collect()
    }

    /// By which a repetition of the batch is told from another one.
    fn whole_hash(&self, requests: &[SendRequest]) -> RequestHash {
        let entry = self.entry(0);
        let each: Vec<u8> =
            requests.iter().flat_map(|request| entry.request_hash(request).0).collect();
        let hash = self.node.vault.keyed_hash(HashPurpose::Request, &each);
        KeyedHash(first_half(hash))
    }

    const fn entry(&self, octets: u64) -> Entry<'_> {
        Entry { node: self.node, caller: self.caller, octets }
    }

    /// The answer to an earlier request with the same key; `None` when there was none.
    async fn earlier(&self, names: &[Named]) -> Result<Option<Vec<Sent>>, BatchError> {
        let Some(first) = names.first() else { return Ok(None) };
        let load =
            |message| Sourced::<Message>::load(&self.node.journal, StreamId::Message(message));
        let loaded = load(first.message).await.map_err(|_| SendError::Internal)?;
        let Some((_, accepted)) = loaded.state().accepted() else { return Ok(None) };
        if accepted.request.is_none() || accepted.request != first.request {
            let conflict = SendRefusal::Message(Refusal::IdempotencyConflict);
            return Err(BatchError::Whole(SendError::Refused(conflict)));
        }
        // The same batch has as many messages, and they were written together.
        let all = join_all(names.iter().map(|named| load(named.message))).await;
        let mut sent = Vec::with_capacity(names.len());
        for (named, loaded) in names.iter().zip(all) {
            let loaded = loaded.map_err(|_| SendError::Internal)?;
            let scheduled = loaded.state().scheduled_until().is_some();
            sent.push(answer(named.message, scheduled, true));
        }
        self.node.figures.replayed.increment(1);
        Ok(Some(sent))
    }

    /// Decides every message; all refusals together.
    async fn draft(
        &self,
        requests: Vec<SendRequest>,
        names: &[Named],
        places: Vec<(Option<Admitted>, Room)>,
    ) -> Result<Vec<Drafted>, BatchError> {
        let (mut drafted, mut refused) = (Vec::with_capacity(requests.len()), Vec::new());
        let all = requests.into_iter().zip(names).zip(places).enumerate();
        for (place, ((request, named), (_admitted, room))) in all {
            let entry = self.entry(octets(&request));
            let prepared = entry.prepare(request, named, room).await;
            let one = prepared.and_then(|prepared| self.decide(prepared).map_err(SendError::from));
            match one {
                Ok(one) => drafted.push(one),
                Err(SendError::Refused(refusal)) => refused.push((place, refusal)),
                Err(error) => return Err(BatchError::Whole(error)),
            }
        }
        if refused.is_empty() { Ok(drafted) } else { Err(BatchError::Refused(refused)) }
    }

    fn decide(&self, prepared: Prepared) -> Result<Drafted, Refusal> {
        let Prepared { message, accept, standing, content, sealed } = prepared;
        let events = decide_first(self.node, &accept, &standing)?;
        let scheduled = events.iter().any(|event| matches!(event, MessageEvent::Scheduled(_)));
        Ok(Drafted { message, scheduled, events, sealed, content })
    }

    async fn append(&self, drafted: &[Drafted]) -> Result<(), AppendError> {
        let now = self.node.now();
        let mut appends = Vec::with_capacity(drafted.len());
        for one in drafted {
            appends.push(append_of(one, self.caller, now).map_err(|_| {
                AppendError::NotWritten(eventlog::Cause::Io("no random bytes".into()))
            })?);
        }
        let stopwatch = Stopwatch::start();
        let appended = self.node.journal.log().append_all(appends).await;
        stopwatch.stop(&self.node.figures.append_seconds);
        appended.map(drop)
    }

    /// Gives a message that is durable to its actor. Where there is no room for one, its alarm
    /// wakes it.
    fn hand_over(&self, drafted: Drafted) -> Sent {
        let Drafted { message, scheduled, content, .. } = drafted;
        let node = self.node;
        node.figures.accepted.increment(1);
        if node.messages.cast(&message, Msg::Adopt(Box::new(content)), Share::Whole).is_err() {
            node.bell.notice(node.now());
        }
        answer(message, scheduled, false)
    }
}

fn append_of(
    drafted: &Drafted,
    caller: &Caller,
    now: Timestamp,
) -> Result<Append, entropy::NoEntropy> {
    let event = |event: &MessageEvent| {
        // They begin a message each, so that nothing of it stands before them.
        let cause = Message::default().cause(event, caller.by());
        Ok(NewEvent { id: entropy::event_id(now)?, data: event.encode(&cause) })
    };
    Ok(Append {
        stream: StreamId::Message(drafted.message),
        expected: Version::NONE,
        at: now,
        events: drafted.events.iter().map(event).collect::<Result<_, _>>()?,
        content: drafted.sealed.to_vec(),
    })
}

const fn answer(message: MessageId, scheduled: bool, idempotent_replay: bool) -> Sent {
    let status = if scheduled { MessageStatus::Scheduled } else { MessageStatus::Queued };
    Sent { message, status, idempotent_replay }
}
