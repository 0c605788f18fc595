//! A part of the log, checked by itself: a block proves its own chain, from the hash that it begins
//! with to the one that it ends with. So parts are checked on all cores at once, and then only have
//! to join.

use std::{num::NonZero, sync::mpsc};

use super::{
    VerifyError, VerifyReport, bad, check_content, index_error,
    names::{Names, Sum},
};
use crate::{
    content::ContentSegments,
    event::ChainEnd,
    index::Index,
    merkle::{LEAF, TreeHash},
    position::Position,
};

/// Checked parts of each thread that wait for those before them.
const WAITING: usize = 4;

/// Events whose chain holds among them, whose names were checked or summed, and whose content is as
/// they say.
pub(super) struct Stretch {
    /// The end of the chain before them.
    pub(super) before: ChainEnd,
    /// After each of them, and its leaf of the tree.
    pub(super) events: Vec<(ChainEnd, TreeHash)>,
    pub(super) names: Sum,
    pub(super) content: u64,
    pub(super) forgotten: u64,
}

impl Stretch {
    /// Checks what is sealed after one position and up to another.
    pub(super) fn check(
        index: &Index,
        content: &ContentSegments,
        names: &Names,
        after: Position,
        last: Position,
    ) -> Result<Self, VerifyError> {
        let missing = |reached: Position| bad(reached.next(), "a sealed event is missing");
        let mut report = VerifyReport::default();
        let mut sum = Sum::default();
        let mut before: Option<ChainEnd> = None;
        let mut events: Vec<(ChainEnd, TreeHash)> = Vec::new();
        let mut encoded = Vec::new();
        for block in index.blocks_from(after.next()).map_err(index_error)? {
            let block = block.map_err(index_error)?;
            let reached = events.last().map(|(end, _)| *end).or(before);
            let wanted = reached.map_or(after, |end| end.position);
            let start = block.end_at(wanted).ok_or_else(|| missing(wanted))?;
            if reached.is_some_and(|end| end != start) {
                return Err(bad(wanted.next(), "the chain does not hold"));
            }
            before.get_or_insert(start);
            for event in block.events.iter().filter(|event| event.position > wanted) {
                if event.position > last {
                    break;
                }
                names.check(index, event, &mut sum)?;
                check_content(content, event, &mut report)?;
                encoded.clear();
                encoded.push(LEAF);
                event.encode(&mut encoded);
                let end = ChainEnd { position: event.position, hash: event.hash, at: event.at };
                events.push((end, TreeHash::of_marked_leaf(&encoded)));
            }
            if block.end().position >= last {
                break;
            }
        }
        let reached = events.last().map_or(after, |(end, _)| end.position);
        match before {
            Some(before) if reached == last => {
                let VerifyReport { content, forgotten, .. } = report;
                Ok(Self { before, events, names: sum, content, forgotten })
            }
            _ => Err(missing(reached)),
        }
    }
}

/// Checks parts on all cores and takes them in in their order: what is told is the first thing that
/// is not as it was written, whoever finds it.
pub(super) fn each(
    count: u64,
    check: impl Fn(u64) -> Result<Stretch, VerifyError> + Sync,
    mut take: impl FnMut(Stretch) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let mut given = Vec::with_capacity(threads);
        for first in 0..threads as u64 {
            let (give, taken) = mpsc::sync_channel(WAITING);
            given.push(taken);
            let check = &check;
            scope.spawn(move || {
                for number in (first..count).step_by(threads) {
                    // Nobody listens once something bad was found.
                    if give.send(check(number)).is_err() {
                        break;
                    }
                }
            });
        }
        // Each thread has every so manieth part.
        for (_, taken) in (0..count).zip(given.iter().cycle()) {
            match taken.recv() {
                Ok(found) => take(found?)?,
                Err(mpsc::RecvError) => return Err(bad(Position::START, "a check panicked")),
            }
        }
        Ok(())
    })
}
