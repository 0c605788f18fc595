//! The server under measurement, as an operator runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
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
const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_mins(1);

/// The binary, the configuration and the data of a server.
pub(crate) struct Site {
    binary: PathBuf,
    config: PathBuf,
}

impl Site {
    /// A server below `directory` that delivers to `receiver`.
    pub(crate) fn new(directory: &Path, receiver: &Receiver) -> Outcome<Self> {
        let config = directory.join("lumora.toml");
        let text = format!(
            "data_dir = '{}'\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [dns]\nservers = [\"{}\"]\n\
             [delivery]\nsmtp_port = {}\nhelo_name = \"{OWN_HOST}\"\n\
             allow_private_networks = true\n",
            directory.join("data").display(),
            receiver.dns().address(),
            receiver.address().port(),
        );
        fs::write(&config, text)?;
        Ok(Self { binary: binary()?, config })
    }

    /// Makes a tenant with an app, a verified domain and a key, whose secret comes back.
    pub(crate) fn sign_up(&self, receiver: &Receiver) -> Outcome<String> {
        let user = ["--name", "Bench", "--email", "bench@sender.test"];
        let tenant = self.json(&[&["tenant", "create"][..], &user].concat())?;
        let tenant = text(&tenant, "id")?;
        let of_tenant = ["--tenant", tenant];
        let app = self.json(&[&["app", "create", "--name", "Bench"][..], &of_tenant].concat())?;
        let app = text(&app, "id")?;
        let added = self.json(&[&["domain", "add", SENDING_DOMAIN][..], &of_tenant].concat())?;
        for record in added.get("records").and_then(Value::as_array).into_iter().flatten() {
            let (name, value) = (text(record, "name")?, text(record, "value")?);
            match text(record, "type")? {
                "TXT" => receiver.dns().add_txt(name, value)?,
                _ => receiver.dns().add_mx(name, 10, OWN_HOST)?,
            }
        }
        let domain = text(&added, "id")?;
        let verified = self.json(&[&["domain", "verify", domain][..], &of_tenant].concat())?;
        if text(&verified, "status")? != "verified" {
            return Err(format!("the sending domain was not verified: {verified}").into());
        }
        let rate = ["--rate-limit-per-minute", "1000000", "--name", "Bench", "--app", app];
        let key = self.json(&[&["key", "create"][..], &rate, &of_tenant].concat())?;
        text(&key, "secret").map(str::to_owned)
    }

    /// What the log of the stopped server is made of.
    pub(crate) fn log_stats(&self) -> Outcome<Value> {
        self.json(&["log", "stats"])
    }

    fn json(&self, arguments: &[&str]) -> Outcome<Value> {
        let Output { status, stdout, stderr } = Command::new(&self.binary)
            .args(arguments)
            .args(["--json", "--config"])
            .arg(&self.config)
            .output()?;
        if !status.success() {
            let words = String::from_utf8_lossy(&stderr);
            return Err(format!("lumora {}: {}", arguments.join(" "), words.trim()).into());
        }
        Ok(serde_json::from_slice(&stdout)?)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Outcome<&'a str> {
    let found = value.get(name).and_then(Value::as_str);
    found.ok_or_else(|| format!("no {name} in {value}").into())
}

/// The server's release binary, built from this tree: an old one would be measured in silence.
fn binary() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program lies nowhere")?;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "lumora", "--bin", "lumora"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()?;
    let binary = target.join("release/lumora");
    if built.success() && binary.exists() {
        return Ok(binary);
    }
    Err(format!("{} could not be built", binary.display()).into())
}

/// What a process used since it started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// CPU time of all its threads, in seconds.
    pub cpu_s: f64,
    /// The most memory that it had at once, in KiB.
    pub peak_rss_kib: u64,
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    url: String,
    errors: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts `lumora serve` and waits until it listens.
    pub(crate) async fn start(site: &Site) -> Outcome<Self> {
        let mut child = tokio::process::Command::new(&site.binary)
            .args(["serve", "--config"])
            .arg(&site.config)
            .envs([("NO_COLOR", "1"), ("RUST_LOG", "lumora=info,warn")])
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
        Ok(Self { child, pid, url, errors })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it used so far, as the kernel counts.
    pub(crate) fn usage(&self) -> Outcome<Usage> {
        let process = format!("/proc/{}", self.pid.as_raw_nonzero());
        let stat = fs::read_to_string(format!("{process}/stat"))?;
        // After the name, which ends in the last parenthesis, user and system time are the 12th
        // and 13th field (proc(5)).
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or_default())
            .sum();
        let status = fs::read_to_string(format!("{process}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let cpu_s = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Usage { cpu_s, peak_rss_kib: peak.ok_or("no peak of memory in /proc")? })
    }

    /// Stops it in order.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        kill_process(self.pid, Signal::TERM)?;
        let status = timeout(STOP_WITHIN, self.child.wait()).await??;
        self.errors.await?;
        if status.success() { Ok(()) } else { Err(format!("the server ended: {status}").into()) }
    }
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
