//! Hours of it: tenants, domains, keys, templates and messages come and go, receivers refuse and
//! put off, and at the end memory, open files, disk and answers are as at the start.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bench::{
    Outcome,
    figures::{as_f64, print_line as tell},
    portal::Owner,
    server::{Sender, Server, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Setting,
    plot::{self, Sample},
    reconcile::Account,
    stage::Stage,
};

const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(50);
/// Times in a run that things are measured.
const SAMPLES: u32 = 120;
/// Tenants that are made in a run, at most: each has a password to hash and a key to make.
const MOST_TENANTS: u32 = 200;
const SCOPES: [&str; 4] = ["email:send", "email:read", "template:read", "template:write"];
/// The first part of a run, of which nothing is asked: caches fill, threads start.
const WARM_UP: usize = 3;

/// From this length on, in hours, a run is long enough for what may rise in an hour.
const LONG: f64 = 0.9;

/// What may rise in an hour, by the second half of the run. Beside it, what may rise in the second
/// half of a shorter run: a page or a connection would be much in an hour, and the caches of both
/// stores take the first 100 000 events to fill.
struct Bound {
    what: &'static str,
    of: fn(&Sample) -> f64,
    per_hour: f64,
    in_short: f64,
}

const BOUNDS: [Bound; 4] = [
    Bound { what: "memory, MiB", of: |s| s.memory_mib, per_hour: 128.0, in_short: 384.0 },
    Bound { what: "open files", of: |s| s.open_files, per_hour: 20.0, in_short: 100.0 },
    Bound { what: "latency, ms", of: |s| s.latency_ms, per_hour: 20.0, in_short: 400.0 },
    Bound {
        what: "disk of an event, bytes",
        of: |s| s.disk_per_event,
        per_hour: 200.0,
        in_short: 4_000.0,
    },
];

pub(crate) async fn run(setting: &Setting, length: Duration) -> Outcome<Account> {
    let stage = Stage::set(setting.data_parent.as_deref(), None).await?;
    let (server, _) = stage.start().await?;
    let clients = stage.clients(CLIENTS, PACE)?;
    let (begun, mut samples, mut churn) = (Instant::now(), Vec::new(), Churn::default());
    let every = length / SAMPLES;
    let mut next = begun + every;
    let mut disk = Disk::of(&stage);
    while begun.elapsed() < length {
        churn.turn(&stage, &server, length).await?;
        if Instant::now() >= next {
            samples.push(sample(&stage, &server, begun, &mut disk).await?);
            next += every;
        }
        sleep(Duration::from_millis(20)).await;
    }
    churn.tell();
    let file = out(setting)?.join("soak.svg");
    plot::draw(&file, &samples)?;
    tell(&format!("  drawn in {}", file.display()));
    let account = stage.settle(clients, server).await?;
    judge(&samples)?;
    Ok(account)
}

fn out(setting: &Setting) -> Outcome<PathBuf> {
    let directory = match &setting.out {
        Some(out) => out.clone(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")),
    };
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The disk that the data takes.
struct Disk {
    data: PathBuf,
}

impl Disk {
    fn of(stage: &Stage) -> Self {
        Self { data: stage.data().to_owned() }
    }

    fn bytes(&self) -> u64 {
        bench::disk_bytes(&self.data).unwrap_or_default()
    }
}

async fn sample(
    stage: &Stage,
    server: &Server,
    begun: Instant,
    disk: &mut Disk,
) -> Outcome<Sample> {
    let usage = server.usage()?;
    let metrics = server.metrics().await?;
    let events = metrics.get("lumora_log_events_total").copied().unwrap_or_default();
    // The middle of several: one may meet a busy moment.
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(server.ask("/v1/emails/logs?limit=20", &stage.sender.secret).await?.1);
    }
    let latency_ms = bench::times::Times::new(asked).permille_ms(500);
    Ok(Sample {
        hours: begun.elapsed().as_secs_f64() / 3_600.0,
        memory_mib: as_f64(usage.rss_kib) / 1_024.0,
        open_files: as_f64(usage.open_files),
        disk_mib: as_f64(disk.bytes()) / 1_024.0 / 1_024.0,
        latency_ms,
        disk_per_event: as_f64(disk.bytes()) / events.max(1.0),
    })
}

/// What comes and goes beside the messages.
#[derive(Default)]
struct Churn {
    tenants: u32,
    keys: u32,
    templates: u32,
    refused: u32,
    last: Option<(Owner, Sender)>,
    next_tenant: Option<Instant>,
}

impl Churn {
    /// A little of everything.
    async fn turn(&mut self, stage: &Stage, server: &Server, length: Duration) -> Outcome<()> {
        let due = self.next_tenant.is_none_or(|at| Instant::now() >= at);
        if due && self.tenants < MOST_TENANTS {
            self.next_tenant =
                Some(Instant::now() + (length / MOST_TENANTS).max(Duration::from_secs(5)));
            let owner = Owner::register(server.url(), usize::try_from(self.tenants)?).await?;
            let sender = owner.sender(&stage.dns, &SCOPES).await?;
            self.tenants += 1;
            self.last = Some((owner, sender));
        }
        let Some((owner, sender)) = &self.last else { return Ok(()) };
        let key = owner.key(&sender.app, &SCOPES).await?;
        let secret = text(&key, "secret")?.to_owned();
        let template = json!({
            "slug": format!("t{}", self.templates),
            "name": "Passing",
            "subject": "Hello {{ name }}",
            "text": "Good day.",
        });
        let made = ask(server, &secret, Method::POST, "/v1/templates", Some(&template)).await?;
        let path = format!("/v1/templates/{}", text(&made, "id")?);
        let changed = json!({ "subject": "Good evening {{ name }}" });
        ask(server, &secret, Method::PATCH, &path, Some(&changed)).await?;
        let email = json!({
            "from": { "email": format!("churn@{}", sender.domain) },
            "to": ["somebody@d1.receiver.test"],
            "template": { "id": text(&made, "id")?, "variables": { "name": "Ada" } },
        });
        ask(server, &secret, Method::POST, "/v1/email/send", Some(&email)).await?;
        ask(server, &secret, Method::DELETE, &path, None).await?;
        let id = text(&key, "id")?;
        owner.delete(&format!("/apps/{}/api-keys/{id}", sender.app)).await?;
        let after = ask(server, &secret, Method::POST, "/v1/email/send", Some(&email)).await;
        if after.is_ok() {
            return Err("a key that was taken back still sends".into());
        }
        self.keys += 1;
        self.templates += 1;
        self.refused += 1;
        Ok(())
    }

    fn tell(&self) {
        tell(&format!(
            "  {} tenants and domains, {} keys and {} templates made and taken away, {} requests with \
             a key that was taken back",
            self.tenants, self.keys, self.templates, self.refused,
        ));
    }
}

async fn ask(
    server: &Server,
    secret: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Outcome<Value> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.request(method, format!("{}{path}", server.url()));
    let mut request = request.header("x-api-key", secret);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        return Err(format!("{path}: {status}: {body}").into());
    }
    Ok(serde_json::from_str(&body).unwrap_or_default())
}

/// Prints how each figure rises, and fails where one rises too much.
fn judge(samples: &[Sample]) -> Outcome<()> {
    let half = samples.get(samples.len() / 2..).unwrap_or_default();
    let early = samples.get(samples.len() / WARM_UP..).unwrap_or_default();
    let (Some(first), Some(last)) = (early.first(), samples.last()) else {
        return Err("it was too short to measure anything".into());
    };
    let mut broken = Vec::new();
    for Bound { what, of, per_hour, in_short } in &BOUNDS {
        let slope = slope(half, of);
        let rise = slope * (last.hours - half.first().map_or(0.0, |sample| sample.hours));
        tell(&format!(
            "  {what}: {:.1} after the warm-up, {:.1} at the end; rises by {slope:.1} an hour in the \
             second half (bound {per_hour}; a short run may rise by {in_short})",
            of(first),
            of(last),
        ));
        if slope > *per_hour && (last.hours >= LONG || rise > *in_short) {
            broken.push(format!("{what} rises by {slope:.1} an hour"));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

/// The rise per hour, by least squares.
fn slope(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let count = as_f64(samples.len()).max(1.0);
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (hours, value) = (mean(&|sample| sample.hours), mean(&|sample| of(sample)));
    let product = |sample: &Sample| (sample.hours - hours) * (of(sample) - value);
    let square = |sample: &Sample| (sample.hours - hours) * (sample.hours - hours);
    let squares: f64 = samples.iter().map(square).sum();
    if squares <= 0.0 { 0.0 } else { samples.iter().map(product).sum::<f64>() / squares }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: impl Fn(f64) -> f64) -> Vec<Sample> {
        let hours = (0..100).map(|number| f64::from(number) / 100.0);
        hours.map(|hours| Sample { hours, memory_mib: of(hours), ..Sample::default() }).collect()
    }

    #[test]
    fn a_figure_that_rises_fails_and_one_that_swings_does_not() {
        let leak = samples(|hours| 100.0 + 200.0 * hours);
        assert!((slope(&leak, |sample| sample.memory_mib) - 200.0).abs() < 0.001);
        assert!(judge(&leak).is_err());
        assert!(judge(&samples(|hours| 100.0 + 20.0 * (hours * 90.0).sin())).is_ok());
        assert!(judge(&[]).is_err());
    }
}
