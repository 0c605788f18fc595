//! The queue, for those who run the server: who waits and why, where, and trying again at once.
//!
//! It is read from the alarms, of which every unfinished message has exactly one. Reading blocks: it
//! goes through rows on the disk, a page at a time.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use model::{
    DomainId, MessageId, RecipientIndex, TenantId, Timestamp,
    address::DomainName,
    message::{MessageStatus, RecipientStatus},
    pause::Who,
};
use projections::{
    AlarmCursor, MAX_ALARMS, MessageView, PauseView, Paused, QueryError, WaitingMessage,
};
use tokio::sync::oneshot;

use crate::{
    Platform,
    admission::Overloaded,
    book::LastReply,
    error::CancelError,
    message,
    node::Node,
    pausing::Held,
    registry::{Full, Share},
    site::{Hosts, SiteKey},
};

/// Most messages of one page.
pub const MAX_QUEUE_PAGE: usize = 1_000;
/// Most messages that are asked to try again by one call.
pub const MAX_RETRIES: usize = 1_000;
/// Alarms that one page looks at, at the most.
const MOST_LOOKED_AT: usize = 100_000;
/// Messages asked at once.
const ASKED_AT_ONCE: usize = 32;
/// Domains of a site that are named.
const NAMED_DOMAINS: usize = 5;

/// Which of those who wait are meant: all conditions hold, and absent ones are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueFilter {
    /// What this tenant sends.
    pub tenant: Option<TenantId>,
    /// What this domain sends.
    pub domain: Option<DomainId>,
    /// What goes to this receiver: a recipients' domain, or a mail host as it was known of late.
    pub site: Option<DomainName>,
}

/// What a message waits for, as far as its alarm tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// A pause holds back all that is open.
    Paused(Paused, Arc<PauseView>),
    /// Its turn: it is due, or being delivered.
    Turn,
    /// Its time: of its next attempt, or that its caller named.
    Time,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// What its alarm tells.
    pub waiting: WaitingMessage,
    /// What it waits for.
    pub waits: Waits,
}

/// Some of those who wait, the first to be due first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePage {
    /// The messages.
    pub rows: Vec<QueuedMessage>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<AlarmCursor>,
}

/// One site, or a domain of which no mail hosts are known from of late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteReport {
    /// The site's name: its best host, with a hash of all when there are several; or the domain.
    pub site: String,
    /// Its hosts, best first; none when they are not known.
    pub hosts: Vec<String>,
    /// Some of the domains whose mail waits for it, the one with most first.
    pub domains: Vec<String>,
    /// Recipients that wait for it.
    pub waiting: u64,
    /// Those of them that are due.
    pub due: u64,
    /// The earliest time at which one of them was or is due.
    pub next_at: Option<Timestamp>,
    /// Messages that have a place in its lane: in memory, at the front.
    pub in_lane: usize,
    /// It closed its door or cannot be reached: until when it is left in peace.
    pub resting_until: Option<Timestamp>,
    /// What it said last, since the start.
    pub last_reply: Option<LastReply>,
    /// The pause that holds it.
    pub paused: Option<(Paused, Arc<PauseView>)>,
}

/// What holds one recipient back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientHold {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// Its mail domain.
    pub domain: DomainName,
    /// How it stands.
    pub status: RecipientStatus,
    /// Attempts so far.
    pub attempts: u16,
    /// When it is or was due, while it is open.
    pub next_attempt_at: Option<Timestamp>,
    /// Where its mail went of late.
    pub site: Option<String>,
    /// The pause of its receiver.
    pub paused: Option<(Paused, Arc<PauseView>)>,
    /// Until when the site is left in peace.
    pub resting_until: Option<Timestamp>,
    /// Places in the site's lane that are taken, and how many there are.
    pub lane: Option<(usize, usize)>,
}

/// Why a message waits, or that it does not.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The message.
    pub view: MessageView,
    /// How it stands.
    pub status: MessageStatus,
    /// Whether somebody is at it now.
    pub in_memory: bool,
    /// The pause of its tenant or its sending domain.
    pub paused: Option<(Paused, Arc<PauseView>)>,
    /// Each recipient.
    pub recipients: Vec<RecipientHold>,
}

/// What became of asking many to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// Messages that are due now.
    pub retried: usize,
    /// Where to go on; `None` when all were asked.
    pub next: Option<AlarmCursor>,
}

impl Platform {
    /// Those who wait, the first to be due first. Blocks.
    ///
    /// # Errors
    /// The read models cannot be read.
    pub fn queue(
        &self,
        filter: &QueueFilter,
        after: Option<AlarmCursor>,
        limit: usize,
    ) -> Result<QueuePage, QueryError> {
        let (node, limit) = (self.node(), limit.clamp(1, MAX_QUEUE_PAGE));
        let (mut rows, mut last, mut looked_at) = (Vec::new(), after, 0);
        while looked_at < MOST_LOOKED_AT {
            let page = node.read.alarms().waiting(Timestamp::MAX, last, MAX_ALARMS)?;
            let whole = page.len() < MAX_ALARMS;
            looked_at += page.len();
            for waiting in page {
                if rows.len() == limit {
                    return Ok(QueuePage { rows, next: last });
                }
                last = Some(waiting.cursor());
                if filter.fits(node, &waiting) {
                    rows.push(QueuedMessage { waits: waits(node, &waiting), waiting });
                }
            }
            if whole {
                return Ok(QueuePage { rows, next: None });
            }
        }
        Ok(QueuePage { rows, next: last })
    }

    /// How many messages wait.
    ///
    /// # Errors
    /// The read models cannot be read.
    pub fn queue_len(&self) -> Result<u64, QueryError> {
        self.node().read.alarms().len()
    }

    /// The sites that most wait for, and what each said last. Blocks, for as long as it takes to go
    /// through all who wait.
    ///
    /// # Errors
    /// The read models cannot be read.
    pub fn sites(&self, limit: usize) -> Result<Vec<SiteReport>, QueryError> {
        let node = self.node();
        let mut reports: HashMap<String, SiteReport> = HashMap::new();
        let mut domains: Vec<_> = counted(node)?.into_iter().collect();
        domains.sort_unstable_by(|(one, of_one), (other, of_other)| {
            (of_other.waiting, one).cmp(&(of_one.waiting, other))
        });
        for (domain, count) in domains {
            let heading = node.book.heading(&domain, node.now());
            let site = heading.as_ref().map_or(&*domain, |heading| &*heading.site);
            let report = reports.entry(site.to_owned()).or_insert_with(|| SiteReport::empty(site));
            if let Some(heading) = &heading {
                report.hosts = heading.hosts.iter().map(ToString::to_string).collect();
            }
            report.waiting += count.waiting;
            report.due += count.due;
            report.next_at = report.next_at.min(count.next_at).or(count.next_at);
            if report.domains.len() < NAMED_DOMAINS {
                report.domains.push(domain.to_string());
            }
            if report.paused.is_none() {
                report.paused = node.known_receiver_pause(&domain);
            }
        }
        for (site, in_lane, resting_until) in lanes(node) {
            let report = reports.entry(site).or_insert_with_key(|site| SiteReport::empty(site));
            report.in_lane += in_lane;
            report.resting_until = report.resting_until.max(resting_until);
        }
        for (site, reply) in node.book.replies() {
            let report =
                reports.entry(site.into()).or_insert_with_key(|site| SiteReport::empty(site));
            report.last_reply = Some(reply);
        }
        let mut reports: Vec<SiteReport> = reports.into_values().collect();
        reports.sort_unstable_by(|one, other| {
            let spoke = |report: &SiteReport| report.last_reply.as_ref().map(|reply| reply.at);
            let busy = |report: &SiteReport| (report.waiting, report.in_lane, spoke(report));
            busy(other).cmp(&busy(one)).then_with(|| one.site.cmp(&other.site))
        });
        reports.truncate(limit);
        Ok(reports)
    }

    /// Why a message waits; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// The read models cannot be read.
    pub fn explain(&self, message: MessageId) -> Result<Option<Explanation>, QueryError> {
        let node = self.node();
        let Some(view) = node.read.messages().get(message)? else { return Ok(None) };
        let lanes: HashMap<String, (usize, Option<Timestamp>)> = lanes(node)
            .into_iter()
            .map(|(site, taken, resting)| (site, (taken, resting)))
            .collect();
        let states = view.accepted.recipients.iter().zip(view.state.recipients());
        let holds = (0_u8..).map(RecipientIndex).zip(states).map(|(index, (accepted, state))| {
            let domain = accepted.domain.as_str();
            let open = !state.status.is_final();
            let heading = node.book.heading(domain, node.now());
            let site = heading.map(|heading| heading.site.to_string());
            let lane = site.as_ref().and_then(|site| lanes.get(site)).filter(|_| open);
            RecipientHold {
                recipient: index,
                domain: accepted.domain.clone(),
                status: state.status,
                attempts: state.attempts,
                next_attempt_at: open.then_some(state.next_attempt_at),
                paused: open.then(|| node.known_receiver_pause(domain)).flatten(),
                resting_until: lane.and_then(|(_, resting_until)| *resting_until),
                lane: lane.map(|(taken, _)| (*taken, node.options.lane_depth)),
                site,
            }
        });
        let recipients = holds.collect();
        let status = view.state.status(node.now());
        let paused = view.state.open().next().and_then(|_| node.sender_pause(&view.state));
        let in_memory = node.messages.holds(&message);
        Ok(Some(Explanation { view, status, in_memory, paused, recipients }))
    }

    /// The pause that holds back all that is open of a message, if one does.
    pub fn pause_of(&self, view: &MessageView) -> Option<(Paused, Arc<PauseView>)> {
        let node = self.node();
        let mut open = view.state.open().peekable();
        open.peek()?;
        if let Some(held) = node.sender_pause(&view.state) {
            return Some(held);
        }
        let recipient = |index: RecipientIndex| view.accepted.recipients.get(index.as_usize());
        let held = |index| node.known_receiver_pause(recipient(index)?.domain.as_str());
        let holds: Option<Vec<Held>> = open.map(|(index, _)| held(index)).collect();
        holds?.into_iter().next()
    }

    /// Has a message tried again now, if it waits for another attempt: whether it did.
    ///
    /// # Errors
    /// There is no such message, or it cannot be recorded.
    pub async fn retry(&self, message: MessageId, by: Who) -> Result<bool, CancelError> {
        let node = self.node();
        if node.is_stopping() {
            return Err(CancelError::Unavailable);
        }
        let (reply, answer) = oneshot::channel();
        let retry = message::Msg::Retry { by, reply };
        let told = node.messages.cast(&message, retry, Share::Most);
        told.map_err(|Full| Overloaded::retry_after(&node.lots))
            .map_err(|retry_after| CancelError::Overloaded { retry_after })?;
        answer.await.unwrap_or(Err(CancelError::Internal))
    }

    /// Has those tried again now that wait for another attempt, at most [`MAX_RETRIES`] with one
    /// call: go on where it says.
    ///
    /// # Errors
    /// The read models cannot be read.
    pub async fn retry_all(
        &self,
        filter: &QueueFilter,
        after: Option<AlarmCursor>,
        by: Who,
    ) -> Result<Retried, QueryError> {
        let (platform, filter) = (self.clone(), filter.clone());
        // Who is due already needs nobody to ask.
        let after = after.unwrap_or(AlarmCursor::past(self.node().now()));
        let page =
            self.node().blocking.run(move || platform.queue(&filter, Some(after), MAX_RETRIES));
        let page = page.await.ok_or(QueryError::Damaged { table: "alarms" })??;
        let rows = page.rows.iter();
        let asked: Vec<_> = rows.map(|row| self.retry(row.waiting.alarm.message, by)).collect();
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let retried = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
        Ok(Retried { retried, next: page.next })
    }
}

impl QueueFilter {
    fn fits(&self, node: &Node, waiting: &WaitingMessage) -> bool {
        let goes_to = |site: &DomainName| {
            waiting.receivers.iter().any(|(domain, _)| {
                **domain == *site.as_str() || {
                    let heading = node.book.heading(domain, node.now());
                    heading.is_some_and(|heading| {
                        heading.hosts.iter().any(|host| **host == *site.as_str())
                    })
                }
            })
        };
        self.tenant.is_none_or(|tenant| tenant == waiting.tenant)
            && self.domain.is_none_or(|domain| domain == waiting.domain)
            && self.site.as_ref().is_none_or(goes_to)
    }
}

impl SiteReport {
    fn empty(site: &str) -> Self {
        Self {
            site: site.to_owned(),
            hosts: Vec::new(),
            domains: Vec::new(),
            waiting: 0,
            due: 0,
            next_at: None,
            in_lane: 0,
            resting_until: None,
            last_reply: None,
            paused: None,
        }
    }
}

fn waits(node: &Node, waiting: &WaitingMessage) -> Waits {
    let pauses = node.read.policies().pauses();
    if let Some((paused, view)) = pauses.of_sender(waiting.tenant, waiting.domain) {
        return Waits::Paused(paused, view);
    }
    let held = waiting.receivers.iter().map(|(domain, _)| node.known_receiver_pause(domain));
    match held.collect::<Option<Vec<Held>>>().and_then(|held| held.into_iter().next()) {
        Some((paused, view)) => Waits::Paused(paused, view),
        None if waiting.alarm.at <= node.now() => Waits::Turn,
        None => Waits::Time,
    }
}

#[derive(Default)]
struct Count {
    waiting: u64,
    due: u64,
    next_at: Option<Timestamp>,
}

/// Who waits for each domain.
fn counted(node: &Node) -> Result<HashMap<Box<str>, Count>, QueryError> {
    let (now, mut counts, mut last) = (node.now(), HashMap::<Box<str>, Count>::new(), None);
    loop {
        let page = node.read.alarms().waiting(Timestamp::MAX, last, MAX_ALARMS)?;
        let Some(end) = page.last() else { return Ok(counts) };
        last = Some(end.cursor());
        for WaitingMessage { alarm, receivers, .. } in page {
            for (domain, number) in receivers {
                let count = counts.entry(domain).or_default();
                count.waiting += number;
                count.due += if alarm.at <= now { number } else { 0 };
                count.next_at = count.next_at.min(Some(alarm.at)).or(Some(alarm.at));
            }
        }
    }
}

/// The sites in memory: name, places taken, and until when each is left in peace.
fn lanes(node: &Node) -> Vec<(String, usize, Option<Timestamp>)> {
    let now = node.now();
    node.sites.survey(|SiteKey { hosts, .. }, lane| {
        let name = match hosts {
            Hosts::Mx(site) => site.as_str(),
            Hosts::Relay(name) => node.relay_host(name),
        };
        (name.to_owned(), lane.taken(), lane.resting_until(now))
    })
}
