//! The server under measurement, as an operator runs it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr},
    time::timeout,
};

use crate::{Outcome, receiver::Receiver};

/// The domain that is sent from.
pub(crate) const SENDING_DOMAIN: &str = "sender.test";
const OWN_HOST: &str = "lumora.sender.test";
const START_WITHIN: Duration = Duration::from_mins(5);
const STOP_WITHIN: Duration = Duration::from_mins(2);

/// Who sends: a key, and the domain that it may send from.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
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
pub(crate) struct Site {
    binary: PathBuf,
    config: PathBuf,
    data: PathBuf,
}

impl Site {
    /// A server below `directory` that delivers to `receiver`.
    pub(crate) fn new(directory: &Path, receiver: &Receiver) -> Outcome<Self> {
        let config = directory.join("lumora.toml");
        let data = directory.join("data");
        let text = format!(
            "data_dir = '{}'\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [portal]\nregistration = \"open\"\n\
             [dns]\nservers = [\"{}\"]\n\
             [delivery]\nsmtp_port = {}\nhelo_name = \"{OWN_HOST}\"\n\
             allow_private_networks = true\n",
            data.display(),
            receiver.dns().address(),
            receiver.address().port(),
        );
        fs::write(&config, text)?;
        Ok(Self { binary: binary()?, config, data })
    }

    /// Where its data lies.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Makes a tenant with an app, a verified domain and a key.
    pub(crate) fn sign_up(&self, receiver: &Receiver) -> Outcome<Sender> {
        let user = ["--name", "Bench", "--email", "bench@sender.test"];
        let tenant = self.json(&[&["tenant", "create"][..], &user].concat())?;
        let tenant = text(&tenant, "id")?;
        let of_tenant = ["--tenant", tenant];
        let app = self.json(&[&["app", "create", "--name", "Bench"][..], &of_tenant].concat())?;
        let app = text(&app, "id")?;
        let added = self.json(&[&["domain", "add", SENDING_DOMAIN][..], &of_tenant].concat())?;
        publish(&added, receiver)?;
        let domain = text(&added, "id")?;
        let verified = self.json(&[&["domain", "verify", domain][..], &of_tenant].concat())?;
        if text(&verified, "status")? != "verified" {
            return Err(format!("the sending domain was not verified: {verified}").into());
        }
        let rate = ["--rate-limit-per-minute", "1000000", "--name", "Bench", "--app", app];
        let key = self.json(&[&["key", "create"][..], &rate, &of_tenant].concat())?;
        Ok(Sender {
            secret: text(&key, "secret")?.to_owned(),
            domain: SENDING_DOMAIN.to_owned(),
            tenant: tenant.to_owned(),
            app: app.to_owned(),
        })
    }

    /// What the log of the stopped server is made of.
    pub(crate) fn log_stats(&self) -> Outcome<Value> {
        self.json(&["log", "stats"])
    }

    /// Runs a command on the stopped server's data to its end; how long it took.
    pub(crate) fn timed(&self, arguments: &[&str]) -> Outcome<Duration> {
        let started = Instant::now();
        self.output(arguments, &[])?;
        Ok(started.elapsed())
    }

    fn json(&self, arguments: &[&str]) -> Outcome<Value> {
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
pub(crate) fn publish(domain: &Value, receiver: &Receiver) -> Outcome<()> {
    for record in domain.get("records").and_then(Value::as_array).into_iter().flatten() {
        let (name, value) = (text(record, "name")?, text(record, "value")?);
        match text(record, "type")? {
            "TXT" => receiver.dns().add_txt(name, value)?,
            _ => receiver.dns().add_mx(name, 10, OWN_HOST)?,
        }
    }
    Ok(())
}

/// A text field of a JSON object.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Outcome<&'a str> {
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

/// The server's binary, built from this tree: an old one would be measured in silence.
fn binary() -> Outcome<PathBuf> {
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
pub(crate) struct Usage {
    /// CPU time of all its threads since it started, in seconds.
    pub cpu_s: f64,
    /// The most memory that it had at once, in KiB.
    pub peak_rss_kib: u64,
    /// The memory that it has now, in KiB.
    pub rss_kib: u64,
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    url: String,
    client: reqwest::Client,
    errors: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts `lumora serve` and waits until it listens.
    pub(crate) async fn start(site: &Site) -> Outcome<Self> {
        let mut child = tokio::process::Command::new(&site.binary)
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
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once("address=") {
                    let address = rest.split_ascii_whitespace().next().unwrap_or_default();
                    return Ok(format!("http://{address}"));
                }
            }
            Outcome::Err("the server ended before it listened".into())
        };
        let url = timeout(START_WITHIN, listening).await??;
        let errors = tokio::spawn(pass_on(lines));
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { child, pid, url, client, errors })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it used so far, as the kernel counts.
    pub(crate) fn usage(&self) -> Outcome<Usage> {
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
        })
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

    /// Asks for something as the owner of a key; how long the answer took.
    pub(crate) async fn ask(&self, path: &str, secret: &str) -> Outcome<(Value, Duration)> {
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
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        kill_process(self.pid, Signal::TERM)?;
        let status = timeout(STOP_WITHIN, self.child.wait()).await??;
        self.errors.await?;
        if status.success() { Ok(()) } else { Err(format!("the server ended: {status}").into()) }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(mut self) -> Outcome<()> {
        kill_process(self.pid, Signal::KILL)?;
        self.child.wait().await?;
        self.errors.await?;
        Ok(())
    }
}

/// CPU time of a process, of all its threads, in seconds.
pub(crate) fn cpu_s(pid: i32) -> Outcome<f64> {
    ticks(pid, 11..13)
}

/// The same with that of its children that have ended and been waited for.
pub(crate) fn cpu_with_children_s(pid: i32) -> Outcome<f64> {
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

/// Shows what the server complains about; a full pipe would stop it.
async fn pass_on(mut lines: tokio::io::Lines<BufReader<ChildStderr>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains("WARN") || line.contains("ERROR") {
            #[expect(clippy::print_stderr, reason = "a measurement with faults must say so")]
            {
                eprintln!("{line}");
            }
        }
    }
}
