//! Letters that came to offices, by the domain that they are about.

use std::{fmt, sync::Arc};

use eventlog::{ContentLocation, EventLog, Position, Recorded, Scan, Version};
use model::{
    DomainId, Event, LetterId, StreamId, Timestamp,
    letter::{LetterEvent, LetterReceived},
};

use crate::{
    codec::{Reader, join},
    error::{Halt, QueryError},
    events::events_at,
    fact::Fact,
    layer::{Round, Rows},
    projection::Projection,
};

const NAME: &str = "letters";

/// By domain and position.
const OF_DOMAIN: u8 = 1;
/// By position.
const OF_OPERATOR: u8 = 2;

/// Most letters of one page.
pub const MAX_LETTER_PAGE: usize = 100;

/// A letter as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterView {
    /// Which letter.
    pub id: LetterId,
    /// When it came.
    pub at: Timestamp,
    /// What is known of it without its content.
    pub received: LetterReceived,
    /// Where its content lies: head, then the message.
    pub content: Box<[ContentLocation]>,
}

/// A place in a list of letters. Its text is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterCursor(u64);

impl LetterCursor {
    /// Reads a cursor; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let before = u64::from_str_radix(text, 16).ok()?;
        (Self(before).to_string() == text).then_some(Self(before))
    }
}

impl fmt::Display for LetterCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The letters.
pub struct Letters {
    table: Rows,
    log: Arc<dyn EventLog>,
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").finish_non_exhaustive()
    }
}

impl Letters {
    pub(crate) fn new(table: Rows, log: Arc<dyn EventLog>) -> Self {
        Self { table, log }
    }

    /// Letters about a domain, or to the operator (`None`), the newest first.
    pub fn page(
        &self,
        domain: Option<DomainId>,
        cursor: Option<LetterCursor>,
        limit: usize,
    ) -> Result<(Vec<LetterView>, Option<LetterCursor>), QueryError> {
        let limit = limit.clamp(1, MAX_LETTER_PAGE);
        let prefix = prefix(domain);
        let mut scan = Scan::prefix(&prefix);
        if let Some(LetterCursor(before)) = cursor {
            scan = scan.before(join(&[&prefix, &before.to_be_bytes()]));
        }
        let mut positions = Vec::new();
        for row in self.table.scan(scan.reverse()).take(limit + 1) {
            let (key, _) = row?;
            let mut reader = Reader::new(key.get(prefix.len()..).unwrap_or_default());
            let position = reader.key_u64().map_err(|_| QueryError::Damaged { table: NAME })?;
            positions.push(Position::new(position));
        }
        let more = positions.len() > limit;
        positions.truncate(limit);
        let next = positions.last().filter(|_| more).map(|last| LetterCursor(last.get()));
        positions.reverse();
        let found = events_at(self.log.as_ref(), &positions)?;
        let letters = found.iter().rev().map(view).collect::<Result<_, _>>()?;
        Ok((letters, next))
    }

    /// The letter of this id.
    pub fn get(&self, id: LetterId) -> Result<Option<LetterView>, QueryError> {
        let found = self.log.read_stream(StreamId::Letter(id), Version::NONE, 1)?;
        found.first().map(view).transpose()
    }
}

fn view(recorded: &Recorded) -> Result<LetterView, QueryError> {
    let damaged = QueryError::Damaged { table: "log" };
    let StreamId::Letter(id) = recorded.stream else { return Err(damaged) };
    match Event::decode(recorded.stream, &recorded.data) {
        Ok(Event::Letter(LetterEvent::LetterReceived(received))) => {
            Ok(LetterView { id, at: recorded.at, received, content: recorded.content.clone() })
        }
        _ => Err(damaged),
    }
}

fn prefix(domain: Option<DomainId>) -> Vec<u8> {
    match domain {
        Some(domain) => join(&[&[OF_DOMAIN], domain.as_bytes()]),
        None => vec![OF_OPERATOR],
    }
}

/// Folds the letters.
pub(crate) struct LettersProjection;

impl Projection for LettersProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        if let Some(Event::Letter(LetterEvent::LetterReceived(received))) = fact.known.other() {
            let position = fact.recorded.position.get().to_be_bytes();
            round.put_new(join(&[&prefix(received.domain), &position]), Vec::new());
        }
        Ok(())
    }
}
