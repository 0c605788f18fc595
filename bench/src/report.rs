//! The figures.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{Arguments, Outcome, load::Accepting, server::Usage};

/// Usage and the server's own metrics, at one moment.
pub(crate) type Moment = (Usage, BTreeMap<String, f64>);

/// One measurement.
pub(crate) struct Report<'a> {
    pub arguments: &'a Arguments,
    pub accepting: Accepting,
    /// From the first request to the last delivery.
    pub delivering: Duration,
    pub before: Moment,
    pub after: Moment,
    /// `lumora log stats` after the server was stopped; with the warm-up's messages.
    pub log: Value,
    /// Messages that arrived more than once.
    pub twice: usize,
}

impl Report<'_> {
    /// Prints the figures and writes them as JSON.
    pub(crate) fn print_and_write(&self) -> Outcome<()> {
        let figures = self.figures();
        let path = self.path()?;
        fs::write(&path, serde_json::to_string_pretty(&figures)? + "\n")?;
        let mut lines = vec![format!(
            "{} messages of {} octets, {} clients, {} domains",
            self.arguments.messages,
            self.arguments.text_octets,
            self.arguments.clients,
            self.arguments.domains
        )];
        for (name, value) in figures.as_object().into_iter().flatten() {
            if let Some(number) = value.as_f64() {
                lines.push(format!("  {name:<28} {number:>12}"));
            }
        }
        lines.push(format!("written to {}", path.display()));
        #[expect(clippy::print_stdout, reason = "figures are what this program is for")]
        {
            println!("{}", lines.join("\n"));
        }
        Ok(())
    }

    fn figures(&self) -> Value {
        let count = as_f64(self.arguments.messages);
        let percentile_ms = |permille: usize| {
            let answers = &self.accepting.answers;
            let index = (answers.len() * permille / 1_000).min(answers.len().saturating_sub(1));
            round(answers.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0))
        };
        let (usage, metrics) = &self.after;
        // None where the server does not count it.
        let per_message = |names: &[&str]| {
            let rise = |name: &&str| {
                let before = self.before.1.get(*name).copied().unwrap_or_default();
                metrics.get(*name).map(|after| after - before)
            };
            let rises: Option<Vec<f64>> = names.iter().map(rise).collect();
            rises.map(|rises| round(rises.iter().sum::<f64>() / count))
        };
        let stored = as_f64(self.arguments.messages + self.arguments.warm_up);
        let bytes = |names: &[&str]| {
            let sizes = names.iter().filter_map(|name| self.log.get(name)?.as_f64());
            round(sizes.sum::<f64>() / stored)
        };
        json!({
            "arguments": {
                "messages": self.arguments.messages,
                "clients": self.arguments.clients,
                "domains": self.arguments.domains,
                "textOctets": self.arguments.text_octets,
                "warmUp": self.arguments.warm_up,
            },
            "acceptedPerSecond": round(count / self.accepting.elapsed.as_secs_f64()),
            "acceptP50Ms": percentile_ms(500),
            "acceptP95Ms": percentile_ms(950),
            "acceptP99Ms": percentile_ms(990),
            "putOff": self.accepting.put_off,
            "deliveredPerSecond": round(count / self.delivering.as_secs_f64()),
            "receivedTwice": self.twice,
            "cpuSecondsPer1000": round((usage.cpu_s - self.before.0.cpu_s) / count * 1_000.0),
            "peakRssMib": round(as_f64(usage.peak_rss_kib) / 1_024.0),
            "appendsPerMessage": per_message(&["lumora_append_duration_seconds_count"]),
            "syncsPerMessage": per_message(&[
                "lumora_log_journal_syncs_total",
                "lumora_log_content_syncs_total",
            ]),
            "connectionsPerMessage": per_message(&["lumora_smtp_connections_total"]),
            "journalBytesPerMessage": bytes(&["journalBytes"]),
            "sledBytesPerMessage": bytes(&["sledBytes"]),
            "contentBytesPerMessage": bytes(&["contentBytes"]),
            "log": self.log,
        })
    }

    fn path(&self) -> Outcome<PathBuf> {
        if let Some(path) = &self.arguments.output {
            return Ok(path.clone());
        }
        let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"));
        fs::create_dir_all(&directory)?;
        #[expect(clippy::disallowed_methods, reason = "a file is named after the time of day")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(directory.join(format!("{}.json", now.as_secs())))
    }
}

/// Three digits behind the point are more than such a measurement can tell.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or_default() as f64
}
