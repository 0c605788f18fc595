//! One life of the platform: from its start on what the log holds until a crash or a stop.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{Blocking, Caller, Clock, Machine, Platform, PlatformOptions, PlatformParts};
use eventlog::{EventLog, MasterKey, Vault};
use mail::{
    dns::{DnsOptions, Resolver},
    smtp::Dial,
};
use model::{Timestamp, address::DomainName, retry::RetryPolicy};
use projections::ReadModels;

use crate::{
    clients::{Client, SharedBook},
    clock::SimClock,
    dice::{Dice, SeededChance},
    end::{End, EndOfLife},
    invariants::Record,
    log::SimLog,
    names::NameServers,
    receivers::Network,
};

/// Clients at once.
const CLIENTS: usize = 3;

/// What outlives a platform.
pub struct World {
    pub dice: Dice,
    pub log: SimLog,
    pub network: Arc<Network>,
    pub names: Arc<NameServers>,
    pub end: EndOfLife,
    pub book: SharedBook,
    pub caller: Caller,
    pub record: Mutex<Record>,
}

/// A runtime whose time leaps, without sockets, on one thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

pub fn vault() -> Vault {
    Vault::new(&MasterKey::from_bytes([7; 32]))
}

pub fn options() -> PlatformOptions {
    let seconds = Duration::from_secs;
    PlatformOptions {
        allow_private_networks: true,
        per_destination: 2,
        lane_depth: 6,
        max_live_messages: 24,
        max_admitted: 8,
        retry: RetryPolicy::new(vec![seconds(30), seconds(60), seconds(300)], seconds(3_600))
            .unwrap(),
        ..PlatformOptions::new(DomainName::parse("mx.lumora.example").unwrap())
    }
}

/// The parts of a platform on a clock, a log and names.
pub fn parts(
    dice: Dice,
    life: u32,
    clock: SimClock,
    log: &SimLog,
    read: &ReadModels,
    names: &Arc<NameServers>,
    dial: Arc<dyn Dial>,
) -> PlatformParts {
    let dns = DnsOptions { failure_ttl: Duration::ZERO, ..DnsOptions::default() };
    PlatformParts {
        log: Arc::new(log.clone()),
        vault: vault(),
        read: read.clone(),
        resolver: Resolver::over(Arc::clone(names) as _, &dns),
        clock: Arc::new(clock),
        machine: Machine {
            chance: Arc::new(SeededChance::new(dice.ask("chance", &[&life.to_le_bytes()]))),
            blocking: Blocking::InPlace,
            dial,
        },
        options: options(),
    }
}

/// Takes in what the log holds, some time after it came.
pub async fn follow(read: ReadModels, log: SimLog, dice: Dice, life: u32) {
    let mut head = log.head();
    for round in 0_u64.. {
        read.follow_here();
        if head.changed().await.is_err() {
            return;
        }
        let mut roll = dice.ask("lag", &[&life.to_le_bytes(), &round.to_le_bytes()]);
        let lag = if roll.in_thousand(20) { roll.below(4_000) } else { roll.below(5) };
        tokio::time::sleep(Duration::from_millis(lag)).await;
    }
}

/// How a life ended.
pub struct Ended {
    pub at: Timestamp,
    /// Whether anything may have been under way that is not on record.
    pub abrupt: bool,
    /// The read models, which have taken everything in.
    pub read: ReadModels,
}

impl World {
    /// Lives until `end`.
    pub fn live(&self, life: u32, begin: Timestamp, end: End, read: &Path) -> Ended {
        let runtime = runtime();
        let calm = end == End::AllDone;
        self.end.plan(end);
        self.book.lock().unwrap().cut_off();
        let log = Arc::new(self.log.with_good_reads());
        let read = ReadModels::open(read, log, vault()).unwrap();
        {
            // What turned out to be there when the log was opened is of the life before.
            let mut record = self.record.lock().unwrap();
            record.take_in(&self.log, life.saturating_sub(1));
            record.check_alarms(&read, &format!("before life {life}"));
        }
        let (at, abrupt) = runtime.block_on(async {
            let clock = SimClock::starting_at(begin);
            self.network.begin(life, calm, clock);
            self.names.begin(calm, clock);
            let abrupt = self.pass(life, clock, end, &read).await;
            (clock.now(), abrupt)
        });
        // Every task ends where it stands, as it would when the process is killed.
        drop(runtime);
        read.follow_here();
        let mut record = self.record.lock().unwrap();
        record.take_in(&self.log, life);
        record.check_alarms(&read, &format!("after life {life}"));
        Ended { at, abrupt, read }
    }

    /// Whether it ended abruptly.
    async fn pass(&self, life: u32, clock: SimClock, end: End, read: &ReadModels) -> bool {
        let dial = Arc::clone(&self.network) as Arc<dyn Dial>;
        let parts = parts(self.dice, life, clock, &self.log, read, &self.names, dial);
        let platform = Platform::start(parts).await.unwrap();
        tokio::spawn(follow(read.clone(), self.log.clone(), self.dice, life));
        for share in 0..CLIENTS {
            let client = Client {
                platform: platform.clone(),
                caller: self.caller,
                clock,
                dice: self.dice,
                book: Arc::clone(&self.book),
            };
            tokio::spawn(client.work(life, share, CLIENTS));
        }
        let stopped = tokio::select! {
            biased;
            () = self.end.crashed() => return true,
            // Whoever runs the server sees it, and starts it anew after a while.
            () = self.failed() => return true,
            () = self.all_done(read), if end == End::AllDone => Duration::from_secs(60),
            () = tokio::time::sleep(end.longest()) => match end {
                End::StopAfter(_, drain) | End::CrashInStop(_, drain) => drain,
                _ => return true,
            },
        };
        let stopping = platform.stop(stopped);
        match end {
            End::CrashInStop(_, after) => {
                tokio::time::timeout(after, stopping).await.ok();
                true
            }
            _ => stopping.await.left_behind > 0 || self.log.is_unwritable(),
        }
    }

    async fn failed(&self) {
        self.end.log_has_failed().await;
        tokio::time::sleep(Duration::from_secs(20)).await;
    }

    /// Ends once every order is settled and every message has ended.
    async fn all_done(&self, read: &ReadModels) {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let settled = self.book.lock().unwrap().is_settled();
            let head = *self.log.head().borrow();
            if settled && read.position() == head && read.alarms().is_empty().unwrap() {
                return;
            }
        }
    }
}
