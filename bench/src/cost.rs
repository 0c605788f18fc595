//! What a stretch of work cost the server.

use std::collections::BTreeMap;

use crate::{
    Outcome,
    figures::{Row, as_f64},
    server::{Server, Usage},
};

/// Usage and the server's own metrics, at one moment.
pub(crate) struct Moment {
    usage: Usage,
    metrics: BTreeMap<String, f64>,
}

impl Moment {
    /// Now.
    pub(crate) async fn now(server: &Server) -> Outcome<Self> {
        Ok(Self { usage: server.usage()?, metrics: server.metrics().await? })
    }

    /// What so many messages cost since then, in figures for each.
    pub(crate) async fn cost_in(&self, row: Row, server: &Server, messages: usize) -> Outcome<Row> {
        let after = Self::now(server).await?;
        let count = as_f64(messages);
        // None where the server does not count it.
        let per_message = |names: &[&str]| {
            let rise = |name: &&str| {
                let before = self.metrics.get(*name).copied().unwrap_or_default();
                after.metrics.get(*name).map(|after| after - before)
            };
            let rises: Option<Vec<f64>> = names.iter().map(rise).collect();
            rises.map(|rises| rises.iter().sum::<f64>() / count)
        };
        Ok(row
            .with("cpuMsPerMessage", (after.usage.cpu_s - self.usage.cpu_s) / count * 1_000.0)
            .with("peakRssMib", as_f64(after.usage.peak_rss_kib) / 1_024.0)
            .with_some("appendsPerMessage", per_message(&["lumora_append_duration_seconds_count"]))
            .with_some(
                "syncsPerMessage",
                per_message(&["lumora_log_journal_syncs_total", "lumora_log_content_syncs_total"]),
            )
            .with_some("connectionsPerMessage", per_message(&["lumora_smtp_connections_total"])))
    }
}
