//! Threads for arithmetic: as many as there are cores.
//!
//! # Why
//! The runtime's threads for blocking work sleep after each piece, and several sleep and wake for
//! one that signs: a seventh of what a message cost went there. A thread of these takes the next
//! piece without a sleep as long as there is one, and no more run at once than there are cores, so
//! that taking mail in does not starve.

use std::{
    collections::VecDeque,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use crate::machine::Blocking;

/// Pieces for each thread that wait in its reach: enough that it never waits for the next one.
const QUEUED_EACH: usize = 8;

type Piece = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Shared {
    fn put(&self, piece: Piece) {
        let mut queue = self.queue.lock();
        queue.pieces.push_back(piece);
        let wanted = queue.idle > 0;
        drop(queue);
        if wanted {
            self.more.notify_one();
        }
    }

    /// The next piece, once there is one; `None` when there will be none.
    fn next(&self) -> Option<Piece> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(piece) = queue.pieces.pop_front() {
                return Some(piece);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            self.more.wait(&mut queue);
            queue.idle -= 1;
        }
    }

    fn work(&self) {
        while let Some(piece) = self.next() {
            // Who waits for it sees that it was dropped; the panic itself was told by its hook.
            catch_unwind(AssertUnwindSafe(piece)).ok();
        }
    }
}

/// The threads. They end with this.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    room: Semaphore,
    /// For when there are no threads.
    instead: Option<Blocking>,
}

impl Crew {
    /// Starts the threads, where work is done on threads at all.
    pub(crate) fn start(blocking: Blocking) -> Self {
        let shared = Arc::new(Shared::default());
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let wanted = if blocking == Blocking::OnThreads { cores } else { 0 };
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("press-{number}")).spawn(move || shared.work())
        };
        let started = (0..wanted).map(start).take_while(Result::is_ok).count();
        if started < wanted {
            tracing::warn!(started, wanted, "threads for signing could not be started");
        }
        let room = Semaphore::new(cores * QUEUED_EACH);
        Self { shared, room, instead: (started == 0).then_some(blocking) }
    }

    /// Does the work; `None` when it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _room = self.room.acquire().await.ok()?;
        if let Some(blocking) = self.instead {
            return blocking.run(work).await;
        }
        let (give, taken) = oneshot::channel();
        self.shared.put(Box::new(move || {
            // Nobody may be waiting any more.
            give.send(work()).ok();
        }));
        taken.await.ok()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn more_work_than_fits_is_done_and_no_more_at_once_than_there_are_cores() {
        let crew = Crew::start(Blocking::OnThreads);
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pieces = (0..cores * QUEUED_EACH * 3).map(|number| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            crew.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                number
            })
        });
        let done = join_all(pieces).await;
        let wanted: Vec<Option<usize>> = (0..cores * QUEUED_EACH * 3).map(Some).collect();
        assert_eq!(done, wanted);
        assert!((1..=cores).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_answer_and_no_thread() {
        let crew = Crew::start(Blocking::OnThreads);
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..cores * 2 {
            assert_eq!(crew.run(|| -> usize { panic!("as the test wants") }).await, None);
        }
        assert_eq!(crew.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn in_place_there_is_no_thread() {
        let crew = Crew::start(Blocking::InPlace);
        let here = thread::current().id();
        assert_eq!(crew.run(move || thread::current().id() == here).await, Some(true));
    }

    #[tokio::test]
    async fn the_threads_end_with_it() {
        let crew = Crew::start(Blocking::OnThreads);
        let shared = Arc::downgrade(&crew.shared);
        assert_eq!(crew.run(|| 7).await, Some(7));
        drop(crew);
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
