//! What a read model is: a fold of the log into the rows of one table.

use eventlog::{ChainHash, Position};

use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
    fact::Fact,
    layer::Round,
};

/// A fold of the log. The rows follow from the events alone: not from the time, not from how the
/// events were cut into rounds.
pub(crate) trait Projection: Send {
    /// The table's name.
    fn name(&self) -> &'static str;

    /// The version of its rows: with another one, the table is made anew.
    fn version(&self) -> u32;

    /// Whether rows follow from events of messages. Those are pruned when their time is over, and
    /// then the table as it was at that point is carried in the log: it cannot be folded from
    /// nothing any more. Whoever changes the version of such rows must read those that were carried.
    fn is_carried(&self) -> bool {
        false
    }

    /// Takes in one event.
    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt>;

    /// Writes the rows that it held back while it took in the events of a round.
    fn settle(&mut self, _round: &mut Round<'_>) -> Result<(), Halt> {
        Ok(())
    }

    /// Drops what it holds of the table, because rows were lost that it had written.
    fn forget(&mut self) {}

    /// Takes a row into memory: each as it is written, and at the start all, in the order of keys.
    fn remember(&self, _key: &[u8], _value: &[u8]) -> Result<(), Halt> {
        Ok(())
    }

    /// Whether there is anything to remember.
    fn remembers(&self) -> bool {
        false
    }
}

/// The row that says how far a table has come. It sorts before every other.
pub(crate) const CHECKPOINT_KEY: &[u8] = &[0];

/// How far a table has come, written in one batch with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) version: u32,
    pub(crate) position: Position,
    /// The log's chain there: another history of the same length is recognised.
    pub(crate) hash: ChainHash,
}

impl Checkpoint {
    pub(crate) const fn start(version: u32) -> Self {
        Self { version, position: Position::START, hash: ChainHash::START }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        join(&[
            &self.version.to_le_bytes(),
            &self.position.get().to_le_bytes(),
            self.hash.as_bytes(),
        ])
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let version = reader.u32()?;
        let position = Position::new(reader.u64()?);
        let hash = ChainHash::from_bytes(reader.array()?);
        if reader.is_empty() { Ok(Self { version, position, hash }) } else { Err(Malformed) }
    }
}
