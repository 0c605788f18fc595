//! Handing a message to the sites of its recipients, and taking their answers.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use model::{
    RecipientIndex, TenantId, Timestamp,
    address::DomainName,
    delivery::{Answer as ModelAnswer, Fault, Outcome, Stage, TlsDemand},
    event::SealedText,
    message::{Command, Message, MessageEvent, Report},
    shaping::Shape,
};

use super::{NotTried, State, Told};
use crate::{
    figures::count_attempt,
    letter::{Content, Letter, NoContent, Origin},
    node::Node,
    pausing::HeldBack,
    registry::{Approached, Share},
    site::{Answer, Job, Lane, Msg as SiteMsg, SiteKey, Way},
    sourced::Sourced,
};

/// How to get to a site, and by what it is known.
struct Direction {
    way: Way,
    site: SiteKey,
}

impl Direction {
    fn new(way: Way, shape: Shape) -> Self {
        let site = SiteKey { hosts: way.hosts(), shape };
        Self { way, site }
    }
}

/// Some recipients of the message, on their way to one site.
struct Stop {
    way: Direction,
    recipients: Vec<RecipientIndex>,
}

impl State {
    /// Begins an attempt at every recipient that is due.
    pub(super) async fn deliver(&mut self) {
        let now = self.now();
        let Some(message) = self.sourced.as_ref().map(Sourced::state) else { return };
        let due = message.due(now);
        let Some((accepted_at, accepted)) = message.accepted() else { return };
        let (tenant, domain, expires_at) = (accepted.tenant, accepted.domain, accepted.expires_at);
        let origin = Origin { tenant, domain, accepted_at, expires_at, bulk: accepted.bulk };
        let node = self.node();
        if due.is_empty() || node.is_stopping() || !node.options.deliver {
            return;
        }
        self.paused = node.sender_pause(message).is_some();
        if self.paused {
            return;
        }
        let open = message.open().count();
        let mut reports = Vec::new();
        let mut ways = Vec::new();
        let (found, held) = self.ways(due).await;
        // The alarm passes over those of whom all is held back.
        self.paused = held.recipients.len() == open && !held.unknown;
        self.held_back |= !held.recipients.is_empty() && !self.paused;
        for (way, recipients) in found {
            match way {
                Ok(way) => ways.push(Stop { way, recipients }),
                Err(fault) => {
                    let outcome = Outcome::fault(Stage::Dns, fault);
                    reports.extend(recipients.iter().map(|recipient| report(*recipient, &outcome)));
                }
            }
        }
        self.turn_away(tenant, &mut ways);
        if !ways.is_empty() {
            match self.content().await {
                Ok(content) => {
                    let letter = Arc::new(Letter::new(self.id(), origin, content));
                    for stop in &ways {
                        self.hand_over(&letter, stop);
                    }
                }
                Err(NoContent::Lost(fault)) => {
                    let outcome = Outcome::fault(Stage::Dns, fault);
                    let lost = ways.iter().flat_map(|stop| &stop.recipients);
                    reports.extend(lost.map(|recipient| report(*recipient, &outcome)));
                }
                Err(NoContent::NotNow) => self.held_back = true,
            }
        }
        if !reports.is_empty() {
            self.record_attempt(reports).await;
        }
    }

    /// Leaves out where there is no place now. Before the content is read: a long queue before a
    /// full lane would otherwise read its content from the disk again and again, for nothing.
    fn turn_away(&mut self, tenant: TenantId, ways: &mut Vec<Stop>) {
        let (node, message) = (Arc::clone(self.node()), self.id());
        let before = ways.len();
        ways.retain(|Stop { way, .. }| {
            let has_room = |lane: &Arc<Lane>| lane.has_room(tenant, message);
            node.sites.ask_desk(&way.site, has_room).unwrap_or(true)
        });
        self.held_back |= ways.len() < before;
    }

    /// The content: kept since acceptance, or read back.
    pub(super) async fn content(&mut self) -> Result<Arc<Content>, NoContent> {
        if let Some(content) = &self.content {
            return Ok(Arc::clone(content));
        }
        let sourced = self.sourced.as_ref().ok_or(NoContent::NotNow)?;
        let size = sourced.state().accepted().map_or(0, |(_, accepted)| accepted.size);
        let content = Content::load(self.node(), self.id(), size, sourced.content()).await?;
        let content = Arc::new(content);
        self.content = Some(Arc::clone(&content));
        Ok(content)
    }

    /// Where each recipient's mail goes: by its domain to a route, by the routes' sites together. And
    /// who is not to be tried, for the receiver is paused.
    async fn ways(
        &self,
        due: Vec<RecipientIndex>,
    ) -> (Vec<(Result<Direction, Fault>, Vec<RecipientIndex>)>, HeldBack) {
        let (node, now) = (self.node(), self.now());
        let message = self.sourced.as_ref().map(Sourced::state);
        let own = message.and_then(Message::accepted).map(|(_, accepted)| accepted.tls);
        let demand = own.unwrap_or_default().max(node.options.tls);
        let mut held = HeldBack::default();
        let mut by_domain: BTreeMap<DomainName, Vec<RecipientIndex>> = BTreeMap::new();
        for recipient in due {
            if let Some(domain) = message.and_then(|message| domain_of(message, recipient)) {
                by_domain.entry(domain.clone()).or_default().push(recipient);
            }
        }
        // Before anybody is asked where it goes.
        by_domain.retain(|domain, recipients| held.sift(node, domain, None, recipients, now));
        if let Some(relay) = &node.options.smarthost {
            let shape = node.rules.shape(None, &relay.host);
            let mut due: Vec<_> = by_domain.into_values().flatten().collect();
            due.sort_unstable();
            let way = Ok(Direction::new(Way::Smarthost(demand), shape));
            return (if due.is_empty() { Vec::new() } else { vec![(way, due)] }, held);
        }
        let found = by_domain.keys().map(|domain| mx_way(node, domain, demand, now));
        let found = join_all(found).await;
        let mut ways: Vec<(Result<Direction, Fault>, Vec<RecipientIndex>)> = Vec::new();
        for (way, (domain, recipients)) in found.into_iter().zip(by_domain) {
            let route = way.as_ref().ok().and_then(|way| way.way.route());
            if route.is_some() && !held.sift(node, &domain, route, &recipients, now) {
                continue;
            }
            let shared = ways.iter_mut().find(|(known, _)| match (known, &way) {
                (Ok(known), Ok(way)) => known.site == way.site && known.way.is_one_with(&way.way),
                _ => false,
            });
            match shared {
                Some((_, together)) => together.extend(recipients),
                None => ways.push((way, recipients)),
            }
        }
        (ways, held)
    }

    /// Hop 1: to the site, if its lane has a place.
    fn hand_over(&mut self, letter: &Arc<Letter>, stop: &Stop) {
        let Stop { way: Direction { way, site }, recipients } = stop;
        let node = Arc::clone(self.node());
        let known = &letter.content.head.recipients;
        let addresses: Vec<_> = recipients
            .iter()
            .filter_map(|recipient| known.get(recipient.as_usize()))
            .map(|recipient| recipient.mailbox.email.clone())
            .collect();
        // A full lane says no before anything waits there; the site calls it in, or its alarm.
        self.under_way.add(recipients);
        let approached = node.sites.approach(site, Share::Whole, |lane| {
            let Some(place) = lane.reserve(letter.origin.tenant) else {
                lane.stand_before_door(letter.origin.tenant, letter.message);
                return None;
            };
            let answer = Answer::new(Arc::clone(&node), letter.message, recipients.clone());
            Some(SiteMsg::Job(Box::new(Job {
                tenant: letter.origin.tenant,
                letter: Arc::clone(letter),
                way: way.clone(),
                recipients: addresses,
                answer,
                queued_at: node.now(),
                _place: place,
            })))
        });
        if approached != Approached::Told {
            self.under_way.remove(recipients);
            self.held_back = true;
        }
    }

    /// Hop 2: what the site has to say.
    pub(super) async fn told(&mut self, told: Told) {
        let Told { recipients, outcomes, sent } = told;
        match outcomes {
            Err(NotTried) => self.held_back = true,
            Ok(outcomes) => {
                let pairs = recipients.iter().zip(&outcomes);
                let report = |(recipient, outcome): (&RecipientIndex, &Outcome)| Report {
                    sent: sent.clone(),
                    ..report(*recipient, outcome)
                };
                let mut reports: Vec<_> = pairs.map(report).collect();
                self.seal_texts(&mut reports).await;
                self.record_attempt(reports).await;
            }
        }
        self.under_way.remove(&recipients);
    }

    /// A reply can echo an address: it is recorded under the message's own key, which goes with
    /// the content.
    async fn seal_texts(&mut self, reports: &mut [Report]) {
        // There is none when this is the successor of an actor that crashed.
        if self.content.is_none()
            && (self.loaded().await.is_none() || self.content().await.is_err())
        {
            return;
        }
        let Some(content) = &self.content else { return };
        let key = eventlog::ReplyKey::from_bytes(content.head.reply_key);
        for report in reports {
            if let ModelAnswer::Reply(reply) = &report.outcome.answer
                && let Ok(sealed) = key.seal(self.id().as_bytes(), reply.text.as_bytes())
            {
                report.sealed_text = SealedText(sealed.to_base64().into());
            }
        }
    }

    async fn record_attempt(&mut self, reports: Vec<Report>) {
        let recorded = self.record(&Command::RecordAttempt(reports)).await;
        self.count(&recorded.unwrap_or_default());
    }

    /// Counts what was recorded of recipients.
    pub(super) fn count(&self, events: &[MessageEvent]) {
        let figures = &self.node().figures;
        for event in events {
            match event {
                MessageEvent::Delivered(delivered) => {
                    count_attempt("delivered", delivered.attempt.stage);
                    figures.delivered.increment(1);
                    self.measure_latency();
                }
                MessageEvent::Deferred(deferred) => {
                    let unknown = deferred.outcome_unknown;
                    let outcome = if unknown { "outcome_unknown" } else { "deferred" };
                    count_attempt(outcome, deferred.attempt.stage);
                    figures.deferred.increment(1);
                    figures.outcome_unknown.increment(u64::from(deferred.outcome_unknown));
                }
                MessageEvent::Bounced(bounced) => {
                    count_attempt("bounced", bounced.attempt.stage);
                    figures.bounced.increment(1);
                }
                MessageEvent::Failed(_) => figures.failed.increment(1),
                MessageEvent::Returned(_) => figures.returned.increment(1),
                MessageEvent::Complained(_) => figures.complained.increment(1),
                MessageEvent::Accepted(_)
                | MessageEvent::Scheduled(_)
                | MessageEvent::Suppressed(_)
                | MessageEvent::Canceled(_)
                | MessageEvent::RetryRequested(_) => {}
            }
        }
    }

    /// From when it could first be sent until now.
    fn measure_latency(&self) {
        let Some(sourced) = &self.sourced else { return };
        let Some((accepted_at, _)) = sourced.state().accepted() else { return };
        let from = sourced.state().scheduled_until().map_or(accepted_at, |at| at.max(accepted_at));
        self.node().figures.delivery_seconds.record(sourced.at().since(from));
    }
}

/// By the mail hosts of a domain, on the terms of both ends.
async fn mx_way(
    node: &Node,
    domain: &DomainName,
    demand: TlsDemand,
    now: Timestamp,
) -> Result<Direction, Fault> {
    let required = node.options.require_tls_for.contains(domain);
    let demand = if required { TlsDemand::Required } else { demand };
    let route = node.router.route(domain).await?;
    let terms = node.policies.terms(domain, &route, demand, now).await?;
    let best = route.hosts.first().map_or("", |host| &*host.name);
    let shape = node.rules.shape(Some(domain), best);
    Ok(Direction::new(Way::Mx(route, terms), shape))
}

fn domain_of(message: &Message, recipient: RecipientIndex) -> Option<&DomainName> {
    let (_, accepted) = message.accepted()?;
    accepted.recipients.get(recipient.as_usize()).map(|recipient| &recipient.domain)
}

fn report(recipient: RecipientIndex, outcome: &Outcome) -> Report {
    Report { recipient, outcome: outcome.clone(), sealed_text: SealedText("".into()), sent: None }
}
