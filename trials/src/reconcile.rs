//! What clients were told, what the log holds and what the receiver has, held against one another.
//!
//! # Contract
//! Each acknowledged message is in the log once, has one recipient, and that recipient ended once;
//! what ended as delivered is at the receiver; nothing is in the log that nobody asked for. A
//! message is at the receiver twice only where nobody could know: the log says of an attempt that
//! its outcome is unknown, or the server's life ended between the two copies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use bench::{Outcome, figures::print_line as tell};
use serde_json::Value;

use crate::{clients::Ledger, desk::Desk};

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    accepted: usize,
    recorded: usize,
    delivered: u64,
    bounced: u64,
    failed: u64,
    copies: u64,
    duplicates: u64,
    unknown: u64,
    asked_again: u64,
    broken: Vec<String>,
}

/// What the log holds of one message.
#[derive(Debug, Default)]
struct Recorded {
    accepted: u32,
    delivered: u32,
    bounced: u32,
    failed: u32,
    unknown: usize,
}

/// Of the messages of one tenant.
pub(crate) fn reconcile(
    ledger: &Ledger,
    events: &[Value],
    desk: &Desk,
    tenant: &str,
) -> Outcome<Account> {
    let recorded = recorded(events, tenant)?;
    let (accepted, copies) = (ledger.accepted(), desk.copies());
    let mut account = Account {
        accepted: accepted.len(),
        recorded: recorded.len(),
        asked_again: ledger.cut_off.load(Ordering::Relaxed)
            + ledger.unknown.load(Ordering::Relaxed)
            + ledger.put_off.load(Ordering::Relaxed),
        broken: ledger.faults(),
        ..Account::default()
    };
    let none = Recorded::default();
    let mut ids = BTreeSet::new();
    for (number, id) in &accepted {
        let held = recorded.get(id.as_str()).unwrap_or(&none);
        let copies = copies.get(number).map(Vec::as_slice).unwrap_or_default();
        account.take_in(*number, id, held, copies);
        if !ids.insert(id.as_str()) {
            account.broken.push(format!("{id} was given to two messages"));
        }
    }
    for id in recorded.keys().filter(|id| !ids.contains(*id)) {
        account.broken.push(format!("{id} is in the log, and nobody was told of it"));
    }
    for number in copies.keys().filter(|number| !accepted.contains_key(number)) {
        account.broken.push(format!("message {number} was received, and nobody was told of it"));
    }
    Ok(account)
}

/// By message of the tenant, what happened to it.
fn recorded<'a>(events: &'a [Value], tenant: &str) -> Outcome<BTreeMap<&'a str, Recorded>> {
    let mut recorded: BTreeMap<&str, Recorded> = BTreeMap::new();
    for line in events {
        let stream = line.get("stream").and_then(Value::as_str).ok_or("no stream in the log")?;
        let event = line.get("event").ok_or("no event in the log")?;
        let kind = event.get("type").and_then(Value::as_str).ok_or("no type in the log")?;
        let Some(kind) = kind.strip_prefix("message.") else { continue };
        let own = event.get("tenant").is_some_and(|of| of == tenant);
        if kind == "accepted" && own {
            recorded.entry(stream).or_default();
        }
        // The first event of a message says whose it is.
        let Some(message) = recorded.get_mut(stream) else { continue };
        match kind {
            "accepted" => message.accepted += 1,
            "delivered" => message.delivered += 1,
            "bounced" => message.bounced += 1,
            "failed" => message.failed += 1,
            _ => {}
        }
        let unknown = event.get("outcome_unknown").and_then(Value::as_bool);
        message.unknown += usize::from(unknown == Some(true));
    }
    Ok(recorded)
}

impl Account {
    fn take_in(&mut self, number: u64, id: &str, held: &Recorded, copies: &[u32]) {
        let mut broken = |words: &str| self.broken.push(format!("{id} (number {number}) {words}"));
        if held.accepted != 1 {
            broken(&format!("was acknowledged and is recorded {} times", held.accepted));
        }
        let ends = held.delivered + held.bounced + held.failed;
        if ends != 1 {
            broken(&format!("ended {ends} times"));
        }
        if held.delivered > 0 && copies.is_empty() {
            broken("is recorded as delivered and was never received");
        }
        let mut by_life: BTreeMap<u32, usize> = BTreeMap::new();
        for life in copies {
            *by_life.entry(*life).or_default() += 1;
        }
        for (life, count) in by_life.into_iter().filter(|(_, count)| *count > 1 + held.unknown) {
            broken(&format!("was received {count} times in life {life} of the server"));
        }
        self.delivered += u64::from(held.delivered);
        self.bounced += u64::from(held.bounced);
        self.failed += u64::from(held.failed);
        self.unknown += held.unknown as u64;
        self.copies += copies.len() as u64;
        self.duplicates += copies.len().saturating_sub(1) as u64;
    }

    /// Whether everything was to be expected; each thing that was not.
    pub(crate) fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Prints it.
    pub(crate) fn tell(&self) {
        let lost = self.broken.iter().filter(|words| words.contains("(number")).count();
        tell(&format!(
            "  {} acknowledged, {} recorded: {} delivered, {} bounced, {} failed; {} copies received, \
             {} of them duplicates, {} outcomes unknown; {} requests made again; {lost} lost or \
             wrong",
            self.accepted,
            self.recorded,
            self.delivered,
            self.bounced,
            self.failed,
            self.copies,
            self.duplicates,
            self.unknown,
            self.asked_again,
        ));
        for words in self.broken.iter().take(20) {
            tell(&format!("  broken: {words}"));
        }
    }
}
