//! Following an app's feed: what came after a number, and waiting for what comes next.
//!
//! # Contract
//! - The events after a number are given in order and without gaps; each answer, and each event of
//!   a stream, carries the number to go on from.
//! - Who waits holds a place, of which each key and all together have so many. A wait ends with the
//!   server, and with the key: nothing is given to one that was taken back or has expired.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actors::Caller;
use futures_util::{Stream, stream};
use model::{ApiKeyId, AppId, tenant::Scope};
use projections::News;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    epochs::Epoch,
    operations::{overloaded, query_problem},
    parts::Shared,
    problem::{Code, Problem},
    reading::Reader,
    wire::feed::FeedEventWire,
};

/// Events that a stream reads at once.
const STREAM_PAGE: usize = 50;
/// When who found no place may come again: others leave theirs within that time at the earliest.
const COME_AGAIN: Duration = Duration::from_secs(5);

/// Events of an app, and how many there are.
pub(crate) struct Page {
    pub(crate) events: Vec<FeedEventWire>,
    /// The number of the newest; 0 without any.
    pub(crate) head: u64,
    /// Which history the numbers belong to.
    pub(crate) epoch: Epoch,
}

/// The events of an app after a number. One that the feed has not reached is refused: what was
/// remembered is not of this feed, and waiting for it would pass over what comes until then.
pub(crate) async fn page(
    shared: &Arc<Shared>,
    app: AppId,
    after: u64,
    limit: usize,
) -> Result<Page, Problem> {
    let page = shared.reading(move |shared| {
        let page = shared.read.feed().page(app, after, limit).map_err(query_problem)?;
        if after > page.head {
            let words = format!("is beyond the end of the feed, which is {}", page.head);
            return Err(Problem::field("after", &words));
        }
        let mut reader = Reader::new(shared);
        let mut events = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let (seq, row) = (row.seq, &row.row);
            let message = (row.message, &row.head);
            let Some((event, _)) = reader.event(message, row.id, row.at, &row.event) else {
                return Err(Problem::internal("an event of the feed is not shown", &seq));
            };
            events.push(FeedEventWire { seq, event, message_id: row.message.to_string() });
        }
        Ok(Page { events, head: page.head, epoch: shared.epochs()?.current() })
    });
    page.await
}

/// The number to go on from, of one that was remembered in an epoch: the same, or, where the record
/// was put back since, that of the last event that stayed what it was.
pub(crate) async fn taken_back(
    shared: &Arc<Shared>,
    app: AppId,
    after: u64,
    epoch: Epoch,
) -> Result<u64, Problem> {
    let number = shared.reading(move |shared| {
        let Some(through) = shared.epochs()?.shared(epoch) else { return Ok(after) };
        let kept = shared.read.feed().number_at(app, through).map_err(query_problem)?;
        Ok(after.min(kept))
    });
    number.await
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There may be more to read.
    News,
    /// The time is over, or the server stops.
    Over,
    /// The key opens nothing any more.
    KeyGone,
}

/// Somebody who waits for the events of an app.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    caller: Caller,
    news: News,
    stopping: watch::Receiver<bool>,
    _place: Place,
}

impl Follower {
    /// Begins to listen, if there is a place. What is read from now on misses nothing.
    pub(crate) fn begin(shared: &Arc<Shared>, caller: Caller) -> Result<Self, Problem> {
        let place = shared.waiting.take(caller.key, shared)?;
        Ok(Self {
            shared: Arc::clone(shared),
            caller,
            news: shared.read.feed().listen(caller.app),
            stopping: shared.stopping(),
            _place: place,
        })
    }

    pub(crate) async fn page(&self, after: u64, limit: usize) -> Result<Page, Problem> {
        page(&self.shared, self.caller.app, after, limit).await
    }

    /// Whether the key still opens the feed.
    fn is_allowed(&self) -> bool {
        let now = self.shared.clock.now();
        self.shared.platform.is_still_allowed(self.caller.key, Scope::EmailRead, now)
    }

    /// Why there is nothing more to wait for, if so.
    fn ended(&self, until: Instant) -> Option<Woken> {
        if !self.is_allowed() {
            return Some(Woken::KeyGone);
        }
        let over = *self.stopping.borrow() || Instant::now() >= until;
        over.then_some(Woken::Over)
    }

    /// Waits until there may be something to read.
    pub(crate) async fn wait(&mut self, until: Instant) -> Woken {
        if let Some(ended) = self.ended(until) {
            return ended;
        }
        let key = self.shared.read.keys().get(self.caller.key);
        let expiry = key.and_then(|key| key.expires_at);
        let clock = Arc::clone(&self.shared.clock);
        let expired = async move {
            match expiry {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.news.next() => {}
            () = expired => {}
            () = sleep_until(until) => {}
            // The sender lives as long as the parts, and these are held here.
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
        }
        self.ended(until).unwrap_or(Woken::News)
    }
}

/// A stream of events, one by one.
pub(crate) struct Following {
    follower: Follower,
    after: u64,
    /// What was read and not given yet.
    ready: VecDeque<FeedEventWire>,
    until: Instant,
}

impl Following {
    /// From the event after `after` on.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        caller: Caller,
        after: u64,
    ) -> Result<Self, Problem> {
        let follower = Follower::begin(shared, caller)?;
        let ready = follower.page(after, STREAM_PAGE).await?.events.into();
        let until = Instant::now() + shared.options.longest_stream;
        Ok(Self { follower, after, ready, until })
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = FeedEventWire> + Send + 'static {
        stream::unfold(self, Self::next)
    }

    async fn next(mut self) -> Option<(FeedEventWire, Self)> {
        loop {
            // Before each event: a key that was taken back gets none of those that were read.
            if self.follower.ended(self.until).is_some() {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                self.after = event.seq;
                return Some((event, self));
            }
            match self.follower.page(self.after, STREAM_PAGE).await {
                Ok(page) => self.ready = page.events.into(),
                // The client comes back and goes on from where it is.
                Err(problem) => {
                    tracing::warn!(%problem, "a stream of events ends early");
                    return None;
                }
            }
            if self.ready.is_empty() && self.follower.wait(self.until).await != Woken::News {
                return None;
            }
        }
    }
}

/// Who waits: how many of each key, and all together.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    places: Arc<Mutex<Places>>,
}

#[derive(Debug, Default)]
struct Places {
    all: usize,
    of_key: HashMap<ApiKeyId, usize>,
}

/// A place to wait in, until it is dropped.
struct Place {
    places: Arc<Mutex<Places>>,
    key: ApiKeyId,
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    // Counts are whole between any two statements.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn take(&self, key: ApiKeyId, shared: &Shared) -> Result<Place, Problem> {
        let options = &shared.options;
        let mut places = lock(&self.places);
        if places.of_key.get(&key).copied().unwrap_or_default() >= options.max_waiting_per_key {
            let words = "The key waits for events as often at once as it may.";
            let problem = Problem::new(Code::RateLimited).saying(words);
            return Err(problem.retry_after_s(COME_AGAIN.as_secs()));
        }
        if places.all >= options.max_waiting {
            return Err(overloaded(COME_AGAIN));
        }
        places.all += 1;
        *places.of_key.entry(key).or_default() += 1;
        Ok(Place { places: Arc::clone(&self.places), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = lock(&self.places);
        places.all = places.all.saturating_sub(1);
        if let Some(count) = places.of_key.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                places.of_key.remove(&self.key);
            }
        }
    }
}
