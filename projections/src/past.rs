//! Apps, keys and domains as they were: folded from their own streams, when somebody asks; and
//! statistics, folded from an app's events.
//!
//! # Why
//! - **Nothing is kept of the past but the log.** What belongs to one tenant or one domain stands in
//!   one stream, so a look back reads that stream up to a time: it costs as many events as people
//!   made changes there, whatever the size of the log.
//! - **The folds are those of the present**, so that the two cannot differ.

mod statistics;

use std::{fmt, sync::Arc};

use eventlog::{EventLog, Position, Recorded, Vault, Version};
use model::{AppId, DomainId, Event, StreamId, TenantId, Timestamp, tenant::TenantEvent};

use crate::{
    Conservation, Logs, Stats, StatsQuery,
    error::{Halt, QueryError},
    fact::FactRow,
    keys::{CREATED, Keys, KeysProjection},
    policies::{Policies, PoliciesProjection},
    projection::Projection as _,
};

/// A tenant with its apps and keys, or a domain, as they were.
pub struct Past {
    policies: Arc<Policies>,
    keys: Arc<Keys>,
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").finish_non_exhaustive()
    }
}

impl Past {
    /// A tenant's users, apps, keys and pause as they were at `at`, with all that was recorded at
    /// that very moment. Blocks on the disk.
    pub fn of_tenant(
        log: &dyn EventLog,
        vault: &Vault,
        tenant: TenantId,
        at: Timestamp,
    ) -> Result<Self, QueryError> {
        Self::of(log, vault, StreamId::Tenant(tenant), at)
    }

    /// The same for a domain with its pause.
    pub fn of_domain(
        log: &dyn EventLog,
        vault: &Vault,
        domain: DomainId,
        at: Timestamp,
    ) -> Result<Self, QueryError> {
        Self::of(log, vault, StreamId::Domain(domain), at)
    }

    /// The counts of an app as they were at `at`; and the other count of the same recipients. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// [`QueryError::TooWide`]: the app had more than 100 000 events since the beginning of the
    /// time that is asked about; [`QueryError::PrunedUntil`]: some of them were pruned.
    pub fn statistics(
        log: &dyn EventLog,
        logs: &Logs,
        app: AppId,
        query: &StatsQuery,
        at: Timestamp,
    ) -> Result<(Stats, Conservation), QueryError> {
        statistics::statistics(log, logs, app, query, at)
    }

    /// What was known of apps and domains; nothing of others.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// What keys there were. When they were used is not known.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    fn of(
        log: &dyn EventLog,
        vault: &Vault,
        stream: StreamId,
        at: Timestamp,
    ) -> Result<Self, QueryError> {
        let keys: Arc<Keys> = Arc::default();
        let past = Self { policies: Arc::new(Policies::new(Arc::clone(&keys))), keys };
        let policies = PoliciesProjection::new(Arc::clone(&past.policies), vault.clone());
        let keys = KeysProjection::new(Arc::clone(&past.keys), vault.clone());
        let mut after = Version::NONE;
        loop {
            let page = log.read_stream(stream, after, usize::MAX)?;
            let Some(last) = page.last() else { return Ok(past) };
            after = last.version;
            for recorded in &page {
                // Times never go backwards in the log.
                if recorded.at > at {
                    return Ok(past);
                }
                take_in(&policies, &keys, recorded).map_err(|halt| told(&halt))?;
            }
        }
    }
}

fn take_in(
    policies: &PoliciesProjection,
    keys: &KeysProjection,
    recorded: &Recorded,
) -> Result<(), Halt> {
    let row = FactRow { stream: recorded.stream, at: recorded.at, data: &recorded.data };
    match row.event("events")? {
        Event::Tenant(TenantEvent::ApiKeyCreated(_) | TenantEvent::ApiKeyRevoked(_)) => {
            keys.remember(&[CREATED], &row.to_bytes())
        }
        _ => policies.remember(&[], &row.to_bytes()),
    }
}

fn told(halt: &Halt) -> QueryError {
    tracing::error!(%halt, "what was cannot be folded");
    QueryError::Damaged { table: "events" }
}

/// The last position that was recorded by `at`. Times never go backwards in the log, so it is found
/// by some twenty reads.
pub(crate) fn position_at(log: &dyn EventLog, at: Timestamp) -> Result<Position, QueryError> {
    let (mut known, mut beyond) = (0, log.head().borrow().get().saturating_add(1));
    while beyond - known > 1 {
        let middle = known.midpoint(beyond);
        let read = log.read_all(Position::new(middle.saturating_sub(1)), 1)?;
        match read.first() {
            Some(recorded) if recorded.at <= at => known = middle,
            _ => beyond = middle,
        }
    }
    Ok(Position::new(known))
}
