//! Messages that should have ended long ago: past their expiry, and nobody has said so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use model::{DomainId, TenantId, Timestamp};

use super::{Alarms, WaitingMessage, damaged, until};
use crate::{codec::Malformed, error::QueryError};

/// A message is overdue so long after its expiry. Until then it may only be late: an alarm looks at
/// thousands a second, and at none while the server is stopped.
pub const OVERDUE_AFTER: Duration = Duration::from_mins(15);

/// Who can mend it, and how.
pub const OVERDUE_TO_DO: &str = "Those who run the server: messages did not end when they expired. \
     Look whether the server runs, follows its log and is not far behind (/readyz, `lumora queue`); \
     a restart looks at all of them again.";

/// Alarms looked at for one question, those due the longest first. Only where delivery of so many is
/// paused can one be overdue beyond them.
const MAX_LOOKED_AT: usize = 100_000;
/// Sending domains named.
const MAX_DOMAINS: usize = 100;

/// The overdue messages of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// How many.
    pub count: u64,
    /// The one that expired first.
    pub oldest: WaitingMessage,
    /// The one that expired last, when it did.
    pub newest_expired_at: Timestamp,
    /// Their sending domains, at most 100.
    pub domains: BTreeSet<DomainId>,
}

impl Alarms {
    /// The messages that are overdue at `now`, by tenant.
    pub fn overdue(&self, now: Timestamp) -> Result<BTreeMap<TenantId, Overdue>, QueryError> {
        let mut found: BTreeMap<TenantId, Overdue> = BTreeMap::new();
        let before = now.minus(OVERDUE_AFTER);
        // No alarm is later than the expiry of its message.
        for row in self.table.scan(until(before, None)).take(MAX_LOOKED_AT) {
            let (key, value) = row?;
            let message = WaitingMessage::read(&key, &value).map_err(|Malformed| damaged())?;
            if message.expires_at >= before {
                continue;
            }
            let overdue = found.entry(message.tenant).or_insert_with(|| Overdue {
                count: 0,
                oldest: message.clone(),
                newest_expired_at: message.expires_at,
                domains: BTreeSet::new(),
            });
            overdue.count += 1;
            if overdue.domains.len() < MAX_DOMAINS {
                overdue.domains.insert(message.domain);
            }
            overdue.newest_expired_at = overdue.newest_expired_at.max(message.expires_at);
            if message.expires_at < overdue.oldest.expires_at {
                overdue.oldest = message;
            }
        }
        Ok(found)
    }
}
