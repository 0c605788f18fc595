//! Epochs: which history the numbers of a feed belong to.
//!
//! A server that was put back to a backup gives numbers anew that others had seen as those of other
//! events. Each time begins an epoch; the first one has no name but `0`. An epoch is told with its
//! numbers, and who shows an older one is taken back to where both histories are the same.
//!
//! # Why
//! - **The name tells where it began**, so that an epoch can be dealt with that the record knows
//!   nothing of, for the record was put back to before it once more.
//! - **Read once**: nothing is put back while a server runs.

use eventlog::{EventLog, Position, ReadError, Version};
use model::{Event, EventId, InstanceId, StreamId, instance::InstanceEvent};

/// Events that are read at once.
const PAGE: usize = 1_000;
/// Longest name of an epoch.
pub(crate) const MAX_EPOCH: usize = 64;

/// The name of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Epoch {
    /// From the first event on.
    #[default]
    First,
    /// Since the record was put back: up to which position, and the event that says so.
    Restored(Position, EventId),
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => f.write_str("0"),
            Self::Restored(through, event) => write!(f, "{through}.{event}"),
        }
    }
}

impl Epoch {
    /// The epoch of this name; `None` for what is none.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::First);
        }
        let (through, event) = text.split_once('.').filter(|_| text.len() <= MAX_EPOCH)?;
        let read = Self::Restored(Position::new(through.parse().ok()?), event.parse().ok()?);
        (read.to_string() == text).then_some(read)
    }
}

/// All epochs of a log, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<(Position, EventId)>);

impl Epochs {
    /// Those of a log.
    pub(crate) fn of(log: &dyn EventLog) -> Result<Self, ReadError> {
        let stream = StreamId::Instance(InstanceId::THIS);
        let (mut found, mut after) = (Vec::new(), Version::NONE);
        loop {
            let page = log.read_stream(stream, after, PAGE)?;
            let Some(last) = page.last() else { return Ok(Self(found)) };
            after = last.version;
            for recorded in &page {
                let event = Event::decode(stream, &recorded.data);
                if let Ok(Event::Instance(InstanceEvent::Restored(restored))) = event {
                    found.push((Position::new(restored.through), recorded.id));
                }
            }
        }
    }

    /// The one that numbers belong to now.
    pub(crate) fn current(&self) -> Epoch {
        self.0.last().map_or(Epoch::First, |(through, event)| Epoch::Restored(*through, *event))
    }

    /// Up to which position the history of an epoch is the one that there is now; `None`: wholly.
    pub(crate) fn shared(&self, epoch: Epoch) -> Option<Position> {
        let (later, began) = match epoch {
            Epoch::First => (self.0.as_slice(), None),
            Epoch::Restored(through, event) => {
                let place = self.0.iter().position(|known| *known == (through, event));
                match place {
                    Some(place) => (self.0.get(place + 1..).unwrap_or_default(), None),
                    // The record was put back to before it began: any of those that are known can
                    // be the one that did so.
                    None => (self.0.as_slice(), Some(through)),
                }
            }
        };
        later.iter().map(|(through, _)| *through).chain(began).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u8) -> EventId {
        EventId::from_bytes([number; 16])
    }

    fn restored(through: u64, number: u8) -> Epoch {
        Epoch::Restored(Position::new(through), event(number))
    }

    #[test]
    fn names_read_back_and_nothing_else_does() {
        for epoch in [Epoch::First, restored(4_711, 3)] {
            assert_eq!(Epoch::read(&epoch.to_string()), Some(epoch));
        }
        let name = restored(4_711, 3).to_string();
        for wrong in ["", "1", "00", ".", &name[1..4], &format!("0{name}"), &format!("{name}x")] {
            assert_eq!(Epoch::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_older_epoch_is_shared_up_to_the_earliest_place_that_was_put_back_to_since() {
        let none = Epochs(Vec::new());
        assert_eq!((none.current(), none.shared(Epoch::First)), (Epoch::First, None));
        let place = |number| Some(Position::new(number));
        assert_eq!(none.shared(restored(70, 1)), place(70), "it was put back to before it began");
        let all = [(100, 1), (90, 2), (300, 3)];
        let all = all.map(|(through, number)| (Position::new(through), event(number)));
        let epochs = Epochs(all.to_vec());
        assert_eq!(epochs.current(), restored(300, 3));
        assert_eq!(epochs.shared(restored(300, 3)), None);
        assert_eq!(epochs.shared(restored(90, 2)), place(300));
        assert_eq!(epochs.shared(restored(100, 1)), place(90));
        assert_eq!(epochs.shared(Epoch::First), place(90));
        assert_eq!(epochs.shared(restored(100, 9)), place(90));
        assert_eq!(epochs.shared(restored(50, 9)), place(50));
    }
}
