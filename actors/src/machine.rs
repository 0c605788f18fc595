//! What the platform has of the machine that it runs on, besides the time.

use std::{fmt, sync::Arc};

use mail::smtp::{Dial, Tcp};

use crate::entropy::{Chance, OsChance};

/// Chance, a place for work that blocks, the way to mail hosts. By default the real ones.
///
/// # Why
/// With these, the clock, the log and the resolver given from outside, and on a runtime of one
/// thread, a run is a function of what is given: that is how it is simulated. Branches that are
/// ready together are taken in their written order for the same reason (`biased`).
#[derive(Clone)]
pub struct Machine {
    /// Decides what is left to chance.
    pub chance: Arc<dyn Chance>,
    /// Where work is done that blocks.
    pub blocking: Blocking,
    /// Opens connections to mail hosts.
    pub dial: Arc<dyn Dial>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { chance: Arc::new(OsChance), blocking: Blocking::OnThreads, dial: Arc::new(Tcp) }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("blocking", &self.blocking)
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}

/// Where work is done that blocks or takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blocking {
    /// On the threads that the runtime keeps for it: nothing else is held up.
    #[default]
    OnThreads,
    /// At once, on the thread that asks: everything else is held up, and nothing runs beside it.
    InPlace,
}

impl Blocking {
    /// Does the work; `None` when it panicked on its thread, or the runtime ends.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Self::OnThreads => tokio::task::spawn_blocking(work).await.ok(),
            Self::InPlace => Some(work()),
        }
    }
}
