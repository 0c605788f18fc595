//! The clients.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{Arguments, Outcome, receiver::domain, server::SENDING_DOMAIN};

/// How the requests fared.
#[derive(Debug)]
pub(crate) struct Accepting {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// How long each answer took, in order of length.
    pub answers: Vec<Duration>,
    /// Requests that were told to come back later, and did.
    pub put_off: usize,
}

/// Sends messages.
pub(crate) struct Load {
    client: reqwest::Client,
    url: String,
    secret: String,
    clients: usize,
    domains: usize,
    text: Arc<str>,
}

impl Load {
    /// Clients of the server at `url`.
    pub(crate) fn new(arguments: &Arguments, url: &str, secret: &str) -> Outcome<Self> {
        let text = text(arguments.text_octets);
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(arguments.clients)
            .build()?;
        Ok(Self {
            client,
            url: url.to_owned(),
            secret: secret.to_owned(),
            clients: arguments.clients.max(1),
            domains: arguments.domains.max(1),
            text: text.into(),
        })
    }

    /// Sends the messages of these numbers and waits until each is accepted.
    pub(crate) async fn send(&self, numbers: Range<usize>) -> Outcome<Accepting> {
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(numbers.start));
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let (client, next) = (self.one(), Arc::clone(&next));
            let end = numbers.end;
            clients.spawn(async move { client.work(&next, end).await });
        }
        let mut answers = Vec::with_capacity(numbers.len());
        let mut put_off = 0;
        while let Some(done) = clients.join_next().await {
            let (times, again) = done??;
            answers.extend(times);
            put_off += again;
        }
        let elapsed = started.elapsed();
        answers.sort_unstable();
        Ok(Accepting { elapsed, answers, put_off })
    }

    fn one(&self) -> One {
        One {
            client: self.client.clone(),
            url: format!("{}/v1/email/send", self.url),
            secret: self.secret.clone(),
            domains: self.domains,
            text: Arc::clone(&self.text),
        }
    }

    /// What the server measured itself, by name; values of several labels are added up.
    pub(crate) async fn metrics(&self) -> Outcome<BTreeMap<String, f64>> {
        let text = self.client.get(format!("{}/metrics", self.url)).send().await?.text().await?;
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split_once('{').map_or(name, |(name, _)| name);
            *metrics.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(metrics)
    }
}

/// One client, with its turn of the messages.
struct One {
    client: reqwest::Client,
    url: String,
    secret: String,
    domains: usize,
    text: Arc<str>,
}

impl One {
    async fn work(self, next: &AtomicUsize, end: usize) -> Outcome<(Vec<Duration>, usize)> {
        let (mut times, mut put_off) = (Vec::new(), 0);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok((times, put_off));
            }
            let body = self.body(number);
            loop {
                let started = Instant::now();
                let answer = self
                    .client
                    .post(&self.url)
                    .header("x-api-key", &self.secret)
                    .header("content-type", "application/json")
                    .body(body.clone())
                    .send()
                    .await?;
                let (status, wait) = (answer.status(), retry_after(&answer));
                let text = answer.text().await?;
                match (status.as_u16(), wait) {
                    (202, _) => {
                        times.push(started.elapsed());
                        break;
                    }
                    (429 | 503, Some(wait)) => {
                        put_off += 1;
                        tokio::time::sleep(wait).await;
                    }
                    _ => return Err(format!("{status}: {text}").into()),
                }
            }
        }
    }

    fn body(&self, number: usize) -> String {
        let domain = domain(number % self.domains);
        json!({
            "from": { "email": format!("bench@{SENDING_DOMAIN}") },
            "to": [format!("reader{number}@{domain}")],
            "subject": format!("Message {number}"),
            "text": &*self.text,
        })
        .to_string()
    }
}

fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let header = answer.headers().get("retry-after")?.to_str().ok()?;
    header.parse().ok().map(Duration::from_secs)
}

/// Lines of words that nobody has written before: a text that is one line again and again would be
/// compressed to nothing, and the disk would have nothing to do. The same at each run.
fn text(octets: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let letter = |drawn: u64| match drawn % 32 {
        26.. => ' ',
        place => char::from(b'a' + u8::try_from(place).unwrap_or_default()),
    };
    (1..=octets).map(|place| if place % 72 == 0 { '\n' } else { letter(draw()) }).collect()
}
