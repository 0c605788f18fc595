//! What a site shares with those who come to it and with its workers.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use mail::smtp::Connection;
use model::{MessageId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::pause::Pause;

/// Names that stand before a full lane: 16 octets each. Who finds these taken too comes back by its
/// alarm, a few seconds later.
const MOST_BEFORE_DOOR: usize = 10_000;

/// Places for messages, turns at connections, and the connections that wait for the next message.
pub(crate) struct Lane {
    places: Arc<Semaphore>,
    depth: usize,
    before_door: Mutex<VecDeque<MessageId>>,
    turns: Semaphore,
    kept: Mutex<Vec<Kept>>,
    pause: Mutex<Pause>,
}

struct Kept {
    connection: Connection,
    since: Timestamp,
}

impl Lane {
    pub(crate) fn new(depth: usize, connections: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(depth)),
            depth,
            before_door: Mutex::default(),
            turns: Semaphore::new(connections),
            kept: Mutex::default(),
            pause: Mutex::default(),
        }
    }

    /// A place in the lane, held until the message is done with.
    pub(crate) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Notes who found no place, to be called in when there is room again: without it a burst that
    /// overflows the lane would find it empty for seconds, until the alarms.
    pub(crate) fn stand_before_door(&self, message: MessageId) {
        let mut before_door = self.before_door.lock();
        if before_door.len() < MOST_BEFORE_DOOR {
            before_door.push_back(message);
        }
    }

    /// Who is to be called in now: as many as there are places, once a half of all is free. Called
    /// one by one, each would find the lane full again before it had its content from the disk.
    pub(super) fn called_in(&self) -> Vec<MessageId> {
        let free = self.places.available_permits();
        if free < self.depth.div_ceil(2) {
            return Vec::new();
        }
        let mut before_door = self.before_door.lock();
        let called = free.min(before_door.len());
        before_door.drain(..called).collect()
    }

    /// Who stands before the door comes back by its alarm.
    pub(super) fn send_away(&self) {
        self.before_door.lock().clear();
    }

    /// Whether nobody has a place, and nobody waits for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.available_permits() == self.depth && !self.is_called_for()
    }

    /// Whether somebody stands before the door.
    pub(super) fn is_called_for(&self) -> bool {
        !self.before_door.lock().is_empty()
    }

    /// A turn at a connection. Connections in use are never more than turns, and a new one is
    /// opened only when none is kept: so open ones are never more than turns either.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// The connection that was used last and is not known to be dead.
    pub(super) fn take_kept(&self) -> Option<Connection> {
        let mut kept = self.kept.lock();
        while let Some(Kept { mut connection, .. }) = kept.pop() {
            if connection.is_idle_alive() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn keep(&self, connection: Connection, since: Timestamp) {
        self.kept.lock().push(Kept { connection, since });
    }

    /// Takes leave of connections that waited as long as `idle`; since when the oldest one that is
    /// left has waited.
    pub(super) fn close_kept(&self, now: Timestamp, idle: Duration) -> Option<Timestamp> {
        let mut kept = self.kept.lock();
        // They lie in the order in which they were put down.
        let old = kept.iter().take_while(|kept| now.since(kept.since) >= idle).count();
        for Kept { connection, .. } in kept.drain(..old) {
            tokio::spawn(connection.quit());
        }
        kept.first().map(|kept| kept.since)
    }

    pub(super) fn pause(&self) -> Pause {
        self.pause.lock().clone()
    }

    pub(super) fn with_pause<T>(&self, change: impl FnOnce(&mut Pause) -> T) -> T {
        change(&mut self.pause.lock())
    }
}
