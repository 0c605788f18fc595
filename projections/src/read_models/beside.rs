//! Read models made anew beside those that serve, which then take their place.
//!
//! # Why
//! - **Only the tables change hands.** What keys, policies and sessions keep in memory follows from
//!   the same events and stays; so nobody who holds a reader notices, and what readers know beyond
//!   the log, such as when a key was last used, is not lost.
//! - **Both stand at the same position when they change.** The one that serves stands still for that
//!   moment and is asked as ever; who waits for their own write waits a little longer. Nobody sees
//!   the past after the present.
//! - **A small file names the tables that count**, and it is replaced only when the new ones are
//!   durable: a crash before leaves the old ones, one after it the new ones, and the next start
//!   removes the others.
//! - **It wants as much disk again** as the read models, and the cores that a start would take.

use std::{path::Path, sync::Arc};

use eventlog::{Position, Store};

use super::{Opening, Progress, ReadModels, Running, open_once};
use crate::{
    error::{Halt, OpenError},
    folds::{Folds, Until},
    follower::Follower,
    store,
};

/// So many events behind, the ones that serve stand still until the others have caught up.
const NEAR: u64 = 2_000;

/// How a rebuild beside those that serve goes, or went.
#[derive(Debug, Clone, Default)]
pub enum Rebuilding {
    /// There was none since the start.
    #[default]
    Never,
    /// It is under way.
    Running(Progress),
    /// What was made serves since this position.
    Done(Position),
    /// What served before goes on.
    Failed(Arc<str>),
}

/// Why read models were not made anew beside those that serve, which go on.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// One is under way.
    #[error("a rebuild is under way")]
    UnderWay,
    /// Those that serve do not follow the log any more: a start mends them.
    #[error("the read models have halted: start anew to mend them")]
    Halted,
    /// There is too little space on the disk.
    #[error("there is too little space on the disk")]
    NoRoom,
    /// Events were pruned meanwhile, which what was made may lack.
    #[error("the log was pruned meanwhile: begin again")]
    Pruned,
    /// They could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<Halt> for RebuildError {
    fn from(halt: Halt) -> Self {
        Self::Open(halt.into())
    }
}

impl ReadModels {
    /// How the last rebuild goes or went.
    pub fn rebuilding(&self) -> Rebuilding {
        self.shared.rebuilding.borrow().clone()
    }

    /// Begins to make all read models anew beside those that serve, on a thread of its own.
    ///
    /// # Errors
    /// [`RebuildError::UnderWay`], or the thread could not be started.
    pub fn begin_rebuild(&self) -> Result<(), RebuildError> {
        self.claim()?;
        let read = self.clone();
        let work = move || drop(read.finish_rebuild(&mut |_| {}));
        let started = std::thread::Builder::new().name("rebuild".into()).spawn(work);
        let failed = |error: std::io::Error| Halt::Thread(error.to_string().into());
        started.map(drop).map_err(|error| {
            let halt = failed(error);
            self.shared.rebuilding.send_replace(Rebuilding::Failed(halt.to_string().into()));
            halt.into()
        })
    }

    /// Makes all read models anew beside those that serve, and lets them take their place. Blocks
    /// until then; the position that they stand at.
    ///
    /// # Errors
    /// Those that served go on.
    pub fn rebuild_beside(
        &self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Position, RebuildError> {
        self.claim()?;
        self.finish_rebuild(progress)
    }

    fn claim(&self) -> Result<(), RebuildError> {
        let head = *self.shared.log.head().borrow();
        let claimed = self.shared.rebuilding.send_if_modified(|state| {
            let free = !matches!(state, Rebuilding::Running(_));
            if free {
                *state = Rebuilding::Running(Progress { position: Position::START, head });
            }
            free
        });
        if claimed { Ok(()) } else { Err(RebuildError::UnderWay) }
    }

    fn finish_rebuild(&self, progress: &mut dyn FnMut(Progress)) -> Result<Position, RebuildError> {
        tracing::info!("the read models are made anew beside those that serve");
        let mut told = 0;
        let rebuilt = self.make(&mut |at| {
            progress(at);
            self.shared.rebuilding.send_replace(Rebuilding::Running(at));
            let tenths = at.position.get().saturating_mul(10) / at.head.get().max(1);
            if tenths > told {
                told = tenths;
                tracing::info!(position = %at.position, head = %at.head, "read models made anew");
            }
        });
        let state = match &rebuilt {
            Ok(position) => {
                tracing::info!(%position, "read models that were made anew serve from now on");
                Rebuilding::Done(*position)
            }
            Err(error) => {
                tracing::error!(%error, "the read models were not made anew; those before serve on");
                Rebuilding::Failed(error.to_string().into())
            }
        };
        self.shared.rebuilding.send_replace(state);
        rebuilt
    }

    fn make(&self, progress: &mut dyn FnMut(Progress)) -> Result<Position, RebuildError> {
        let shared = &self.shared;
        let before = shared.place.lock().clone();
        let place = store::beside(&shared.root, &before)?;
        let (log, vault) = (Arc::clone(&shared.log), shared.vault.clone());
        let until = Until::Position(self.position());
        let pruned = self.pruned()?;
        let made = open_once(&mut Opening {
            root: &place,
            place: place.clone(),
            log,
            vault,
            until,
            afresh: &|_| true,
            progress,
        });
        let taken = made.map_err(RebuildError::from).and_then(|made| {
            let store = made.shared.store.lock().clone();
            let Running::Idle(mut folds) =
                std::mem::replace(&mut *made.shared.running.lock(), Running::Lost)
            else {
                return Err(RebuildError::Halted);
            };
            self.take_their_place(&mut folds, (&store, &place), pruned, progress)
        });
        let current = shared.place.lock().clone();
        store::sweep(&shared.root, &current);
        taken
    }

    fn take_their_place(
        &self,
        folds: &mut Folds,
        tables: (&Store, &Path),
        pruned: Option<Position>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Position, RebuildError> {
        let shared = &self.shared;
        loop {
            let reached = self.position();
            follow_to(folds, reached)?;
            let head = *shared.log.head().borrow();
            progress(Progress { position: folds.position(), head });
            if self.position().get().saturating_sub(folds.position().get()) < NEAR {
                break;
            }
        }
        // The longest part of making them durable, while the others still follow.
        folds.flush().map_err(Halt::from)?;
        let mut running = shared.running.lock();
        if shared.standing.borrow().halted.is_some() {
            return Err(RebuildError::Halted);
        }
        let (mut serving, follows) = match std::mem::replace(&mut *running, Running::Lost) {
            Running::Following(follower) => (follower.stop().ok_or(RebuildError::Halted)?, true),
            Running::Idle(folds) => (*folds, false),
            Running::Lost => return Err(RebuildError::Halted),
        };
        let position = serving.position();
        shared.standing.send_modify(|standing| standing.position = position);
        let changed = self.change(&mut serving, folds, tables, pruned);
        *running = if follows {
            let place = shared.place.lock().clone();
            match Follower::start(serving, place, shared.standing.clone()) {
                Ok(follower) => Running::Following(follower),
                Err(halt) => {
                    shared.standing.send_modify(|standing| {
                        standing.halted = Some(Arc::new(halt.clone()));
                    });
                    return Err(halt.into());
                }
            }
        } else {
            Running::Idle(Box::new(serving))
        };
        changed.map(|()| position)
    }

    /// Up to where the log is pruned.
    fn pruned(&self) -> Result<Option<Position>, RebuildError> {
        let pruned = self.shared.log.pruned().map_err(Halt::from)?;
        Ok(pruned.map(|pruned| pruned.last))
    }

    /// Those that serve stand still.
    fn change(
        &self,
        serving: &mut Folds,
        made: &mut Folds,
        (store, place): (&Store, &Path),
        pruned: Option<Position>,
    ) -> Result<(), RebuildError> {
        follow_to(made, serving.position())?;
        // All that they take is read now: gaps that came later are none in them.
        if self.pruned()? != pruned {
            return Err(RebuildError::Pruned);
        }
        if !store.has_room() {
            return Err(RebuildError::NoRoom);
        }
        made.flush().map_err(Halt::from)?;
        let tables = serving.tables_in(store)?;
        store::point_to(&self.shared.root, place)?;
        serving.go_on_with(store.clone(), tables);
        *self.shared.store.lock() = store.clone();
        place.clone_into(&mut self.shared.place.lock());
        Ok(())
    }
}

fn follow_to(folds: &mut Folds, position: Position) -> Result<(), Halt> {
    while folds.position() < position && folds.round(Until::Position(position))? {}
    Ok(())
}
