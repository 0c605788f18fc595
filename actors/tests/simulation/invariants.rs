//! What must hold after each life and at the end, whatever happened.

use std::collections::{BTreeMap, HashMap};

use eventlog::{Position, Recorded};
use model::{
    After, By, Cause, Event, MessageId, StreamId, Timestamp,
    message::{Message, MessageEvent, RecipientStatus},
};
use projections::ReadModels;

use crate::{
    clients::{Book, OrderState},
    log::SimLog,
    receivers::Copy,
};

/// What the log holds: its messages, folded, and what is wrong with it.
#[derive(Default)]
pub struct Record {
    position: Position,
    pub messages: BTreeMap<MessageId, Message>,
    pub violations: Vec<String>,
    /// Every event, in words.
    pub story: Vec<String>,
    ended: HashMap<(MessageId, u8), u32>,
    /// By life, message and recipient: outcomes that stand for a copy at the receiver.
    expected: HashMap<(u32, String, u8), u32>,
}

/// The recipient that an event ends.
fn ended_by(event: &MessageEvent) -> Option<u8> {
    match event {
        MessageEvent::Delivered(delivered) => Some(delivered.attempt.recipient.0),
        MessageEvent::Bounced(bounced) => Some(bounced.attempt.recipient.0),
        MessageEvent::Failed(failed) => Some(failed.recipient.0),
        MessageEvent::Canceled(canceled) => Some(canceled.recipient.0),
        MessageEvent::Suppressed(suppressed) => Some(suppressed.recipient.0),
        _ => None,
    }
}

impl Record {
    /// Takes in what was recorded in `life`, beyond what is known.
    pub fn take_in(&mut self, log: &SimLog, life: u32) {
        for recorded in log.events_after(self.position) {
            self.position = recorded.position;
            let event = Event::decode(recorded.stream, &recorded.data).unwrap();
            let (at, kind) = (recorded.at, event.kind());
            self.story.push(format!("{at} {} {kind}", recorded.stream));
            self.check_cause(&recorded, kind);
            if let (StreamId::Message(id), Event::Message(event)) = (recorded.stream, event) {
                self.take_in_event(life, id, &event, at);
            }
        }
    }

    /// Every event tells what it came of; what it follows from in its own stream stands before it.
    fn check_cause(&mut self, recorded: &Recorded, kind: &str) {
        let (stream, version) = (recorded.stream, recorded.version.get());
        let Ok(Some(Cause { by, after })) = Cause::read(&recorded.data) else {
            self.violations.push(format!("{stream}: {kind} {version} tells no cause"));
            return;
        };
        let asked = matches!(kind, "message.accepted" | "message.scheduled" | "message.canceled");
        let tried = matches!(kind, "message.delivered" | "message.deferred" | "message.bounced");
        let sound = match (by, after) {
            (By::Key(_), None) => asked || !tried,
            (By::Attempt | By::Alarm | By::Report, Some(After::Own(before))) => {
                !asked && (1..version).contains(&before)
            }
            (By::Attempt | By::Report, Some(After::Other(other, _))) => {
                kind == "suppression.added" && matches!(other, StreamId::Message(_))
            }
            _ => !asked && !tried,
        };
        if !sound {
            self.violations
                .push(format!("{stream}: {kind} {version} comes of {by}, after {after:?}"));
        }
    }

    fn take_in_event(&mut self, life: u32, id: MessageId, event: &MessageEvent, at: Timestamp) {
        if let Some(recipient) = ended_by(event) {
            let count = self.ended.entry((id, recipient)).or_default();
            *count += 1;
            if *count > 1 {
                self.violations.push(format!("{id}: recipient {recipient} ended twice"));
            }
        }
        let copied = match event {
            MessageEvent::Delivered(delivered) => Some(delivered.attempt.recipient),
            MessageEvent::Deferred(deferred) if deferred.outcome_unknown => {
                Some(deferred.attempt.recipient)
            }
            _ => None,
        };
        if let Some(recipient) = copied {
            *self.expected.entry((life, id.to_string(), recipient.0)).or_default() += 1;
        }
        let message = self.messages.entry(id).or_default();
        if matches!(event, MessageEvent::Accepted(_)) && message.accepted().is_some() {
            self.violations.push(format!("{id} was accepted twice"));
        }
        message.evolve(event, at);
    }

    /// Every unfinished message has exactly one alarm, at its time, and nothing else has one.
    pub fn check_alarms(&mut self, read: &ReadModels, when: &str) {
        let mut open = 0;
        for (id, message) in &self.messages {
            let alarm = read.alarms().of(*id).unwrap().map(|alarm| alarm.at);
            open += u64::from(message.open().next().is_some());
            if alarm != message.next_alarm() {
                let due = message.next_alarm();
                self.violations
                    .push(format!("{when}, {id} is due at {due:?} and its alarm is {alarm:?}"));
            }
        }
        let listed = read.alarms().due(Timestamp::MAX, None, usize::MAX).unwrap();
        if (read.alarms().len().unwrap(), listed.len() as u64) != (open, open) {
            let listed = listed.len();
            self.violations
                .push(format!("{when}, {open} messages are open and {listed} alarms are set"));
        }
    }

    /// No message that was answered for is missing, none is there that nobody asked for, and
    /// everyone who was accepted has ended.
    pub fn check_orders(&mut self, book: &Book) {
        self.violations.extend(book.violations.iter().cloned());
        let lost = book.told.iter().filter(|id| !self.messages.contains_key(id));
        self.violations.extend(lost.map(|id| format!("{id} was answered for and is lost")));
        let count = |wanted: fn(&OrderState) -> bool| {
            book.orders.iter().filter(|order| wanted(&order.state)).count()
        };
        let acknowledged = count(|state| matches!(state, OrderState::Acknowledged(_)));
        let doubtful = count(|state| matches!(state, OrderState::Doubtful));
        let unsettled = book.orders.len() - acknowledged - doubtful;
        if unsettled > 0 {
            self.violations.push(format!("{unsettled} clients still wait for an answer"));
        }
        if book.told.len() != acknowledged {
            let told = book.told.len();
            self.violations.push(format!("{acknowledged} orders became {told} messages"));
        }
        let recorded = self.messages.len();
        if !(acknowledged..=acknowledged + doubtful).contains(&recorded) {
            self.violations.push(format!(
                "{recorded} messages of {acknowledged} sure and {doubtful} doubtful orders"
            ));
        }
        for (id, message) in &self.messages {
            for (recipient, state) in message.open() {
                self.violations.push(format!("{id}: {recipient:?} never ended: {state:?}"));
            }
        }
    }

    /// What the statistics count is what the log holds.
    pub fn check_conservation(&mut self, read: &ReadModels) {
        let mut statuses: BTreeMap<&str, u64> = BTreeMap::new();
        let all = self.messages.values().flat_map(Message::recipients);
        for recipient in all {
            let name = match recipient.status {
                RecipientStatus::Delivered => "delivered",
                RecipientStatus::Bounced => "bounced",
                RecipientStatus::Failed => "failed",
                RecipientStatus::Suppressed => "suppressed",
                RecipientStatus::Canceled => "canceled",
                RecipientStatus::Queued | RecipientStatus::Deferred => "open",
            };
            *statuses.entry(name).or_default() += 1;
            *statuses.entry("accepted").or_default() += 1;
        }
        let counted = serde_json::to_value(read.stats().overall().unwrap()).unwrap();
        for name in ["accepted", "delivered", "bounced", "failed", "suppressed", "canceled"] {
            let (here, there) = (statuses.get(name).copied().unwrap_or(0), counted[name].as_u64());
            if there != Some(here) {
                self.violations.push(format!("{here} {name} in the log, {there:?} counted"));
            }
        }
    }

    /// Nobody got what is not on record; nobody is on record as delivered who got nothing; and
    /// nobody got more than what is on record, but for one copy for each life that ended abruptly.
    /// Returns how many copies were more than one.
    pub fn check_copies(&mut self, copies: &[Copy], abrupt: &[bool]) -> u64 {
        let mut received: HashMap<(u32, String, u8), u32> = HashMap::new();
        let mut ever: HashMap<(String, u8), u64> = HashMap::new();
        for copy in copies {
            let local = copy.recipient.split('@').next().unwrap();
            let index: u8 = local.split('-').nth(1).unwrap().parse().unwrap();
            *received.entry((copy.life, copy.message.clone(), index)).or_default() += 1;
            *ever.entry((copy.message.clone(), index)).or_default() += 1;
        }
        for ((life, message, index), count) in &received {
            let key = (*life, message.clone(), *index);
            let recorded = self.expected.get(&key).copied().unwrap_or(0);
            let crashed = u32::from(abrupt[usize::try_from(*life).unwrap()]);
            if *count > recorded + crashed {
                self.violations.push(format!(
                    "{message}: recipient {index} got {count} copies in life {life}, where \
                     {recorded} attempts may have delivered and {crashed} crashes happened"
                ));
            }
        }
        for (id, message) in &self.messages {
            for (index, recipient) in (0_u8..).zip(message.recipients()) {
                let delivered = recipient.status == RecipientStatus::Delivered;
                if delivered && !ever.contains_key(&(id.to_string(), index)) {
                    self.violations.push(format!("{id}: recipient {index} got nothing"));
                }
            }
        }
        for (message, index) in ever.keys() {
            if !self.messages.keys().any(|id| id.to_string() == *message) {
                self.violations.push(format!("{message} to {index} is not on record"));
            }
        }
        ever.values().map(|count| count - 1).sum()
    }
}
