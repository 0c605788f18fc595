//! Waking those who wait for the next event of an app.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use model::AppId;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Knows who waits for which app.
#[derive(Default)]
pub(crate) struct Herald {
    waiting: Mutex<HashMap<AppId, watch::Sender<()>>>,
    /// How many [`News`] there are.
    count: AtomicUsize,
}

impl Herald {
    /// Whether telling anything is worth the while. Who begins to wait now reads after that, and
    /// misses nothing.
    pub(super) fn anybody_waits(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Wakes who waits for one of these.
    pub(super) fn tell(&self, apps: &BTreeSet<AppId>) {
        if apps.is_empty() {
            return;
        }
        let waiting = self.waiting.lock();
        for sender in apps.iter().filter_map(|app| waiting.get(app)) {
            sender.send_replace(());
        }
    }

    pub(super) fn listen(self: &Arc<Self>, app: AppId) -> News {
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut waiting = self.waiting.lock();
        let sender = waiting.entry(app).or_insert_with(|| watch::Sender::new(()));
        News { receiver: sender.subscribe(), herald: Arc::clone(self), app }
    }

    fn leave(&self, app: AppId) {
        let mut waiting = self.waiting.lock();
        // The one who leaves still counts.
        if waiting.get(&app).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&app);
        }
        drop(waiting);
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells that an app has news: an event, or a key that was taken back. Begin to listen, then read,
/// then wait: nothing is missed in between.
pub struct News {
    receiver: watch::Receiver<()>,
    herald: Arc<Herald>,
    app: AppId,
}

impl News {
    /// Ends when there was news since this was last asked.
    pub async fn next(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender stays as long as there is one of these.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.herald.leave(self.app);
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "News({})", self.app)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_waits_is_woken_and_who_left_is_forgotten() {
        let herald = Arc::new(Herald::default());
        let (one, other) = (AppId::from_bytes([1; 16]), AppId::from_bytes([2; 16]));
        assert!(!herald.anybody_waits());
        let mut first = herald.listen(one);
        let mut second = herald.listen(one);
        let mut third = herald.listen(other);
        herald.tell(&[one].into());
        // What came before anybody asked is told, once.
        assert!(first.next().now_or_never().is_some());
        assert!(first.next().now_or_never().is_none());
        assert!(third.next().now_or_never().is_none());
        drop(first);
        herald.tell(&[one, other].into());
        assert!(second.next().now_or_never().is_some());
        assert!(third.next().now_or_never().is_some());
        drop((second, third));
        assert!(!herald.anybody_waits());
        assert!(herald.waiting.lock().is_empty());
    }
}
