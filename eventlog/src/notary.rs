//! Signs what the log holds, so that whoever keeps one signed checkpoint can tell whether anything
//! before it was changed or cut off.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use model::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    checkpoint_file::{self, CheckpointWriter, CheckpointsError},
    contract::EventLog,
    error::ReadError,
    layout::Layout,
    position::Position,
    signed_checkpoint::{SignedCheckpoint, TreeHead},
    vault::InstanceKey,
};

/// How often one is signed because somebody asks.
const ON_DEMAND_EVERY: Duration = Duration::from_millis(500);

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum NotaryError {
    /// The newest checkpoint is there, and this key did not sign it.
    #[error(
        "{} was signed with another key than this instance's ({signer}): put the key back, or move the file away to begin a new one",
        path.display()
    )]
    OtherKey {
        /// The file of checkpoints.
        path: PathBuf,
        /// The name of this instance's key.
        signer: Box<str>,
    },
    /// The log is not what was signed: it ends earlier, or something before was changed.
    #[error(
        "the log does not hold what was signed at {at} of its first {position} events: `lumora log verify` says more; restore a backup, or move {} away to begin anew with what is there",
        path.display()
    )]
    NotWhatWasSigned {
        /// The file of checkpoints.
        path: PathBuf,
        /// What the newest checkpoint covers.
        position: Position,
        /// When it was signed.
        at: Timestamp,
    },
    /// The file of checkpoints cannot be read.
    #[error("{}: {source}", path.display())]
    Checkpoints {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CheckpointsError,
    },
    /// The file of checkpoints cannot be written.
    #[error("checkpoints: {0}")]
    Io(#[from] io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Signs checkpoints of one log, and keeps them in a file beside it.
pub struct Notary {
    log: Arc<dyn EventLog>,
    key: InstanceKey,
    kept: Mutex<Kept>,
    /// Where each checkpoint is written a second time: on another disk or machine, it shows also
    /// that the whole directory was put back.
    anchor: Option<Mutex<PathBuf>>,
    signed: watch::Sender<Position>,
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notary").field("key", &self.key).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Kept {
    file: CheckpointWriter,
    newest: Option<SignedCheckpoint>,
    signed: Option<Instant>,
}

impl Notary {
    /// For the log in `dir`, which `log` is. Refuses to sign on where the newest checkpoint does
    /// not fit the log or the key.
    pub fn open(
        dir: &Path,
        log: Arc<dyn EventLog>,
        key: InstanceKey,
        anchor: Option<PathBuf>,
    ) -> Result<Self, NotaryError> {
        let path = Layout::new(dir).checkpoints();
        let (file, newest) = checkpoint_file::resume(&path)
            .map_err(|source| NotaryError::Checkpoints { path: path.clone(), source })?;
        if let Some(signed) = &newest {
            if !signed.is_signed_by(key.verifier()) {
                let signer = key.verifier().name().into();
                return Err(NotaryError::OtherKey { path, signer });
            }
            let TreeHead { position, .. } = signed.head();
            if log.tree_head(position)? != Some(signed.head()) {
                return Err(NotaryError::NotWhatWasSigned { path, position, at: signed.at() });
            }
        }
        let position = newest.as_ref().map(|signed| signed.head().position);
        let signed = watch::Sender::new(position.unwrap_or_default());
        let kept = Mutex::new(Kept { file, newest, signed: None });
        Ok(Self { log, key, kept, anchor: anchor.map(Mutex::new), signed })
    }

    /// Up to where it has signed, and a signal when that moves.
    pub fn signed(&self) -> watch::Receiver<Position> {
        self.signed.subscribe()
    }

    /// The key that signs.
    pub const fn key(&self) -> &InstanceKey {
        &self.key
    }

    /// The newest checkpoint.
    pub fn newest(&self) -> Option<SignedCheckpoint> {
        self.kept.lock().newest.clone()
    }

    /// Signs what the log holds now, if that is more than was signed before; gives the newest
    /// checkpoint. Blocks on the disk.
    pub fn sign(&self, now: Timestamp) -> Result<Option<SignedCheckpoint>, NotaryError> {
        let size = self.log.tree_size();
        let (signed, new) = {
            let mut kept = self.kept.lock();
            let before =
                kept.newest.as_ref().map_or(Position::START, |known| known.head().position);
            match self.log.tree_head(size)? {
                Some(head) if size > before => {
                    let signed = SignedCheckpoint::sign(&self.key, head, now);
                    kept.file.add(&signed)?;
                    kept.newest = Some(signed.clone());
                    kept.signed = Some(Instant::now());
                    (Some(signed), true)
                }
                _ => (kept.newest.clone(), false),
            }
        };
        if let (Some(signed), true) = (&signed, new) {
            self.signed.send_replace(signed.head().position);
            self.anchor(signed);
        }
        Ok(signed)
    }

    /// A checkpoint that covers a position: the newest one, or one that is signed for it. `None`
    /// when the log has not come to it yet, or one was signed less than half a second ago: whoever
    /// asks often must not fill the file.
    pub fn covering(
        &self,
        position: Position,
        now: Timestamp,
    ) -> Result<Option<SignedCheckpoint>, NotaryError> {
        let covers = |signed: &SignedCheckpoint| signed.head().position >= position;
        let (newest, signed) = {
            let kept = self.kept.lock();
            (kept.newest.clone(), kept.signed)
        };
        match newest.filter(covers) {
            Some(signed) => Ok(Some(signed)),
            None if signed.is_some_and(|signed| signed.elapsed() < ON_DEMAND_EVERY) => Ok(None),
            None => Ok(self.sign(now)?.filter(covers)),
        }
    }

    /// The second copy lies elsewhere, on a disk that can be slow or gone: then it misses this one,
    /// and the next covers it.
    fn anchor(&self, signed: &SignedCheckpoint) {
        let Some(path) = self.anchor.as_ref().and_then(Mutex::try_lock) else { return };
        let added = checkpoint_file::resume(&path)
            .and_then(|(mut file, _)| file.add(signed).map_err(CheckpointsError::from));
        if let Err(error) = added {
            tracing::warn!(path = %path.display(), %error, "a checkpoint was not anchored");
        }
    }
}
