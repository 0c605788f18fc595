use std::{sync::atomic::AtomicU64, time::Duration};

use ractor::ActorProcessingErr;

use super::*;

/// Counts what was handled, and how many owners each key has.
#[derive(Default)]
struct Ledger {
    handled: AtomicU64,
    spawned: AtomicU64,
    crashes: AtomicU64,
    owners: Mutex<HashMap<u32, usize>>,
    most_owners: AtomicUsize,
}

#[derive(Default)]
struct Clerk;

enum Msg {
    Count,
    Panic,
    Leave,
}

struct Desk {
    presence: Presence<Clerk>,
    asked_to_leave: bool,
    leaving: bool,
}

impl Drop for Desk {
    fn drop(&mut self) {
        *self.presence.context().owners.lock().get_mut(self.presence.key()).unwrap() -= 1;
    }
}

impl Resident for Clerk {
    type Key = u32;
    type Context = Ledger;
    type Desk = ();

    fn desk(_: &Ledger, _: &u32) {}

    fn crashed(ledger: &Ledger) {
        ledger.crashes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Actor for Clerk {
    type Msg = Msg;
    type State = Desk;
    type Arguments = Seat<Self>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Msg>,
        seat: Seat<Self>,
    ) -> Result<Desk, ActorProcessingErr> {
        let presence = seat.take();
        let ledger = presence.context();
        ledger.spawned.fetch_add(1, Ordering::SeqCst);
        let mut owners = ledger.owners.lock();
        let now = owners.entry(*presence.key()).or_default();
        *now += 1;
        ledger.most_owners.fetch_max(*now, Ordering::SeqCst);
        drop(owners);
        Ok(Desk { presence, asked_to_leave: false, leaving: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        if desk.leaving {
            desk.presence.hand_on(msg);
            return Ok(());
        }
        match msg {
            Msg::Count => desk.presence.context().handled.fetch_add(1, Ordering::SeqCst),
            Msg::Panic => panic!("as told"),
            Msg::Leave => {
                // Gives the others a chance between the last message and the leave.
                tokio::task::yield_now().await;
                desk.leaving = true;
                desk.presence.leave(&myself);
                return Ok(());
            }
        };
        if !desk.asked_to_leave {
            desk.asked_to_leave = true;
            // Behind whatever its mailbox holds by now.
            myself.send_message(Msg::Leave).ok();
        }
        Ok(())
    }
}

async fn until(what: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("it came to be in time");
}

fn registry(most: usize) -> (Arc<Ledger>, Arc<Registry<Clerk>>) {
    let ledger = Arc::new(Ledger::default());
    let registry = Registry::new(most, Arc::downgrade(&ledger));
    (ledger, registry)
}

/// Every message makes its actor leave, so casts meet actors that leave all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_cast_is_lost_against_leaving_actors_and_no_key_has_two_owners() {
    const CASTERS: u64 = 8;
    const CASTS: u64 = 5_000;
    /// The test is about leaving: it goes on until that has happened often, however the threads
    /// take turns.
    const OFTEN: u64 = 1_000;
    let (ledger, registry) = registry(usize::MAX);
    let casters: Vec<_> = (0..CASTERS)
        .map(|caster| {
            let (ledger, registry) = (Arc::clone(&ledger), Arc::clone(&registry));
            tokio::spawn(async move {
                let mut number = 0;
                while number < CASTS || ledger.spawned.load(Ordering::SeqCst) <= OFTEN {
                    let key = u32::try_from((number * 7 + caster) % 5).unwrap();
                    registry.cast(&key, Msg::Count, Share::Whole).unwrap();
                    number += 1;
                    if number.is_multiple_of(16) && number < CASTS {
                        tokio::task::yield_now().await;
                    } else if number.is_multiple_of(16) {
                        // Whoever is told faster than it listens has no time to leave.
                        until(|| registry.len() == 0).await;
                    }
                }
                number
            })
        })
        .collect();
    let mut casts = 0;
    for caster in casters {
        casts += caster.await.unwrap();
    }
    until(|| registry.len() == 0).await;
    assert_eq!(ledger.handled.load(Ordering::SeqCst), casts);
    assert_eq!(ledger.most_owners.load(Ordering::SeqCst), 1);
    assert_eq!(ledger.crashes.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_actor_makes_room_and_has_a_successor() {
    let (ledger, registry) = registry(1);
    for round in 1..=200 {
        registry.cast(&1, Msg::Panic, Share::Whole).unwrap();
        // One of these may be in the mailbox that the crash throws away; none may block the key.
        registry.cast(&1, Msg::Count, Share::Whole).unwrap();
        until(|| registry.len() == 0).await;
        assert!(!registry.holds(&1));
        assert!(ledger.spawned.load(Ordering::SeqCst) >= round);
    }
    registry.cast(&1, Msg::Count, Share::Whole).unwrap();
    until(|| registry.len() == 0).await;
    assert!(ledger.handled.load(Ordering::SeqCst) >= 1);
    assert_eq!(ledger.most_owners.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn room_is_bounded_and_a_share_of_it_is_kept_for_what_is_new() {
    let (_ledger, registry) = registry(8);
    // Nothing runs between two casts of one task: all of these are in memory together.
    for key in 0..6 {
        registry.cast(&key, Msg::Count, Share::Most).unwrap();
    }
    assert_eq!(registry.cast(&6, Msg::Count, Share::Most), Err(Full));
    registry.cast(&6, Msg::Count, Share::Whole).unwrap();
    registry.cast(&7, Msg::Count, Share::Whole).unwrap();
    assert_eq!(registry.cast(&8, Msg::Count, Share::Whole), Err(Full));
    registry.cast(&8, Msg::Count, Share::Beyond).unwrap();
    // Who is in memory is told all the same.
    registry.cast(&0, Msg::Count, Share::Most).unwrap();
    assert_eq!(registry.len(), 9);
    until(|| registry.len() == 0).await;
}

#[tokio::test]
async fn a_desk_that_lets_nobody_in_declines_and_leaves_nothing_behind() {
    let (ledger, registry) = registry(8);
    assert_eq!(registry.approach(&1, Share::Whole, |()| None), Approached::Declined);
    assert_eq!(registry.len(), 0);
    assert!(!registry.holds(&1));
    drop(ledger);
    assert_eq!(registry.cast(&1, Msg::Count, Share::Whole), Err(Full), "its world is gone");
}

/// Whatever a runtime was doing when it went: nothing may keep the world alive.
#[test]
fn a_runtime_that_goes_leaves_nothing_behind() {
    for round in 0..50 {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (ledger, registry) = registry(usize::MAX);
        for caster in 0..4 {
            let (registry, ledger) = (Arc::clone(&registry), Arc::clone(&ledger));
            runtime.spawn(async move {
                loop {
                    for key in 0..20 {
                        registry.cast(&(key + caster), Msg::Count, Share::Whole).ok();
                    }
                    tokio::task::yield_now().await;
                    std::hint::black_box(&ledger);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(round % 5));
        drop(runtime);
        assert_eq!(registry.len(), 0, "a place was kept");
        assert_eq!(Arc::strong_count(&ledger), 1, "the world is still held");
    }
}
