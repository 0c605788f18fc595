//! What is counted and measured: for `/metrics` by the `metrics` facade, and for a snapshot.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::{
    delivery::{Outcome, Stage, Verdict},
    routing::WayOut,
};

/// A number that goes up and down.
#[derive(Clone)]
pub(crate) struct Level {
    gauge: Gauge,
    now: Arc<AtomicUsize>,
}

impl Level {
    fn new(gauge: Gauge) -> Self {
        Self { gauge, now: Arc::default() }
    }

    /// One more, until the returned value is dropped.
    pub(crate) fn raise(&self) -> Raised {
        self.now.fetch_add(1, Ordering::Relaxed);
        self.gauge.increment(1.0);
        Raised(self.clone())
    }

    /// The number now.
    pub(crate) fn get(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

/// One that counts towards a [`Level`].
pub(crate) struct Raised(Level);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.decrement(1.0);
    }
}

/// Handles, taken once: looking one up by name costs as much as a small allocation.
#[derive(Clone)]
pub(crate) struct Figures {
    pub(crate) accepted: Counter,
    pub(crate) replayed: Counter,
    pub(crate) delivered: Counter,
    pub(crate) deferred: Counter,
    pub(crate) outcome_unknown: Counter,
    pub(crate) bounced: Counter,
    pub(crate) failed: Counter,
    pub(crate) returned: Counter,
    pub(crate) complained: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) woken: Counter,
    pub(crate) crashed: Counter,
    pub(crate) in_flight: Level,
    pub(crate) live_messages: Level,
    pub(crate) live_sites: Level,
    pub(crate) waiting: Level,
    pub(crate) accept_seconds: Histogram,
    pub(crate) append_seconds: Histogram,
    pub(crate) connect_seconds: Histogram,
    pub(crate) tls_seconds: Histogram,
    pub(crate) transaction_seconds: Histogram,
    pub(crate) delivery_seconds: Histogram,
}

impl Figures {
    /// Takes the handles of whichever recorder is installed by now.
    pub(crate) fn new() -> Self {
        Self {
            accepted: counter!("lumora_messages_accepted_total"),
            replayed: counter!("lumora_messages_replayed_total"),
            delivered: counter!("lumora_recipients_delivered_total"),
            deferred: counter!("lumora_recipients_deferred_total"),
            outcome_unknown: counter!("lumora_recipients_outcome_unknown_total"),
            bounced: counter!("lumora_recipients_bounced_total"),
            failed: counter!("lumora_recipients_failed_total"),
            returned: counter!("lumora_recipients_returned_total"),
            complained: counter!("lumora_recipients_complained_total"),
            overloaded: counter!("lumora_requests_overloaded_total"),
            woken: counter!("lumora_messages_woken_total"),
            crashed: counter!("lumora_actors_crashed_total"),
            in_flight: Level::new(gauge!("lumora_deliveries_in_flight")),
            live_messages: Level::new(gauge!("lumora_message_actors")),
            live_sites: Level::new(gauge!("lumora_site_actors")),
            waiting: Level::new(gauge!("lumora_lane_depth")),
            accept_seconds: histogram!("lumora_accept_duration_seconds"),
            append_seconds: histogram!("lumora_append_duration_seconds"),
            connect_seconds: histogram!("lumora_smtp_connect_duration_seconds"),
            tls_seconds: histogram!("lumora_smtp_tls_duration_seconds"),
            transaction_seconds: histogram!("lumora_smtp_transaction_duration_seconds"),
            delivery_seconds: histogram!("lumora_delivery_latency_seconds"),
        }
    }
}

/// Counts an attempt at a recipient by how it ended and how far it got: as many labels as there are
/// of both.
pub(crate) fn count_attempt(outcome: &'static str, stage: Stage) {
    let stage = stage.as_str();
    counter!("lumora_attempts_total", "outcome" => outcome, "stage" => stage).increment(1);
}

/// Counts that a way was found shut and another one taken. It happens seldom, and there are as many
/// labels as relays in the settings.
pub(crate) fn count_shut(way: &WayOut) {
    counter!("lumora_ways_shut_total", "way" => way.to_string()).increment(1);
}

/// What is counted of one receiver. There are as many labels as rules and one for all others: a
/// label for each mail host would be as many as there are domains in the world.
pub(crate) struct ReceiverFigures {
    pub(crate) waiting: Level,
    /// Connections that were opened.
    pub(crate) opened: Counter,
    /// Messages that went over a connection that was kept.
    pub(crate) reused: Counter,
    delivered: Counter,
    deferred: Counter,
    bounced: Counter,
}

impl ReceiverFigures {
    pub(crate) fn new(receiver: &str) -> Self {
        let outcome = |outcome: &'static str| {
            counter!(
                "lumora_receiver_outcomes_total",
                "receiver" => receiver.to_owned(), "outcome" => outcome
            )
        };
        Self {
            waiting: Level::new(
                gauge!("lumora_receiver_waiting", "receiver" => receiver.to_owned()),
            ),
            opened: counter!("lumora_smtp_connections_total", "receiver" => receiver.to_owned()),
            reused: counter!(
                "lumora_smtp_connections_reused_total",
                "receiver" => receiver.to_owned()
            ),
            delivered: outcome("delivered"),
            deferred: outcome("deferred"),
            bounced: outcome("bounced"),
        }
    }

    /// Counts what was told of some recipients.
    pub(crate) fn count(&self, outcome: &Outcome, recipients: usize) {
        let counter = match outcome.verdict() {
            Verdict::Delivered => &self.delivered,
            Verdict::Deferred | Verdict::OutcomeUnknown => &self.deferred,
            Verdict::Bounced(_) => &self.bounced,
            // Of ourselves, not of the receiver.
            Verdict::Failed => return,
        };
        counter.increment(u64::try_from(recipients).unwrap_or(u64::MAX));
    }
}

/// Measures from now on; wall-clock steps do not touch it.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn stop(&self, histogram: &Histogram) {
        histogram.record(self.0.elapsed());
    }
}

/// The connections of one site since it came into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFigures {
    /// What it is known by: the name of its best host, and a hash when there are more.
    pub site: String,
    /// Connections that were opened.
    pub opened: u64,
    /// Messages that went over a connection that was kept.
    pub reused: u64,
    /// Turns at its connections that are taken now.
    pub used: usize,
    /// Connections that are open now and wait for a message.
    pub kept: usize,
}

/// How busy the platform is, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlatformFigures {
    /// Messages in memory.
    pub live_messages: usize,
    /// Sites in memory.
    pub live_sites: usize,
    /// Transactions under way.
    pub in_flight: usize,
    /// Messages that wait for their turn at a site.
    pub waiting: usize,
    /// Octets of content in memory.
    pub content_bytes: u64,
}
