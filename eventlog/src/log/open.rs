//! Opening: what a crash left behind is mended, what is damaged is named.

use std::{io, path::Path, sync::Arc};

use super::LogOptions;
use crate::{
    checkpoint::{Checkpoint, CheckpointFile},
    engine::EngineError,
    error::OpenError,
    event::{ChainEnd, Recorded},
    files,
    index::{Index, IndexError, Sealing},
    journal::{self, JournalReader, JournalWriter, Segment},
    layout::Layout,
    position::Position,
};

/// What had to be mended when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Bytes of a journal frame that a crash cut off: it was never acknowledged.
    pub torn_bytes: u64,
    /// Why sled's files were made anew from the journal, if they were.
    pub rebuilt: Option<Arc<str>>,
    /// Events that were in the journal and not yet sealed.
    pub replayed: u64,
}

/// A log that is ready to go on; everything in it is sealed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) index: Arc<Index>,
    pub(super) sealing: Sealing,
    pub(super) journal: JournalWriter,
    pub(super) recovery: Recovery,
}

/// Mends, checks and seals. `rebuild`: why sled's files are to be made anew in any case.
/// `progress` is told the position reached.
pub(super) fn recover(
    layout: &Layout,
    options: &LogOptions,
    rebuild: Option<&str>,
    progress: &mut dyn FnMut(Position),
) -> Result<Opened, OpenError> {
    make_room(layout, options)?;
    let journal_dir = layout.journal();
    journal::remove_half_made(&journal_dir).map_err(|e| OpenError::io(&journal_dir, e))?;
    let checkpoint = Checkpoint::read(&layout.checkpoint())
        .map_err(|error| OpenError::io(layout.checkpoint(), error))?;
    layout.remove_other_generations()?;
    let mut recovery = Recovery::default();

    // The journal's end first: it is written once more and synced before anything builds on it.
    let resumed = resume_journal(&journal_dir, options, &mut recovery)?;

    let usable = match rebuild {
        Some(reason) => Err(reason.into()),
        None => usable_index(layout, &checkpoint)?,
    };
    let (index, mut sealing) = match usable {
        Ok(usable) => usable,
        Err(reason) => {
            tracing::warn!(%reason, "sled's files are made anew from the journal");
            let begun = begin_anew(layout, &reason, progress)?;
            recovery.rebuilt = Some(reason);
            begun
        }
    };
    let sealed = sealing.end();
    let known = match checkpoint {
        CheckpointFile::Whole(checkpoint) => Some(checkpoint),
        CheckpointFile::Missing | CheckpointFile::Damaged => None,
    };
    replay(&journal_dir, known, &mut sealing, progress)?;
    recovery.replayed = sealing.end().position.get() - sealed.position.get();
    let journal = match resumed {
        Some(journal) => journal,
        None => JournalWriter::create(&journal_dir, sealing.end(), options.segment_bytes)
            .map_err(|error| OpenError::io(&journal_dir, error))?,
    };
    let end = sealing.end();
    let reached = Checkpoint { position: end.position, hash: end.hash };
    let changed = known != Some(reached) || recovery.rebuilt.is_some();
    if changed && end.position > Position::START {
        index.sync().map_err(|error| store(&error))?;
        reached
            .write(&layout.checkpoint())
            .map_err(|error| OpenError::io(layout.checkpoint(), error))?;
    }
    // Whole and durable is what is in use now. Where they are left they would be taken for the whole
    // ones the next time.
    remove_directory(&layout.sled_aside())?;
    if let Err(error) = keep_ballast(layout, options) {
        tracing::warn!(%error, "no ballast file");
    }
    Ok(Opened { index, sealing, journal, recovery })
}

fn store(error: &IndexError) -> OpenError {
    OpenError::Store(error.to_string().into())
}

/// Cuts off a torn frame and makes the last good one durable; `None` for an empty journal.
fn resume_journal(
    dir: &Path,
    options: &LogOptions,
    recovery: &mut Recovery,
) -> Result<Option<JournalWriter>, OpenError> {
    let segments = journal::segments(dir)?;
    let Some(path) = segments.last() else { return Ok(None) };
    let (last, begun) =
        (journal::first_of(path).unwrap_or_default(), Segment::open(path)?.before().at);
    let mut reader = JournalReader::open(dir, last)?;
    while reader.next_frame()?.is_some() {}
    let Some(ending) = reader.finish() else { return Ok(None) };
    if ending.torn > 0 {
        tracing::warn!(
            bytes = ending.torn,
            after = %ending.chain.position,
            "a journal frame that a crash cut off is removed"
        );
    }
    recovery.torn_bytes = ending.torn;
    let resumed = JournalWriter::resume(dir, &ending, begun, options.segment_bytes);
    resumed.map(Some).map_err(|error| OpenError::io(ending.path, error))
}

type Usable = (Arc<Index>, Sealing);

/// sled's files, or why they cannot be used.
fn usable_index(
    layout: &Layout,
    checkpoint: &CheckpointFile,
) -> Result<Result<Usable, Arc<str>>, OpenError> {
    let known = match checkpoint {
        CheckpointFile::Damaged => return Ok(Err("the checkpoint file is damaged".into())),
        CheckpointFile::Missing => None,
        CheckpointFile::Whole(checkpoint) => Some(*checkpoint),
    };
    let index = match Index::open(&layout.sled()?) {
        Ok(index) => Arc::new(index),
        Err(EngineError::Locked) => {
            return Err(OpenError::Locked { dir: layout.dir().to_owned() });
        }
        Err(error) => return Ok(Err(error.to_string().into())),
    };
    let checked = check_index(&index, known).and_then(|()| {
        Sealing::resume(Arc::clone(&index)).map_err(|error| Arc::from(error.to_string()))
    });
    Ok(checked.map(|sealing| (index, sealing)))
}

/// Whether the index holds what the checkpoint file says; in words, if not.
pub(crate) fn check_index(index: &Index, known: Option<Checkpoint>) -> Result<(), Arc<str>> {
    let Some(known) = known else { return Ok(()) };
    let words = |error: IndexError| Arc::from(error.to_string());
    let end = index.end().map_err(words)?;
    if end.position < known.position {
        return Err(format!(
            "sled holds events up to position {}, and held them up to {}",
            end.position, known.position
        )
        .into());
    }
    match index.chain_at(known.position).map_err(words)? {
        Some(end) if end.hash == known.hash => Ok(()),
        Some(_) => {
            Err(format!("the chain differs from the checkpoint at {}", known.position).into())
        }
        None => Err(format!("the event at position {} is missing", known.position).into()),
    }
}

/// Sets sled's files aside and begins new ones, with what the journal no longer has from the old.
fn begin_anew(
    layout: &Layout,
    reason: &Arc<str>,
    progress: &mut dyn FnMut(Position),
) -> Result<Usable, OpenError> {
    let segments = journal::segments(&layout.journal())?;
    let before = match segments.first() {
        Some(first) => Segment::open(first)?.before(),
        None => ChainEnd::START,
    };
    let (sled, aside) = (layout.sled()?, layout.sled_aside());
    let moved = if aside.is_dir() {
        // A crash came while they were made anew: those that were set aside are the whole ones.
        remove_directory(&sled)?;
        true
    } else {
        match std::fs::rename(&sled, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            renamed => renamed.map(|()| true).map_err(|error| OpenError::io(&sled, error))?,
        }
    };
    let begun = salvage(&sled, &aside, before, progress);
    if moved && begun.is_err() {
        remove_directory(&sled)?;
        std::fs::rename(&aside, &sled).map_err(|error| OpenError::io(&sled, error))?;
    }
    files::sync_directory(layout.dir()).map_err(|error| OpenError::io(layout.dir(), error))?;
    begun.map_err(|failed| match failed {
        Salvage::Old(what) => OpenError::JournalTooShort {
            journal_from: before.position.next(),
            reason: format!("{reason}; {what}").into(),
        },
        Salvage::New(error) => error,
    })
}

enum Salvage {
    /// The old files do not give what is needed.
    Old(Arc<str>),
    /// The new ones fail.
    New(OpenError),
}

/// New files with everything up to `before`, taken from those that were set aside. The chain
/// proves each event.
fn salvage(
    sled: &Path,
    aside: &Path,
    before: ChainEnd,
    progress: &mut dyn FnMut(Position),
) -> Result<Usable, Salvage> {
    let new = |error: String| Salvage::New(OpenError::Store(error.into()));
    let index = Arc::new(Index::open(sled).map_err(|error| new(error.to_string()))?);
    let mut sealing =
        Sealing::resume(Arc::clone(&index)).map_err(|error| new(error.to_string()))?;
    if before.position == Position::START {
        return Ok((index, sealing));
    }
    let old = |error: String| Salvage::Old(error.into());
    let aside = Index::open(aside).map_err(|error| old(error.to_string()))?;
    index.inherit(&aside).map_err(|error| old(error.to_string()))?;
    for block in aside.blocks_from(Position::new(1)).map_err(|error| old(error.to_string()))? {
        let block = block.map_err(|error| old(error.to_string()))?;
        let reached = sealing.end().position;
        if reached >= before.position {
            break;
        }
        for item in block.items().filter(|item| item.last() <= before.position) {
            sealing.push_item(&item).map_err(|error| old(error.to_string()))?;
        }
        progress(sealing.end().position);
    }
    let reached = sealing.end().position;
    if reached < before.position {
        return Err(old(format!("the event at position {} is missing", reached.next())));
    }
    if sealing.end() != before {
        return Err(old("the journal does not go on where they end".to_owned()));
    }
    sealing.apply().map_err(|error| new(error.to_string()))?;
    Ok((index, sealing))
}

fn remove_directory(path: &Path) -> Result<(), OpenError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OpenError::io(path, error)),
        _ => Ok(()),
    }
}

/// Seals what the journal has and sled has not, and compares where both have it.
fn replay(
    dir: &Path,
    checkpoint: Option<Checkpoint>,
    sealing: &mut Sealing,
    progress: &mut dyn FnMut(Position),
) -> Result<(), OpenError> {
    let sealed = sealing.end();
    // One position earlier than needed, so that the chain is compared where the two meet.
    let mut reader = JournalReader::open(dir, sealed.position)?;
    let before = reader.start()?.unwrap_or(ChainEnd::START);
    let parted =
        |position: Position, what: String| OpenError::Chain { position, what: what.into() };
    if before.position > sealed.position {
        let what = format!("sled ends here and the journal begins at {}", before.position.next());
        return Err(parted(sealed.position, what));
    }
    if before.position == sealed.position && before != sealed {
        return Err(parted(sealed.position, "sled and the journal differ".to_owned()));
    }
    let mut reached = before.position;
    while let Some(events) = reader.next_frame()? {
        for event in &events {
            let differs = (event.position == sealed.position && event.hash != sealed.hash)
                || checkpoint.is_some_and(|known| {
                    event.position == known.position && event.hash != known.hash
                });
            if differs {
                let what = "sled or the checkpoint and the journal differ".to_owned();
                return Err(parted(event.position, what));
            }
            if event.position > sealed.position {
                sealing.push(event).map_err(|error| store(&error))?;
            }
        }
        reached = events.last().map_or(reached, |event: &Recorded| event.position);
        progress(reached);
    }
    let promised = checkpoint.map_or(Position::START, |known| known.position).max(sealed.position);
    if reached < promised {
        let segments = journal::segments(dir)?;
        return Err(OpenError::Journal {
            file: segments.last().cloned().unwrap_or_else(|| dir.to_owned()),
            offset: reader.finish().map_or(0, |ending| ending.end),
            position: reached.next(),
            what: format!("it ends here, and once held events up to {promised}").into(),
        });
    }
    sealing.apply().map_err(|error| store(&error))
}

/// On a full disk, gives up the ballast: sled needs room to open.
fn make_room(layout: &Layout, options: &LogOptions) -> Result<(), OpenError> {
    let ballast = layout.ballast();
    let low = files::free_bytes(layout.dir())
        .is_some_and(|free| free < options.ballast_bytes.max(options.low_water_bytes));
    if low && ballast.exists() {
        tracing::warn!("the disk is nearly full: the ballast file is given up");
        std::fs::remove_file(&ballast).map_err(|error| OpenError::io(ballast, error))?;
    }
    Ok(())
}

/// Makes the ballast file where there is plenty of room for it.
fn keep_ballast(layout: &Layout, options: &LogOptions) -> io::Result<()> {
    let ballast = layout.ballast();
    let wanted = options.ballast_bytes;
    let plenty = files::free_bytes(layout.dir())
        .is_some_and(|free| free > options.low_water_bytes.saturating_add(wanted * 4));
    if wanted == 0 || ballast.exists() || !plenty {
        return Ok(());
    }
    let file = std::fs::File::create(&ballast)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted)?;
    Ok(())
}
