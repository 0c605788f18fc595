//! One run: a seed, several lives, and what must hold.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use projections::ReadModels;
use tempfile::TempDir;

use crate::{
    account::{BEGINNING, account},
    clients::{SharedBook, place_orders},
    dice::Dice,
    end::{End, EndOfLife},
    life::World,
    log::{Fate, SimLog},
    names::NameServers,
    receivers::Network,
};

/// What a run came to.
pub struct Outcome {
    pub violations: Vec<String>,
    pub messages: u64,
    pub copies: u64,
    /// Copies beyond the first that somebody got.
    pub duplicates: u64,
    pub lives: u64,
    pub crashes: u64,
    pub replays: u64,
    pub canceled: u64,
    pub fates: BTreeMap<Fate, u64>,
    pub moods: BTreeMap<&'static str, u64>,
    /// What was recorded, in its order: the same for the same seed.
    pub story: Vec<String>,
}

/// A directory for one run, in memory where the system has such.
fn scratch() -> TempDir {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap()
}

pub fn run(seed: u64) -> Outcome {
    let account = account();
    let dice = Dice::new(seed);
    let end = EndOfLife::default();
    let names = NameServers::new(dice);
    names.publish_all_of(&account.names);
    let world = World {
        dice,
        log: SimLog::new(dice, end.clone(), &account.events),
        network: Network::new(dice, &end),
        names,
        end,
        book: SharedBook::default(),
        caller: account.caller,
        record: Mutex::default(),
    };
    let dir = scratch();
    let mut roll = dice.ask("run", &[]);
    let lives = u32::try_from(roll.within(2, 6)).unwrap();
    let mut now = BEGINNING.plus(Duration::from_hours(1));
    let mut abrupt = Vec::new();
    let mut read_dir = 0;
    for life in 0..=lives {
        let last = life == lives;
        world.log.reopen(life, last);
        if !last {
            place_orders(&world.book, dice, life, roll.within(2, 14));
        }
        let how = if last { End::AllDone } else { End::throw(&mut roll) };
        // The read models may be gone: they can be made anew.
        read_dir += u32::from(roll.in_thousand(250));
        let path = dir.path().join(read_dir.to_string());
        let ended = world.live(life, now, how, &path);
        abrupt.push(ended.abrupt);
        let outage = if roll.in_thousand(500) { 5_000 } else { 900_000 };
        now = ended.at.plus(Duration::from_millis(roll.below(outage)));
        if last {
            return finish(&world, &ended.read, &abrupt);
        }
    }
    unreachable!("the last life ends the run")
}

fn finish(world: &World, read: &ReadModels, abrupt: &[bool]) -> Outcome {
    let mut record = std::mem::take(&mut *world.record.lock().unwrap());
    let book = world.book.lock().unwrap();
    record.check_orders(&book);
    record.check_conservation(read);
    let copies = world.network.tally.copies.lock().unwrap().clone();
    let duplicates = record.check_copies(&copies, abrupt);
    let mut violations = record.violations;
    violations.extend(world.log.violations());
    let mut moods = world.network.tally.moods.lock().unwrap().clone();
    moods.extend(world.names.moods.lock().unwrap().iter());
    Outcome {
        violations,
        messages: record.messages.len() as u64,
        copies: copies.len() as u64,
        duplicates,
        lives: abrupt.len() as u64,
        crashes: abrupt.iter().filter(|abrupt| **abrupt).count() as u64,
        replays: book.replays,
        canceled: book.canceled,
        fates: world.log.fates(),
        moods,
        story: record.story,
    }
}

/// Hands out seeds to threads.
pub struct Seeds {
    next: AtomicU64,
    end: u64,
}

impl Seeds {
    pub const fn new(first: u64, count: u64) -> Self {
        Self { next: AtomicU64::new(first), end: first + count }
    }

    pub fn take(&self) -> Option<u64> {
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.end).then_some(seed)
    }
}
