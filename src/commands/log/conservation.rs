//! `lumora log stats --check`: what is counted, held against a count of the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use eventlog::{EventLog, Log, LogOptions, Position, Recorded, Version};
use model::{
    Event, MessageId, StreamId, Timestamp,
    conservation::{Account, Balance, Ledger},
    message::MessageEvent,
};
use projections::{Conservation, Counts, ReadModels};
use serde_json::{Value, json};

use super::{PAGE, dir, progress};
use crate::{
    Failure,
    cli::OutputArguments,
    commands::{load, print_json, print_line},
    keys, pruning,
};

/// A number that is not what the log says.
struct Difference {
    account: Account,
    what: &'static str,
    by_log: u64,
    by_model: u64,
    model: &'static str,
}

impl Difference {
    fn json(&self) -> Value {
        json!({
            "tenant": self.account.tenant,
            "day": self.account.day.to_string(),
            "app": self.account.app,
            "what": self.what,
            "log": self.by_log,
            "readModel": self.model,
            "counted": self.by_model,
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { tenant, app, day } = self.account;
        let Self { what, by_log, by_model, model, .. } = self;
        write!(f, "{tenant} {day} {app}: {what} is {by_log} by the log and {by_model} by {model}")
    }
}

pub(super) fn check(output: &OutputArguments) -> Result<(), Failure> {
    let config = load(&output.config)?;
    let dir = dir(&output.config)?;
    let file = config.master_key_file();
    // Nothing is made here: with a new key no read model could be read.
    if !file.is_file() {
        return Err(Failure::usage(format!("{}: there is no master key", file.display())));
    }
    let vault = keys::vault(&config)?;
    let log = Log::open(&dir, LogOptions::default()).map_err(Failure::failed)?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let balances = count(log.as_ref())?;
    let read = ReadModels::open(&config.read_dir(), log, vault).map_err(Failure::failed)?;
    let differences = differences(&balances, &read);
    read.stop();
    let differences = differences?;
    let mut all = Balance::default();
    for balance in balances.values() {
        all.add(balance);
    }
    report(output, &balances, &all, &differences)
}

fn report(
    output: &OutputArguments,
    balances: &BTreeMap<Account, Balance>,
    all: &Balance,
    differences: &[Difference],
) -> Result<(), Failure> {
    let days: BTreeSet<_> = balances.keys().map(|at| (at.tenant, at.day)).collect();
    if output.json {
        print_json(&json!({
            "holds": differences.is_empty(),
            "days": days.len(),
            "accepted": all.accepted,
            "ended": all.ended(),
            "inFlight": all.in_flight,
            "differences": differences.iter().map(Difference::json).collect::<Value>(),
        }))?;
    } else {
        for difference in differences {
            print_line(&difference.to_string())?;
        }
    }
    let Some(first) = differences.first() else {
        let (accepted, ended) = (all.accepted, all.ended());
        let words = format!(
            "nobody is lost: {accepted} accepted = {ended} ended + {} in flight, on {} days of tenants",
            all.in_flight,
            days.len()
        );
        return if output.json { Ok(()) } else { print_line(&words).map(|_| ()) };
    };
    let count = differences.len();
    Err(Failure::failed(format!("{count} counts differ from the log, the first: {first}")))
}

/// The balances by the log alone.
fn count(log: &dyn EventLog) -> Result<BTreeMap<Account, Balance>, Failure> {
    let mut bar = progress("events");
    let head = log.head().borrow().get();
    let mut ledger = Ledger::default();
    let mut after = Position::START;
    loop {
        let page = log.read_all(after, PAGE).map_err(Failure::failed)?;
        let Some(last) = page.last() else { break };
        after = last.position;
        bar(after.get(), head);
        for recorded in &page {
            let StreamId::Message(message) = recorded.stream else { continue };
            let event = event_of(recorded)?;
            if ledger.take(message, &event, recorded.at).is_err() {
                let earlier = earlier(log, message, recorded.version)?;
                ledger.recall(message, earlier.iter().map(|(event, at)| (event, *at)));
                ledger.take(message, &event, recorded.at).map_err(|_| {
                    let position = recorded.position;
                    Failure::failed(format!(
                        "position {position}: no event before it begins {message}"
                    ))
                })?;
            }
        }
    }
    let mut balances = ledger.balances().clone();
    // What was pruned was counted in the same way before.
    for (account, carried) in pruning::carried_balances(log).map_err(Failure::failed)? {
        balances.entry(account).or_default().add(&carried);
    }
    Ok(balances)
}

fn event_of(recorded: &Recorded) -> Result<MessageEvent, Failure> {
    match Event::decode(recorded.stream, &recorded.data) {
        Ok(Event::Message(event)) => Ok(event),
        Ok(_) => {
            Err(Failure::failed(format!("position {}: no event of a message", recorded.position)))
        }
        Err(error) => Err(Failure::failed(format!("position {}: {error}", recorded.position))),
    }
}

/// The events of a message before this version.
fn earlier(
    log: &dyn EventLog,
    message: MessageId,
    version: Version,
) -> Result<Vec<(MessageEvent, Timestamp)>, Failure> {
    let mut found = Vec::new();
    let mut after = Version::NONE;
    loop {
        let read = log.read_stream(StreamId::Message(message), after, PAGE);
        let read = read.map_err(Failure::failed)?;
        let Some(last) = read.last() else { return Ok(found) };
        after = last.version;
        for recorded in read {
            if recorded.version >= version {
                return Ok(found);
            }
            found.push((event_of(&recorded)?, recorded.at));
        }
    }
}

/// Every number of the read models that is not the log's.
fn differences(
    balances: &BTreeMap<Account, Balance>,
    read: &ReadModels,
) -> Result<Vec<Difference>, Failure> {
    let stats = read.stats().by_day().map_err(Failure::failed)?;
    let alarms = read.alarms().conservation_by_day().map_err(Failure::failed)?;
    let mut accounts: BTreeSet<Account> = balances.keys().chain(alarms.keys()).copied().collect();
    for (app, day) in stats.keys() {
        // One that nobody knows counts all the same: below no tenant's name.
        let tenant = read.policies().app(*app).map(|view| view.tenant);
        let tenant = tenant.unwrap_or_else(|| model::TenantId::from_bytes([0; 16]));
        accounts.insert(Account { tenant, app: *app, day: *day });
    }
    let mut found = Vec::new();
    for account in accounts {
        let by_log = balances.get(&account).copied().unwrap_or_default();
        let stats = stats.get(&(account.app, account.day)).copied().unwrap_or_default();
        let alarms = alarms.get(&account).copied().unwrap_or_default();
        let compared = compared(&by_log, &stats, &alarms);
        found.extend(
            compared.into_iter().filter(|(_, by_log, by_model, _)| by_log != by_model).map(
                |(what, by_log, by_model, model)| Difference {
                    account,
                    what,
                    by_log,
                    by_model,
                    model,
                },
            ),
        );
    }
    Ok(found)
}

type Compared = (&'static str, u64, u64, &'static str);

fn compared(log: &Balance, stats: &Counts, alarms: &Conservation) -> [Compared; 11] {
    const STATS: &str = "statistics";
    const ALARMS: &str = "alarms";
    [
        ("accepted", log.accepted, stats.accepted, STATS),
        ("delivered", log.delivered, stats.delivered, STATS),
        ("bounced", log.bounced, stats.bounced, STATS),
        ("failed", log.failed, stats.failed, STATS),
        ("suppressed", log.suppressed, stats.suppressed, STATS),
        ("canceled", log.canceled, stats.canceled, STATS),
        ("in flight", log.in_flight, stats.in_flight(), STATS),
        ("accepted", log.accepted, alarms.accepted, ALARMS),
        ("ended", log.ended(), alarms.ended, ALARMS),
        ("in flight", log.in_flight, alarms.in_flight, ALARMS),
        // The log against itself: an end that was recorded twice, or before its beginning.
        ("accepted", log.accepted, log.ended().saturating_add(log.in_flight), "its own sum"),
    ]
}
