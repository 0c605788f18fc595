//! The reports: each day, receivers' domains that ask for it are told of the TLS sessions of the day
//! before (RFC 8460).
//!
//! # Why
//! - Only a server with a domain of its own sends them: a report counts by its signature.
//! - They go beside the messages of tenants, in nobody's queue and without events: one that is lost
//!   costs nothing, for `lumora tls-report` makes it again from the log.
//! - TLS is used as it is offered: a report on a broken policy must not founder on it.
//! - The sender in the envelope is the null sender: nobody waits for a bounce, and none bounces
//!   back and forth.
//! - A crash while a day's are sent sends them all again after the start, each with the id that it
//!   had: receivers know it by that.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use mail::{
    dkim::Signer,
    dns::LookupError,
    smtp::{Envelope, TlsPolicy, connect},
    tls_report::{TlsReport, addresses, record_name},
};
use metrics::counter;
use model::{
    Timestamp,
    address::{DomainName, EmailAddress},
    delivery::Verdict,
    tls_report::{Day, DomainDay},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::node::Node;

/// Between two looks at the clock.
const BETWEEN_ROUNDS: Duration = Duration::from_mins(1);
/// A day's reports begin at the earliest so long after its end: by then the read models have it.
const EARLIEST: Duration = Duration::from_mins(10);
/// And at the latest so long after that, by chance, so that receivers are not stormed by all
/// senders at once (RFC 8460, section 4.1).
const SPREAD: Duration = Duration::from_hours(4);
/// What failed is tried again after this time, which doubles each time.
const RETRY: Duration = Duration::from_hours(1);
/// Tries of one report: the last is within the 24 hours of RFC 8460, section 5.5.
const MOST_TRIES: u32 = 5;
/// Reports that wait for another try; further ones that fail are given up.
const MOST_WAITING: usize = 10_000;
/// Domains that are read, and told, at once.
const PAGE: usize = 1_000;
const AT_ONCE: usize = 8;
/// Addresses of mail hosts that are tried for one report.
const MOST_CANDIDATES: usize = 3;
/// How long one domain may take.
const DEADLINE: Duration = Duration::from_mins(5);
/// How long the read models may take to have the whole day.
const CATCH_UP: Duration = Duration::from_mins(1);

/// Look whether it is time.
pub(crate) struct Round;

/// The actor.
pub(crate) struct ReportsActor;

/// What is done and what is not.
pub(crate) struct State {
    node: Arc<Node>,
    signer: Signer,
    file: Option<PathBuf>,
    /// The last day whose reports were sent.
    done: Option<Day>,
    /// How long after the end of a day this server begins.
    delay: Duration,
    waiting: Vec<Waiting>,
}

/// A report that could not be sent.
struct Waiting {
    day: Day,
    domain: DomainName,
    tries: u32,
    next_at: Timestamp,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NobodyAsks,
    Sent,
    Failed,
}

impl Actor for ReportsActor {
    type Msg = Round;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        myself: ActorRef<Round>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        let signer = node.options.own_signer.clone().ok_or("a server without a domain")?;
        let file = node.options.tls_reports_file.clone();
        let path = file.clone();
        let done = node.blocking.run(move || path.as_deref().and_then(read)).await.flatten();
        let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
        let delay = EARLIEST + Duration::from_millis(node.lots.bits() % spread);
        myself.send_message(Round)?;
        Ok(State { node, signer, file, done, delay, waiting: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Round>,
        Round: Round,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let node = Arc::clone(&state.node);
        tokio::select! {
            biased;
            () = node.stopped() => {}
            () = state.round() => {}
        }
        let wait = u64::try_from(BETWEEN_ROUNDS.as_millis()).unwrap_or(u64::MAX);
        if node.pause_ms(node.lots.spread_ms(wait)).await {
            // Refused once it drains.
            myself.send_message(Round).ok();
        } else {
            myself.drain().ok();
        }
        Ok(())
    }
}

impl State {
    async fn round(&mut self) {
        let now = self.node.now();
        let yesterday = Day::of(now).before();
        let due = now >= yesterday.after().start().plus(self.delay);
        if due && self.done.is_none_or(|done| done < yesterday) {
            let head = self.node.read.health().head;
            if self.node.read.caught_up(head, CATCH_UP).await {
                self.tell_all(yesterday).await;
            }
        }
        self.try_again(now).await;
    }

    /// Every domain with sessions on that day gets its report, if it asks for one.
    async fn tell_all(&mut self, day: Day) {
        let mut after: Option<DomainName> = None;
        loop {
            let (read, from) = (self.node.read.clone(), after.take());
            let page = move || read.tls_sessions().domains(day, from.as_ref(), PAGE);
            let page = match self.node.blocking.run(page).await {
                Some(Ok(page)) => page,
                Some(Err(error)) => {
                    return tracing::error!(%error, "TLS sessions could not be read");
                }
                None => return,
            };
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let told = page.into_iter().map(|(domain, sessions)| {
                let (node, signer) = (&self.node, &self.signer);
                async move {
                    let told = tell_in_time(node, signer, day, &domain, &sessions).await;
                    (domain, told)
                }
            });
            let told: Vec<_> = stream::iter(told).buffer_unordered(AT_ONCE).collect().await;
            for (domain, _) in told.into_iter().filter(|(_, told)| *told == Told::Failed) {
                self.wait(day, domain, 1);
            }
        }
        self.done = Some(day);
        let file = self.file.clone();
        let kept = move || file.map_or(Ok(()), |file| std::fs::write(file, day.to_string()));
        if let Some(Err(error)) = self.node.blocking.run(kept).await {
            tracing::warn!(%error, "it could not be kept that reports of TLS sessions were sent");
        }
    }

    fn wait(&mut self, day: Day, domain: DomainName, tries: u32) {
        if tries >= MOST_TRIES || self.waiting.len() >= MOST_WAITING {
            return;
        }
        let wait = RETRY * 2_u32.saturating_pow(tries - 1);
        let next_at = self.node.now().plus(wait);
        self.waiting.push(Waiting { day, domain, tries, next_at });
    }

    async fn try_again(&mut self, now: Timestamp) {
        let due: Vec<Waiting> =
            self.waiting.extract_if(.., |waiting| waiting.next_at <= now).collect();
        for Waiting { day, domain, tries, .. } in due {
            let (read, of) = (self.node.read.clone(), domain.clone());
            let sessions = move || read.tls_sessions().of_domain(day, &of);
            let Some(Ok(Some(sessions))) = self.node.blocking.run(sessions).await else { continue };
            let told = tell_in_time(&self.node, &self.signer, day, &domain, &sessions).await;
            if told == Told::Failed {
                self.wait(day, domain, tries + 1);
            }
        }
    }
}

fn read(file: &std::path::Path) -> Option<Day> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

async fn tell_in_time(
    node: &Arc<Node>,
    signer: &Signer,
    day: Day,
    domain: &DomainName,
    sessions: &DomainDay,
) -> Told {
    let telling = Box::pin(tell(node, signer, day, domain, sessions));
    let told = tokio::time::timeout(DEADLINE, telling).await.unwrap_or(Told::Failed);
    match told {
        Told::NobodyAsks => {}
        Told::Sent => counter!("lumora_tls_reports_total", "outcome" => "sent").increment(1),
        Told::Failed => counter!("lumora_tls_reports_total", "outcome" => "failed").increment(1),
    }
    told
}

async fn tell(
    node: &Arc<Node>,
    signer: &Signer,
    day: Day,
    domain: &DomainName,
    sessions: &DomainDay,
) -> Told {
    let records = match node.router.resolver().txt(&record_name(domain)).await {
        Ok(records) => records,
        Err(LookupError::Unavailable) => return Told::Failed,
        Err(LookupError::NoSuchDomain | LookupError::NoRecords) => return Told::NobodyAsks,
    };
    let to = addresses(records.iter().map(|record| &**record));
    if to.is_empty() {
        return Told::NobodyAsks;
    }
    let report = TlsReport::new(signer.domain(), domain, day, sessions);
    let (signer, addressed, now) = (signer.clone(), to.clone(), node.now());
    let print = move || {
        let message = report.message(&addressed, now).ok()?;
        let signature = signer.sign(&message, now).ok()?;
        Some((signature, message))
    };
    let Some(Some((signature, message))) = node.blocking.run(print).await else {
        tracing::error!(%domain, "a report of TLS sessions could not be made");
        return Told::Failed;
    };
    let mut told = Told::Failed;
    for address in &to {
        if deliver(node, address, &[signature.as_bytes(), &message]).await {
            told = Told::Sent;
        }
    }
    told
}

/// Whether the mail host of this address took the message.
async fn deliver(node: &Arc<Node>, to: &EmailAddress, message: &[&[u8]]) -> bool {
    let Ok(route) = node.router.route(to.domain()).await else { return false };
    let found = node.router.candidates(&route, node.lots.bits()).await;
    let client = mail::smtp::ClientOptions { tls: TlsPolicy::Opportunistic, ..node.client.clone() };
    for candidate in found.unwrap_or_default().iter().take(MOST_CANDIDATES) {
        let Ok(_flight) = node.in_flight.acquire().await else { return false };
        let connected = connect(&candidate.mx, candidate.ip, &client, &node.tls).await;
        let Ok(mut connection) = connected else { continue };
        let recipients = std::slice::from_ref(to);
        let envelope = Envelope { sender: None, recipients, smtputf8: false };
        let transaction = connection.deliver(&envelope, message).await;
        tokio::spawn(connection.quit());
        let [outcome] = transaction.outcomes.as_slice() else { return false };
        return outcome.verdict() == Verdict::Delivered;
    }
    false
}
