//! The thread that follows the log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use eventlog::Position;
use tokio::{runtime, sync::watch};

use crate::{
    error::Halt,
    folds::{Folds, Until},
    store,
};

/// How far the read models have come, and why they go no further if they do not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    pub(crate) halted: Option<Arc<Halt>>,
}

/// A running follower.
pub(crate) struct Follower {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Folds>,
}

impl Follower {
    /// Starts to follow. On failure the read models stay where they are.
    pub(crate) fn start(
        folds: Folds,
        dir: PathBuf,
        standing: watch::Sender<Standing>,
    ) -> Result<Self, Halt> {
        let failed = |error: std::io::Error| Halt::Thread(error.to_string().into());
        // Only to wait for the head and the stop signal at once.
        let waiting = runtime::Builder::new_current_thread().build().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("projections".into())
            .spawn(move || follow(folds, &waiting, stopped, &Watched { dir, standing }))
            .map_err(failed)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread after the round it is in; `None` when it panicked.
    pub(crate) fn stop(self) -> Option<Folds> {
        self.stop.send_replace(true);
        self.thread.join().ok()
    }
}

/// Tells everyone who waits when the thread ends by a fault of ours.
struct Watched {
    dir: PathBuf,
    standing: watch::Sender<Standing>,
}

impl Watched {
    fn halt(&self, halt: Halt) {
        tracing::error!(%halt, "the read models no longer follow the log");
        if halt.is_damage() {
            store::condemn(&self.dir);
        }
        self.standing.send_modify(|standing| standing.halted = Some(Arc::new(halt)));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.halt(Halt::Panicked);
        }
    }
}

/// Rounds until nothing is left to take in, or nothing more can be.
pub(crate) fn follow_to_the_head(
    folds: &mut Folds,
    dir: &Path,
    standing: &watch::Sender<Standing>,
) {
    let watched = Watched { dir: dir.to_owned(), standing: standing.clone() };
    loop {
        let round = folds.round(Until::Head);
        let position = folds.position();
        standing.send_modify(|standing| standing.position = position);
        match round {
            Ok(true) => {}
            Ok(false) => return,
            Err(halt) => return watched.halt(halt),
        }
    }
}

fn follow(
    mut folds: Folds,
    waiting: &runtime::Runtime,
    mut stopped: watch::Receiver<bool>,
    watched: &Watched,
) -> Folds {
    let mut head = folds.log().head();
    loop {
        // Whatever is appended from here on wakes the wait below.
        head.borrow_and_update();
        let round = if *stopped.borrow_and_update() { break } else { folds.round(Until::Head) };
        match round {
            Ok(true) => {
                let position = folds.position();
                watched.standing.send_modify(|standing| standing.position = position);
            }
            Ok(false) => {
                let ended = waiting.block_on(async {
                    tokio::select! {
                        moved = head.changed() => moved.is_err(),
                        stop = stopped.changed() => stop.is_err(),
                    }
                });
                // Nobody is left who could append or stop.
                if ended {
                    break;
                }
            }
            Err(halt) => {
                let position = folds.position();
                watched.standing.send_modify(|standing| standing.position = position);
                watched.halt(halt);
                break;
            }
        }
    }
    if let Err(error) = folds.flush() {
        watched.halt(error.into());
    }
    folds
}
