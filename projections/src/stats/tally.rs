//! The counts of one hour of one app in one dimension, packed: every value with its counts, some
//! rows of them. A month by recipient domain is then some hundred rows, not some ten thousand.

use std::collections::HashMap;

use super::counts::{Counter, Counts};
use crate::{
    codec::{Malformed, Reader, put_varint},
    error::Halt,
    fact::malformed,
    layer::Round,
};

/// What one value takes at most: its length, itself, and eight counts of up to ten octets.
const fn reserved(value: &str) -> usize {
    2 + value.len() + 80
}

/// A part takes no more values once this many octets are reserved: its row stays well below what a
/// row may be.
const PART_OCTETS: usize = 48 * 1024;

/// Counts by value. Values stand in the order in which they first came, so how they are divided
/// into parts follows from the events alone.
#[derive(Debug, Default)]
pub(super) struct Tally {
    parts: Vec<Part>,
    places: HashMap<Box<str>, (usize, usize)>,
}

#[derive(Debug, Default)]
struct Part {
    entries: Vec<(Box<str>, Counts)>,
    reserved: usize,
    changed: bool,
}

/// The key of a part: what its hour's keys begin with, and its number.
pub(super) fn part_key(prefix: &[u8], part: usize) -> Vec<u8> {
    let number = u16::try_from(part).unwrap_or(u16::MAX);
    crate::codec::join(&[prefix, &number.to_be_bytes()])
}

impl Tally {
    /// Reads the parts below a prefix.
    pub(super) fn load(round: &mut Round<'_>, prefix: &[u8]) -> Result<Self, Halt> {
        let mut tally = Self::default();
        while let Some(row) = round.get(&part_key(prefix, tally.parts.len()))? {
            let mut entries: Vec<(Box<str>, Counts)> = Vec::new();
            read_part(row, |value, counts| entries.push((Box::from(value), counts)))
                .map_err(|Malformed| malformed(super::NAME))?;
            let mut part = Part::default();
            for (value, counts) in entries {
                tally.places.insert(value.clone(), (tally.parts.len(), part.entries.len()));
                part.reserved += reserved(&value);
                part.entries.push((value, counts));
            }
            tally.parts.push(part);
        }
        Ok(tally)
    }

    /// Counts `by` under a value.
    pub(super) fn add(&mut self, value: &str, counter: Counter, by: i64) {
        let (part, place) = match self.places.get(value) {
            Some(place) => *place,
            None => self.begin(value),
        };
        let Some(part) = self.parts.get_mut(part) else { return };
        part.changed = true;
        if let Some((_, counts)) = part.entries.get_mut(place) {
            counts.add(counter, by);
        }
    }

    fn begin(&mut self, value: &str) -> (usize, usize) {
        let needed = reserved(value);
        if self.parts.last().is_none_or(|part| part.reserved + needed > PART_OCTETS) {
            self.parts.push(Part::default());
        }
        let number = self.parts.len().saturating_sub(1);
        let place = match self.parts.last_mut() {
            Some(part) => {
                part.reserved += needed;
                part.entries.push((value.into(), Counts::default()));
                (number, part.entries.len().saturating_sub(1))
            }
            None => (0, 0),
        };
        self.places.insert(value.into(), place);
        place
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Writes the parts that changed.
    pub(super) fn settle(&mut self, round: &mut Round<'_>, prefix: &[u8]) {
        for (number, part) in self.parts.iter_mut().enumerate() {
            if std::mem::take(&mut part.changed) {
                round.put(part_key(prefix, number), part.to_bytes());
            }
        }
    }
}

impl Part {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * 32);
        for (value, counts) in &self.entries {
            put_varint(&mut bytes, value.len() as u64);
            bytes.extend_from_slice(value.as_bytes());
            counts.write(&mut bytes);
        }
        bytes
    }
}

/// Calls `each` with every value of a part and its counts.
pub(super) fn read_part(row: &[u8], mut each: impl FnMut(&str, Counts)) -> Result<(), Malformed> {
    let mut reader = Reader::new(row);
    while !reader.is_empty() {
        let len = usize::try_from(reader.varint()?).map_err(|_| Malformed)?;
        let value = std::str::from_utf8(reader.take(len)?).map_err(|_| Malformed)?;
        each(value, Counts::read(&mut reader)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_parts_stay_small() {
        let mut tally = Tally::default();
        for number in 0..5_000_u64 {
            // Twice the most that is counted at once: as many octets as a count can have.
            for _ in 0..2 {
                let by = i64::MAX - i64::try_from(number).unwrap();
                tally.add(&format!("{number:060}.example"), Counter::Accepted, by);
            }
            tally.add("often.example", Counter::Delivered, 1);
        }
        assert_eq!(tally.len(), 5_001);
        assert!(tally.parts.len() > 10);
        let mut found = HashMap::new();
        for part in &tally.parts {
            let row = part.to_bytes();
            assert!(row.len() <= PART_OCTETS, "{}", row.len());
            read_part(&row, |value, counts| {
                assert!(found.insert(value.to_owned(), counts).is_none());
            })
            .unwrap();
            assert_eq!(read_part(&row[..row.len() - 1], |_, _| {}), Err(Malformed));
        }
        assert_eq!(found.len(), 5_001);
        assert_eq!(found["often.example"].delivered, 5_000);
        assert_eq!(found[&format!("{:060}.example", 7)].accepted, u64::MAX - 1 - 2 * 7);
    }
}
