//! `lumora serve`

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, print_error};
use crate::{config::Config, node::Node, telemetry};

/// How long what is under way may take after the first signal.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

pub(super) async fn run(config: Config) -> Result<(), Failure> {
    // hickory warns of each odd answer with all of its bytes; what follows from one, the rooms that
    // asked say themselves. ractor would write a span for each actor, which is one for each message.
    telemetry::start_logging("info,hickory_net=error,ractor=warn");
    let mut signals = Signals::new()?;
    let node = Node::start(&config).await?;
    tracing::info!(address = %node.address(), "listening");
    signals.first(&node).await;
    tracing::info!("stopping: what is under way is finished first; a second signal stops at once");
    tokio::select! {
        stopped = node.stop(DRAIN) => stopped,
        () = signals.next() => {
            print_error("lumora: stopped at once; the rest is done at the next start");
            Ok(())
        }
    }
}

/// Ctrl-C and SIGTERM.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::failed);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for a signal, or for the node to end by itself.
    pub(super) async fn first(&mut self, node: &Node) {
        tokio::select! {
            () = self.next() => {}
            () = node.ended() => {}
        }
    }
}
