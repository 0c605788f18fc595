//! More is asked for than can be done, by many at once, and some of them are slow on purpose.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bench::{
    Outcome,
    figures::print_line as tell,
    server::{Sender, Server},
    times::Times,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{
    Setting,
    clients::retry_after,
    reconcile::Account,
    stage::{PATIENCE, Stage},
};

/// Clients that are as many as the server can take: each waits for its answer.
const CALM: usize = 8;
/// Times as many, none of which waits when it is told to.
const TIMES: usize = 10;
/// Memory may grow by so much above that of the calm, in KiB: what is under way has bounds.
const MOST_GROWTH_KIB: u64 = 512 * 1024;
/// Requests a minute of the tenant that has a limit, which it does not keep to: so few that a slow
/// machine reaches it, too.
const LIMIT: u32 = 60;
/// Callers that send half a head, half a body, or nothing.
const SLOW: usize = 200;
/// Callers who try passwords, each from an address of its own, and never wait.
const GUESSING: usize = 40;
/// How often an attacker's connection says a little.
const TRICKLE: Duration = Duration::from_millis(500);
/// A connection and its preface, as HTTP/2 begins (RFC 9113, section 3.4), and then streams that
/// are reset as soon as they are opened.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What flooding clients were told.
#[derive(Default)]
struct Flood {
    accepted: AtomicU64,
    limited: AtomicU64,
    overloaded: AtomicU64,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub(crate) async fn run(setting: &Setting, length: Duration) -> Outcome<Account> {
    let more = "max_in_flight = 200\n";
    let stage = Stage::set_with(setting.data_parent.as_deref(), None, more).await?;
    stage.desk.be_friendly(true);
    let limited = stage.another_sender("limited.test", LIMIT)?;
    let greedy = stage.another_sender("greedy.test", 1_000_000)?;
    let traps = Traps::set(&stage).await?;
    let (server, _) = stage.start().await?;

    // The other tenant: as calm as ever, during all that follows.
    let clients = stage.clients(CALM, Duration::from_millis(20))?;
    let reads = Reads::start(&server, &stage.sender)?;
    sleep(length / 4).await;
    let (calm, before) = (reads.taken(), server.usage()?);
    let calm_accepted = stage.ledger.count();
    if calm_accepted == 0 {
        return Err("nothing is accepted".into());
    }

    let flood = Arc::new(Flood::default());
    let mut floods = JoinSet::new();
    for number in 0..CALM * TIMES {
        let sender = if number.is_multiple_of(4) { &limited } else { &greedy };
        floods.spawn(send(server.url().to_owned(), sender.clone(), number, Arc::clone(&flood)));
    }
    let mut attackers = slow_callers(&server)?;
    let guesses = guess_passwords(&server, &mut attackers)?;
    sleep(length / 2).await;
    let (busy, during) = (reads.taken(), server.usage()?);
    let busy_accepted = stage.ledger.count() - calm_accepted;
    flood.stop.store(true, Ordering::Relaxed);
    floods.join_all().await;
    attackers.shutdown().await;

    let again = Instant::now();
    let recovered = stage.accepts(CALM * 4, PATIENCE).await;
    let after = again.elapsed();
    let wrong = reads.finish().await;
    flood.tell(busy_accepted);
    tell(&format!(
        "  reads: p99 {:.0} ms before, {:.0} ms in the flood; memory {} MiB before, {} MiB at most; \
         {} answers again within {after:.0?}",
        calm.permille_ms(990),
        busy.permille_ms(990),
        before.rss_kib / 1_024,
        during.peak_rss_kib / 1_024,
        CALM * 4,
    ));
    traps.tell();
    guesses.tell();
    let mut broken = flood.wrong.lock().clone();
    broken.extend(wrong);
    broken.extend(guesses.wrong.lock().clone());
    if during.peak_rss_kib > before.rss_kib + MOST_GROWTH_KIB {
        broken.push("memory grew without bound".to_owned());
    }
    if busy_accepted == 0 || !recovered {
        broken.push("another tenant's mail was not accepted".to_owned());
    }
    let limited = flood.limited.load(Ordering::Relaxed);
    if limited == 0 {
        broken.push("nobody was told to keep to its rate".to_owned());
    }
    if !broken.is_empty() {
        return Err(broken.join("; ").into());
    }
    // Who is in a trap comes free, or the stop would wait for it.
    drop(traps);
    stage.settle(clients, server).await
}

/// Sends as fast as answers come, and never waits.
async fn send(url: String, sender: Sender, number: usize, flood: Arc<Flood>) {
    let Ok(http) = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build() else { return };
    let to = TRAPS.get(number % TRAPS.len()).copied().unwrap_or_default();
    let email = json!({
        "from": { "email": format!("flood@{}", sender.domain) },
        "to": [format!("flood{number}@{to}")],
        "subject": "More",
        "text": "and more. ".repeat(400),
    });
    while !flood.stop.load(Ordering::Relaxed) {
        let request = http.post(format!("{url}/v1/email/send"));
        let request = request.header("x-api-key", &sender.secret).json(&email);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                flood.wrong(format!("a sender was cut off: {error}"));
                continue;
            }
        };
        let (status, wait) = (answer.status().as_u16(), retry_after(&answer));
        let text = answer.text().await.unwrap_or_default();
        match status {
            202 => flood.accepted.fetch_add(1, Ordering::Relaxed),
            429 if wait.is_some() => flood.limited.fetch_add(1, Ordering::Relaxed),
            503 if wait.is_some() => flood.overloaded.fetch_add(1, Ordering::Relaxed),
            _ => {
                flood.wrong(format!("{status}, retry-after {wait:?}: {text}"));
                0
            }
        };
    }
}

impl Flood {
    fn wrong(&self, words: String) {
        let mut wrong = self.wrong.lock();
        if wrong.len() < 10 {
            wrong.push(words);
        }
    }

    fn tell(&self, others: usize) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tell(&format!(
            "  {} clients that never wait: {} times 202, {} times 429, {} times 503; meanwhile \
             another tenant had {others} accepted",
            CALM * TIMES,
            count(&self.accepted),
            count(&self.limited),
            count(&self.overloaded),
        ));
    }
}

/// Somebody who reads all the time.
struct Reads {
    times: Arc<Mutex<Vec<Duration>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Reads {
    fn start(server: &Server, sender: &Sender) -> Outcome<Self> {
        let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let (url, secret) = (server.url().to_owned(), sender.secret.clone());
        let (told, faults) = (Arc::clone(&times), Arc::clone(&wrong));
        let task = tokio::spawn(async move {
            for path in ["/v1/emails/logs?limit=20", "/v1/emails/stats"].iter().cycle() {
                let started = Instant::now();
                let request = http.get(format!("{url}{path}")).header("x-api-key", &secret);
                match request.send().await {
                    // Read models may be told to be busy, as anything may.
                    Ok(answer)
                        if answer.status().is_success() || retry_after(&answer).is_some() =>
                    {
                        drop(answer.bytes().await);
                        told.lock().push(started.elapsed());
                    }
                    Ok(answer) => faults.lock().push(format!("{path}: {}", answer.status())),
                    Err(error) => faults.lock().push(format!("{path}: {error}")),
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Self { times, wrong, task })
    }

    /// How long they took since this was asked last.
    fn taken(&self) -> Times {
        Times::new(std::mem::take(&mut *self.times.lock()))
    }

    async fn finish(self) -> Vec<String> {
        self.task.abort();
        // Ended by the abort.
        drop(self.task.await);
        let mut wrong = self.wrong.lock().clone();
        wrong.truncate(10);
        wrong
    }
}

/// Callers that hold connections: half heads, half bodies, silence, and another protocol.
fn slow_callers(server: &Server) -> Outcome<JoinSet<()>> {
    let address: SocketAddr = server.url().trim_start_matches("http://").parse()?;
    let mut callers = JoinSet::new();
    for number in 0..SLOW {
        let from = Ipv4Addr::new(127, 0, 8, u8::try_from(number % 250)? + 2);
        callers.spawn(async move {
            loop {
                // Cut off, it comes again: that is what an attacker does.
                drop(hold(address, from, number).await);
                sleep(TRICKLE).await;
            }
        });
    }
    Ok(callers)
}

async fn hold(address: SocketAddr, from: Ipv4Addr, number: usize) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(address).await?;
    match number % 4 {
        0 => stream.write_all(b"GET /v1/emails/logs HTTP/1.1\r\nhost: a\r\nx-a: ").await?,
        1 => {
            let head =
                b"POST /v1/email/send HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                         content-length: 100000\r\n\r\n{";
            stream.write_all(head).await?;
        }
        2 => return stream.read_to_end(&mut Vec::new()).await.map(drop),
        _ => {
            stream.write_all(PREFACE).await?;
            // HEADERS and RST_STREAM of one stream after the other.
            for id in (1_u32..2_000).step_by(2) {
                let id = id.to_be_bytes();
                stream.write_all(&[&[0, 0, 1, 1, 5][..], &id, &[0x82]].concat()).await?;
                stream.write_all(&[&[0, 0, 4, 3, 0][..], &id, &[0, 0, 0, 8]].concat()).await?;
            }
            return stream.read_to_end(&mut Vec::new()).await.map(drop);
        }
    }
    loop {
        stream.write_all(b"a").await?;
        sleep(TRICKLE).await;
    }
}

/// What those who try passwords were told.
#[derive(Default)]
struct Guesses {
    refused: AtomicU64,
    slowed: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Guesses {
    fn tell(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tell(&format!(
            "  {GUESSING} callers try passwords without a pause: {} times 401, {} times 429 or 503",
            count(&self.refused),
            count(&self.slowed),
        ));
    }

    fn hear(&self, status: u16, wait: Option<Duration>) {
        match status {
            401 => self.refused.fetch_add(1, Ordering::Relaxed),
            429 | 503 if wait.is_some() => self.slowed.fetch_add(1, Ordering::Relaxed),
            _ => {
                let mut wrong = self.wrong.lock();
                if wrong.len() < 10 {
                    wrong.push(format!("a wrong password: {status}, retry-after {wait:?}"));
                }
                0
            }
        };
    }
}

/// Half of them try many passwords of one account, half of them one password of many.
fn guess_passwords(server: &Server, callers: &mut JoinSet<()>) -> Outcome<Arc<Guesses>> {
    let guesses: Arc<Guesses> = Arc::default();
    for number in 0..GUESSING {
        let from = Ipv4Addr::new(127, 0, 9, u8::try_from(number % 250)? + 2);
        let http =
            reqwest::Client::builder().no_proxy().local_address(Some(from.into())).build()?;
        let (url, heard) = (format!("{}/portal/login", server.url()), Arc::clone(&guesses));
        callers.spawn(async move {
            for guess in 0_u64.. {
                let (account, password) =
                    if number.is_multiple_of(2) { (0, guess) } else { (guess, 0) };
                let pair = json!({
                    "email": format!("somebody{account}@acme.test"),
                    "password": format!("a long guess, number {password}"),
                });
                if let Ok(answer) = http.post(&url).json(&pair).send().await {
                    heard.hear(answer.status().as_u16(), retry_after(&answer));
                }
            }
        });
    }
    Ok(guesses)
}

/// Domains whose mail hosts are traps for senders: one that never answers, one whose greeting never
/// ends, one whose answers come octet by octet.
const TRAPS: [&str; 3] = ["silent.test", "endless.test", "trickling.test"];

/// The mail hosts behind them, on addresses of their own.
struct Traps {
    caught: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Traps {
    async fn set(stage: &Stage) -> Outcome<Self> {
        let caught = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for (number, domain) in TRAPS.into_iter().enumerate() {
            let ip = Ipv4Addr::new(127, 0, 7, u8::try_from(number)? + 1);
            let listener = TcpListener::bind((ip, stage.smtp_port())).await?;
            stage.dns.add_mx(domain, 10, &format!("mx.{domain}"))?;
            stage.dns.add_address(&format!("mx.{domain}"), ip.into())?;
            let caught = Arc::clone(&caught);
            tasks.spawn(async move {
                let mut open = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    caught.fetch_add(1, Ordering::Relaxed);
                    open.spawn(async move { drop(catch(stream, number).await) });
                }
            });
        }
        Ok(Self { caught, _tasks: tasks })
    }

    fn tell(&self) {
        let caught = self.caught.load(Ordering::Relaxed);
        tell(&format!(
            "  {SLOW} callers that are slow, silent or speak HTTP/2, again and again; {caught} \
             deliveries to mail hosts that are silent, endless or slow"
        ));
    }
}

async fn catch(mut stream: TcpStream, kind: usize) -> std::io::Result<()> {
    match kind {
        0 => stream.read_to_end(&mut Vec::new()).await.map(drop),
        1 => loop {
            stream.write_all(b"220-and there is more to say, and more, and more\r\n").await?;
        },
        _ => loop {
            stream.write_all(b"2").await?;
            sleep(TRICKLE).await;
        },
    }
}
