//! Clients that do what the contract asks of them: each message has its own idempotency key, and a
//! request without a certain answer is made again with the same key until it has one.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bench::{Outcome, server::Sender};
use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{desk::recipient, stage::DOMAINS};

/// Wait before a request is made again whose answer was cut off.
const AGAIN: Duration = Duration::from_millis(30);
/// The longest that a client waits, whatever it is told: a trial is short.
const LONGEST_WAIT: Duration = Duration::from_millis(300);
/// A request without an answer for this long is given up and made again.
const PATIENCE: Duration = Duration::from_secs(20);
/// One in so many is asked for once more after it was answered.
const REPEATED: u64 = 8;

/// What clients were told.
#[derive(Default)]
pub(crate) struct Ledger {
    accepted: Mutex<BTreeMap<u64, String>>,
    faults: Mutex<Vec<String>>,
    /// Requests that were told to come back later.
    pub(crate) put_off: AtomicU64,
    /// Requests whose answer was cut off.
    pub(crate) cut_off: AtomicU64,
    /// Requests that were told that their end is not known.
    pub(crate) unknown: AtomicU64,
    /// Requests that were answered as the first time.
    pub(crate) replayed: AtomicU64,
}

impl Ledger {
    /// Messages with a 202, by number: their ids.
    pub(crate) fn accepted(&self) -> BTreeMap<u64, String> {
        self.accepted.lock().clone()
    }

    /// How many messages have a 202.
    pub(crate) fn count(&self) -> usize {
        self.accepted.lock().len()
    }

    /// What the server answered and never should.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().clone()
    }

    fn fault(&self, words: String) {
        let mut faults = self.faults.lock();
        if faults.len() < 100 {
            faults.push(words);
        }
    }

    fn accept(&self, number: u64, id: &str) {
        let mut accepted = self.accepted.lock();
        let known = accepted.entry(number).or_insert_with(|| id.to_owned()).clone();
        drop(accepted);
        if known != id {
            self.fault(format!("message {number} is {known}, and then {id}"));
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults();
        f.debug_struct("Ledger")
            .field("accepted", &self.count())
            .field("put_off", &self.put_off)
            .field("cut_off", &self.cut_off)
            .field("unknown", &self.unknown)
            .field("replayed", &self.replayed)
            .field("faults", &faults.get(..10).unwrap_or(&faults))
            .finish()
    }
}

/// Clients at work.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// What every client knows.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: watch::Receiver<String>,
    sender: Sender,
    ledger: Arc<Ledger>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    pace: Duration,
}

impl Clients {
    /// So many clients of the server at `url`, each with a pause of `pace` after a message; they
    /// take the numbers of their messages from `next`.
    pub(crate) fn start(
        count: usize,
        pace: Duration,
        url: watch::Receiver<String>,
        sender: &Sender,
        ledger: &Arc<Ledger>,
        next: &Arc<AtomicU64>,
    ) -> Outcome<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .timeout(PATIENCE)
            .pool_max_idle_per_host(count)
            .build()?;
        let client = Client {
            http,
            url,
            sender: sender.clone(),
            ledger: Arc::clone(ledger),
            next: Arc::clone(next),
            stop: Arc::clone(&stop),
            pace,
        };
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn(client.clone().work());
        }
        Ok(Self { stop, tasks })
    }

    /// Begins no more messages, and waits until each that was begun has its 202.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

/// What became of a request.
enum Answer {
    Accepted(String, bool),
    Later(Duration),
    NotKnown,
}

impl Client {
    async fn work(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            self.through(number).await;
            if number.is_multiple_of(REPEATED) {
                self.through(number).await;
            }
            sleep(self.pace).await;
        }
    }

    /// One message, until it is accepted.
    async fn through(&self, number: u64) {
        loop {
            match self.ask(number).await {
                Ok(Answer::Accepted(id, replayed)) => {
                    self.ledger.replayed.fetch_add(u64::from(replayed), Ordering::Relaxed);
                    return self.ledger.accept(number, &id);
                }
                Ok(Answer::Later(wait)) => {
                    self.ledger.put_off.fetch_add(1, Ordering::Relaxed);
                    sleep(wait.min(LONGEST_WAIT)).await;
                }
                Ok(Answer::NotKnown) => {
                    self.ledger.unknown.fetch_add(1, Ordering::Relaxed);
                    sleep(AGAIN).await;
                }
                // The server is gone, or about to be.
                Err(_) => {
                    self.ledger.cut_off.fetch_add(1, Ordering::Relaxed);
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn ask(&self, number: u64) -> Result<Answer, reqwest::Error> {
        let url = format!("{}/v1/email/send", *self.url.borrow());
        let request = self.http.post(url).header("x-api-key", &self.sender.secret);
        let request = request.header("idempotency-key", format!("trial {number}"));
        let answer = request.json(&self.email(number)).send().await?;
        let (status, wait) = (answer.status(), retry_after(&answer));
        let text = answer.text().await?;
        Ok(match status {
            StatusCode::ACCEPTED => accepted(&text).unwrap_or_else(|| {
                self.ledger.fault(format!("a 202 without an id: {text}"));
                Answer::NotKnown
            }),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                if wait.is_none() {
                    self.ledger.fault(format!("{status} without retry-after: {text}"));
                }
                Answer::Later(wait.unwrap_or(AGAIN))
            }
            // The answer to a send whose end is not known.
            StatusCode::INTERNAL_SERVER_ERROR if text.contains("It is not known") => {
                Answer::NotKnown
            }
            _ => {
                self.ledger.fault(format!("{status}: {text}"));
                Answer::NotKnown
            }
        })
    }

    fn email(&self, number: u64) -> Value {
        let domain = domain(number % u64::from(DOMAINS));
        json!({
            "from": { "email": format!("trial@{}", self.sender.domain) },
            "to": [recipient(number, &domain)],
            "subject": format!("Number {number}"),
            "text": "Not to be lost.",
        })
    }
}

/// A recipients' domain.
pub(crate) fn domain(number: u64) -> String {
    format!("d{number}.receiver.test")
}

fn accepted(text: &str) -> Option<Answer> {
    let body: Value = serde_json::from_str(text).ok()?;
    let replayed = body.get("idempotentReplay")?.as_bool()?;
    Some(Answer::Accepted(body.get("messageId")?.as_str()?.to_owned(), replayed))
}

/// How long a caller is asked to wait.
pub(crate) fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let header = answer.headers().get("retry-after")?.to_str().ok()?;
    header.parse().ok().map(Duration::from_secs)
}
