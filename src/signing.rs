//! What the log holds is signed each minute in which there is news, and when the server stops.

use std::{sync::Arc, time::Duration};

use actors::Clock;
use eventlog::Notary;

/// How long an event waits at most for a signature that covers it.
const EVERY: Duration = Duration::from_mins(1);

/// Signs, for as long as it is polled.
pub(crate) async fn run(notary: Arc<Notary>, clock: Arc<dyn Clock>) {
    loop {
        let now = clock.now();
        let notary = Arc::clone(&notary);
        // It syncs a file.
        match tokio::task::spawn_blocking(move || notary.sign(now)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the log could not be signed"),
            Err(error) => tracing::error!(%error, "the log could not be signed"),
        }
        clock.sleep_until(now.plus(EVERY)).await;
    }
}
