//! What a site shares with those who come to it and with its workers.

use std::sync::Arc;

use model::{MessageId, TenantId, Timestamp, routing::next_way_may_be_taken};
use parking_lot::Mutex;

use super::{
    gate::{Door, Gate},
    pause::Pause,
    places::{Place, Places, room},
    queue::FairQueue,
    usage::Usage,
};
use crate::figures::ReceiverFigures;

/// Names that stand before a full lane: 16 octets each. Who finds these taken too comes back by its
/// alarm, a few seconds later.
const MOST_BEFORE_DOOR: usize = 10_000;

/// Places for messages, and the way to the receiver's connections.
pub(crate) struct Lane {
    places: Arc<Places>,
    before_door: Mutex<FairQueue<MessageId>>,
    pause: Mutex<Pause>,
    pub(super) gate: Arc<Gate>,
    pub(super) door: Door,
    pub(super) figures: ReceiverFigures,
    pub(super) usage: Usage,
}

impl Lane {
    pub(crate) fn new(depth: usize, gate: Arc<Gate>, figures: ReceiverFigures) -> Self {
        let door = gate.door();
        Self {
            places: Places::new(depth),
            before_door: Mutex::default(),
            pause: Mutex::default(),
            gate,
            door,
            figures,
            usage: Usage::default(),
        }
    }

    /// A place in the lane, held until the message is done with.
    pub(crate) fn reserve(&self, tenant: TenantId) -> Option<Place> {
        self.places.take(tenant)
    }

    /// Whether a tenant would find a place now; who would not is noted, see
    /// [`Lane::stand_before_door`].
    pub(crate) fn has_room(&self, tenant: TenantId, message: MessageId) -> bool {
        let (free, held) = self.places.shares(&[tenant]);
        let has_room = held.first().is_some_and(|held| room(*held, free) > 0);
        if !has_room {
            self.stand_before_door(tenant, message);
        }
        has_room
    }

    /// Notes who found no place, to be called in when there is room again: without it a burst that
    /// overflows the lane would find it empty for seconds, until the alarms. As with the places,
    /// no tenant can fill the room before the door alone.
    pub(crate) fn stand_before_door(&self, tenant: TenantId, message: MessageId) {
        let mut before_door = self.before_door.lock();
        let free = MOST_BEFORE_DOOR.saturating_sub(before_door.len());
        if before_door.len_of(tenant) < free {
            before_door.push_back(tenant, message);
        }
    }

    /// Who is to be called in now: of each tenant as many as it may have, once a half of that is
    /// free. Called one by one, each would find the lane full again before it had its content from
    /// the disk.
    pub(super) fn called_in(&self) -> Vec<MessageId> {
        let mut before_door = self.before_door.lock();
        if before_door.is_empty() {
            return Vec::new();
        }
        let tenants = before_door.tenants();
        let (mut free, held) = self.places.shares(&tenants);
        let mut called = Vec::new();
        for (tenant, held) in tenants.into_iter().zip(held) {
            let room = room(held, free);
            if room < held {
                continue;
            }
            let own = (0..room).map_while(|_| before_door.pop_of(tenant));
            let before = called.len();
            called.extend(own);
            free = free.saturating_sub(called.len() - before);
        }
        called
    }

    /// Who stands before the door comes back by its alarm.
    pub(super) fn send_away(&self) {
        *self.before_door.lock() = FairQueue::default();
    }

    /// How many have a place.
    pub(crate) fn taken(&self) -> usize {
        self.places.taken()
    }

    /// Until when the site is left in peace, if it is at `now`.
    pub(crate) fn resting_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.pause.lock().until).filter(|until| *until > now)
    }

    /// Whether nobody has a place, and nobody waits for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty() && !self.is_called_for()
    }

    /// Whether somebody stands before the door.
    pub(super) fn is_called_for(&self) -> bool {
        !self.before_door.lock().is_empty()
    }

    pub(super) fn pause(&self) -> Pause {
        self.pause.lock().clone()
    }

    /// Whether its door is shut now, so that who has another way should take that.
    pub(crate) fn is_shut(&self, now: Timestamp) -> bool {
        let pause = self.pause.lock();
        pause.until > now && pause.cause.as_ref().is_some_and(next_way_may_be_taken)
    }

    pub(super) fn with_pause<T>(&self, change: impl FnOnce(&mut Pause) -> T) -> T {
        change(&mut self.pause.lock())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.gate.close_door(self.door);
    }
}
