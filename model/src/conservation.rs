//! Conservation: whoever was accepted has ended or is in flight, and nobody is lost in between.
//!
//! The [`Ledger`] is a fold of its own over messages' events, for holding statistics against. It
//! shares no code with what counts them: not the partial decoder, not the counters, not the state of
//! a message that decides what happens next. What ended is counted by events; who is in flight is
//! counted by looking who has not ended. So an end that is recorded twice, or a start that is
//! missed, shows as a difference.

use std::collections::{BTreeMap, HashMap};

use crate::{
    ids::{AppId, MessageId, RecipientIndex, TenantId},
    message::MessageEvent,
    time::Timestamp,
    tls_report::Day,
};

/// What became of recipients, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Taken over.
    pub accepted: u64,
    /// Taken by their mail host, and not returned later.
    pub delivered: u64,
    /// Refused for good, or returned.
    pub bounced: u64,
    /// Given up.
    pub failed: u64,
    /// On the suppression list.
    pub suppressed: u64,
    /// Taken back by the caller.
    pub canceled: u64,
    /// Not ended, counted by who has not.
    pub in_flight: u64,
}

impl Balance {
    /// Recipients that have ended.
    pub const fn ended(&self) -> u64 {
        self.delivered
            .saturating_add(self.bounced)
            .saturating_add(self.failed)
            .saturating_add(self.suppressed)
            .saturating_add(self.canceled)
    }

    /// Whether accepted = ended + in flight.
    pub const fn holds(&self) -> bool {
        self.accepted == self.ended().saturating_add(self.in_flight)
    }

    /// Adds another one.
    pub const fn add(&mut self, other: &Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.bounced = self.bounced.saturating_add(other.bounced);
        self.failed = self.failed.saturating_add(other.failed);
        self.suppressed = self.suppressed.saturating_add(other.suppressed);
        self.canceled = self.canceled.saturating_add(other.canceled);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
    }
}

/// Where a recipient is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// Whose message it is.
    pub tenant: TenantId,
    /// Of which app.
    pub app: AppId,
    /// When it was accepted.
    pub day: Day,
}

/// How a recipient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    InFlight,
    Delivered,
    Gone,
}

#[derive(Debug)]
struct Course {
    account: Account,
    recipients: Vec<Standing>,
}

impl Course {
    fn has_ended(&self) -> bool {
        self.recipients.iter().all(|standing| *standing != Standing::InFlight)
    }
}

/// An event of a message that the ledger does not know: it has ended, or never began. Its earlier
/// events are to be [recalled](Ledger::recall).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownMessage;

/// The fold. It holds the messages that have not ended, and the sums.
#[derive(Debug, Default)]
pub struct Ledger {
    courses: HashMap<MessageId, Course>,
    balances: BTreeMap<Account, Balance>,
}

/// What an event does to a recipient.
#[derive(Debug, Clone, Copy)]
enum Change {
    End(RecipientIndex, fn(&mut Balance) -> &mut u64, Standing),
    Return(RecipientIndex),
    None,
}

impl Change {
    fn of(event: &MessageEvent) -> Self {
        use Standing::{Delivered, Gone};
        match event {
            MessageEvent::Delivered(event) => {
                Self::End(event.attempt.recipient, |sums| &mut sums.delivered, Delivered)
            }
            MessageEvent::Bounced(event) => {
                Self::End(event.attempt.recipient, |sums| &mut sums.bounced, Gone)
            }
            MessageEvent::Failed(event) => {
                Self::End(event.recipient, |sums| &mut sums.failed, Gone)
            }
            MessageEvent::Suppressed(event) => {
                Self::End(event.recipient, |sums| &mut sums.suppressed, Gone)
            }
            MessageEvent::Canceled(event) => {
                Self::End(event.recipient, |sums| &mut sums.canceled, Gone)
            }
            MessageEvent::Returned(event) => Self::Return(event.recipient),
            MessageEvent::Accepted(_)
            | MessageEvent::Scheduled(_)
            | MessageEvent::Deferred(_)
            | MessageEvent::Complained(_)
            | MessageEvent::RetryRequested(_) => Self::None,
        }
    }
}

impl Ledger {
    /// Takes in the next event of the log about a message.
    ///
    /// # Errors
    /// The message is not known: [`Ledger::recall`] its earlier events and try again.
    pub fn take(
        &mut self,
        message: MessageId,
        event: &MessageEvent,
        at: Timestamp,
    ) -> Result<(), UnknownMessage> {
        if let MessageEvent::Accepted(accepted) = event {
            let account = Account { tenant: accepted.tenant, app: accepted.app, day: Day::of(at) };
            let recipients = vec![Standing::InFlight; accepted.recipients.len()];
            let count = recipients.len() as u64;
            let sums = self.balances.entry(account).or_default();
            sums.accepted = sums.accepted.saturating_add(count);
            sums.in_flight = sums.in_flight.saturating_add(count);
            self.courses.insert(message, Course { account, recipients });
            return Ok(());
        }
        let change = Change::of(event);
        if matches!(change, Change::None) {
            return Ok(());
        }
        let course = self.courses.get_mut(&message).ok_or(UnknownMessage)?;
        let sums = self.balances.entry(course.account).or_default();
        apply(change, course, sums);
        if course.has_ended() {
            self.courses.remove(&message);
        }
        Ok(())
    }

    /// Brings back how a message that has ended stood after these events, which are all that it
    /// had. They were counted when they were taken in.
    pub fn recall<'a>(
        &mut self,
        message: MessageId,
        events: impl IntoIterator<Item = (&'a MessageEvent, Timestamp)>,
    ) {
        let mut course = None;
        for (event, at) in events {
            if let MessageEvent::Accepted(accepted) = event {
                let day = Day::of(at);
                let account = Account { tenant: accepted.tenant, app: accepted.app, day };
                let recipients = vec![Standing::InFlight; accepted.recipients.len()];
                course = Some(Course { account, recipients });
            } else if let Some(course) = &mut course {
                apply(Change::of(event), course, &mut Balance::default());
            }
        }
        if let Some(course) = course {
            self.courses.insert(message, course);
        }
    }

    /// The sums, by tenant, app and the day of acceptance.
    pub const fn balances(&self) -> &BTreeMap<Account, Balance> {
        &self.balances
    }
}

fn apply(change: Change, course: &mut Course, sums: &mut Balance) {
    let (index, sum, becomes): (_, fn(&mut Balance) -> &mut u64, _) = match change {
        Change::End(index, sum, becomes) => (index, sum, becomes),
        Change::Return(index) => (index, |sums| &mut sums.bounced, Standing::Gone),
        Change::None => return,
    };
    let returned = matches!(change, Change::Return(_));
    let sum = sum(sums);
    *sum = sum.saturating_add(1);
    // A recipient that there is not is counted among those who ended: a difference.
    let Some(standing) = course.recipients.get_mut(index.as_usize()) else { return };
    match std::mem::replace(standing, becomes) {
        Standing::InFlight => sums.in_flight = sums.in_flight.saturating_sub(1),
        // The one end that is ever corrected.
        Standing::Delivered if returned => sums.delivered = sums.delivered.saturating_sub(1),
        Standing::Delivered | Standing::Gone => {}
    }
}
