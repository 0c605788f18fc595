//! A part of the log, checked by itself: a block proves its own chain, from the hash that it begins
//! with to the one that it ends with. So parts are checked on all cores at once, and then only have
//! to join.

use std::{num::NonZero, sync::mpsc};

use super::{
    VerifyError, VerifyReport, bad, check_content, index_error,
    names::{Names, Sum},
};
use crate::{
    block::Item,
    content::ContentSegments,
    event::ChainEnd,
    gap::Gap,
    index::Index,
    merkle::{LEAF, TreeHash},
    position::Position,
};

/// Checked parts of each thread that wait for those before them.
const WAITING: usize = 4;

/// Events whose chain holds among them, whose names were checked or summed, and whose content is as
/// they say; and the gaps that begin among them. Nothing where a gap covers all.
#[derive(Default)]
pub(super) struct Stretch {
    /// The end of the chain before them.
    pub(super) before: Option<ChainEnd>,
    pub(super) links: Vec<Link>,
    pub(super) names: Sum,
    pub(super) content: u64,
    pub(super) forgotten: u64,
}

/// What the chain is made of.
pub(super) enum Link {
    /// An event: the chain's end after it, and its leaf of the tree.
    Event(ChainEnd, TreeHash),
    /// Where some were.
    Gap(Gap),
}

impl Link {
    const fn end(&self) -> ChainEnd {
        match self {
            Self::Event(end, _) => *end,
            Self::Gap(gap) => gap.end,
        }
    }
}

impl Stretch {
    /// Checks what is sealed after one position and up to another. A gap is checked where it begins.
    pub(super) fn check(
        index: &Index,
        content: &ContentSegments,
        names: &Names,
        after: Position,
        last: Position,
    ) -> Result<Self, VerifyError> {
        let missing = |reached: Position| bad(reached.next(), "a sealed event is missing");
        let (mut stretch, mut report) = (Self::default(), VerifyReport::default());
        let mut reached: Option<ChainEnd> = None;
        let mut encoded = Vec::new();
        for block in index.blocks_from(after.next()).map_err(index_error)? {
            let block = block.map_err(index_error)?;
            let wanted = reached.map_or(after, |end| end.position);
            let start = match (block.end_at(wanted), block.gap(wanted)) {
                (Some(start), _) => start,
                // It began before, and is checked there.
                (None, Some(gap)) if reached.is_none() => gap.end,
                _ => return Err(missing(wanted)),
            };
            if reached.is_some_and(|end| end != start) {
                return Err(bad(wanted.next(), "the chain does not hold"));
            }
            let mut end = start;
            for item in block.items().filter(|item| item.last() > start.position) {
                if end.position >= last {
                    break;
                }
                stretch.before.get_or_insert(end);
                let link = match item {
                    Item::Event(event) => {
                        names.check(index, event, &mut stretch.names)?;
                        check_content(content, event, &mut report)?;
                        encoded.clear();
                        encoded.push(LEAF);
                        event.encode(&mut encoded);
                        let (position, hash, at) = (event.position, event.hash, event.at);
                        let leaf = TreeHash::of_marked_leaf(&encoded);
                        Link::Event(ChainEnd { position, hash, at }, leaf)
                    }
                    Item::Gap(gap) => Link::Gap(gap.clone()),
                };
                end = link.end();
                stretch.links.push(link);
            }
            reached = Some(end);
            if end.position >= last {
                break;
            }
        }
        let reached = reached.map_or(after, |end| end.position);
        if reached < last {
            return Err(missing(reached));
        }
        (stretch.content, stretch.forgotten) = (report.content, report.forgotten);
        Ok(stretch)
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
