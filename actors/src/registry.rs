//! Who is in memory: one actor for each key at the most, and no cast lost while it leaves.
//!
//! A sharded map of slots, not an actor: everybody passes here, so nobody may queue here.
//!
//! ```text
//!            cast                    leave                  dropped
//! (vacant) ────────► Live{actor} ────────► Leaving{waiting} ───────► (vacant), or Live again
//!                       ▲ cast: to its mailbox    ▲ cast: waits        with what waited
//! ```
//!
//! # Why
//! - An actor leaves by `drain()`: what its mailbox took is handled. What comes later waits in the
//!   slot and is handed to the successor, which is spawned only once the state of the one before
//!   has been dropped. So there are never two owners, and nothing is lost in between.
//! - The state holds a [`Presence`], and its drop empties the slot: that also covers an actor that
//!   panicked or whose runtime went, whose last steps never run.
//! - A slot needs no `Starting`: an actor spawned at once has a mailbox before it has a state, so
//!   casts need not wait for it.
//! - The lock of a shard is held for a push into a mailbox or a list, never across an await.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use ractor::{Actor, ActorRef, ActorRuntime, MessagingErr};
use tokio::{
    runtime::Handle,
    sync::{Notify, futures::Notified},
};

/// Shards, a power of two: with 64, 16 threads meet in one in fewer than one of four casts.
const SHARDS: usize = 64;

/// An actor that lives in a registry.
pub(crate) trait Resident: Actor<Arguments = Seat<Self>> + Default {
    /// What it is known by.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    /// What it needs to live.
    type Context: Send + Sync + 'static;
    /// What it shares with those who come to it.
    type Desk: Clone + Send + Sync + 'static;

    /// A desk for a new actor.
    fn desk(context: &Self::Context, key: &Self::Key) -> Self::Desk;

    /// One ended without leaving: it panicked.
    fn crashed(context: &Self::Context);
}

/// An actor and what came for it.
enum Slot<M> {
    Live(ActorRef<M>),
    Leaving(Vec<M>),
}

struct Place<A: Resident> {
    desk: A::Desk,
    slot: Slot<A::Msg>,
}

type Shard<A> = Mutex<HashMap<<A as Resident>::Key, Place<A>>>;

/// The actors of one kind.
pub(crate) struct Registry<A: Resident> {
    shards: Box<[Shard<A>]>,
    hasher: RandomState,
    live: AtomicUsize,
    most: usize,
    vacated: Notify,
    context: Weak<A::Context>,
}

/// What became of a call on an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approached {
    /// It was told, or will be.
    Told,
    /// Its desk let nobody in.
    Declined,
    /// It is not in memory and there is no room for it.
    Full,
}

/// The actor is not in memory and there is no room for it; the message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Part of the room for actors that a caller may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it.
    Whole,
    /// Three quarters: what is woken leaves room for what is new.
    Most,
    /// Beyond it: what is under way must be able to end.
    Beyond,
}

/// An actor's hold on its place, from its spawn on; dropped with its state, or before it has one.
pub(crate) struct Seat<A: Resident> {
    registry: Arc<Registry<A>>,
    context: Arc<A::Context>,
    key: A::Key,
    desk: A::Desk,
    standing: Arc<AtomicU8>,
}

/// The actor is being spawned, under its shard's lock: who drops the seat now must not lock.
const SPAWNING: u8 = 0;
/// The actor has its place.
const PLACED: u8 = 1;
/// The seat is gone: its task was dropped.
const GONE: u8 = 2;

/// The seat of an actor that has started; part of its state.
pub(crate) struct Presence<A: Resident>(Seat<A>);

impl<A: Resident> Seat<A> {
    /// Taken first thing in `pre_start`.
    pub(crate) const fn take(self) -> Presence<A> {
        Presence(self)
    }
}

impl<A: Resident> Registry<A> {
    /// An empty registry with room for `most` actors.
    pub(crate) fn new(most: usize, context: Weak<A::Context>) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            live: AtomicUsize::new(0),
            most,
            vacated: Notify::new(),
            context,
        })
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder lies within the shards")]
    fn shard(&self, key: &A::Key) -> &Shard<A> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        &self.shards[hash % SHARDS]
    }

    /// Actors in memory, those that are leaving included.
    pub(crate) fn len(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Whether there is an actor for `key`.
    pub(crate) fn holds(&self, key: &A::Key) -> bool {
        self.shard(key).lock().contains_key(key)
    }

    /// Wakes when an actor has left.
    pub(crate) fn vacated(&self) -> Notified<'_> {
        self.vacated.notified()
    }

    /// Tells `key`'s actor, which is brought into memory when it is not there.
    pub(crate) fn cast(
        self: &Arc<Self>,
        key: &A::Key,
        msg: A::Msg,
        share: Share,
    ) -> Result<(), Full> {
        match self.approach(key, share, |_| Some(msg)) {
            Approached::Told => Ok(()),
            Approached::Declined | Approached::Full => Err(Full),
        }
    }

    /// The same with a message that is made at the actor's desk, or not made.
    pub(crate) fn approach(
        self: &Arc<Self>,
        key: &A::Key,
        share: Share,
        at_desk: impl FnOnce(&A::Desk) -> Option<A::Msg>,
    ) -> Approached {
        let mut shard = self.shard(key).lock();
        if let Some(place) = shard.get_mut(key) {
            let Some(msg) = at_desk(&place.desk) else { return Approached::Declined };
            place.tell(msg);
            return Approached::Told;
        }
        let Some(context) = self.context.upgrade() else { return Approached::Full };
        // Without a runtime there is nobody left to do anything.
        if Handle::try_current().is_err() || !self.claim(share) {
            return Approached::Full;
        }
        let desk = A::desk(&context, key);
        let approached = match at_desk(&desk) {
            None => Approached::Declined,
            Some(msg) => match self.spawn(context, key.clone(), desk) {
                None => Approached::Full,
                Some(mut place) => {
                    place.tell(msg);
                    shard.insert(key.clone(), place);
                    return Approached::Told;
                }
            },
        };
        self.live.fetch_sub(1, Ordering::AcqRel);
        approached
    }

    /// What its desk says of `key`'s actor; `None` when it is not in memory.
    pub(crate) fn ask_desk<T>(
        &self,
        key: &A::Key,
        question: impl FnOnce(&A::Desk) -> T,
    ) -> Option<T> {
        self.shard(key).lock().get(key).map(|place| question(&place.desk))
    }

    /// The desks of the actors in memory, in no order.
    pub(crate) fn desks(&self) -> Vec<(A::Key, A::Desk)> {
        let shards = self.shards.iter();
        let desks = shards.flat_map(|shard| {
            let shard = shard.lock();
            let desks = shard.iter().map(|(key, place)| (key.clone(), place.desk.clone()));
            desks.collect::<Vec<_>>()
        });
        desks.collect()
    }

    /// Tells every actor in memory, in the order of their keys.
    pub(crate) fn cast_all(&self, msg: impl Fn() -> A::Msg)
    where
        A::Key: Ord,
    {
        let keys = self.shards.iter().flat_map(|shard| {
            let keys: Vec<A::Key> = shard.lock().keys().cloned().collect();
            keys
        });
        let mut keys: Vec<A::Key> = keys.collect();
        keys.sort_unstable();
        for key in keys {
            // Who has left since has nothing to be told.
            if let Some(place) = self.shard(&key).lock().get_mut(&key) {
                place.tell(msg());
            }
        }
    }

    /// What there is to say of each, by its key and desk.
    pub(crate) fn survey<T>(&self, say: impl Fn(&A::Key, &A::Desk) -> T) -> Vec<T> {
        let shards = self.shards.iter().map(|shard| {
            shard.lock().iter().map(|(key, place)| say(key, &place.desk)).collect::<Vec<_>>()
        });
        shards.flatten().collect()
    }

    fn claim(&self, share: Share) -> bool {
        let limit = match share {
            Share::Whole => self.most,
            Share::Most => (self.most / 4 * 3).max(1),
            Share::Beyond => usize::MAX,
        };
        let one_more = |live: usize| (live < limit).then_some(live + 1);
        self.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    fn spawn(
        self: &Arc<Self>,
        context: Arc<A::Context>,
        key: A::Key,
        desk: A::Desk,
    ) -> Option<Place<A>> {
        let standing = Arc::new(AtomicU8::new(SPAWNING));
        let registry = Arc::clone(self);
        let own_standing = Arc::clone(&standing);
        let seat = Seat { registry, context, key, desk: desk.clone(), standing: own_standing };
        // Fails for a name that is taken, and these have none.
        let (actor, _starting) = ActorRuntime::spawn_instant(None, A::default(), seat).ok()?;
        // A runtime that is shutting down drops the task at once, within the spawn.
        standing
            .compare_exchange(SPAWNING, PLACED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
            .then_some(Place { desk, slot: Slot::Live(actor) })
    }

    /// The actor of `key` is gone, its state with it.
    fn left(self: &Arc<Self>, key: &A::Key, context: &Arc<A::Context>) {
        let mut shard = self.shard(key).lock();
        let removed = shard.remove(key);
        let crashed = matches!(removed, Some(Place { slot: Slot::Live(_), .. }));
        if let Some(Place { desk, slot: Slot::Leaving(waiting) }) = removed
            && !waiting.is_empty()
            && Handle::try_current().is_ok()
            && let Some(mut successor) = self.spawn(Arc::clone(context), key.clone(), desk)
        {
            for msg in waiting {
                successor.tell(msg);
            }
            shard.insert(key.clone(), successor);
            return;
        }
        drop(shard);
        self.live.fetch_sub(1, Ordering::AcqRel);
        self.vacated.notify_one();
        if crashed {
            A::crashed(context);
        }
    }
}

impl<A: Resident> Place<A> {
    fn tell(&mut self, msg: A::Msg) {
        match &mut self.slot {
            Slot::Leaving(waiting) => waiting.push(msg),
            Slot::Live(actor) => {
                // A mailbox that takes nothing any more belongs to an actor that crashed: its
                // successor comes when its state is dropped.
                if let Err(MessagingErr::SendErr(msg)) = actor.send_message(msg) {
                    self.slot = Slot::Leaving(vec![msg]);
                }
            }
        }
    }
}

impl<A: Resident> Presence<A> {
    pub(crate) const fn context(&self) -> &Arc<A::Context> {
        &self.0.context
    }

    pub(crate) const fn key(&self) -> &A::Key {
        &self.0.key
    }

    pub(crate) const fn desk(&self) -> &A::Desk {
        &self.0.desk
    }

    /// Leaves memory once the mailbox is empty, unless the desk says otherwise. Who leaves hands
    /// what it still finds in its mailbox to its successor: [`Presence::hand_on`].
    pub(crate) fn leave_if(
        &self,
        myself: &ActorRef<A::Msg>,
        may_leave: impl FnOnce(&A::Desk) -> bool,
    ) -> bool {
        let mut shard = self.0.registry.shard(&self.0.key).lock();
        let Some(place) = shard.get_mut(&self.0.key) else { return false };
        if matches!(place.slot, Slot::Live(_)) {
            if !may_leave(&place.desk) {
                return false;
            }
            place.slot = Slot::Leaving(Vec::new());
        }
        drop(shard);
        // Fails when the mailbox is closed already, and then the actor is leaving anyway.
        myself.drain().ok();
        true
    }

    /// Leaves memory once the mailbox is empty.
    pub(crate) fn leave(&self, myself: &ActorRef<A::Msg>) {
        self.leave_if(myself, |_| true);
    }

    /// Leaves `msg` for the successor.
    pub(crate) fn hand_on(&self, msg: A::Msg) {
        if let Some(place) = self.0.registry.shard(&self.0.key).lock().get_mut(&self.0.key) {
            place.tell(msg);
        }
    }
}

impl<A: Resident> Drop for Seat<A> {
    fn drop(&mut self) {
        if self.standing.swap(GONE, Ordering::AcqRel) == PLACED {
            self.registry.left(&self.key, &self.context);
        }
    }
}

#[cfg(test)]
mod tests;
