//! Alerts: what of ours receivers find wrong, for whoever has to mend it.
//!
//! One is open for each thing to mend and receiver; where it is of a sending domain, for that
//! domain. It closes by itself when the receiver takes mail that the thing concerned.
//!
//! # Why
//! - **No events of their own**: attempts record what was to be mended, so alerts are a fold like
//!   any other, and rules for opening and closing can be changed.
//! - **A delivery is looked at only while an alert is open**: reading its mail host costs five times
//!   what counting it does.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use model::{
    DomainId, Event, EventId, MessageId, TenantId, Timestamp,
    delivery::{Peer, Trouble, site_of},
    message::{Accepted, End, MessageEvent, Step},
};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::{
    codec::join,
    error::Halt,
    fact::{Fact, Known, malformed},
    layer::Round,
    projection::Projection,
};

const NAME: &str = "alerts";
/// Every alert, open or closed, by site, thing and domain.
const ALERT: u8 = 1;

/// Alerts that are open at once. So many are not read by anybody; further ones are not opened.
const MOST_OPEN: usize = 10_000;
/// Sending domains that one alert names.
const MOST_AFFECTED: usize = 100;

/// Something to mend, as receivers of one site see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The receiver: the registered domain of its mail hosts.
    pub site: Box<str>,
    /// What is to be mended.
    pub trouble: Trouble,
    /// When it was first seen.
    pub first_at: Timestamp,
    /// When it was last seen.
    pub last_at: Timestamp,
    /// In how many attempts at recipients.
    pub count: u64,
    /// When mail was taken again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// The sending domains whose mail it concerned, in the order in which it did.
    pub affected: Vec<Affected>,
}

/// A sending domain whose mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// Which domain.
    pub domain: DomainId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When its mail was first not taken.
    pub first_at: Timestamp,
    /// When it was last.
    pub last_at: Timestamp,
    /// In how many attempts at recipients.
    pub count: u64,
    /// The message of the last one.
    pub message: MessageId,
    /// The event of the last one, which holds what the receiver said.
    pub event: EventId,
}

/// What an alert is told from others by, besides its site.
type Subject = (Trouble, Option<DomainId>);
type Open = BTreeMap<Box<str>, BTreeMap<Subject, Alert>>;

/// The alerts that are open.
#[derive(Default)]
pub struct Alerts {
    open: RwLock<Open>,
    count: AtomicUsize,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alerts({})", self.len())
    }
}

impl Alerts {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are open of each kind; zero where none is.
    pub fn counts(&self) -> BTreeMap<Trouble, usize> {
        let mut counts: BTreeMap<_, _> = Trouble::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for (trouble, _) in self.open.read().values().flat_map(BTreeMap::keys) {
            *counts.entry(*trouble).or_default() += 1;
        }
        counts
    }

    /// Every open alert, the one that was seen last first.
    pub fn all(&self) -> Vec<Alert> {
        let open = self.open.read();
        sorted(open.values().flat_map(BTreeMap::values).cloned().collect())
    }

    /// The open alerts that concern a tenant's mail, as far as they do: nothing in them is another's.
    pub fn of(&self, tenant: TenantId) -> Vec<Alert> {
        let open = self.open.read();
        let own = open.values().flat_map(BTreeMap::values).filter_map(|alert| {
            let own = alert.affected.iter().filter(|affected| affected.tenant == tenant);
            let affected: Vec<Affected> = own.cloned().collect();
            let first_at = affected.iter().map(|affected| affected.first_at).min()?;
            let last_at = affected.iter().map(|affected| affected.last_at).max()?;
            let count = affected.iter().map(|affected| affected.count).sum();
            Some(Alert { first_at, last_at, count, affected, ..alert.clone() })
        });
        sorted(own.collect())
    }

    fn take_in(&self, subject: Subject, alert: &Alert) {
        let mut open = self.open.write();
        let was_open = if alert.closed_at.is_some() {
            let Some(of_site) = open.get_mut(&alert.site) else { return };
            let was_open = of_site.remove(&subject).is_some();
            if of_site.is_empty() {
                open.remove(&alert.site);
            }
            was_open
        } else {
            let of_site = open.entry(alert.site.clone()).or_default();
            of_site.insert(subject, alert.clone()).is_some()
        };
        match (alert.closed_at.is_some(), was_open) {
            (true, true) => self.count.fetch_sub(1, Ordering::Relaxed),
            (false, false) => self.count.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    fn at(&self, site: &str) -> Vec<(Subject, Alert)> {
        let open = self.open.read();
        let of_site = open.get(site).into_iter().flatten();
        of_site.map(|(subject, alert)| (*subject, alert.clone())).collect()
    }
}

fn sorted(mut alerts: Vec<Alert>) -> Vec<Alert> {
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.last_at));
    alerts
}

fn key(site: &str, (trouble, domain): Subject) -> Vec<u8> {
    let domain = domain.as_ref().map_or(&[][..], |domain| domain.as_bytes().as_slice());
    join(&[&[ALERT], site.as_bytes(), &[0], trouble.as_str().as_bytes(), &[0], domain])
}

/// Folds the alerts.
pub(crate) struct AlertsProjection(pub(crate) Arc<Alerts>);

impl AlertsProjection {
    fn put(&self, subject: Subject, alert: &Alert, round: &mut Round<'_>) {
        // A struct of numbers, strings and lists always has a JSON form.
        let row = serde_json::to_vec(alert).unwrap_or_default();
        round.put(key(&alert.site, subject), row);
        self.0.take_in(subject, alert);
    }

    fn raise(
        &self,
        trouble: Trouble,
        site: &str,
        seen: &Affected,
        round: &mut Round<'_>,
    ) -> Result<(), Halt> {
        let subject = (trouble, trouble.is_of_domain().then_some(seen.domain));
        let at = seen.last_at;
        let known = match round.get(&key(site, subject))? {
            Some(row) => Some(read(row)?),
            None => None,
        };
        let open = known.filter(|alert| alert.closed_at.is_none());
        if open.is_none() && self.0.len() >= MOST_OPEN {
            return Ok(());
        }
        let mut alert = open.unwrap_or_else(|| Alert {
            site: site.into(),
            trouble,
            first_at: at,
            last_at: at,
            count: 0,
            closed_at: None,
            affected: Vec::new(),
        });
        alert.last_at = at;
        alert.count = alert.count.saturating_add(1);
        let room = alert.affected.len() < MOST_AFFECTED;
        match alert.affected.iter_mut().find(|known| known.domain == seen.domain) {
            Some(known) => {
                let (first_at, count) = (known.first_at, known.count.saturating_add(1));
                *known = Affected { first_at, count, ..seen.clone() };
            }
            None if room => alert.affected.push(seen.clone()),
            None => {}
        }
        self.put(subject, &alert, round);
        Ok(())
    }

    /// Mail of `domain` was taken at `site`.
    fn close(&self, peer: &Peer, domain: DomainId, at: Timestamp, round: &mut Round<'_>) {
        for (subject, alert) in self.0.at(site_of(&peer.mx)) {
            let concerned = match subject {
                (_, Some(of)) => of == domain,
                // Without TLS, or with a flaw that nobody minded, nothing is mended.
                (Trouble::Tls, None) => peer.tls.is_some() && peer.tls_failure.is_none(),
                (_, None) => true,
            };
            if concerned {
                self.put(subject, &Alert { closed_at: Some(at), ..alert }, round);
            }
        }
    }
}

fn read(row: &[u8]) -> Result<Alert, Halt> {
    serde_json::from_slice(row).map_err(|_| malformed(NAME))
}

/// Who was spoken to.
fn peer(event: &MessageEvent) -> Option<&Peer> {
    match event {
        MessageEvent::Delivered(event) => event.attempt.peer.as_ref(),
        MessageEvent::Deferred(event) => event.attempt.peer.as_ref(),
        MessageEvent::Bounced(event) => event.attempt.peer.as_ref(),
        _ => None,
    }
}

impl Projection for AlertsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn is_carried(&self) -> bool {
        true
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (Known::Went(step), Some(origin)) = (fact.known, fact.origin) else { return Ok(()) };
        let taken = matches!(step, Step::Ended { end: End::Delivered, .. });
        let trouble = step.trouble();
        if trouble.is_none() && (!taken || self.0.is_empty()) {
            return Ok(());
        }
        let recorded = fact.recorded;
        let Ok(Event::Message(event)) = Event::decode(recorded.stream, &recorded.data) else {
            // It counts as far as it can be read, and that is enough for every other fold.
            return Ok(());
        };
        let Accepted { domain, tenant, recipients, .. } = &origin.accepted;
        let model::StreamId::Message(message) = recorded.stream else { return Ok(()) };
        let Some(trouble) = trouble else {
            if let Some(peer) = peer(&event) {
                self.close(peer, *domain, recorded.at, round);
            }
            return Ok(());
        };
        let named = step.recipient().and_then(|index| recipients.get(index.as_usize()));
        // A report tells of no host that can be believed.
        let host = peer(&event).map(|peer| &*peer.mx);
        let Some(host) = host.or(named.map(|recipient| recipient.domain.as_str())) else {
            return Ok(());
        };
        let seen = Affected {
            domain: *domain,
            tenant: *tenant,
            first_at: recorded.at,
            last_at: recorded.at,
            count: 1,
            message,
            event: recorded.id,
        };
        self.raise(trouble, site_of(host), &seen, round)
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, _key: &[u8], value: &[u8]) -> Result<(), Halt> {
        let alert = read(value)?;
        let domain = alert.affected.first().map(|affected| affected.domain);
        let subject = (alert.trouble, domain.filter(|_| alert.trouble.is_of_domain()));
        self.0.take_in(subject, &alert);
        Ok(())
    }
}
