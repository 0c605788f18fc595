//! What the process tells of itself: structured logs on standard error, metrics for `/metrics`.

use std::{sync::OnceLock, time::Duration};

use eventlog::Health;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use projections::Alerts;
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

/// Installs the recorder behind the `metrics` macros, once in a process.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
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

/// Everything that is counted, as Prometheus text, with what the log counts of itself and the alerts
/// that are open.
pub(crate) fn render(handle: &PrometheusHandle, log: &Health, alerts: &Alerts) -> String {
    for (trouble, open) in alerts.counts() {
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        gauge!(OPEN_ALERTS, "kind" => trouble.as_str()).set(open);
    }
    counter!("lumora_log_appends_total").absolute(log.appends);
    counter!("lumora_log_events_total").absolute(log.events);
    counter!("lumora_log_failures_total").absolute(log.failures);
    counter!("lumora_log_journal_syncs_total").absolute(log.journal_syncs);
    counter!("lumora_log_content_syncs_total").absolute(log.content_syncs);
    handle.render()
}
