//! Looks after the certificates that listeners show.

use std::{sync::Arc, time::Duration};

use actors::Clock;
use certificates::{Acme, Certificate, Files, Looked};

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

/// Waits between attempts to get a certificate: an authority counts those that fail, and some lock
/// out who tries more than a few times an hour. The last one repeats.
const RETRIES: [Duration; 4] = [
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];

/// Gets certificates by ACME when they are due, for as long as it is polled.
pub(crate) async fn renew(listener: &'static str, acme: Arc<Acme>, clock: Arc<dyn Clock>) {
    tell_end(listener, acme.certificate());
    let mut failed = 0_usize;
    loop {
        while clock.now().as_millis() / 1_000 < acme.due_s() {
            clock.sleep_until(clock.now().plus(EVERY)).await;
        }
        let obtaining = Arc::clone(&acme);
        // Apart: what an authority says must not end the task, whatever it makes of our code.
        let obtained = tokio::spawn(async move { obtaining.obtain().await }).await;
        match obtained {
            Ok(Ok(())) => {
                failed = 0;
                tracing::info!(listener, "a new certificate was issued");
                tell_end(listener, acme.certificate());
            }
            Ok(Err(error)) => {
                failed = failed.saturating_add(1);
                tracing::warn!(listener, %error, "no certificate could be got");
            }
            Err(_panicked) => {
                failed = failed.saturating_add(1);
                tracing::error!(listener, "getting a certificate panicked");
            }
        }
        let failures = if failed > 0 { 1.0 } else { 0.0 };
        metrics::gauge!("lumora_certificate_refused", "listener" => listener).set(failures);
        // After a success as well: one that is due again at once must not be asked for without end.
        let pause = RETRIES.iter().take(failed.max(1)).next_back().copied().unwrap_or(EVERY);
        clock.sleep_until(clock.now().plus(pause)).await;
    }
}

fn tell_end(listener: &'static str, certificate: &Certificate) {
    let Some(validity) = certificate.validity() else { return };
    #[expect(clippy::cast_precision_loss, reason = "seconds of any year are exact")]
    let end = validity.not_after_s as f64;
    metrics::gauge!("lumora_certificate_not_after_seconds", "listener" => listener).set(end);
}
