//! What the process tells of itself: structured logs on standard error, metrics for `/metrics`.

use std::{fmt::Write as _, sync::OnceLock, time::Duration};

use actors::{Platform, SiteFigures};
use eventlog::Health;
use metrics::counter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use model::Timestamp;
use projections::ReadModels;
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// How many alerts are open, by `kind`.
pub(crate) const OPEN_ALERTS: &str = "lumora_alerts_open";

/// Starts logging; `RUST_LOG` chooses what. A second call changes nothing.
pub(crate) fn start_logging(default_filter: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .try_init();
    // Only a test that starts several nodes in one process comes here twice.
    drop(started);
}

/// Upper ends of the buckets of SMTP's times, in seconds: from a round trip in a data centre to
/// the longest timeout of a step (RFC 5321, section 4.5.3.2).
const SMTP_BUCKETS: [f64; 15] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// Sites that are told of by name.
const MOST_SITES: usize = 20;

/// Installs the recorder behind the `metrics` macros, once in a process.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let smtp = Matcher::Prefix("lumora_smtp_".to_owned());
        // Fails for an empty list alone.
        let builder = PrometheusBuilder::new().set_buckets_for_metric(smtp, &SMTP_BUCKETS);
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        drop(metrics::set_global_recorder(recorder));
        handle
    })
}

/// Between two times that samples of histograms are put together.
const UPKEEP: Duration = Duration::from_secs(5);

/// Puts samples together from time to time: where nobody reads `/metrics`, they would pile up.
pub(crate) async fn upkeep(handle: &'static PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// Everything that is counted, as Prometheus text, with what the log counts of itself, the
/// connections of the busiest sites, whether anybody is lost, and the alerts that are open.
pub(crate) fn render(
    handle: &PrometheusHandle,
    log: &Health,
    platform: &Platform,
    read: &ReadModels,
    now: Timestamp,
) -> String {
    counter!("lumora_log_appends_total").absolute(log.appends);
    counter!("lumora_log_events_total").absolute(log.events);
    counter!("lumora_log_failures_total").absolute(log.failures);
    counter!("lumora_log_journal_syncs_total").absolute(log.journal_syncs);
    counter!("lumora_log_content_syncs_total").absolute(log.content_syncs);
    counter!("lumora_passwords_hashed_total").absolute(platform.passwords_hashed());
    let mut text = handle.render();
    write_sites(&mut text, &platform.busiest_sites(MOST_SITES));
    write_conservation(&mut text, read, now);
    text
}

/// Whether anybody is lost, of all times; who is overdue, and which alerts are open. What is read
/// when it is asked for needs no recorder, and that of this process may serve several nodes.
fn write_conservation(text: &mut String, read: &ReadModels, now: Timestamp) {
    let alarms = read.alarms();
    let told = alarms.conservation().and_then(|sums| Ok((sums, alarms.overdue(now)?)));
    let (sums, overdue) = match told {
        Ok(told) => told,
        Err(error) => return tracing::error!(%error, "the alarms cannot be read"),
    };
    let messages: u64 = overdue.values().map(|overdue| overdue.count).sum();
    for (name, value) in [
        ("lumora_recipients_accepted", sums.accepted),
        ("lumora_recipients_ended", sums.ended),
        ("lumora_recipients_in_flight", sums.in_flight),
        ("lumora_recipients_difference", sums.difference()),
        ("lumora_messages_overdue", messages),
    ] {
        // A string takes whatever is written.
        writeln!(text, "# TYPE {name} gauge\n{name} {value}\n").ok();
    }
    writeln!(text, "# TYPE {OPEN_ALERTS} gauge").ok();
    let counts = read.alerts().counts();
    let counts = counts.iter().map(|(trouble, open)| (trouble.as_str(), *open));
    // One for each tenant.
    for (kind, open) in counts.chain([("overdue", overdue.len())]) {
        writeln!(text, "{OPEN_ALERTS}{{kind=\"{kind}\"}} {open}").ok();
    }
    text.push('\n');
}

/// Not by the recorder, which would keep the name of every site that was ever among the busiest.
fn write_sites(text: &mut String, sites: &[SiteFigures]) {
    type Value = fn(&SiteFigures) -> u64;
    let metrics: [(&str, &str, Value); 4] = [
        ("lumora_site_connections_opened_total", "counter", |site| site.opened),
        ("lumora_site_connections_reused_total", "counter", |site| site.reused),
        ("lumora_site_connections_used", "gauge", |site| site.used as u64),
        ("lumora_site_connections_kept", "gauge", |site| site.kept as u64),
    ];
    for (name, kind, value) in metrics {
        // A string takes whatever is written.
        writeln!(text, "# TYPE {name} {kind}").ok();
        for site in sites {
            let label = label(&site.site);
            writeln!(text, "{name}{{site=\"{label}\"}} {}", value(site)).ok();
        }
        text.push('\n');
    }
}

/// Names of hosts come from the DNS of strangers.
fn label(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+:".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_written_and_no_name_breaks_out() {
        let site = |site: &str| SiteFigures {
            site: site.to_owned(),
            opened: 3,
            reused: 2,
            used: 1,
            kept: 0,
        };
        let mut text = String::new();
        write_sites(&mut text, &[site("mx.one.example+0a"), site("evil\"} 1\nx{a=\"")]);
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), 4);
        for line in [
            "lumora_site_connections_opened_total{site=\"mx.one.example+0a\"} 3",
            "lumora_site_connections_reused_total{site=\"evil___1_x_a__\"} 2",
            "lumora_site_connections_used{site=\"mx.one.example+0a\"} 1",
            "lumora_site_connections_kept{site=\"mx.one.example+0a\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
