//! The one writer: takes what waits, writes it as one frame, syncs, answers.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Instant,
};

use model::StreamId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{pace::Pace, shared::Shared};
use crate::{
    content::{ContentFailure, ContentLocation, ContentWriter, Hour, Sealed},
    error::{AppendError, Cause},
    event::{Append, Appended, ChainEnd, Recorded},
    files,
    journal::{FrameBuilder, JournalWriter},
    position::Version,
};

/// A group takes no more appends once it has this many events.
const MAX_GROUP_EVENTS: usize = 4096;
/// A group takes no more appends once it has this many bytes of events.
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;
/// A group takes no more appends once it has this many bytes of content.
const MAX_GROUP_CONTENT_BYTES: usize = 16 * 1024 * 1024;
/// With this many unsealed events the sealer is woken before its time.
const SEAL_EARLY_EVENTS: usize = 2048;
/// Stream versions that are remembered, twice over.
const VERSIONS: usize = 64 * 1024;

type Answer = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

/// Appends that wait for their answer: all are written, in one frame, or none is.
#[derive(Debug)]
pub(super) struct Waiting {
    /// To one stream each.
    pub(super) appends: Vec<Append>,
    pub(super) answer: Answer,
    /// Its share of the bytes that may wait.
    pub(super) space: OwnedSemaphorePermit,
}

impl Waiting {
    fn events(&self) -> usize {
        self.appends.iter().map(|append| append.events.len()).sum()
    }

    fn bytes(&self) -> usize {
        self.appends.iter().map(Append::encoded_len).sum()
    }

    fn content(&self) -> usize {
        self.appends.iter().map(Append::content_len).sum()
    }
}

/// What is written in one frame.
#[derive(Debug, Default)]
struct Group {
    waiting: Vec<Waiting>,
    events: usize,
    bytes: usize,
    content: usize,
}

impl Group {
    fn add(&mut self, waiting: Waiting) {
        self.events += waiting.events();
        self.bytes += waiting.bytes();
        self.content += waiting.content();
        self.waiting.push(waiting);
    }

    const fn is_full(&self) -> bool {
        self.events >= MAX_GROUP_EVENTS
            || self.bytes >= MAX_GROUP_BYTES
            || self.content >= MAX_GROUP_CONTENT_BYTES
    }
}

/// What the check of the expected version said.
#[derive(Debug)]
enum Verdict {
    Write,
    Conflict(Version),
    Failed(Cause),
}

#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    journal: JournalWriter,
    content: ContentWriter,
    waiting: mpsc::Receiver<Waiting>,
    end: ChainEnd,
    versions: Versions,
    /// Of the index that these were told by.
    generation: u64,
    frame: FrameBuilder,
    pace: Pace,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        (journal, end): (JournalWriter, ChainEnd),
        waiting: mpsc::Receiver<Waiting>,
    ) -> Self {
        let content = ContentWriter::new(&shared.layout.content());
        let (versions, frame) = (Versions::default(), FrameBuilder::default());
        let (generation, pace) = (0, Pace::default());
        Self { shared, journal, content, waiting, end, versions, generation, frame, pace }
    }

    /// Works until nobody can append any more; then lets the sealer finish.
    pub(super) fn run(mut self) {
        // Also when this thread panics: a log that cannot write must not look as if it could.
        let _last = SealerStops(Arc::clone(&self.shared));
        while let Some(first) = self.waiting.blocking_recv() {
            let group = self.gather(first);
            match self.shared.wait_for_room() {
                Ok(()) => {
                    let (begun, appends) = (Instant::now(), group.len());
                    self.commit(group);
                    self.pace.wrote(appends, begun.elapsed());
                }
                Err(cause) => self.refuse(group, &cause),
            }
        }
        if self.shared.trouble().is_none() {
            self.journal.finish();
            self.content.finish();
        }
    }

    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut group = Group::default();
        let mut next = Some(first);
        let mut waited = false;
        while let Some(waiting) = next {
            group.add(waiting);
            if group.is_full() {
                break;
            }
            next = self.waiting.try_recv().ok();
            if next.is_none() && !waited {
                waited = true;
                let wait = self.pace.wait(group.waiting.len());
                if !wait.is_zero() {
                    thread::sleep(wait);
                    next = self.waiting.try_recv().ok();
                }
            }
        }
        group.waiting
    }

    fn commit(&mut self, mut group: Vec<Waiting>) {
        let shared = Arc::clone(&self.shared);
        let _committing = shared.committing.lock();
        // What was pruned since is forgotten: its streams may begin anew.
        let generation = shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            (self.generation, self.versions) = (generation, Versions::default());
        }
        if self.shared.content_must_wait() {
            group = self.refuse_content(group, &Cause::StorageFull);
        }
        let mut verdicts = self.admit(&group);
        let content = match self.write_content(&group, &verdicts) {
            Ok(locations) => locations,
            Err(failure) => {
                let cause = Cause::io(&failure.error);
                if !failure.undone || !files::is_shortage(&failure.error) {
                    self.shared.stop_writing(&format!("content: {}", failure.error));
                    return self.refuse(group, &cause);
                }
                // Without space for content, events alone may still find theirs.
                group = self.refuse_content(group, &cause);
                verdicts = self.admit(&group);
                let appends = group.iter().map(|waiting| waiting.appends.len()).sum();
                vec![Box::default(); appends]
            }
        };
        self.write_frame(group, verdicts, content);
    }

    /// Checks each append's expected version as if those before it were written.
    fn admit(&mut self, group: &[Waiting]) -> Vec<Verdict> {
        let mut moved: HashMap<StreamId, Version> = HashMap::new();
        let mut verdicts = Vec::with_capacity(group.len());
        for Waiting { appends, .. } in group {
            let verdict = appends.iter().map(|append| self.judge(append, &moved));
            // To one stream each, so none stands in another's way.
            let verdict = verdict.into_iter().find(|verdict| !matches!(verdict, Verdict::Write));
            if verdict.is_none() {
                moved.extend(appends.iter().map(|append| {
                    (append.stream, append.expected.plus(append.events.len() as u64))
                }));
            }
            verdicts.push(verdict.unwrap_or(Verdict::Write));
        }
        verdicts
    }

    fn judge(&mut self, append: &Append, moved: &HashMap<StreamId, Version>) -> Verdict {
        let actual = match moved.get(&append.stream) {
            Some(version) => Ok(*version),
            None => self.version(append.stream),
        };
        match actual {
            Err(cause) => Verdict::Failed(cause),
            Ok(actual) if actual != append.expected => Verdict::Conflict(actual),
            Ok(_) => Verdict::Write,
        }
    }

    fn version(&mut self, stream: StreamId) -> Result<Version, Cause> {
        if let Some(version) = self.versions.get(stream) {
            return Ok(version);
        }
        self.shared.version(stream).map_err(|error| Cause::Io(error.to_string().into()))
    }

    /// The content of those that are to be written, in the hours of their events: for each append,
    /// in the order of the group.
    fn write_content(
        &mut self,
        group: &[Waiting],
        verdicts: &[Verdict],
    ) -> Result<Vec<Box<[ContentLocation]>>, ContentFailure> {
        let mut at = self.end.at;
        let mut records: Vec<(Hour, &[Sealed])> = Vec::with_capacity(group.len());
        for (waiting, verdict) in group.iter().zip(verdicts) {
            for append in &waiting.appends {
                let content = match verdict {
                    Verdict::Write => {
                        at = at.max(append.at);
                        append.content.as_slice()
                    }
                    Verdict::Conflict(_) | Verdict::Failed(_) => &[],
                };
                records.push((append.segment(at), content));
            }
        }
        if records.iter().any(|(_, content)| !content.is_empty()) {
            self.shared.content.reach(Hour::of(at));
            self.shared.counters.content_syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.content.write(&records)
    }

    fn write_frame(
        &mut self,
        group: Vec<Waiting>,
        verdicts: Vec<Verdict>,
        content: Vec<Box<[ContentLocation]>>,
    ) {
        let before = self.end;
        let mut end = before;
        let out = self.frame.begin();
        let mut recorded: Vec<Recorded> = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let mut content = content.into_iter();
        for (waiting, verdict) in group.into_iter().zip(verdicts) {
            let Waiting { appends, answer, space } = waiting;
            let located = appends.into_iter().zip(&mut content);
            let result = match verdict {
                Verdict::Write => Ok(located
                    .map(|(append, content)| end.record(append, content, out, &mut recorded))
                    .collect()),
                Verdict::Conflict(actual) => {
                    // Each has its place among the contents, an empty one.
                    located.for_each(drop);
                    Err(AppendError::Conflict { actual })
                }
                Verdict::Failed(cause) => {
                    located.for_each(drop);
                    Err(AppendError::NotWritten(cause))
                }
            };
            drop(space);
            answers.push((answer, result));
        }
        if !recorded.is_empty()
            && let Err(failed) = self.make_durable(before, end)
        {
            return self.answer_failed(answers, &failed);
        }
        self.end = end;
        for event in &recorded {
            self.versions.set(event.stream, event.version);
        }
        self.shared.counters.events.fetch_add(recorded.len() as u64, Ordering::Relaxed);
        if !recorded.is_empty() && self.shared.publish(recorded, end.position) >= SEAL_EARLY_EVENTS
        {
            self.shared.wake.much();
        }
        for (answer, result) in answers {
            self.answer(answer, result);
        }
    }

    fn make_durable(&mut self, before: ChainEnd, end: ChainEnd) -> Result<(), AppendError> {
        let frame = self.frame.finish(before.position.next(), end);
        if let Err(failure) = self.journal.write(frame, before) {
            let cause = Cause::io(&failure.error);
            if !failure.undone || !files::is_shortage(&failure.error) {
                self.shared.stop_writing(&format!("journal: {}", failure.error));
            }
            return Err(AppendError::NotWritten(cause));
        }
        self.shared.counters.journal_syncs.fetch_add(1, Ordering::Relaxed);
        self.journal.sync().map_err(|error| {
            // The kernel may forget that these bytes never arrived, so a second sync proves
            // nothing. Only opening anew, which writes them again, does.
            self.shared.stop_writing(&format!("journal: {error}"));
            AppendError::Unknown(Cause::io(&error))
        })
    }

    /// Nothing of the group was written, or all that was to be may have been. What was found in
    /// conflict was so with appends of the same group perhaps, so it is not said.
    fn answer_failed(
        &self,
        answers: Vec<(Answer, Result<Vec<Appended>, AppendError>)>,
        failed: &AppendError,
    ) {
        for (answer, result) in answers {
            let result = match (result, failed) {
                (Err(AppendError::Conflict { .. }), AppendError::Unknown(cause)) => {
                    AppendError::NotWritten(cause.clone())
                }
                (Ok(_) | Err(AppendError::Conflict { .. }), failed) => failed.clone(),
                (Err(other), _) => other,
            };
            self.answer(answer, Err(result));
        }
    }

    fn refuse(&self, group: Vec<Waiting>, cause: &Cause) {
        for waiting in group {
            self.answer(waiting.answer, Err(AppendError::NotWritten(cause.clone())));
        }
    }

    /// Refuses those that bring content; the others remain.
    fn refuse_content(&self, group: Vec<Waiting>, cause: &Cause) -> Vec<Waiting> {
        let (with, without) = group.into_iter().partition(|waiting| waiting.content() > 0);
        self.refuse(with, cause);
        without
    }

    fn answer(&self, answer: Answer, result: Result<Vec<Appended>, AppendError>) {
        let counters = &self.shared.counters;
        let counter = match &result {
            Ok(_) => &counters.appends,
            Err(AppendError::Conflict { .. }) => &counters.conflicts,
            Err(_) => &counters.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Nobody may be listening any more; what is written stays written.
        drop(answer.send(result));
    }
}

#[derive(Debug)]
struct SealerStops(Arc<Shared>);

impl Drop for SealerStops {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop_writing("the committer panicked");
        }
        self.0.wake.stop();
    }
}

/// Versions of the streams used last: two generations, the older one forgotten when the younger
/// is full. About an LRU, without its lists.
#[derive(Debug, Default)]
struct Versions {
    young: HashMap<StreamId, Version>,
    old: HashMap<StreamId, Version>,
}

impl Versions {
    fn get(&self, stream: StreamId) -> Option<Version> {
        self.young.get(&stream).or_else(|| self.old.get(&stream)).copied()
    }

    fn set(&mut self, stream: StreamId, version: Version) {
        if self.young.len() >= VERSIONS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(stream, version);
    }
}

#[cfg(test)]
mod tests {
    use model::MessageId;

    use super::*;

    #[test]
    fn versions_are_never_stale_and_bounded() {
        let mut versions = Versions::default();
        for round in 1..=3 {
            for index in 0..VERSIONS as u128 + 10 {
                let stream = StreamId::Message(MessageId::from_bytes(index.to_be_bytes()));
                versions.set(stream, Version::new(round));
                assert_eq!(versions.get(stream), Some(Version::new(round)));
            }
        }
        assert!(versions.young.len() + versions.old.len() <= 2 * VERSIONS);
    }
}
