//! Forgetting a person: what concerns them is found and named, their deliveries are ended, all
//! content is overwritten, and that it is done is recorded.
//!
//! # Why
//! - **An event before each thing that cannot be taken back.** After a crash an erasure is taken up
//!   where it was: it is looked for again unless all was found, and what is overwritten already is
//!   overwritten again.
//! - **The whole message goes**, whoever else it went to: one record holds all addresses, and a body
//!   that speaks to several may speak of any of them. So content waits until the message has ended
//!   for all; the delivery to the person themselves is ended at once.
//! - **A search through everything**: an address stands in texts, headers and attachments, too, and
//!   an index of that would be what is to be forgotten. Erasures are rare, and content is kept for
//!   days.
//! - **One at a time**: it is disk work that should not crowd out deliveries.

mod mentions;
mod search;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use eventlog::{
    ContentError, ContentLocation, MAX_READ_EVENTS, Position, Purpose, ReadError, Sealed, Version,
};
use model::{
    After, By, Cause, ErasureId, Event, LetterId, MessageId, StreamId, TenantId, Timestamp,
    address::EmailAddress,
    erasure::{
        self, Command, Erasure, ErasureEvent, Overwritten, PersonErasureRequested, PersonFound,
    },
    event::RecipientHash,
    pause::Who,
    profile::{Profile as _, SuppressionProfile},
    suppression::{self, Suppression},
};
use projections::{ErasureView, QueryError};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Notify, oneshot};

use self::{
    mentions::Needle,
    search::{Found, Search},
};
use crate::{
    Platform,
    error::CancelError,
    governed::{Governed, Governor, Undone, carry_out, carry_out_with},
    message,
    node::Node,
    registry::{Registry, Share},
    sourced::Aggregate,
    suppressions::{recipient_hash, suppression_id},
};

/// Erasures of one tenant that are not done, at the most.
pub const MAX_OPEN_ERASURES: usize = 100;
/// Erasures of all tenants that are looked at in one round.
const MOST_IN_A_ROUND: usize = 10_000;
/// How long those that wait for messages to end are left alone, at first and at the most.
const FIRST_WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 60_000;
/// How long a request may take to show.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);

/// One erasure.
pub(crate) type ErasureActor = Governor<Erasure>;

impl Aggregate for Erasure {
    type Event = ErasureEvent;

    fn own(event: Event) -> Option<ErasureEvent> {
        match event {
            Event::Erasure(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &ErasureEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &ErasureEvent, _at: Timestamp) {
        Self::evolve(self, event);
    }
}

impl Governed for Erasure {
    type Id = ErasureId;
    type Command = Command;
    type Refusal = Infallible;

    fn stream(id: ErasureId) -> StreamId {
        StreamId::Erasure(id)
    }

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<ErasureEvent>, Infallible> {
        Ok(erasure::decide(self, command))
    }

    fn registry(node: &Node) -> &Arc<Registry<ErasureActor>> {
        &node.erasures
    }
}

/// Who works at erasures, and what they know between rounds.
#[derive(Default)]
pub(crate) struct Desk {
    asked: Notify,
    /// Whose content is overwritten, by erasure: not again in each round that waits for others.
    done: tokio::sync::Mutex<HashMap<ErasureId, HashSet<MessageId>>>,
}

/// Why a person is not forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// More than [`MAX_OPEN_ERASURES`] of the tenant are not done.
    #[error("100 erasures are under way")]
    TooMany,
    /// The record cannot be read or written now.
    #[error("the record cannot be written now")]
    Unavailable,
    /// A fault of ours.
    #[error("an internal fault")]
    Internal,
}

/// Why a round came to nothing; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("it could not be recorded")]
    NotRecorded,
    #[error("the work was broken off")]
    BrokenOff,
}

impl From<Undone<Infallible>> for Stuck {
    fn from(_: Undone<Infallible>) -> Self {
        Self::NotRecorded
    }
}

impl Platform {
    /// Begins to forget a person in all that a tenant has now. It goes on by itself while the
    /// platform runs.
    ///
    /// # Errors
    /// Too many are under way, or it cannot be recorded.
    pub async fn erase(
        &self,
        tenant: TenantId,
        email: &EmailAddress,
        by: Who,
    ) -> Result<ErasureView, EraseError> {
        let node = self.node();
        let read = node.read.clone();
        let open = move || read.erasures().open_of(tenant, MOST_IN_A_ROUND);
        let open = node.blocking.run(open).await.ok_or(EraseError::Internal)?;
        if open.map_err(|_| EraseError::Internal)? >= MAX_OPEN_ERASURES {
            return Err(EraseError::TooMany);
        }
        let id = node.lots.bytes().map_err(|_| EraseError::Internal)?;
        let id = ErasureId::new(node.now(), id);
        let profile = SuppressionProfile { email: email.clone() }.to_bytes();
        let sealed = node.vault.seal(Purpose::TenantProfile, id.as_bytes(), &profile);
        let sealed = sealed.map_err(|_| EraseError::Internal)?;
        let person = recipient_hash(node, email);
        let request = Command::Request(PersonErasureRequested { tenant, person, by });
        let requested =
            carry_out_with::<Erasure>(node, id, vec![request], vec![sealed], cause(node, by)).await;
        requested.map_err(|undone| match undone {
            Undone::Unavailable => EraseError::Unavailable,
            Undone::Internal => EraseError::Internal,
        })?;
        let head = *node.journal.log().head().borrow();
        if !node.read.caught_up(head, VISIBLE_WITHIN).await {
            tracing::warn!(erasure = %id, "an erasure shows late");
        }
        node.erasing.asked.notify_one();
        self.erasure(id).await
    }

    /// Works at an erasure until it is done or waits for messages that have not ended: how it
    /// stands then. While the platform delivers, this happens by itself.
    ///
    /// # Errors
    /// There is none of this id, or the record fails.
    pub async fn pursue_erasure(&self, id: ErasureId) -> Result<ErasureView, EraseError> {
        pursue(self.node(), id).await.map_err(|error| {
            tracing::error!(erasure = %id, %error, "an erasure did not come further");
            EraseError::Unavailable
        })?;
        let head = *self.node().journal.log().head().borrow();
        self.node().read.caught_up(head, VISIBLE_WITHIN).await;
        self.erasure(id).await
    }

    /// Those of the messages that were found which have not ended: what an erasure waits for.
    /// Blocks.
    ///
    /// # Errors
    /// The read models cannot be read.
    pub fn erasure_waits_for(&self, view: &ErasureView) -> Result<Vec<MessageId>, QueryError> {
        if view.state.erased().is_some() {
            return Ok(Vec::new());
        }
        let mut waits = Vec::new();
        for message in view.state.messages() {
            if !has_ended(self.node(), *message)? {
                waits.push(*message);
            }
        }
        Ok(waits)
    }

    async fn erasure(&self, id: ErasureId) -> Result<ErasureView, EraseError> {
        let read = self.node().read.clone();
        let view = self.node().blocking.run(move || read.erasures().get(id)).await;
        view.and_then(Result::ok).flatten().ok_or(EraseError::Internal)
    }
}

/// Look whether there is something to do.
pub(crate) struct Round;

/// The actor.
pub(crate) struct EraserActor;

/// What it knows.
pub(crate) struct State {
    node: Arc<Node>,
    wait_ms: u64,
}

impl Actor for EraserActor {
    type Msg = Round;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        myself: ActorRef<Round>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        myself.send_message(Round)?;
        Ok(State { node, wait_ms: FIRST_WAIT_MS })
    }

    async fn handle(
        &self,
        myself: ActorRef<Round>,
        Round: Round,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let node = Arc::clone(&state.node);
        let left = tokio::select! {
            biased;
            () = node.stopped() => false,
            left = round(&node) => left,
        };
        // Nothing to do: then somebody says when there is.
        let wait = if left { state.wait_ms } else { LONGEST_WAIT_MS };
        let goes_on = tokio::select! {
            biased;
            goes_on = node.pause_ms(wait) => {
                state.wait_ms = (state.wait_ms * 2).min(LONGEST_WAIT_MS);
                goes_on
            }
            () = node.erasing.asked.notified() => {
                state.wait_ms = FIRST_WAIT_MS;
                !node.is_stopping()
            }
        };
        if goes_on {
            // Refused once it drains.
            myself.send_message(Round).ok();
        } else {
            myself.drain().ok();
        }
        Ok(())
    }
}

/// Works at all that are not done: whether some are left.
async fn round(node: &Arc<Node>) -> bool {
    let read = node.read.clone();
    let open = node.blocking.run(move || read.erasures().open(MOST_IN_A_ROUND)).await;
    let open = match open {
        Some(Ok(open)) => open,
        Some(Err(error)) => {
            tracing::error!(%error, "erasures could not be read");
            return true;
        }
        None => return false,
    };
    let mut left = false;
    for id in open {
        match pursue(node, id).await {
            Ok(done) => left |= !done,
            Err(error) => {
                tracing::warn!(erasure = %id, %error, "an erasure did not come further");
                left = true;
            }
        }
    }
    left
}

/// Works at one erasure: whether it is done.
async fn pursue(node: &Arc<Node>, id: ErasureId) -> Result<bool, Stuck> {
    let mut done = node.erasing.done.lock().await;
    let read = node.read.clone();
    let view = node.blocking.run(move || read.erasures().get(id)).await;
    let Some(mut view) = view.ok_or(Stuck::BrokenOff)?? else { return Ok(true) };
    if view.state.erased().is_some() {
        return Ok(true);
    }
    if !view.state.has_looked() {
        look(node, &view).await?;
        let read = node.read.clone();
        let again = node.blocking.run(move || read.erasures().get(id)).await;
        view = again.ok_or(Stuck::BrokenOff)??.ok_or(Stuck::NotRecorded)?;
    }
    let (person, by) = (view.requested.person, cause(node, view.requested.by).by);
    let overwritten = done.entry(id).or_default();
    let mut all = true;
    for message in view.state.messages() {
        if overwritten.contains(message) {
            continue;
        }
        if end(node, *message, person, by).await? {
            overwrite_stream(node, StreamId::Message(*message)).await?;
            overwritten.insert(*message);
        } else {
            all = false;
        }
    }
    if !all {
        return Ok(false);
    }
    finish(node, &view).await?;
    done.remove(&id);
    Ok(true)
}

/// Finds what concerns the person, and names it.
async fn look(node: &Arc<Node>, view: &ErasureView) -> Result<(), Stuck> {
    let (id, requested) = (view.id, &view.requested);
    let needle = address(node, view).await?.map(|email| Needle::new(&email));
    if needle.is_none() {
        tracing::error!(erasure = %id, "the address is gone: the search goes by its hash alone");
    }
    let mut search = Search {
        tenant: requested.tenant,
        person: requested.person,
        needle,
        after: Position::START,
        until: view.position,
    };
    let known: HashSet<MessageId> = view.state.messages().iter().copied().collect();
    let letters: HashSet<LetterId> = view.state.letters().iter().copied().collect();
    loop {
        let vault = node.vault.clone();
        let going_on = node.journal.read(move |log| {
            let found = search.go_on(log, &vault);
            (search, found)
        });
        let (went_on, found) = going_on.await.ok_or(Stuck::BrokenOff)?;
        search = went_on;
        let Found { mut messages, letters: mut found_letters, over } = found?;
        messages.retain(|message| !known.contains(message));
        found_letters.retain(|letter| !letters.contains(letter));
        let found = PersonFound { messages, letters: found_letters, all: over };
        carry_out::<Erasure>(node, id, vec![Command::Find(found)], follows(node, view)).await?;
        if over {
            return Ok(());
        }
    }
}

/// The address, until it was forgotten.
async fn address(node: &Arc<Node>, view: &ErasureView) -> Result<Option<EmailAddress>, Stuck> {
    let Some(location) = view.address else { return Ok(None) };
    let (vault, id) = (node.vault.clone(), view.id);
    let opened = node.journal.read(move |log| -> Result<Option<EmailAddress>, ContentError> {
        let sealed: Sealed = match log.read_content(&location) {
            Ok(sealed) => sealed,
            Err(ContentError::Forgotten) => return Ok(None),
            Err(error) => return Err(error),
        };
        let opened = vault.open(Purpose::TenantProfile, id.as_bytes(), &sealed);
        let profile = opened.ok().and_then(|bytes| SuppressionProfile::from_bytes(&bytes).ok());
        Ok(profile.map(|profile| profile.email))
    });
    Ok(opened.await.ok_or(Stuck::BrokenOff)??)
}

/// What an erasure comes of. A server that delivers nothing is a command's.
fn cause(node: &Node, by: Who) -> Cause {
    if node.options.deliver { By::from(by).into() } else { By::CommandLine.into() }
}

/// What follows from the request, which is the first event of its stream.
fn follows(node: &Node, view: &ErasureView) -> Cause {
    Cause { after: Some(After::Own(1)), ..cause(node, view.requested.by) }
}

fn has_ended(node: &Node, message: MessageId) -> Result<bool, QueryError> {
    let view = node.read.messages().get(message)?;
    Ok(view.is_none_or(|view| view.state.open().next().is_none()))
}

/// Ends what is still to be delivered to the person: whether the message has ended for everybody.
async fn end(
    node: &Arc<Node>,
    message: MessageId,
    person: RecipientHash,
    by: By,
) -> Result<bool, Stuck> {
    let asking = Arc::clone(node);
    let ended = node.blocking.run(move || has_ended(&asking, message)).await;
    if ended.ok_or(Stuck::BrokenOff)?? {
        return Ok(true);
    }
    let (reply, answer) = oneshot::channel();
    let forget = message::Msg::Forget { person, by, reply };
    // Full: then in the next round.
    if node.messages.cast(&message, forget, Share::Most).is_err() {
        return Ok(false);
    }
    match answer.await {
        Ok(Ok(ended)) => Ok(ended),
        // An attempt is under way, or too much is: in the next round.
        Ok(Err(CancelError::NotCancelable | CancelError::Overloaded { .. })) => Ok(false),
        Ok(Err(_)) | Err(_) => Err(Stuck::NotRecorded),
    }
}

/// Overwrites all content of a stream; how many records that were.
async fn overwrite_stream(node: &Arc<Node>, stream: StreamId) -> Result<u64, Stuck> {
    let overwriting = node.journal.read(move |log| -> Result<u64, Stuck> {
        let (mut after, mut records) = (Version::NONE, 0);
        loop {
            let page = log.read_stream(stream, after, MAX_READ_EVENTS)?;
            let Some(last) = page.last() else { return Ok(records) };
            after = last.version;
            for location in page.iter().flat_map(|recorded| &recorded.content) {
                erase_record(log, location)?;
                records += 1;
            }
        }
    });
    overwriting.await.ok_or(Stuck::BrokenOff)?
}

/// What is damaged cannot be read either; it must not hold the rest back.
fn erase_record(
    log: &dyn eventlog::EventLog,
    location: &ContentLocation,
) -> Result<(), ContentError> {
    match log.erase(location) {
        Err(error @ ContentError::Damaged { .. }) => {
            tracing::error!(%error, "a damaged record was not overwritten");
            Ok(())
        }
        erased => erased,
    }
}

/// Overwrites letters and lists, then the address, and records that it is done.
async fn finish(node: &Arc<Node>, view: &ErasureView) -> Result<(), Stuck> {
    let mut overwritten = Overwritten::default();
    for letter in view.state.letters() {
        overwritten.records += overwrite_stream(node, StreamId::Letter(*letter)).await?;
    }
    let PersonErasureRequested { tenant, person, .. } = view.requested;
    for app in node.read.policies().apps_of(tenant) {
        let id = suppression_id(node, app.id, &person);
        let forget = suppression::Command::Forget;
        let after = Some(After::Other(StreamId::Erasure(view.id), view.event));
        let cause = Cause { after, ..follows(node, view) };
        let forgotten = carry_out::<Suppression>(node, id, vec![forget], cause).await;
        forgotten.map_err(|_| Stuck::NotRecorded)?;
        let records = overwrite_stream(node, StreamId::Suppression(id)).await?;
        overwritten.records += records;
        overwritten.suppressions += u64::from(records > 0);
    }
    for message in view.state.messages() {
        let count = node.journal.read({
            let stream = StreamId::Message(*message);
            move |log| log.read_stream(stream, Version::NONE, 1)
        });
        let first = count.await.ok_or(Stuck::BrokenOff)??;
        overwritten.records += first.first().map_or(0, |first| first.content.len() as u64);
    }
    // From here on the address is not needed: all was found, and lists go by its hash.
    overwritten.records += overwrite_stream(node, StreamId::Erasure(view.id)).await?;
    let finish = vec![Command::Finish(overwritten)];
    carry_out::<Erasure>(node, view.id, finish, follows(node, view)).await?;
    tracing::info!(
        erasure = %view.id, messages = view.state.messages().len(),
        records = overwritten.records, "a person is forgotten"
    );
    Ok(())
}
