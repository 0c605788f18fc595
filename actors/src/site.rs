//! The site actor: one for each set of mail hosts that mail is going to.
//!
//! Before it lies a lane with a bounded number of places; who finds it full waits on disk. In the
//! lane tenants take turns, so one tenant's backlog is no other's delay. It starts at most two
//! workers for each connection it may have, so that the next message is composed and signed by the
//! time a connection is free. How many connections and messages a receiver bears, its gate knows;
//! the site itself knows when it is to be left in peace. Who has another way takes that in the
//! meantime.

mod answer;
mod gate;
mod job;
mod lane;
mod pause;
mod places;
mod queue;
mod usage;
mod worker;

use std::{sync::Arc, time::Duration};

use model::{Timestamp, routing::next_way_may_be_taken};
use ractor::{Actor, ActorProcessingErr, ActorRef};

pub(crate) use self::{
    answer::Answer,
    gate::Gates,
    job::{Hosts, Job, SiteKey, Way},
    lane::Lane,
    usage::busiest,
};
use self::{lane::CalledIn, pause::Pause, queue::FairQueue};
use crate::{
    figures::{Raised, ReceiverFigures},
    message,
    node::Node,
    registry::{Presence, Resident, Seat, Share},
};

/// How long a message waits in the lane of a site that is left in peace. For a longer pause it
/// goes to disk, with what the site said last as its outcome.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a site that gave trouble is remembered beyond its pause.
const MEMORY: Duration = Duration::from_mins(1);

/// What the actor of a site is told.
pub(crate) enum Msg {
    /// Deliver this.
    Job(Box<Job>),
    /// A worker found the site in a pause: again, when that is over.
    Back(Box<Job>),
    /// A worker has ended.
    Free,
    /// Time has passed, or the node stops.
    Tick,
}

/// The actor.
#[derive(Default)]
pub(crate) struct SiteActor;

/// What it knows.
pub(crate) struct State {
    presence: Presence<SiteActor>,
    queue: FairQueue<(Job, [Raised; 2])>,
    /// Somebody in the queue may have another way.
    other_ways: bool,
    busy: usize,
    next_tick: Option<Timestamp>,
    leaving: bool,
    _counted: Raised,
}

impl Resident for SiteActor {
    type Key = SiteKey;
    type Context = Node;
    type Desk = Arc<Lane>;

    fn desk(node: &Node, key: &SiteKey) -> Arc<Lane> {
        let group = key.shape.group.map(|group| node.rules.name(group));
        let figures = ReceiverFigures::new(group.as_deref().unwrap_or("other"));
        Arc::new(Lane::new(node.options.lane_depth, node.gates.of(key.shape, key.pool), figures))
    }

    fn crashed(node: &Node) {
        node.crashed("site");
    }
}

impl Actor for SiteActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Seat<Self>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Msg>,
        seat: Seat<Self>,
    ) -> Result<State, ActorProcessingErr> {
        let presence = seat.take();
        let counted = presence.context().figures.live_sites.raise();
        Ok(State {
            presence,
            queue: FairQueue::default(),
            other_ways: false,
            busy: 0,
            next_tick: None,
            leaving: false,
            _counted: counted,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.leaving {
            state.presence.hand_on(msg);
            return Ok(());
        }
        let all = &state.presence.context().figures.waiting;
        let here = &state.presence.desk().figures.waiting;
        let waiting = || [all.raise(), here.raise()];
        if let Msg::Job(job) | Msg::Back(job) = &msg {
            state.other_ways |= job.answer.has_another_way();
        }
        match msg {
            Msg::Job(job) => state.queue.push_back(job.tenant, (*job, waiting())),
            Msg::Back(job) => state.queue.push_front(job.tenant, (*job, waiting())),
            Msg::Free => state.busy = state.busy.saturating_sub(1),
            Msg::Tick => state.next_tick = None,
        }
        state.turn(&myself);
        Ok(())
    }
}

impl State {
    fn lane(&self) -> &Arc<Lane> {
        self.presence.desk()
    }

    /// Does what there is to do now, and arranges for the next time.
    fn turn(&mut self, myself: &ActorRef<Msg>) {
        let node = Arc::clone(self.presence.context());
        let now = node.now();
        if node.is_stopping() {
            self.queue.drain().for_each(|(job, _)| job.answer.not_tried());
        }
        let pause = self.lane().pause();
        if let Some(cause) = pause.cause.clone().filter(|_| pause.until > now.plus(PATIENCE)) {
            self.queue.drain().for_each(|(job, _)| job.answer.all(&cause));
        }
        self.send_elsewhere(&pause, now);
        self.send_back_old(now);
        let mut next_start = None;
        if pause.until <= now {
            let workers = self.lane().gate.connections().saturating_mul(2);
            // After trouble one message shows whether the site is well again.
            let limit = if pause.in_trouble { 1 } else { workers };
            next_start = self.start_workers(myself, limit, now);
        }
        if !pause.in_trouble && pause.until <= now && !node.is_stopping() {
            self.call_in(&node);
        } else {
            self.lane().send_away();
        }
        let idle = node.options.idle_connection;
        let keep = if node.is_stopping() { Duration::ZERO } else { idle };
        let lane = self.lane();
        let oldest_kept = lane.gate.close_kept(lane.door, now, keep);
        let resume = Some(pause.until).filter(|until| *until > now && !self.queue.is_empty());
        let oldest = self.queue.fronts().map(|(_, (job, _))| job.queued_at).min();
        let too_old = oldest.map(|queued_at| queued_at.plus(node.options.idle_message_actor));
        let trouble = pause.in_trouble.then(|| pause.until.plus(MEMORY));
        let learnt = self.lane().gate.with_pace(|pace| pace.remember_until());
        let forget = trouble.max(learnt).filter(|at| *at > now && !node.is_stopping());
        let kept = oldest_kept.map(|since| since.plus(idle));
        let next = [resume, next_start, too_old, kept, forget];
        if let Some(at) = next.into_iter().flatten().min() {
            self.tick_at(myself, at);
        } else if self.queue.is_empty() && self.busy == 0 {
            self.leaving = self.presence.leave_if(myself, |lane| lane.is_empty());
            if !self.leaving && self.lane().is_called_for() {
                // Noted while the last place became free: the next turn calls it in.
                myself.send_message(Msg::Tick).ok();
            }
        }
    }

    /// Wakes those who found the lane full. Who cannot be woken has its alarm.
    fn call_in(&self, node: &Arc<Node>) {
        let CalledIn { messages, missed } = self.lane().called_in();
        if missed {
            node.bell.notice_room();
        }
        for message in messages {
            if node.messages.cast(&message, message::Msg::Wake, Share::Most).is_err() {
                return;
            }
            node.figures.woken.increment(1);
        }
    }

    /// Whoever has another way does not wait for a site whose door is shut.
    fn send_elsewhere(&mut self, pause: &Pause, now: Timestamp) {
        let Some(cause) = pause.cause.as_ref().filter(|_| pause.until > now) else { return };
        if self.other_ways && next_way_may_be_taken(cause) {
            self.other_ways = false;
            for (job, _waiting) in self.queue.extract(|(job, _)| job.answer.has_another_way()) {
                job.answer.all(cause);
            }
        }
    }

    /// What has waited too long waits on disk.
    fn send_back_old(&mut self, now: Timestamp) {
        let longest = self.presence.context().options.idle_message_actor;
        let is_old = |job: &Job| now.since(job.queued_at) >= longest;
        loop {
            let mut fronts = self.queue.fronts();
            let Some((tenant, _)) = fronts.find(|(_, (job, _))| is_old(job)) else { return };
            drop(fronts);
            let Some((job, _waiting)) = self.queue.pop_of(tenant) else { return };
            job.answer.not_tried();
        }
    }

    /// Starts what may start; when the next one may, if that is for its rate to say.
    fn start_workers(
        &mut self,
        myself: &ActorRef<Msg>,
        limit: usize,
        now: Timestamp,
    ) -> Option<Timestamp> {
        while self.busy < limit && !self.queue.is_empty() {
            if let Err(at) = self.lane().gate.with_pace(|pace| pace.take(now)) {
                return Some(at);
            }
            let (_, (job, _waiting)) = self.queue.pop()?;
            self.busy += 1;
            let node = Arc::clone(self.presence.context());
            let lane = Arc::clone(self.lane());
            tokio::spawn(worker::work(node, lane, myself.clone(), job));
        }
        None
    }

    fn tick_at(&mut self, myself: &ActorRef<Msg>, at: Timestamp) {
        if self.next_tick.is_some_and(|next| next <= at) {
            return;
        }
        self.next_tick = Some(at);
        let (sleep, myself) = (self.presence.context().clock.sleep_until(at), myself.clone());
        tokio::spawn(async move {
            sleep.await;
            // It may have left by now.
            myself.send_message(Msg::Tick).ok();
        });
    }
}
