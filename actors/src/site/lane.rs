//! What a site shares with those who come to it and with its workers.

use std::{collections::HashSet, sync::Arc};

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

/// Names that stand before a full lane. Who finds these taken too comes back by its alarm, which
/// hears when there is room.
const MOST_BEFORE_DOOR: usize = 10_000;

/// Who found no place.
#[derive(Default)]
struct BeforeDoor {
    queue: FairQueue<MessageId>,
    names: HashSet<MessageId>,
    /// Whether somebody found no room even here.
    missed: bool,
}

impl BeforeDoor {
    /// As with the places, no tenant can fill the room before the door alone.
    fn stand(&mut self, tenant: TenantId, message: MessageId) {
        if self.names.contains(&message) {
            return;
        }
        let free = MOST_BEFORE_DOOR.saturating_sub(self.queue.len());
        if self.queue.len_of(tenant) < free {
            self.queue.push_back(tenant, message);
            self.names.insert(message);
        } else {
            self.missed = true;
        }
    }

    fn pop_of(&mut self, tenant: TenantId) -> Option<MessageId> {
        let message = self.queue.pop_of(tenant)?;
        self.names.remove(&message);
        Some(message)
    }
}

/// Who is called in.
#[derive(Debug, Default)]
pub(super) struct CalledIn {
    pub(super) messages: Vec<MessageId>,
    /// Whether others found no room before the door, where there is some now.
    pub(super) missed: bool,
}

/// Places for messages, and the way to the receiver's connections.
pub(crate) struct Lane {
    places: Arc<Places>,
    before_door: Mutex<BeforeDoor>,
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
    /// overflows the lane would find it empty for seconds, until the alarms.
    pub(crate) fn stand_before_door(&self, tenant: TenantId, message: MessageId) {
        self.before_door.lock().stand(tenant, message);
    }

    /// Who is to be called in now: of each tenant as many as it may have, once a half of that is
    /// free. Called one by one, each would find the lane full again before it had its content from
    /// the disk.
    pub(super) fn called_in(&self) -> CalledIn {
        let mut before_door = self.before_door.lock();
        let mut called = CalledIn::default();
        if before_door.queue.is_empty() {
            return called;
        }
        let tenants = before_door.queue.tenants();
        let (mut free, held) = self.places.shares(&tenants);
        for (tenant, held) in tenants.into_iter().zip(held) {
            let room = room(held, free);
            if room < held {
                continue;
            }
            let own = (0..room).map_while(|_| before_door.pop_of(tenant));
            let before = called.messages.len();
            called.messages.extend(own);
            free = free.saturating_sub(called.messages.len() - before);
        }
        if !called.messages.is_empty() {
            called.missed = std::mem::take(&mut before_door.missed);
        }
        called
    }

    /// Who stands before the door comes back by its alarm.
    pub(super) fn send_away(&self) {
        *self.before_door.lock() = BeforeDoor::default();
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
        !self.before_door.lock().queue.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);

    fn message(number: u16) -> MessageId {
        let mut id = [0; 16];
        id[14..].copy_from_slice(&number.to_be_bytes());
        MessageId::from_bytes(id)
    }

    #[test]
    fn a_name_stands_before_the_door_once_and_a_missed_one_is_remembered() {
        let mut door = BeforeDoor::default();
        for _ in 0..2 {
            door.stand(A, message(0));
        }
        assert_eq!(door.queue.len(), 1);
        for number in 0..u16::MAX {
            door.stand(A, message(number));
        }
        assert_eq!(door.queue.len(), MOST_BEFORE_DOOR / 2, "nobody fills it alone");
        assert!(door.missed);
        door.stand(B, message(u16::MAX));
        assert_eq!(door.pop_of(B), Some(message(u16::MAX)));
        assert_eq!(door.pop_of(A), Some(message(0)));
        door.stand(A, message(0));
        assert_eq!(door.queue.len(), MOST_BEFORE_DOOR / 2, "who was called in may come again");
    }
}
