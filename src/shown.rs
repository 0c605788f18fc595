//! Looks after the certificates that listeners show.

use std::{sync::Arc, time::Duration};

use actors::Clock;
use certificates::{Certificate, Files, Looked};

use crate::Failure;

/// How often it is looked whether files changed. It costs a question about each.
const EVERY: Duration = Duration::from_secs(5);
/// How often it is said that they cannot be used, in looks: once in 10 minutes.
const SAY_AGAIN: u32 = 120;

/// Reads the files of the listener that the configuration calls `listener`. Blocks.
pub(crate) fn load(listener: &'static str, files: Files) -> Result<Arc<Certificate>, Failure> {
    let loaded = Certificate::load(files);
    loaded.map_err(|error| Failure::usage(format!("configuration: {listener}: {error}")))
}

/// Shows what files have become, for as long as it is polled. What cannot be shown is told in the log
/// and in `/metrics`, where the end of what is shown stands as well.
pub(crate) async fn watch(
    listener: &'static str,
    certificate: Arc<Certificate>,
    clock: Arc<dyn Clock>,
) {
    tell_end(listener, &certificate);
    let mut refused: u32 = 0;
    loop {
        clock.sleep_until(clock.now().plus(EVERY)).await;
        let looking = Arc::clone(&certificate);
        // It reads files; one look that panics is followed by the next.
        let Ok(looked) = tokio::task::spawn_blocking(move || looking.look()).await else {
            continue;
        };
        match looked {
            Looked::Unchanged => refused = 0,
            Looked::Renewed => {
                refused = 0;
                tracing::info!(listener, "the certificate was read anew");
                tell_end(listener, &certificate);
            }
            Looked::Refused(error) => {
                if refused.is_multiple_of(SAY_AGAIN) {
                    tracing::warn!(listener, %error, "the certificate that was there stays");
                }
                refused = refused.saturating_add(1);
            }
        }
        let refused = if refused > 0 { 1.0 } else { 0.0 };
        metrics::gauge!("lumora_certificate_refused", "listener" => listener).set(refused);
    }
}

fn tell_end(listener: &'static str, certificate: &Certificate) {
    let Some(validity) = certificate.validity() else { return };
    #[expect(clippy::cast_precision_loss, reason = "seconds of any year are exact")]
    let end = validity.not_after_s as f64;
    metrics::gauge!("lumora_certificate_not_after_seconds", "listener" => listener).set(end);
}
