//! Load, fold, append, evolve: what every aggregate goes through, once for all of them.

use std::sync::Arc;

use eventlog::{
    Append, AppendError, ContentLocation, EventLog, MAX_READ_EVENTS, NewEvent, Recorded, Sealed,
    Version,
};
use metrics::Histogram;
use model::{After, Cause, Event, EventId, StreamId, Timestamp, event::UndecodableEvent};
use tokio::sync::Semaphore;

use crate::{
    entropy::{self, NoEntropy},
    figures::Stopwatch,
    machine::Blocking,
};

/// A state that is folded from events.
pub(crate) trait Aggregate: Clone + Default + Send + 'static {
    /// What happens to it.
    type Event: Clone + Send + Sync + 'static;

    /// The aggregate's own among all events; `None` for another aggregate's.
    fn own(event: Event) -> Option<Self::Event>;

    /// The JSON that goes into the log, with what it came of.
    fn encode(event: &Self::Event, cause: &Cause) -> Box<[u8]>;

    /// Takes in what happened at `at`.
    fn evolve(&mut self, event: &Self::Event, at: Timestamp);
}

/// The log as actors use it: reads run where blocking is allowed, a bounded number at once.
#[derive(Clone)]
pub(crate) struct Journal {
    log: Arc<dyn EventLog>,
    reads: Arc<Semaphore>,
    blocking: Blocking,
    append_seconds: Histogram,
}

/// The record cannot be read, or not understood.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the record cannot be read: {0}")]
pub(crate) struct LoadError(Arc<str>);

impl LoadError {
    fn new(cause: &(impl ToString + ?Sized)) -> Self {
        Self(cause.to_string().into())
    }
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Somebody else wrote to the stream. The state has caught up: decide again.
    #[error("the stream has moved on")]
    Conflict,
    /// Nothing was written; the same draft may be committed again.
    #[error("{0}")]
    NotWritten(AppendError),
    /// It may have been written, though it does not show. The same draft may be committed again:
    /// events that turn out to be there are recognised by their ids.
    #[error("{0}")]
    Unknown(AppendError),
    /// The log will never take this.
    #[error("{0}")]
    Invalid(AppendError),
    /// The record cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its events could not be given ids.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// Events that are decided but not yet written, each with what it comes of. Their ids are drawn
/// once, so that a draft that was committed twice shows as one.
#[derive(Clone)]
pub(crate) struct Draft<E> {
    events: Vec<Drafted<E>>,
    content: Vec<Sealed>,
}

#[derive(Clone)]
struct Drafted<E> {
    id: EventId,
    cause: Cause,
    event: E,
}

impl<E> Draft<E> {
    /// `cause` tells of each event what it comes of.
    pub(crate) fn new(
        events: Vec<E>,
        content: Vec<Sealed>,
        now: Timestamp,
        cause: impl Fn(&E) -> Cause,
    ) -> Result<Self, NoEntropy> {
        let named = events
            .into_iter()
            .map(|event| Ok(Drafted { id: entropy::event_id(now)?, cause: cause(&event), event }));
        Ok(Self { events: named.collect::<Result<_, NoEntropy>>()?, content })
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &E> {
        self.events.iter().map(|drafted| &drafted.event)
    }

    /// The same with the ids that they will have.
    pub(crate) fn named(&self) -> impl Iterator<Item = (EventId, &E)> {
        self.events.iter().map(|drafted| (drafted.id, &drafted.event))
    }

    fn holds(&self, id: EventId) -> bool {
        self.events.iter().any(|drafted| drafted.id == id)
    }
}

impl Journal {
    /// Reads at once: more would only queue at the disk.
    const READS: usize = 16;

    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        blocking: Blocking,
        append_seconds: Histogram,
    ) -> Self {
        Self { log, reads: Arc::new(Semaphore::new(Self::READS)), blocking, append_seconds }
    }

    pub(crate) fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// Runs a read of the log where blocking is allowed; `None` when it panicked or the runtime
    /// ends.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn EventLog) -> T + Send + 'static,
    ) -> Option<T> {
        let log = Arc::clone(&self.log);
        let _turn = self.reads.acquire().await.ok()?;
        self.blocking.run(move || read(&*log)).await
    }

    /// The next events of a stream; none at its end.
    async fn page(&self, stream: StreamId, after: Version) -> Result<Vec<Recorded>, LoadError> {
        self.read(move |log| log.read_stream(stream, after, MAX_READ_EVENTS))
            .await
            .ok_or_else(|| LoadError::new("the read was broken off"))?
            .map_err(|error| LoadError::new(&error))
    }
}

/// An aggregate with its place in the log.
pub(crate) struct Sourced<A> {
    stream: StreamId,
    version: Version,
    at: Timestamp,
    first: Option<EventId>,
    content: Box<[ContentLocation]>,
    state: A,
}

impl<A: Aggregate> Sourced<A> {
    /// One that has no events yet, as far as is known.
    pub(crate) fn absent(stream: StreamId) -> Self {
        let at = Timestamp::from_millis(0);
        let content = Box::default();
        let state = A::default();
        Self { stream, version: Version::NONE, at, first: None, content, state }
    }

    /// The one that the log holds.
    pub(crate) async fn load(journal: &Journal, stream: StreamId) -> Result<Self, LoadError> {
        let mut loaded = Self::absent(stream);
        loop {
            let page = journal.page(stream, loaded.version).await?;
            if page.is_empty() {
                return Ok(loaded);
            }
            for recorded in &page {
                let event = Self::read(recorded)?;
                loaded.take_in(recorded, &event);
            }
        }
    }

    pub(crate) const fn state(&self) -> &A {
        &self.state
    }

    /// When the last event was recorded.
    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    /// The event that it began with, as one that another stream's can follow from.
    pub(crate) fn first(&self) -> Option<After> {
        self.first.map(|id| After::Other(self.stream, id))
    }

    /// Where the content lies that came with the first event.
    pub(crate) fn content(&self) -> &[ContentLocation] {
        &self.content
    }

    /// Takes in what the log holds beyond; returns the ids of those events.
    ///
    /// All of it or nothing: were the version to move on by a part, and what became of a draft not
    /// be known for a read that failed, the draft would be written again after itself.
    async fn catch_up(&mut self, journal: &Journal) -> Result<Vec<EventId>, LoadError> {
        let mut beyond = Vec::new();
        let mut after = self.version;
        loop {
            let page = journal.page(self.stream, after).await?;
            let Some(last) = page.last() else { break };
            after = last.version;
            for recorded in page {
                let event = Self::read(&recorded)?;
                beyond.push((recorded, event));
            }
        }
        for (recorded, event) in &beyond {
            self.take_in(recorded, event);
        }
        Ok(beyond.into_iter().map(|(recorded, _)| recorded.id).collect())
    }

    fn read(recorded: &Recorded) -> Result<A::Event, LoadError> {
        let event = Event::decode(recorded.stream, &recorded.data)
            .map_err(|error: UndecodableEvent| LoadError::new(&error))?;
        A::own(event).ok_or_else(|| LoadError::new("an event of another kind"))
    }

    fn take_in(&mut self, recorded: &Recorded, event: &A::Event) {
        if self.version == Version::NONE {
            self.first = Some(recorded.id);
            self.content.clone_from(&recorded.content);
        }
        self.state.evolve(event, recorded.at);
        self.version = recorded.version;
        self.at = recorded.at;
    }

    /// Writes a draft after the present version, and takes it in once it is durable.
    ///
    /// An empty draft is written by doing nothing.
    pub(crate) async fn commit(
        &mut self,
        journal: &Journal,
        now: Timestamp,
        draft: &Draft<A::Event>,
    ) -> Result<(), CommitError> {
        if draft.events.is_empty() {
            return Ok(());
        }
        let new = |drafted: &Drafted<A::Event>| NewEvent {
            id: drafted.id,
            data: A::encode(&drafted.event, &drafted.cause),
        };
        let append = Append {
            stream: self.stream,
            expected: self.version,
            at: now,
            events: draft.events.iter().map(new).collect(),
            content: draft.content.clone(),
        };
        let stopwatch = Stopwatch::start();
        let appended = journal.log.append(append).await;
        stopwatch.stop(&journal.append_seconds);
        match appended {
            Ok(appended) => {
                if self.version == Version::NONE {
                    self.first = draft.events.first().map(|drafted| drafted.id);
                }
                for event in draft.events() {
                    self.state.evolve(event, appended.at);
                }
                self.version = appended.last_version;
                self.at = appended.at;
                Ok(())
            }
            Err(error @ AppendError::Invalid(_)) => Err(CommitError::Invalid(error)),
            Err(error @ AppendError::NotWritten(_)) => Err(CommitError::NotWritten(error)),
            // An earlier commit of the same draft can be what stands in the way.
            Err(AppendError::Conflict { .. }) => {
                if self.catch_up(journal).await?.into_iter().any(|id| draft.holds(id)) {
                    Ok(())
                } else {
                    Err(CommitError::Conflict)
                }
            }
            Err(error @ AppendError::Unknown(_)) => {
                let found = self.catch_up(journal).await?;
                if found.iter().any(|id| draft.holds(*id)) {
                    Ok(())
                } else if found.is_empty() {
                    Err(CommitError::Unknown(error))
                } else {
                    Err(CommitError::Conflict)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
