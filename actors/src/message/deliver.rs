//! Handing a message to the sites of its recipients, and taking their answers.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use model::{
    By, RecipientIndex, TenantId, Timestamp,
    address::DomainName,
    delivery::{Answer as ModelAnswer, Fault, Outcome, Stage, TlsDemand},
    event::SealedText,
    message::{Command, Message, MessageEvent, Report},
    routing::{WayOut, next_way_may_be_taken},
    shaping::Shape,
    source::PoolNumber,
};

use super::{NotTried, State, Told};
use crate::{
    figures::{count_attempt, count_shut},
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
    fn new(way: Way, shape: Shape, pool: Option<PoolNumber>) -> Self {
        let site = SiteKey { hosts: way.hosts(), shape, pool };
        Self { way, site }
    }
}

/// Some recipients of the message, on their way to one site.
struct Stop {
    way: Direction,
    /// The ways that are left when this one is shut.
    rest: Vec<WayOut>,
    recipients: Vec<RecipientIndex>,
}

impl Stop {
    fn is_one_with(&self, other: &Self) -> bool {
        let (own, others) = (&self.way, &other.way);
        own.site == others.site && own.way.is_one_with(&others.way) && self.rest == other.rest
    }
}

/// Where recipients go, or what becomes of them instead.
#[derive(Default)]
struct Outgoing {
    stops: Vec<Stop>,
    /// Of those that have no way.
    reports: Vec<Report>,
    /// Who is not to be tried, for the receiver is paused.
    held: HeldBack,
}

impl Outgoing {
    fn add(&mut self, stop: Stop) {
        match self.stops.iter_mut().find(|known| known.is_one_with(&stop)) {
            Some(known) => known.recipients.extend(stop.recipients),
            None => self.stops.push(stop),
        }
    }
}

impl State {
    /// Begins an attempt at every recipient that is due.
    pub(super) async fn deliver(&mut self) {
        let now = self.now();
        let Some(message) = self.sourced.as_ref().map(Sourced::state) else { return };
        let due = message.due(now);
        let node = self.node();
        if due.is_empty() || node.is_stopping() || !node.options.deliver {
            return;
        }
        if !node.can_record() {
            // Delivered, and then forgotten at a restart, it would be delivered again.
            self.held_back = true;
            return;
        }
        self.set_out(due, None).await;
    }

    /// Sends recipients on their ways: those that their domains' routes say, or these.
    async fn set_out(&mut self, recipients: Vec<RecipientIndex>, ways: Option<&[WayOut]>) {
        let Some(message) = self.sourced.as_ref().map(Sourced::state) else { return };
        let Some((accepted_at, accepted)) = message.accepted() else { return };
        let (tenant, domain, expires_at) = (accepted.tenant, accepted.domain, accepted.expires_at);
        let origin = Origin { tenant, domain, accepted_at, expires_at, bulk: accepted.bulk };
        let open = message.open().count();
        let paused = self.node().sender_pause(message).is_some();
        // Half-way, others may be under way: then it is looked at again.
        self.paused = paused && ways.is_none();
        self.held_back |= paused && ways.is_some();
        if paused {
            return;
        }
        let Outgoing { mut stops, mut reports, held } = self.stops(recipients, ways).await;
        // The alarm passes over those of whom all is held back.
        self.paused = held.recipients.len() == open && !held.unknown;
        self.held_back |= !held.recipients.is_empty() && !self.paused;
        let turned_away = self.turn_away(tenant, &mut stops);
        // The alarm passes over who would find a full lane, where it knows the lane.
        if turned_away && (held.unnoted || !self.node().options.pools.is_empty()) {
            self.held_back = true;
        }
        if !stops.is_empty() {
            match self.content().await {
                Ok(content) => {
                    let letter = Arc::new(Letter::new(self.id(), origin, content));
                    for stop in &stops {
                        self.hand_over(&letter, stop);
                    }
                }
                Err(NoContent::Lost(fault)) => {
                    let outcome = Outcome::fault(Stage::Dns, fault);
                    let lost = stops.iter().flat_map(|stop| &stop.recipients);
                    reports.extend(lost.map(|recipient| report(*recipient, &outcome)));
                }
                Err(NoContent::NotNow) => self.held_back = true,
            }
        }
        if !reports.is_empty() {
            self.record_attempt(reports).await;
        }
    }

    /// Leaves out where there is no place now, and says whether there was such. Before the content
    /// is read: a long queue before a full lane would otherwise read its content from the disk again
    /// and again, for nothing.
    fn turn_away(&self, tenant: TenantId, stops: &mut Vec<Stop>) -> bool {
        let (node, message) = (Arc::clone(self.node()), self.id());
        let before = stops.len();
        stops.retain(|Stop { way, .. }| {
            let has_room = |lane: &Arc<Lane>| lane.has_room(tenant, message);
            node.sites.ask_desk(&way.site, has_room).unwrap_or(true)
        });
        stops.len() < before
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

    /// Where each recipient's mail goes: by its domain to a route, by the routes' sites together.
    async fn stops(&self, recipients: Vec<RecipientIndex>, ways: Option<&[WayOut]>) -> Outgoing {
        let mut outgoing = Outgoing::default();
        let message = self.sourced.as_ref().map(Sourced::state);
        let Some((message, (_, accepted))) =
            message.and_then(|message| Some((message, message.accepted()?)))
        else {
            return outgoing;
        };
        let (node, now) = (self.node(), self.now());
        let terms = Outset {
            node,
            demand: accepted.tls.max(node.options.tls),
            pool: node.options.pools.of_app(accepted.tenant, accepted.app),
            now,
        };
        let mut by_domain: BTreeMap<&DomainName, Vec<RecipientIndex>> = BTreeMap::new();
        for recipient in recipients {
            if let Some(domain) = domain_of(message, recipient) {
                by_domain.entry(domain).or_default().push(recipient);
            }
        }
        // Before anybody is asked where it goes; and the next way leads around no pause that has
        // come over the way before.
        let begun = ways.is_some();
        by_domain.retain(|domain, recipients| outgoing.held.keep(node, domain, begun, recipients));
        let found = by_domain.keys().map(|domain| {
            let ways = ways.unwrap_or_else(|| node.options.routes.ways(domain).as_slice());
            terms.first_way(domain, ways)
        });
        let found = join_all(found).await;
        for (found, (domain, recipients)) in found.into_iter().zip(by_domain) {
            match found {
                Ok((way, rest)) => {
                    if outgoing.held.sift(node, domain, (&way.way, &way.site), &recipients, now) {
                        outgoing.add(Stop { way, rest, recipients });
                    }
                }
                Err(fault) => {
                    let outcome = Outcome::fault(Stage::Dns, fault);
                    let reports = recipients.iter().map(|recipient| report(*recipient, &outcome));
                    outgoing.reports.extend(reports);
                }
            }
        }
        outgoing
    }

    /// Hop 1: to the site, if its lane has a place.
    fn hand_over(&mut self, letter: &Arc<Letter>, stop: &Stop) {
        let Stop { way: Direction { way, site }, rest, recipients } = stop;
        let node = Arc::clone(self.node());
        let known = &letter.content.head.recipients;
        let addresses: Vec<_> = recipients
            .iter()
            .filter_map(|recipient| known.get(recipient.as_usize()))
            .map(|recipient| recipient.mailbox.email.clone())
            .collect();
        let pool = site.pool.and_then(|number| node.options.pools.get(number));
        let sources = pool.map(|pool| pool.choose(letter.message)).unwrap_or_default();
        // A full lane says no before anything waits there; the site calls it in, or its alarm.
        self.under_way.add(recipients);
        let approached = node.sites.approach(site, Share::Whole, |lane| {
            let Some(place) = lane.reserve(letter.origin.tenant) else {
                lane.stand_before_door(letter.origin.tenant, letter.message);
                return None;
            };
            let (node, recipients) = (Arc::clone(&node), recipients.clone());
            let queued_at = node.now();
            let answer = Answer::new(node, letter.message, recipients, rest.clone());
            Some(SiteMsg::Job(Box::new(Job {
                tenant: letter.origin.tenant,
                letter: Arc::clone(letter),
                way: way.clone(),
                sources,
                recipients: addresses,
                answer,
                queued_at,
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
        let Told { recipients, outcomes, sent, rest } = told;
        match outcomes {
            Err(NotTried) => self.held_back = true,
            Ok(outcomes) if self.goes_on(&outcomes, &rest) => {
                self.under_way.remove(&recipients);
                return self.set_out(recipients, Some(&rest)).await;
            }
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

    /// Whether the next way is taken at once, in the same attempt.
    fn goes_on(&self, outcomes: &[Outcome], rest: &[WayOut]) -> bool {
        let shut = !rest.is_empty() && outcomes.iter().all(next_way_may_be_taken);
        let node = self.node();
        let goes_on = shut && !node.is_stopping();
        let peer = outcomes.first().and_then(|outcome| outcome.peer.as_ref());
        if let Some(way) = peer.and_then(|peer| peer.way.as_ref()).filter(|_| goes_on) {
            tracing::info!(message = %self.id(), %way, "a way is shut: the next one is taken");
            count_shut(way);
        }
        goes_on
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
        let recorded = self.record(&Command::RecordAttempt(reports), By::Attempt).await;
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

/// What holds for all recipients of a message.
struct Outset<'a> {
    node: &'a Node,
    demand: TlsDemand,
    pool: Option<PoolNumber>,
    now: Timestamp,
}

impl Outset<'_> {
    /// The first of the ways that is not known to be shut, and those that are left after it. The
    /// last one is taken as it is, and so is one that is paused: no other leads around a pause.
    async fn first_way(
        &self,
        domain: &DomainName,
        mut ways: &[WayOut],
    ) -> Result<(Direction, Vec<WayOut>), Fault> {
        let node = self.node;
        while let Some((way, rest)) = ways.split_first() {
            ways = rest;
            let direction = match self.direction(domain, way).await {
                Ok(direction) => direction,
                // Hosts that cannot be found out may be paused.
                Err(NoWay::Unknown(_)) if !rest.is_empty() && !node.is_any_receiver_paused() => {
                    continue;
                }
                Err(NoWay::Unknown(fault) | NoWay::Never(fault)) => return Err(fault),
            };
            let shut = node.sites.ask_desk(&direction.site, |lane| lane.is_shut(self.now));
            let hosts = node.hosts_of(&direction.way);
            let paused = node.receiver_pause(domain.as_str(), hosts).is_some();
            if rest.is_empty() || paused || !shut.unwrap_or(false) {
                return Ok((direction, rest.to_vec()));
            }
            count_shut(way);
        }
        Err(Fault::DnsUnavailable)
    }

    async fn direction(&self, domain: &DomainName, way: &WayOut) -> Result<Direction, NoWay> {
        let required = self.node.options.require_tls_for.contains(domain);
        let demand = if required { TlsDemand::Required } else { self.demand };
        let rules = &self.node.rules;
        match way {
            WayOut::Relay(name) => {
                let host = self.node.relay_host(name);
                let way = Way::Relay(name.clone(), demand);
                Ok(Direction::new(way, rules.shape(None, host), self.pool))
            }
            WayOut::Direct => {
                let route = self.node.router.route(domain).await.map_err(|fault| match fault {
                    Fault::DnsUnavailable => NoWay::Unknown(fault),
                    fault => NoWay::Never(fault),
                })?;
                // A rule of the receiver that cannot be found out is none to go around.
                let terms = self.node.policies.terms(domain, &route, demand, self.now).await;
                let terms = terms.map_err(NoWay::Never)?;
                let best = route.hosts.first().map_or("", |host| &*host.name);
                let shape = rules.shape(Some(domain), best);
                Ok(Direction::new(Way::Mx(route, terms), shape, self.pool))
            }
        }
    }
}

/// Why a way cannot be taken.
enum NoWay {
    /// It could not be found: another one may be taken.
    Unknown(Fault),
    /// It is no way, and no reason for another.
    Never(Fault),
}

fn domain_of(message: &Message, recipient: RecipientIndex) -> Option<&DomainName> {
    let (_, accepted) = message.accepted()?;
    accepted.recipients.get(recipient.as_usize()).map(|recipient| &recipient.domain)
}

fn report(recipient: RecipientIndex, outcome: &Outcome) -> Report {
    Report { recipient, outcome: outcome.clone(), sealed_text: SealedText("".into()), sent: None }
}
