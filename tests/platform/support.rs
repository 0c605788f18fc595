//! What every scenario stands on: a small world on loopback and a platform inside it.

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod inbox;
pub(crate) mod letter;
pub(crate) mod process;
pub(crate) mod world;

use std::time::Duration;

/// How long anything may take before a test gives up on it. Nothing waits this long when all is
/// well; a busy machine must not fail a test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Asks `probe` again and again until it has an answer.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, asking).await;
    found.unwrap_or_else(|_| panic!("{what}: not so after {DEADLINE:?}"))
}
