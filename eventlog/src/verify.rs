//! Checking everything: every checksum, the chain from its first event, the tree, what was signed of
//! them, the stream index and the content that events name.

mod copy;
mod names;
mod stretch;
mod walk;

use std::{hash::RandomState, path::Path, sync::Arc};

use crate::{
    checkpoint::{Checkpoint, CheckpointFile},
    content::{ContentSegments, Hour},
    error::{ContentError, OpenError},
    event::{ChainEnd, Recorded},
    index::{Index, IndexError},
    journal::{self, JournalReader},
    layout::Layout,
    log::check_index,
    position::Position,
};

pub(crate) use self::copy::verify_copy;
pub use self::walk::Signed;
use self::{
    names::{Names, Sum},
    stretch::Stretch,
    walk::Walk,
};

/// Events that one thread checks at once.
const STRETCH: u64 = 8192;

/// What was checked and found well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// The last position.
    pub head: Position,
    /// The last position that is sealed in sled.
    pub sealed: Position,
    /// Up to where a signed checkpoint vouches for the events; 0 when none was held against them.
    pub signed: Position,
    /// The first position that the journal still holds; 0 when it was not read.
    pub journal_from: Position,
    /// Events that were pruned; of a pass that began at a checkpoint only those after it.
    pub pruned: u64,
    /// Content records that are there.
    pub content: u64,
    /// Content records that were forgotten.
    pub forgotten: u64,
    /// Bytes of a journal frame that a crash cut off: no damage, it was never acknowledged.
    pub torn_bytes: u64,
}

/// Why a log could not be checked, or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The first thing that is not as it was written.
    #[error("position {position}: {what}")]
    Bad {
        /// Where.
        position: Position,
        /// What is wrong, in words.
        what: Arc<str>,
    },
    /// The journal is damaged, or the log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

fn bad(position: Position, what: impl Into<Arc<str>>) -> VerifyError {
    VerifyError::Bad { position, what: what.into() }
}

fn index_error(error: IndexError) -> VerifyError {
    match error {
        IndexError::Damaged { position, what } => bad(position, what),
        other => VerifyError::Open(OpenError::Store(other.to_string().into())),
    }
}

/// Checks a log that is not in use. Changes nothing but what sled does when it opens. `progress`
/// is told the positions checked and their number.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, VerifyError> {
    verify_signed(dir, &Signed::default(), progress)
}

/// Like [`verify`], and holds the log against what was signed of it: finds also what was rewritten
/// with all its hashes, and what was cut off at the end.
pub fn verify_signed(
    dir: &Path,
    signed: &Signed,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    verify_in(&Layout::new(dir), signed, progress)
}

pub(crate) fn verify_in(
    layout: &Layout,
    signed: &Signed,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    if !layout.journal().is_dir() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(OpenError::io(layout.journal(), missing).into());
    }
    let _lock = layout.lock()?;
    let checkpoint = Checkpoint::read(&layout.checkpoint())
        .map_err(|error| OpenError::io(layout.checkpoint(), error))?;
    let known = match checkpoint {
        CheckpointFile::Whole(checkpoint) => Some(checkpoint),
        CheckpointFile::Missing => None,
        CheckpointFile::Damaged => {
            return Err(bad(Position::START, "the checkpoint file is damaged"));
        }
    };
    let index = Index::open(&layout.sled()?)
        .map_err(|error| bad(Position::START, format!("sled's files do not open: {error}")))?;
    if let Some(known) = known {
        check_index(&index, Some(known)).map_err(|what| bad(known.position, what))?;
    }
    let content = ContentSegments::open(&layout.content(), Hour::default())
        .map_err(|error| OpenError::io(layout.content(), error))?;
    let begin = || Walk::against(signed, layout, &index);
    let (mut walk, mut report) = verify_sealed(&index, &content, begin, progress)?;
    verify_journal(layout, &index, &content, &mut walk, &mut report)?;
    let promised = known.map_or(Position::START, |known| known.position).max(report.sealed);
    if report.head < promised {
        return Err(bad(
            report.head.next(),
            format!("the journal ends here, and once held events up to {promised}"),
        ));
    }
    walk.finish()?;
    report.signed = walk.signed;
    Ok(report)
}

/// Checks what is sealed in a log that may be in use.
pub(crate) fn verify_open(
    index: &Index,
    content: &ContentSegments,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    Ok(verify_sealed(index, content, || Walk::new(index), progress)?.1)
}

/// Checks what is sealed: quickly, and where that finds anything once more in the way that names
/// the first.
fn verify_sealed(
    index: &Index,
    content: &ContentSegments,
    begin: impl Fn() -> Result<Walk, VerifyError>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Walk, VerifyReport), VerifyError> {
    let mut walk = begin()?;
    // After a checkpoint little is read, and a sum takes the whole index.
    let whole = walk.begun == Position::START;
    if whole {
        let names = Names::Summed(RandomState::new());
        match pass(index, content, &names, &mut walk, progress) {
            Ok(report) => return Ok((walk, report)),
            Err(_) => walk = begin()?,
        }
    }
    let report = pass(index, content, &Names::LookedUp, &mut walk, progress)?;
    if whole {
        names::nothing_else(index, report.sealed)?;
    }
    Ok((walk, report))
}

fn pass(
    index: &Index,
    content: &ContentSegments,
    names: &Names,
    walk: &mut Walk,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    let sealed = index.end().map_err(index_error)?;
    let tree = index.has_tree(sealed.position).map_err(index_error)?.then_some(index);
    let mut report = VerifyReport::default();
    let begun = walk.end.position;
    let check = |number: u64| {
        let after = begun.plus(number.saturating_mul(STRETCH));
        Stretch::check(index, content, names, after, after.plus(STRETCH).min(sealed.position))
    };
    let count = sealed.position.get().saturating_sub(begun.get()).div_ceil(STRETCH);
    let mut named = Sum::default();
    let indexed = std::thread::scope(|scope| {
        let indexed = scope.spawn(|| names.indexed(index, sealed.position));
        stretch::each(count, check, |stretch| {
            walk.join(&stretch, tree)?;
            named.add(stretch.names);
            report.content += stretch.content;
            report.forgotten += stretch.forgotten;
            progress(walk.end.position.get(), sealed.position.get());
            Ok(())
        })?;
        indexed.join().map_err(|_| bad(Position::START, "a check panicked"))?
    })?;
    if let Names::Summed(_) = names
        && indexed != named
    {
        return Err(bad(Position::START, "the stream index differs from the events"));
    }
    if walk.end.position < sealed.position {
        return Err(bad(walk.end.position.next(), "a sealed event is missing"));
    }
    if walk.end.position == sealed.position && walk.end.hash != sealed.hash {
        return Err(bad(sealed.position, "the chain differs from sled's checkpoint"));
    }
    walk.check_gaps(index)?;
    report.head = sealed.position;
    report.sealed = sealed.position;
    report.pruned = walk.pruned_events();
    Ok(report)
}

fn check_content(
    content: &ContentSegments,
    event: &Recorded,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    for location in &event.content {
        match content.read(location) {
            Ok(_) => report.content += 1,
            Err(ContentError::Forgotten) => report.forgotten += 1,
            Err(error) => return Err(bad(event.position, error.to_string())),
        }
    }
    Ok(())
}

/// Checks the whole journal, and that it tells what the sealed blocks tell.
fn verify_journal(
    layout: &Layout,
    index: &Index,
    content: &ContentSegments,
    walk: &mut Walk,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let dir = layout.journal();
    let first = journal::segments(&dir)?.first().and_then(|path| journal::first_of(path));
    let mut reader = JournalReader::open(&dir, walk.begun)?;
    let Some(before) = reader.start()? else {
        report.head = Position::START;
        return Ok(());
    };
    report.journal_from = first.unwrap_or_default();
    let mut reached = before.position;
    if reached > report.sealed {
        return Err(bad(report.sealed.next(), "neither sled nor the journal has it"));
    }
    compare(index, before, report.sealed)?;
    while let Some(events) = reader.next_frame()? {
        for event in &events {
            if event.position > report.sealed {
                walk.step(event, None)?;
                check_content(content, event, report)?;
            }
            reached = event.position;
        }
        // Both chains were followed event by event: where their hashes agree, all before does.
        if let Some(last) = events.last() {
            let end = ChainEnd { position: last.position, hash: last.hash, at: last.at };
            compare(index, end, report.sealed)?;
        }
    }
    report.head = reached;
    report.torn_bytes = reader.finish().map_or(0, |ending| ending.torn);
    Ok(())
}

fn compare(index: &Index, journal: ChainEnd, sealed: Position) -> Result<(), VerifyError> {
    if journal.position == Position::START || journal.position > sealed {
        return Ok(());
    }
    let end = index.chain_at(journal.position).map_err(index_error)?;
    let same = end.is_some_and(|end| end.hash == journal.hash);
    if same { Ok(()) } else { Err(bad(journal.position, "sled and the journal differ")) }
}
