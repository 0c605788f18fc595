//! The tail: durable events that are not yet sealed, in memory.

use std::collections::{HashMap, VecDeque};

use model::StreamId;

use crate::{
    event::Recorded,
    memory::bounded,
    position::{Position, Version},
};

/// Events after [`Tail::before`], in order, and where each stream's lie.
#[derive(Debug)]
pub(crate) struct Tail {
    before: Position,
    events: VecDeque<Recorded>,
    streams: HashMap<StreamId, VecDeque<Position>>,
    bytes: usize,
}

impl Tail {
    /// Nothing, after a position.
    pub(crate) fn after(before: Position) -> Self {
        Self { before, events: VecDeque::new(), streams: HashMap::new(), bytes: 0 }
    }

    /// The last position that is no longer here.
    pub(crate) const fn before(&self) -> Position {
        self.before
    }

    /// Bytes of the events here.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn extend(&mut self, events: Vec<Recorded>) {
        for event in events {
            self.bytes += event.encoded_len();
            self.streams.entry(event.stream).or_default().push_back(event.position);
            self.events.push_back(event);
        }
    }

    /// All events here, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Recorded> {
        self.events.iter()
    }

    /// Lets go of the events up to a position.
    pub(crate) fn drop_through(&mut self, position: Position) {
        while let Some(event) = self.events.pop_front_if(|event| event.position <= position) {
            self.before = event.position;
            self.bytes -= event.encoded_len();
            if let Some(positions) = self.streams.get_mut(&event.stream) {
                positions.pop_front();
                if positions.is_empty() {
                    self.streams.remove(&event.stream);
                }
            }
        }
    }

    /// The events after a position; `None` when it lies before what is here.
    pub(crate) fn read_all(&self, after: Position, limit: usize) -> Option<Vec<Recorded>> {
        let skip = after.get().checked_sub(self.before.get())?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.events.len());
        Some(bounded(self.events.range(skip..), limit))
    }

    /// The events of a stream that are here and after a version.
    pub(crate) fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Vec<Recorded> {
        let positions = self.streams.get(&stream).into_iter().flatten();
        let events = positions
            .filter_map(|position| self.get(*position))
            .filter(|event| event.version > after);
        bounded(events, limit)
    }

    /// The first version of a stream that is here.
    pub(crate) fn first_version(&self, stream: StreamId) -> Option<Version> {
        let position = self.streams.get(&stream)?.front()?;
        self.get(*position).map(|event| event.version)
    }

    /// The last version of a stream that is here.
    pub(crate) fn last_version(&self, stream: StreamId) -> Option<Version> {
        let position = self.streams.get(&stream)?.back()?;
        self.get(*position).map(|event| event.version)
    }

    fn get(&self, position: Position) -> Option<&Recorded> {
        let place = position.get().checked_sub(self.before.get() + 1)?;
        self.events.get(usize::try_from(place).ok()?)
    }
}
