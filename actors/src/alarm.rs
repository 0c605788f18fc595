//! The alarm: wakes messages whose time has come.
//!
//! Every unfinished message has exactly one alarm in the read models. This actor goes through
//! those that are due, again and again, and wakes who is not in memory. So a message that a crash
//! left behind is only late, never lost.
//!
//! # Why
//! - It pulls. A timer for each message would cost memory for each message; a million waiting ones
//!   cost rows on disk.
//! - Who has just become due is looked at before those who have been due for long: see [`rounds`].
//! - It goes through the due ones page by page and waits between pages and between passes, so a
//!   start with a long queue does not wake everybody at once; and it stops where three quarters of
//!   the room for message actors are taken, so new mail is taken in meanwhile.
//! - Who is paused is passed over by what its alarm's row tells: woken, each would be read from the
//!   disk, again and again, for nothing. When the earliest of them expires is noted on the way. So is
//!   who would find a full lane: its name is put before the door, or the lane says when there is room.
//! - Before a page it waits until the read models have caught up, so that whoever has just been
//!   dealt with does not look due. One who does all the same loads, finds nothing to do and leaves.

mod rounds;

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{MessageId, Timestamp};
use parking_lot::Mutex;
use projections::{AlarmCursor, QueryError, WaitingMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Notify;

use self::rounds::{Looked, Page, Rounds};
use crate::{
    entropy::Lots,
    message,
    node::Node,
    registry::{Full, Share},
    site::Lane,
};

/// Alarms looked at in one go, of those that are new and of the others.
const PAGE: usize = 128;
/// Alarms read for a page: a page first, and more in each further look while they are passed over.
const LOOKS: [usize; 4] = [PAGE, 8 * PAGE, 64 * PAGE, 64 * PAGE];
/// Between two pages: at most about 5 000 messages are woken in a second. Spread, so that it does
/// not beat with what else comes by the clock.
const BETWEEN_PAGES_MS: u64 = 50;
/// Between two passes while something is due.
const BETWEEN_PASSES: Duration = Duration::from_secs(1);
/// Between two passes when nothing is: should a hint ever be missed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the read models may take to catch up before it is tried again.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long a message rests that was woken in vain.
const REST_MS: u64 = 10_000;
/// Messages at rest that are remembered; more are woken in vain again.
const MOST_RESTING: usize = 100_000;

/// By which messages reach the alarm without queueing at it.
#[derive(Default)]
pub(crate) struct Bell {
    earliest: Mutex<Option<Timestamp>>,
    rung: Notify,
    /// A lane has room again for some who were passed over.
    room: Notify,
    resting: Mutex<HashMap<MessageId, Timestamp>>,
}

impl Bell {
    /// Somebody is to be woken at `at`.
    pub(crate) fn notice(&self, at: Timestamp) {
        let mut earliest = self.earliest.lock();
        if earliest.is_none_or(|known| at < known) {
            *earliest = Some(at);
            self.rung.notify_one();
        }
    }

    /// There is room in a lane, for which some were passed over.
    pub(crate) fn notice_room(&self) {
        self.room.notify_one();
    }

    /// A message was woken in vain: no place for it, or no way to read it. Not at once again.
    pub(crate) fn rest(&self, message: MessageId, now: Timestamp, lots: &Lots) {
        let until = now.plus(Duration::from_millis(lots.spread_ms(REST_MS)));
        let mut resting = self.resting.lock();
        if resting.len() < MOST_RESTING {
            resting.insert(message, until);
        }
        drop(resting);
        self.notice(until);
    }

    fn earliest(&self) -> Option<Timestamp> {
        *self.earliest.lock()
    }

    fn forget(&self, now: Timestamp) {
        *self.earliest.lock() = None;
        self.resting.lock().retain(|_, until| *until > now);
    }

    fn is_resting(&self, message: MessageId) -> bool {
        self.resting.lock().contains_key(&message)
    }
}

/// Look at the next page.
pub(crate) struct Round;

/// The actor.
pub(crate) struct AlarmActor;

/// How far its pass has come.
pub(crate) struct State {
    node: Arc<Node>,
    rounds: Rounds,
    /// Whether this pass found somebody due.
    found: bool,
}

impl Actor for AlarmActor {
    type Msg = Round;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        myself: ActorRef<Round>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        myself.send_message(Round)?;
        let rounds = Rounds::new(node.now());
        Ok(State { node, rounds, found: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Round>,
        Round: Round,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.round().await {
            // Refused once it drains.
            myself.send_message(Round).ok();
        } else {
            myself.drain().ok();
        }
        Ok(())
    }
}

impl State {
    /// One page and the wait after it; whether there is a next one.
    async fn round(&mut self) -> bool {
        let node = Arc::clone(&self.node);
        if self.rounds.begins() {
            node.bell.forget(node.now());
            self.found = false;
        }
        let Some(Page { alarms, last, passed_over }) = self.due().await else {
            return node.pause_ms(node.lots.spread_ms(1_000)).await;
        };
        self.found |= passed_over;
        for alarm in &alarms {
            self.found = true;
            if !self.wake(alarm.message).await {
                return false;
            }
        }
        if last {
            self.wait().await
        } else if alarms.is_empty() && passed_over {
            // So many rows are not read for nothing twenty times a second.
            let longest = node.now().plus(BETWEEN_PASSES);
            tokio::select! {
                biased;
                () = node.stopped() => false,
                () = node.bell.room.notified() => true,
                () = node.clock.sleep_until(longest) => true,
            }
        } else {
            node.pause_ms(node.lots.spread_ms(BETWEEN_PAGES_MS)).await
        }
    }

    /// The next page of alarms that are due; `None`, reported, when it cannot be had.
    async fn due(&mut self) -> Option<Page> {
        let node = &self.node;
        let head = *node.journal.log().head().borrow();
        if !node.read.caught_up(head, CATCH_UP).await {
            tracing::warn!(position = %head, "the alarm waits for the read models");
            return None;
        }
        let (looker, mut rounds) = (Arc::clone(node), self.rounds);
        let looked = node.blocking.run(move || {
            let page = rounds.next(|after| look(&looker, after));
            page.map(|page| (rounds, page))
        });
        match looked.await? {
            Ok((rounds, page)) => {
                self.rounds = rounds;
                Some(page)
            }
            Err(error) => {
                tracing::error!(%error, "the alarms cannot be read");
                None
            }
        }
    }

    /// Wakes a message, unless it is awake or rests; whether the node goes on.
    async fn wake(&self, message: MessageId) -> bool {
        let node = &self.node;
        if node.messages.holds(&message) || node.bell.is_resting(message) {
            return !node.is_stopping();
        }
        loop {
            // Asked for before the look at the room, so that none is missed in between.
            let vacated = node.messages.vacated();
            if node.is_stopping() {
                return false;
            }
            match node.messages.cast(&message, message::Msg::Wake, Share::Most) {
                Ok(()) => {
                    node.figures.woken.increment(1);
                    return true;
                }
                Err(Full) => {
                    tokio::select! {
                        biased;
                        () = node.stopped() => return false,
                        () = vacated => {}
                    }
                }
            }
        }
    }

    /// Waits for the next time at which somebody may be due; whether the node goes on.
    async fn wait(&self) -> bool {
        let node = &self.node;
        let now = node.now();
        let longest = now.plus(if self.found { BETWEEN_PASSES } else { LONGEST_WAIT });
        let read = node.read.clone();
        let next = node.blocking.run(move || read.alarms().next_after(now)).await;
        let next = next.and_then(Result::ok).flatten();
        let known = next.map_or(longest, |next| next.min(longest));
        // Somebody in memory or at rest can be due already: not at once again.
        let soonest = if self.found { longest } else { now };
        loop {
            let noticed = node.bell.earliest().map_or(known, |at| at.min(known));
            tokio::select! {
                biased;
                () = node.stopped() => return false,
                () = node.bell.room.notified() => return true,
                () = node.clock.sleep_until(noticed.max(soonest)) => return true,
                () = node.bell.rung.notified() => {}
            }
        }
    }
}

impl Node {
    /// Whether a message needs no waking now: it is awake, rests, or all that is open of it would
    /// find a full lane, which knows of it from now on.
    fn is_looked_after(&self, waiting: &WaitingMessage) -> bool {
        let (message, now) = (waiting.alarm.message, self.now());
        if self.messages.holds(&message) || self.bell.is_resting(message) {
            return true;
        }
        // Which pool it leaves from, and so by which lane, the alarm does not know.
        let unknown = waiting.receivers.is_empty() || !self.options.pools.is_empty();
        if waiting.expires_at <= now || unknown {
            return false;
        }
        waiting.receivers.iter().all(|(domain, _)| {
            let heading = self.book.heading(domain, now);
            heading.is_some_and(|heading| {
                let has_room = |lane: &Arc<Lane>| lane.has_room(waiting.tenant, message);
                self.sites.ask_desk(&heading.lane, has_room) == Some(false)
            })
        })
    }
}

/// Looks at the alarms that are due after a place, and passes over who is paused or looked after.
fn look(node: &Node, after: Option<AlarmCursor>) -> Result<Looked, QueryError> {
    let mut looked = Looked { last: after, ..Looked::default() };
    let mut expiry: Option<Timestamp> = None;
    for wanted in LOOKS {
        let rows = node.read.alarms().waiting(node.now(), looked.last, wanted)?;
        looked.whole = rows.len() < wanted;
        for row in &rows {
            looked.last = Some(row.cursor());
            if node.is_passed_over(row) {
                expiry = Some(expiry.map_or(row.expires_at, |known| known.min(row.expires_at)));
            } else if node.is_looked_after(row) {
                looked.passed_over = true;
            } else {
                looked.alarms.push(row.alarm);
                if looked.alarms.len() == PAGE {
                    looked.whole = false;
                    break;
                }
            }
        }
        if looked.whole || looked.alarms.len() == PAGE {
            break;
        }
    }
    if let Some(at) = expiry {
        node.bell.notice(at);
    }
    Ok(looked)
}
