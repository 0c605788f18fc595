//! What a receiver bears: turns at its connections, and the pace of messages. Sites that are one
//! receiver to the rules pass the same gate.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mail::smtp::Connection;
use model::{
    Timestamp,
    shaping::{Limits, Pace, Shape},
    source::{PoolNumber, Sources},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Before the connections of one receiver.
///
/// Connections in use and connections that are kept are never more than the pace allows. A kept
/// one serves its own site alone; when another site wants its turn, it is closed.
pub(crate) struct Gate {
    inner: Mutex<Inner>,
    freed: Notify,
    shelf: Arc<Shelf>,
}

/// Room for the connections that all gates keep together: each is an open file.
struct Shelf {
    most: usize,
    taken: AtomicUsize,
}

/// A connection's room on the shelf, until it is dropped.
struct Room(Arc<Shelf>);

impl Shelf {
    fn room(self: &Arc<Self>) -> Option<Room> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Room(Arc::clone(self)))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Inner {
    pace: Pace,
    used: usize,
    /// In the order in which they were put down.
    kept: Vec<Kept>,
    /// Who waits for a turn, by their door.
    waiting: HashMap<Door, usize>,
    doors: u64,
}

/// By which a site knows its own at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Door(u64);

struct Kept {
    door: Door,
    connection: Connection,
    since: Timestamp,
    _room: Room,
}

/// A turn at a connection, until it is dropped.
pub(super) struct Turn(Arc<Gate>);

impl Inner {
    fn allowed(&self) -> usize {
        as_count(self.pace.connections())
    }

    fn may_keep(&self, door: Door) -> bool {
        let foreign = self.waiting.keys().any(|other| *other != door);
        self.used + self.kept.len() <= self.allowed() && !foreign
    }
}

fn as_count(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

impl Gate {
    fn new(limits: Limits, shelf: Arc<Shelf>) -> Arc<Self> {
        let inner = Inner {
            pace: Pace::new(limits),
            used: 0,
            kept: Vec::new(),
            waiting: HashMap::new(),
            doors: 0,
        };
        Arc::new(Self { inner: Mutex::new(inner), freed: Notify::new(), shelf })
    }

    /// A site's own door.
    pub(super) fn door(&self) -> Door {
        let mut inner = self.inner.lock();
        inner.doors += 1;
        Door(inner.doors)
    }

    pub(super) fn with_pace<T>(&self, change: impl FnOnce(&mut Pace) -> T) -> T {
        let mut inner = self.inner.lock();
        let before = inner.pace.connections();
        let told = change(&mut inner.pace);
        let grown = inner.pace.connections() > before;
        drop(inner);
        if grown {
            self.freed.notify_one();
        }
        told
    }

    /// Connections at once, now.
    pub(super) fn connections(&self) -> usize {
        self.inner.lock().allowed()
    }

    /// The connections of a door that are kept.
    pub(super) fn kept(&self, door: Door) -> usize {
        self.inner.lock().kept.iter().filter(|kept| kept.door == door).count()
    }

    /// A turn, once there is one, and the connection of this door and from these sources that was
    /// used last and is not known to be dead.
    pub(super) async fn pass(
        self: &Arc<Self>,
        door: Door,
        sources: &Sources,
    ) -> (Turn, Option<Connection>) {
        let mut waiting = None;
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look, so that no turn is given back in between unheard.
            freed.as_mut().enable();
            if let Some(passed) = self.try_pass(door, sources) {
                return passed;
            }
            waiting.get_or_insert_with(|| Waiting::new(self, door));
            freed.await;
        }
    }

    fn try_pass(
        self: &Arc<Self>,
        door: Door,
        sources: &Sources,
    ) -> Option<(Turn, Option<Connection>)> {
        let fits = |kept: &Kept| kept.door == door && sources.include(kept.connection.peer().from);
        let mut inner = self.inner.lock();
        while let Some(place) = inner.kept.iter().rposition(fits) {
            let mut kept = inner.kept.remove(place);
            if kept.connection.is_idle_alive() {
                inner.used += 1;
                return Some((Turn(Arc::clone(self)), Some(kept.connection)));
            }
        }
        let allowed = inner.allowed();
        if inner.used >= allowed {
            return None;
        }
        if inner.used + inner.kept.len() >= allowed && !inner.kept.is_empty() {
            tokio::spawn(inner.kept.remove(0).connection.quit());
        }
        inner.used += 1;
        // More than one turn can have come with one call.
        let more = inner.used + inner.kept.len() < allowed && !inner.waiting.is_empty();
        drop(inner);
        if more {
            self.freed.notify_one();
        }
        Some((Turn(Arc::clone(self)), None))
    }

    /// Takes leave of a door's connections that waited as long as `idle`; since when the oldest
    /// one that is left has waited.
    pub(super) fn close_kept(
        &self,
        door: Door,
        now: Timestamp,
        idle: Duration,
    ) -> Option<Timestamp> {
        let mut inner = self.inner.lock();
        let is_old = |kept: &mut Kept| kept.door == door && now.since(kept.since) >= idle;
        let old: Vec<Kept> = inner.kept.extract_if(.., is_old).collect();
        let oldest = inner.kept.iter().find(|kept| kept.door == door).map(|kept| kept.since);
        drop(inner);
        for Kept { connection, .. } in old {
            tokio::spawn(connection.quit());
            self.freed.notify_one();
        }
        oldest
    }

    /// A site is gone, and with it whatever it kept.
    pub(super) fn close_door(&self, door: Door) {
        self.inner.lock().kept.retain(|kept| kept.door != door);
        self.freed.notify_one();
    }
}

impl Turn {
    /// Gives the turn back and keeps the connection for the next message, unless another site
    /// waits for it, the receiver bears fewer by now, or enough are kept for all receivers.
    pub(super) fn keep(self, door: Door, connection: Connection, since: Timestamp) {
        let mut inner = self.0.inner.lock();
        match self.0.shelf.room().filter(|_| inner.may_keep(door)) {
            Some(room) => inner.kept.push(Kept { door, connection, since, _room: room }),
            None => drop(tokio::spawn(connection.quit())),
        }
        // The turn itself is given back by the drop.
        drop(inner);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.used = inner.used.saturating_sub(1);
        drop(inner);
        self.0.freed.notify_one();
    }
}

/// Somebody waits, until it is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    door: Door,
}

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate, door: Door) -> Self {
        *gate.inner.lock().waiting.entry(door).or_default() += 1;
        Self { gate, door }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inner = self.gate.inner.lock();
        if let Some(count) = inner.waiting.get_mut(&self.door) {
            *count -= 1;
            if *count == 0 {
                inner.waiting.remove(&self.door);
            }
        }
    }
}

/// A receiver, as mail from one pool meets it.
type Receiver = (Shape, Option<PoolNumber>);

/// The gates of all receivers.
pub(crate) struct Gates {
    /// Of receivers that are more than one site, for each pool that mail leaves from.
    shared: Mutex<HashMap<Receiver, Weak<Gate>>>,
    shelf: Arc<Shelf>,
}

impl Gates {
    /// Gates that keep so many connections together.
    pub(crate) fn new(most_kept: usize) -> Self {
        let shelf = Shelf { most: most_kept, taken: AtomicUsize::new(0) };
        Self { shared: Mutex::default(), shelf: Arc::new(shelf) }
    }

    /// The gate for a shape and a pool: its own for a site that is alone, else the one of its
    /// group. Receivers count by the address that they see.
    pub(super) fn of(&self, shape: Shape, pool: Option<PoolNumber>) -> Arc<Gate> {
        if shape.group.is_none() {
            return Gate::new(shape.limits, Arc::clone(&self.shelf));
        }
        let mut shared = self.shared.lock();
        if let Some(gate) = shared.get(&(shape, pool)).and_then(Weak::upgrade) {
            return gate;
        }
        // Those that nobody passes any more.
        shared.retain(|_, gate| gate.strong_count() > 0);
        let gate = Gate::new(shape.limits, Arc::clone(&self.shelf));
        shared.insert((shape, pool), Arc::downgrade(&gate));
        gate
    }
}
