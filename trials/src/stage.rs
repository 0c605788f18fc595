//! The world of a trial: a server with its name server, its mail server, its clients and a ledger.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bench::{
    Outcome,
    figures::print_line as tell,
    server::{Complaints, Sender, Server, Site},
};
use mail::sink::{Policy, Sink, SinkOptions};
use parking_lot::Mutex;
use sandbox::dns::DnsServer;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    clients::{Clients, Ledger, domain},
    desk::{Desk, PutOff},
    reconcile::{Account, reconcile},
};

/// Recipients' domains: as many sites, so that one which is left alone for a while is not all.
pub(crate) const DOMAINS: u8 = 16;
/// Connections at once that a receiver takes: it stands for many.
const CONNECTIONS: usize = 20_000;
/// Nothing that happens at all takes as long: beyond it something has gone wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Lines of the server's that are told when a trial has failed.
const TOLD: usize = 20;
/// Retries come soon: what is put off must end within the trial.
const RETRIES: &str = "retry_schedule = [\"1s\"]\n";

/// Everything but the server.
pub(crate) struct Stage {
    pub(crate) desk: Arc<Desk>,
    pub(crate) dns: DnsServer,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) sender: Sender,
    site: Site,
    next: Arc<AtomicU64>,
    url: watch::Sender<String>,
    smtp_port: u16,
    settled: AtomicBool,
    complaints: Mutex<Complaints>,
    _sink: Sink,
    directory: tempfile::TempDir,
}

impl Stage {
    /// A world with the server's data in `data`, or in a directory of its own.
    pub(crate) async fn set(parent: Option<&Path>, data: Option<&Path>) -> Outcome<Self> {
        Self::set_with(parent, data, "").await
    }

    /// The same with more lines of configuration, the first of them in `[delivery]`.
    pub(crate) async fn set_with(
        parent: Option<&Path>,
        data: Option<&Path>,
        more: &str,
    ) -> Outcome<Self> {
        let directory = match parent {
            Some(parent) => tempfile::tempdir_in(parent)?,
            None => tempfile::tempdir()?,
        };
        let dns = DnsServer::start().await?;
        for number in 0..DOMAINS {
            let (domain, host) = (domain(number.into()), format!("mx.{}", domain(number.into())));
            dns.add_mx(&domain, 10, &host)?;
            dns.add_address(&host, Ipv4Addr::LOCALHOST.into())?;
        }
        let desk = Arc::new(Desk::default());
        let options = SinkOptions {
            max_connections: CONNECTIONS,
            max_connections_per_address: CONNECTIONS,
            ..SinkOptions::default()
        };
        let policy: Arc<dyn Policy> = Arc::clone(&desk) as _;
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), options, policy, None).await?;
        let smtp_port = sink.address().port();
        let own = directory.path().join("data");
        let lines = format!("{RETRIES}{more}");
        let (data, at) = (data.unwrap_or(&own), dns.address());
        let site = Site::with_data(directory.path(), data, at, smtp_port, &lines)?;
        let sender = site.sign_up(&dns)?;
        Ok(Self {
            desk,
            dns,
            ledger: Arc::default(),
            sender,
            site,
            next: Arc::default(),
            url: watch::Sender::new(String::new()),
            smtp_port,
            settled: AtomicBool::new(false),
            complaints: Mutex::default(),
            _sink: sink,
            directory,
        })
    }

    /// Where the trial may keep something beside the data.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the server's data is.
    pub(crate) fn data(&self) -> &Path {
        self.site.data()
    }

    /// Another tenant, with a domain and a rate of its own.
    pub(crate) fn another_sender(&self, domain: &str, rate_per_minute: u32) -> Outcome<Sender> {
        self.site.sign_up_as(domain, rate_per_minute, &self.dns)
    }

    /// The port that the server dials on mail hosts.
    pub(crate) const fn smtp_port(&self) -> u16 {
        self.smtp_port
    }

    /// From now on the server's data is at `data`.
    pub(crate) fn move_to(&mut self, data: &Path) -> Outcome<()> {
        let (directory, at) = (self.directory.path(), self.dns.address());
        self.site = Site::with_data(directory, data, at, self.smtp_port, RETRIES)?;
        Ok(())
    }

    /// So many clients, each with a pause after a message.
    pub(crate) fn clients(&self, count: usize, pace: Duration) -> Outcome<Clients> {
        let url = self.url.subscribe();
        Clients::start(count, pace, url, &self.sender, &self.ledger, &self.next)
    }

    /// Starts the server; clients find it. How long it took until it listened.
    pub(crate) async fn start(&self) -> Outcome<(Server, Duration)> {
        self.start_under(&[]).await
    }

    /// The same, started by another program that becomes it.
    pub(crate) async fn start_under(&self, starter: &[&str]) -> Outcome<(Server, Duration)> {
        self.desk.next_life();
        let starter: Vec<String> = starter.iter().map(|word| (*word).to_owned()).collect();
        let started = Instant::now();
        let server = Server::start_under(&self.site, &starter).await?;
        self.url.send_replace(server.url().to_owned());
        *self.complaints.lock() = server.complaints().clone();
        Ok((server, started.elapsed()))
    }

    /// The trial has come to its own end: what the server said meanwhile is not told.
    pub(crate) fn is_settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Waits until clients have so many more answers, or not; whether they had.
    pub(crate) async fn accepts(&self, more: usize, within: Duration) -> bool {
        let wanted = self.ledger.count() + more;
        until(within, || self.ledger.count() >= wanted).await
    }

    /// Ends a trial: receivers take everything, clients get their answers, the server delivers what
    /// waits and is stopped; then ledger, log and receiver are held against one another.
    pub(crate) async fn settle(&self, clients: Clients, server: Server) -> Outcome<Account> {
        self.desk.be_friendly(true);
        self.desk.put_off(PutOff::Nobody);
        timeout(PATIENCE, clients.finish()).await.map_err(|_| "clients are not answered")?;
        let mut last = (0, Instant::now());
        loop {
            let (stats, _) = server.ask("/v1/emails/stats", &self.sender.secret).await?;
            let open = stats.get("inFlight").and_then(serde_json::Value::as_u64);
            let open = open.ok_or("no inFlight in the statistics")?;
            if open == 0 {
                break;
            }
            if last.0 != open {
                last = (open, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                tell(&format!("  {open} messages are stuck"));
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        server.stop().await?;
        self.site.timed(&["log", "verify"])?;
        self.settled.store(true, Ordering::Relaxed);
        reconcile(&self.ledger, &self.site.exported()?, &self.desk, &self.sender.tenant)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.settled.load(Ordering::Relaxed) {
            return;
        }
        // It has failed: what may say why.
        tell(&format!("  {:?}", self.ledger));
        for line in self.complaints.lock().lines().iter().rev().take(TOLD).rev() {
            tell(&format!("  {line}"));
        }
    }
}

/// Waits until something is so; whether it came about in time.
pub(crate) async fn until(within: Duration, so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !so() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}
