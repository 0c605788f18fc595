//! Whether the stream index names every sealed event, and nothing else. To look an event up goes from
//! the index's root down for each; one walk along the index does not. So both sides are summed up, in
//! whatever order they come, and only where the sums differ are events looked up, to say which.

use std::hash::{BuildHasher as _, RandomState};

use super::{VerifyError, bad, index_error};
use crate::{event::Recorded, index::Index, position::Position};

/// How the names of events are checked.
pub(super) enum Names {
    /// By a sum under a key of this run, which nobody who wrote the index could know.
    Summed(RandomState),
    /// One by one.
    LookedUp,
}

/// Names, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    count: u64,
    sum: u64,
}

impl Sum {
    pub(super) const fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Names {
    /// Checks the name of an event, or adds it to `sum`, to be checked later.
    pub(super) fn check(
        &self,
        index: &Index,
        event: &Recorded,
        sum: &mut Sum,
    ) -> Result<(), VerifyError> {
        let (stream, version) = (event.stream, event.version);
        match self {
            Self::Summed(key) => {
                sum.add(one(key, (stream.to_bytes(), version.get(), event.position.get())));
                Ok(())
            }
            Self::LookedUp => match index.position_of(stream, version).map_err(index_error)? {
                Some(found) if found == event.position => Ok(()),
                _ => Err(bad(event.position, "the stream index does not name this event")),
            },
        }
    }

    /// The sum of what the index names up to a position.
    pub(super) fn indexed(&self, index: &Index, last: Position) -> Result<Sum, VerifyError> {
        let mut sum = Sum::default();
        let Self::Summed(key) = self else { return Ok(sum) };
        for entry in index.names() {
            let (stream, version, position) = entry.map_err(index_error)?;
            if position <= last {
                sum.add(one(key, (stream, version.get(), position.get())));
            }
        }
        Ok(sum)
    }
}

fn one(key: &RandomState, name: ([u8; model::StreamId::LEN], u64, u64)) -> Sum {
    Sum { count: 1, sum: key.hash_one(name) }
}

/// Finds a name that no event has. Every event was found under its own.
pub(super) fn nothing_else(index: &Index, last: Position) -> Result<(), VerifyError> {
    for entry in index.names() {
        let (stream, version, position) = entry.map_err(index_error)?;
        if position > last {
            continue;
        }
        let block = index.block_at(position).map_err(index_error)?;
        let event = block.as_deref().and_then(|block| block.event(position));
        let own = |event: &Recorded| event.stream.to_bytes() == stream && event.version == version;
        if !event.is_some_and(own) {
            return Err(bad(position, "the stream index names another event"));
        }
    }
    Ok(())
}
