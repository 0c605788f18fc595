//! The clients.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::JoinSet;

use crate::{Outcome, receiver::domain, server::Sender, times::Times};

/// How the requests fared.
#[derive(Debug)]
pub(crate) struct Accepting {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// How long each answer took.
    pub answers: Times,
    /// Requests that were told to come back later, and did.
    pub put_off: usize,
}

/// Sends messages.
#[derive(Clone)]
pub(crate) struct Load {
    client: reqwest::Client,
    /// For one message, and for several.
    urls: [reqwest::Url; 2],
    senders: Arc<[Sender]>,
    clients: usize,
    domains: usize,
    text: Arc<RawValue>,
    scheduled_at: Option<Arc<str>>,
    batch: usize,
}

/// A message as the API takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Email<'a> {
    from: Author,
    to: [String; 1],
    subject: String,
    // Escaped once: the clients share the cores with the server.
    text: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_at: Option<&'a str>,
}

#[derive(Serialize)]
struct Author {
    email: String,
}

impl Load {
    /// So many clients of the server at `url`, each over one kept connection.
    pub(crate) fn new(
        url: &str,
        senders: Arc<[Sender]>,
        clients: usize,
        domains: usize,
        text_octets: usize,
    ) -> Outcome<Self> {
        let text = Arc::from(to_raw_value(&text(text_octets))?);
        let url = reqwest::Url::parse(url)?;
        let urls = [url.join("/v1/email/send")?, url.join("/v1/email/batch")?];
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(clients)
            .build()?;
        Ok(Self {
            client,
            urls,
            senders,
            clients: clients.max(1),
            domains: domains.max(1),
            text,
            scheduled_at: None,
            batch: 1,
        })
    }

    /// Messages that wait until then (RFC 3339).
    pub(crate) fn scheduled_at(mut self, at: &str) -> Self {
        self.scheduled_at = Some(at.into());
        self
    }

    /// So many messages in each request.
    pub(crate) const fn in_batches(mut self, messages: usize) -> Self {
        self.batch = messages;
        self
    }

    /// Sends the messages of these numbers and waits until each is accepted.
    pub(crate) async fn send(&self, numbers: Range<usize>) -> Outcome<Accepting> {
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(numbers.start));
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let (load, next) = (self.clone(), Arc::clone(&next));
            let end = numbers.end;
            clients.spawn(async move { load.work(&next, end).await });
        }
        let mut answers = Vec::with_capacity(numbers.len());
        let mut put_off = 0;
        while let Some(done) = clients.join_next().await {
            let (times, again) = done??;
            answers.extend(times);
            put_off += again;
        }
        Ok(Accepting { elapsed: started.elapsed(), answers: Times::new(answers), put_off })
    }

    /// One client's turn of the messages.
    async fn work(self, next: &AtomicUsize, end: usize) -> Outcome<(Vec<Duration>, usize)> {
        let (mut times, mut put_off) = (Vec::new(), 0);
        loop {
            let number = next.fetch_add(self.batch, Ordering::Relaxed);
            if number >= end {
                return Ok((times, put_off));
            }
            let (url, body) = self.request(number..end.min(number + self.batch))?;
            let body = bytes::Bytes::from(body);
            loop {
                let started = Instant::now();
                let answer = self
                    .client
                    .post(url.clone())
                    .header("x-api-key", self.sender(number).map_or("", |from| &from.secret))
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

    /// Turn by turn.
    fn sender(&self, number: usize) -> Option<&Sender> {
        self.senders.get(number / self.batch % self.senders.len().max(1))
    }

    fn request(&self, numbers: Range<usize>) -> Outcome<(&reqwest::Url, Vec<u8>)> {
        let [one, several] = &self.urls;
        let first = numbers.start;
        if self.batch == 1 {
            return Ok((one, serde_json::to_vec(&self.email(first, first))?));
        }
        let emails: Vec<_> = numbers.map(|number| self.email(number, first)).collect();
        Ok((several, serde_json::to_vec(&emails)?))
    }

    fn email(&self, number: usize, sender: usize) -> Email<'_> {
        let from = self.sender(sender).map_or("", |sender| &sender.domain);
        Email {
            from: Author { email: format!("bench@{from}") },
            to: [format!("reader{number}@{}", domain(number % self.domains))],
            subject: format!("Message {number}"),
            text: &self.text,
            scheduled_at: self.scheduled_at.as_deref(),
        }
    }
}

fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let header = answer.headers().get("retry-after")?.to_str().ok()?;
    header.parse().ok().map(Duration::from_secs)
}

/// Lines of words that nobody has written before: a text that is one line again and again would be
/// compressed to nothing, and the disk would have nothing to do. The same at each run.
pub(crate) fn text(octets: usize) -> String {
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
