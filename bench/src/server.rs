//! The server under measurement, as an operator runs it.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sandbox::dns::DnsServer;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr},
    time::timeout,
};

use crate::Outcome;

/// The domain that is sent from.
pub const SENDING_DOMAIN: &str = "sender.test";
const OWN_HOST: &str = "lumora.sender.test";
const START_WITHIN: Duration = Duration::from_mins(5);
const STOP_WITHIN: Duration = Duration::from_mins(2);

/// Who sends: a key, and the domain that it may send from.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The key's secret.
    pub secret: String,
    /// The verified domain.
    pub domain: String,
    /// The tenant's id.
    pub tenant: String,
    /// The app's id.
    pub app: String,
}

/// The binary, the configuration and the data of a server.
pub struct Site {
    binary: PathBuf,
    config: PathBuf,
    data: PathBuf,
}

impl Site {
    /// A server with its configuration and data below `directory`, which asks the name server at
    /// `dns` and dials `smtp_port`. `more` are further lines of the configuration, the first of
    /// them in `[delivery]`.
    pub fn new(directory: &Path, dns: SocketAddr, smtp_port: u16, more: &str) -> Outcome<Self> {
        let data = directory.join("data");
        Self::with_data(directory, &data, dns, smtp_port, more)
    }

    /// The same with its data elsewhere.
    pub fn with_data(
        directory: &Path,
        data: &Path,
        dns: SocketAddr,
        smtp_port: u16,
        more: &str,
    ) -> Outcome<Self> {
        let config = directory.join("lumora.toml");
        let text = format!(
            "data_dir = '{}'\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [portal]\nregistration = \"open\"\n\
             [dns]\nservers = [\"{dns}\"]\n\
             [delivery]\nsmtp_port = {smtp_port}\nhelo_name = \"{OWN_HOST}\"\n\
             allow_private_networks = true\n{more}",
            data.display(),
        );
        fs::write(&config, text)?;
        Ok(Self { binary: binary()?, config, data: data.to_owned() })
    }

    /// Where its data lies.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Makes a tenant with an app, a verified domain and a key that knows no rate.
    pub fn sign_up(&self, dns: &DnsServer) -> Outcome<Sender> {
        self.sign_up_as(SENDING_DOMAIN, 1_000_000, dns)
    }

    /// The same for a domain and a rate of its own.
    pub fn sign_up_as(
        &self,
        domain_name: &str,
        rate_per_minute: u32,
        dns: &DnsServer,
    ) -> Outcome<Sender> {
        let email = format!("bench@{domain_name}");
        let user = ["--name", "Bench", "--email", &email];
        let tenant = self.json(&[&["tenant", "create"][..], &user].concat())?;
        let tenant = text(&tenant, "id")?;
        let of_tenant = ["--tenant", tenant];
        let app = self.json(&[&["app", "create", "--name", "Bench"][..], &of_tenant].concat())?;
        let app = text(&app, "id")?;
        let added = self.json(&[&["domain", "add", domain_name][..], &of_tenant].concat())?;
        publish(&added, dns)?;
        let domain = text(&added, "id")?;
        let verified = self.json(&[&["domain", "verify", domain][..], &of_tenant].concat())?;
        if text(&verified, "status")? != "verified" {
            return Err(format!("the sending domain was not verified: {verified}").into());
        }
        let rate = rate_per_minute.to_string();
        let rate = ["--rate-limit-per-minute", &rate, "--name", "Bench", "--app", app];
        let key = self.json(&[&["key", "create"][..], &rate, &of_tenant].concat())?;
        Ok(Sender {
            secret: text(&key, "secret")?.to_owned(),
            domain: domain_name.to_owned(),
            tenant: tenant.to_owned(),
            app: app.to_owned(),
        })
    }

    /// What the log of the stopped server is made of.
    pub fn log_stats(&self) -> Outcome<Value> {
        self.json(&["log", "stats"])
    }

    /// Every event of the stopped server's log, in its order, as `log export` writes it.
    pub fn exported(&self) -> Outcome<Vec<Value>> {
        let text = self.output(&["log", "export"], &[])?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
    }

    /// Runs a command on the stopped server's data to its end; how long it took.
    pub fn timed(&self, arguments: &[&str]) -> Outcome<Duration> {
        let started = Instant::now();
        self.output(arguments, &[])?;
        Ok(started.elapsed())
    }

    /// What a command on the stopped server's data answers.
    pub fn json(&self, arguments: &[&str]) -> Outcome<Value> {
        Ok(serde_json::from_slice(&self.output(arguments, &["--json"])?)?)
    }

    fn output(&self, arguments: &[&str], more: &[&str]) -> Outcome<Vec<u8>> {
        let Output { status, stdout, stderr } = Command::new(&self.binary)
            .args(arguments)
            .args(more)
            .arg("--config")
            .arg(&self.config)
            .output()?;
        if !status.success() {
            let words = String::from_utf8_lossy(&stderr);
            return Err(format!("lumora {}: {}", arguments.join(" "), words.trim()).into());
        }
        Ok(stdout)
    }
}

/// Puts the records that a domain needs into the DNS.
pub fn publish(domain: &Value, dns: &DnsServer) -> Outcome<()> {
    for record in domain.get("records").and_then(Value::as_array).into_iter().flatten() {
        let (name, value) = (text(record, "name")?, text(record, "value")?);
        match text(record, "type")? {
            "TXT" => dns.add_txt(name, value)?,
            _ => dns.add_mx(name, 10, OWN_HOST)?,
        }
    }
    Ok(())
}

/// A text field of a JSON object.
pub fn text<'a>(value: &'a Value, name: &str) -> Outcome<&'a str> {
    let found = value.get(name).and_then(Value::as_str);
    found.ok_or_else(|| format!("no {name} in {value}").into())
}

/// The profile of this program and what to build with it, which the server lies among. Beside the
/// tests it is what they have built, with the same features: nothing is compiled twice.
const PROFILE: (&str, &[&str], &str) = if cfg!(debug_assertions) {
    ("dev", &["--workspace", "--all-targets"], "debug/lumora")
} else {
    ("release", &["--package", "lumora", "--bin", "lumora"], "release/lumora")
};

/// The server's binary, built from this tree: an old one would be measured in silence. Another one
/// is taken where `BENCH_SERVER` names it.
fn binary() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("BENCH_SERVER") {
        return Ok(named.into());
    }
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program lies nowhere")?;
    let (profile, what, path) = PROFILE;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--profile", profile])
        .args(what)
        .env("CARGO_TARGET_DIR", target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()?;
    let binary = target.join(path);
    if built.success() && binary.exists() {
        return Ok(binary);
    }
    Err(format!("{} could not be built", binary.display()).into())
}

/// What a process used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time of all its threads since it started, in seconds.
    pub cpu_s: f64,
    /// The most memory that it had at once, in KiB.
    pub peak_rss_kib: u64,
    /// The memory that it has now, in KiB.
    pub rss_kib: u64,
    /// Its open files, sockets among them.
    pub open_files: usize,
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    pid: Pid,
    url: String,
    client: reqwest::Client,
    errors: tokio::task::JoinHandle<()>,
    complaints: Complaints,
}

/// What the server warns of, the last lines alone; shown at once when it is not expected.
#[derive(Debug, Clone, Default)]
pub struct Complaints {
    lines: Arc<Mutex<VecDeque<String>>>,
    shown: bool,
}

impl Complaints {
    /// Lines that are kept.
    const MOST: usize = 2_000;

    /// The lines, as logged.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    fn note(&self, line: String) {
        if self.shown {
            #[expect(clippy::print_stderr, reason = "a measurement with faults must say so")]
            {
                eprintln!("{line}");
            }
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == Self::MOST {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl Server {
    /// Starts `lumora serve` and waits until it listens. What it warns of is shown.
    pub async fn start(site: &Site) -> Outcome<Self> {
        Self::spawn(Command::new(&site.binary), site, true).await
    }

    /// The same, started by another program that becomes it, such as `prlimit` or `env`. What it
    /// warns of is kept and not shown: it is expected.
    pub async fn start_under(site: &Site, starter: &[String]) -> Outcome<Self> {
        let command = match starter.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&site.binary);
                command
            }
            None => Command::new(&site.binary),
        };
        Self::spawn(command, site, false).await
    }

    async fn spawn(command: Command, site: &Site, shown: bool) -> Outcome<Self> {
        let mut child = tokio::process::Command::from(command)
            .args(["serve", "--config"])
            .arg(&site.config)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or("the server ended at once")?;
        let errors = child.stderr.take().ok_or("no standard error")?;
        let mut lines = BufReader::new(errors).lines();
        let complaints = Complaints { lines: Arc::default(), shown };
        let listening = async {
            let mut last = String::new();
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once("address=") {
                    let address = rest.split_ascii_whitespace().next().unwrap_or_default();
                    return Ok(format!("http://{address}"));
                }
                if is_complaint(&line) {
                    complaints.note(line.clone());
                }
                last = line;
            }
            Outcome::Err(format!("the server ended before it listened: {last}").into())
        };
        let url = timeout(START_WITHIN, listening).await??;
        let errors = tokio::spawn(pass_on(lines, complaints.clone()));
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { child, pid, url, client, errors, complaints })
    }

    /// What it warned of.
    pub const fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// Its process, as the kernel counts.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended by itself, and how.
    pub fn has_ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it used so far, as the kernel counts.
    pub fn usage(&self) -> Outcome<Usage> {
        let process = format!("/proc/{}", self.pid.as_raw_nonzero());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let size = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        };
        Ok(Usage {
            cpu_s: cpu_s(self.pid.as_raw_nonzero().get())?,
            peak_rss_kib: size("VmHWM:").ok_or("no peak of memory in /proc")?,
            rss_kib: size("VmRSS:").ok_or("no size of memory in /proc")?,
            open_files: fs::read_dir(format!("{process}/fd"))?.count(),
        })
    }

    /// What the server measured itself, by name; values of several labels are added up.
    pub async fn metrics(&self) -> Outcome<BTreeMap<String, f64>> {
        let text = self.client.get(format!("{}/metrics", self.url)).send().await?.text().await?;
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split_once('{').map_or(name, |(name, _)| name);
            *metrics.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(metrics)
    }

    /// Asks for something as the owner of a key; how long the answer took.
    pub async fn ask(&self, path: &str, secret: &str) -> Outcome<(Value, Duration)> {
        let started = Instant::now();
        let url = format!("{}{path}", self.url);
        let answer = self.client.get(url).header("x-api-key", secret).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("{path}: {status}: {body}").into());
        }
        let took = started.elapsed();
        Ok((serde_json::from_str(&body)?, took))
    }

    /// Stops it in order.
    pub async fn stop(mut self) -> Outcome<()> {
        kill_process(self.pid, Signal::TERM)?;
        let status = timeout(STOP_WITHIN, self.child.wait()).await??;
        self.errors.await?;
        if status.success() { Ok(()) } else { Err(format!("the server ended: {status}").into()) }
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(mut self) -> Outcome<()> {
        kill_process(self.pid, Signal::KILL)?;
        self.child.wait().await?;
        self.errors.await?;
        Ok(())
    }
}

/// CPU time of a process, of all its threads, in seconds.
pub fn cpu_s(pid: i32) -> Outcome<f64> {
    ticks(pid, 11..13)
}

/// The same with that of its children that have ended and been waited for.
pub fn cpu_with_children_s(pid: i32) -> Outcome<f64> {
    ticks(pid, 11..15)
}

/// Fields of `/proc/<pid>/stat` after the name, which ends in the last parenthesis: user and
/// system time, then those of the children (proc(5)).
fn ticks(pid: i32, fields: std::ops::Range<usize>) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let wanted = rest.split_ascii_whitespace().skip(fields.start).take(fields.len());
    let ticks: u64 = wanted.map(|field| field.parse::<u64>().unwrap_or_default()).sum();
    Ok(crate::figures::as_f64(ticks)
        / crate::figures::as_f64(rustix::param::clock_ticks_per_second()))
}

/// Reads on what the server says: a full pipe would stop it.
async fn pass_on(mut lines: tokio::io::Lines<BufReader<ChildStderr>>, complaints: Complaints) {
    while let Ok(Some(line)) = lines.next_line().await {
        if is_complaint(&line) {
            complaints.note(line);
        }
    }
}

fn is_complaint(line: &str) -> bool {
    ["WARN", "ERROR", "panicked"].iter().any(|word| line.contains(word))
}
