//! Pausing delivery and resuming it; and what a pause holds back.
//!
//! A pause is asked for in memory, before an attempt begins and once more when its turn at a
//! connection has come. Who is held back leaves memory and keeps its alarm, which the alarm actor
//! passes over until the pause ends or the message expires: a million of them cost rows on disk.
//! Transactions that are under way end.

use std::sync::Arc;

use eventlog::Purpose;
use model::{
    InstanceId, RecipientIndex, Timestamp,
    address::DomainName,
    domain::{self, Domain, DomainPaused, DomainResumed},
    event::SealedText,
    instance::{self, Instance, SitePaused, SiteResumed},
    message::Message,
    pause::{Reason, Who},
    tenant::{self, Tenant, TenantPaused, TenantResumed},
};
use projections::{PauseView, Paused, WaitingMessage};

use crate::{
    Platform,
    error::ChangeError,
    node::Node,
    site::{Job, SiteKey, Way},
};

impl Platform {
    /// Delivers nothing of this for now. What an operator pauses takes the place of a user's pause.
    ///
    /// # Errors
    /// There is no such tenant or domain, too many receivers are paused, or it cannot be recorded.
    pub async fn pause(
        &self,
        what: &Paused,
        by: Who,
        reason: Option<&Reason>,
    ) -> Result<(), ChangeError> {
        let owner = match what {
            Paused::Tenant(tenant) => tenant.as_bytes(),
            Paused::Domain(domain) => domain.as_bytes(),
            Paused::Site(_) => InstanceId::THIS.as_bytes(),
        };
        let reason = reason.map(|reason| self.seal_reason(owner, reason)).transpose()?;
        match what {
            Paused::Tenant(tenant) => {
                let command = tenant::Command::Pause(TenantPaused { by, reason });
                self.change::<Tenant>(by.into(), *tenant, vec![command]).await
            }
            Paused::Domain(domain) => {
                let command = domain::Command::Pause(DomainPaused { by, reason });
                self.change::<Domain>(by.into(), *domain, vec![command]).await
            }
            Paused::Site(site) => {
                let paused = SitePaused { site: site.clone(), by, reason };
                let command = instance::Command::PauseSite(paused);
                self.change::<Instance>(by.into(), InstanceId::THIS, vec![command]).await
            }
        }
    }

    /// Delivers it again: what waits is woken page by page, and shaped as ever.
    ///
    /// # Errors
    /// An operator paused it and this is a user, there is no such tenant or domain, or it cannot be
    /// recorded.
    pub async fn resume(&self, what: &Paused, by: Who) -> Result<(), ChangeError> {
        match what {
            Paused::Tenant(tenant) => {
                let command = tenant::Command::Resume(TenantResumed { by });
                self.change::<Tenant>(by.into(), *tenant, vec![command]).await
            }
            Paused::Domain(domain) => {
                let command = domain::Command::Resume(DomainResumed { by });
                self.change::<Domain>(by.into(), *domain, vec![command]).await
            }
            Paused::Site(site) => {
                let command = instance::Command::ResumeSite(SiteResumed { site: site.clone(), by });
                self.change::<Instance>(by.into(), InstanceId::THIS, vec![command]).await
            }
        }?;
        let node = self.node();
        node.bell.notice(node.now());
        Ok(())
    }

    fn seal_reason(&self, owner: &[u8; 16], reason: &Reason) -> Result<SealedText, ChangeError> {
        let text = serde_json::Value::from(reason.as_str()).to_string();
        let sealed = self.node().vault.seal(Purpose::TenantProfile, owner, text.as_bytes())?;
        Ok(SealedText(sealed.to_base64().into()))
    }
}

/// A pause with what it holds.
pub(crate) type Held = (Paused, Arc<PauseView>);

impl Node {
    /// The pause that holds a message back whoever is to get it: its tenant's or its domain's.
    pub(crate) fn sender_pause(&self, message: &Message) -> Option<Held> {
        let (_, accepted) = message.accepted()?;
        self.read.policies().pauses().of_sender(accepted.tenant, accepted.domain)
    }

    /// Whether some receiver is paused.
    pub(crate) fn is_any_receiver_paused(&self) -> bool {
        self.read.policies().pauses().any_site()
    }

    /// The pause that holds back what goes to recipients at `domain` by way of `hosts`.
    pub(crate) fn receiver_pause<'a>(
        &self,
        domain: &'a str,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Option<Held> {
        let pauses = self.read.policies().pauses();
        if !pauses.any_site() {
            return None;
        }
        std::iter::once(domain).chain(hosts).find_map(|name| {
            let pause = pauses.of_site(name)?;
            Some((Paused::Site(DomainName::parse(name).ok()?), pause))
        })
    }

    /// The same for a domain whose mail hosts are known from of late.
    pub(crate) fn known_receiver_pause(&self, domain: &str) -> Option<Held> {
        if !self.read.policies().pauses().any_site() {
            return None;
        }
        let heading = self.book.heading(domain, self.now());
        let hosts = heading.iter().flat_map(|heading| heading.hosts.iter());
        self.receiver_pause(domain, hosts.map(AsRef::as_ref))
    }

    /// Whether a transaction must not be begun now.
    pub(crate) fn is_held(&self, job: &Job) -> bool {
        let pauses = self.read.policies().pauses();
        if pauses.is_empty() {
            return false;
        }
        let origin = &job.letter.origin;
        let held = |domain: &DomainName| {
            self.receiver_pause(domain.as_str(), self.hosts_of(&job.way)).is_some()
        };
        pauses.of_sender(origin.tenant, origin.domain).is_some()
            || job.recipients.iter().any(|recipient| held(recipient.domain()))
    }

    /// Whether looking at a waiting message would lead to nothing: all that is open is held back.
    pub(crate) fn is_passed_over(&self, waiting: &WaitingMessage) -> bool {
        let pauses = self.read.policies().pauses();
        if pauses.is_empty() || waiting.expires_at <= self.now() {
            return false;
        }
        let held = |(domain, _): &(Box<str>, u64)| self.known_receiver_pause(domain).is_some();
        pauses.of_sender(waiting.tenant, waiting.domain).is_some()
            || (pauses.any_site() && waiting.receivers.iter().all(held))
    }
}

/// Recipients that a receiver's pause holds back.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    pub(crate) recipients: Vec<RecipientIndex>,
    /// Whether the alarm does not know of some why: who is looked at in vain should rest.
    pub(crate) unknown: bool,
    /// Whether the alarm does not know where some go, whose lane may be full.
    pub(crate) unnoted: bool,
}

impl HeldBack {
    /// Whether these recipients at `domain` may be tried by any way; when the attempt has `begun`,
    /// a pause of the hosts on the way before counts as well. Who may not is noted.
    pub(crate) fn keep(
        &mut self,
        node: &Node,
        domain: &DomainName,
        begun: bool,
        recipients: &[RecipientIndex],
    ) -> bool {
        let held = if begun {
            node.known_receiver_pause(domain.as_str())
        } else {
            node.receiver_pause(domain.as_str(), [])
        };
        if held.is_some() {
            self.recipients.extend(recipients);
        }
        held.is_none()
    }

    /// Whether these recipients at `domain` may be tried by this way. Who may not is noted.
    pub(crate) fn sift(
        &mut self,
        node: &Node,
        domain: &DomainName,
        (way, lane): (&Way, &SiteKey),
        recipients: &[RecipientIndex],
        now: Timestamp,
    ) -> bool {
        let (domain, hosts) = (domain.as_str(), || node.hosts_of(way));
        let noted = node.book.note(domain, (node.site_name(way), lane), hosts(), now);
        self.unnoted |= !noted;
        if node.receiver_pause(domain, hosts()).is_none() {
            return true;
        }
        self.unknown |= !noted;
        self.recipients.extend(recipients);
        false
    }
}
