//! The receiver: a real mail server that refuses, puts off, loses and takes, and notes each copy
//! that it took.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use mail::sink::{Action, Asked, MessageAction, Policy, Received, SinkReply};
use parking_lot::Mutex;

/// A life of the server: from one start to the next.
pub(crate) type Life = u32;

/// Which messages are put off, whatever their mood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PutOff {
    #[default]
    Nobody,
    Odd,
    All,
}

/// What connections share.
#[derive(Default)]
pub(crate) struct Desk {
    friendly: AtomicBool,
    put_off: Mutex<PutOff>,
    stalls: AtomicBool,
    life: AtomicU32,
    /// In which life of the server each connection was opened.
    lives: Mutex<HashMap<SocketAddr, Life>>,
    /// How often each message's recipient was named.
    asked: Mutex<HashMap<u64, u32>>,
    taken: Mutex<Taken>,
}

/// What was taken.
#[derive(Default)]
struct Taken {
    /// By number, in which life each copy came.
    copies: BTreeMap<u64, Vec<Life>>,
    total: u64,
}

/// A recipient's part that tells the message's number.
pub(crate) fn recipient(number: u64, domain: &str) -> String {
    format!("r{number}@{domain}")
}

fn number(recipient: &str) -> Option<u64> {
    recipient.strip_prefix('r')?.split('@').next()?.parse().ok()
}

impl Desk {
    /// Takes everything at once from now on, or has moods.
    pub(crate) fn be_friendly(&self, friendly: bool) {
        self.friendly.store(friendly, Ordering::Relaxed);
    }

    /// Puts some off from now on.
    pub(crate) fn put_off(&self, whom: PutOff) {
        *self.put_off.lock() = whom;
    }

    /// Whether it leaves some senders without an answer after the dot, until they give up: they are
    /// patient (10 minutes; RFC 5321, section 4.5.3.2.6), unless they are killed.
    pub(crate) fn stall(&self, some: bool) {
        self.stalls.store(some, Ordering::Relaxed);
    }

    /// The server is about to be started once more; which life that is.
    pub(crate) fn next_life(&self) -> Life {
        self.life.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Copies taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.lock().total
    }

    /// In which lives of the server copies of each message came.
    pub(crate) fn copies(&self) -> BTreeMap<u64, Vec<Life>> {
        self.taken.lock().copies.clone()
    }

    fn note(&self, message: &Received) {
        let life = self.lives.lock().get(&message.from).copied().unwrap_or_default();
        let mut taken = self.taken.lock();
        for number in message.recipients.iter().filter_map(|recipient| number(recipient)) {
            taken.copies.entry(number).or_default().push(life);
            taken.total += 1;
        }
    }

    /// Whether this is the first that is heard of a message.
    fn is_first(&self, number: u64) -> bool {
        self.asked.lock().get(&number).is_none_or(|asked| *asked <= 1)
    }
}

fn later() -> SinkReply {
    SinkReply::new(451, "4.3.2 not now")
}

impl Policy for Desk {
    fn connection(&self, from: SocketAddr) -> Action {
        self.lives.lock().insert(from, self.life.load(Ordering::Relaxed));
        Action::Accept
    }

    fn recipient(&self, asked: Asked<'_>) -> Action {
        let Some(number) = number(asked.recipient) else { return Action::Accept };
        *self.asked.lock().entry(number).or_default() += 1;
        let put_off = *self.put_off.lock();
        if put_off == PutOff::All || (put_off == PutOff::Odd && !number.is_multiple_of(2)) {
            return Action::Reply(later());
        }
        if self.friendly.load(Ordering::Relaxed) {
            return Action::Accept;
        }
        match number % 16 {
            3 | 9 if self.is_first(number) => Action::Reply(later()),
            12 => Action::Reply(SinkReply::new(550, "5.1.1 nobody of this name")),
            _ => Action::Accept,
        }
    }

    fn message(&self, message: &Received) -> MessageAction {
        let number = message.recipients.first().and_then(|recipient| number(recipient));
        let number = number.unwrap_or_default();
        let moody = !self.friendly.load(Ordering::Relaxed) && self.is_first(number);
        let action = match number % 64 {
            1 | 17 if moody && self.stalls.load(Ordering::Relaxed) => MessageAction::Stall,
            // Seldom: a site that closes its door is left alone for a while.
            5 if moody => MessageAction::AcceptAndDisconnect,
            7 | 23 | 39 if moody => MessageAction::Reply(later()),
            _ => MessageAction::Accept,
        };
        if matches!(action, MessageAction::Accept | MessageAction::AcceptAndDisconnect) {
            self.note(message);
        }
        action
    }
}
