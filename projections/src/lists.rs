//! Long lists of events, by their places in the log: an app's events, a tenant's, a tag's.
//!
//! A list is cut into pieces of [`PIECE`] entries, a row each, of some 4 bytes an entry. The last
//! piece has a key of its own, so that adding to a list never looks for its end; when it is full it
//! moves under the key of its first place. Where a list is cut follows from its entries alone.

use eventlog::{Position, Scan};
use model::Timestamp;

use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    fact::malformed,
    layer::{Merged, Round, Rows},
};

/// Entries of one piece.
const PIECE: u16 = 256;
/// The key of the last piece: after those of all places.
const LAST: [u8; 16] = [u8::MAX; 16];
/// Count 2, then place of the first and of the last entry, 16 each.
const HEADER: usize = 2 + 16 + 16;

/// Where an event stands. Times never go backwards along positions, so this is the log's own order,
/// and a span of time is a span of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) at: Timestamp,
    pub(crate) position: Position,
}

impl Place {
    /// After every event.
    pub(crate) const END: Self =
        Self { at: Timestamp::from_millis(u64::MAX), position: Position::new(u64::MAX) };

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let number = u128::from(self.at.as_millis()) << 64 | u128::from(self.position.get());
        number.to_be_bytes()
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = Timestamp::from_millis(reader.key_u64()?);
        Ok(Self { at, position: Position::new(reader.key_u64()?) })
    }
}

/// An event of a list, with `N` octets that tell what it is worth looking at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<const N: usize> {
    pub(crate) place: Place,
    pub(crate) mark: [u8; N],
}

/// Adds to the list of this prefix, in the table called `table`. Entries come in the order of the
/// log.
pub(crate) fn append<const N: usize>(
    round: &mut Round<'_>,
    prefix: &[u8],
    entry: Entry<N>,
    table: &'static str,
) -> Result<(), Halt> {
    let Entry { place, mark } = entry;
    let key = join(&[prefix, &LAST]);
    let row = round.edit_or(&key, || begin(place))?;
    let (mut count, mut last) = read_header(row).map_err(|Malformed| malformed(table))?;
    let mut full = None;
    if count == PIECE {
        full = Some(std::mem::replace(row, begin(place)));
        (count, last) = (0, place);
    }
    put_varint(row, place.position.get().saturating_sub(last.position.get()));
    put_varint(row, place.at.since(last.at).as_millis());
    row.extend_from_slice(&mark);
    let header = row.first_chunk_mut::<HEADER>().ok_or_else(|| malformed(table))?;
    write_header(header, count.saturating_add(1), place);
    if let Some(full) = full {
        let first = full.get(2..18).ok_or_else(|| malformed(table))?;
        round.put_new(join(&[prefix, first]), full);
    }
    Ok(())
}

fn begin(first: Place) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEADER + 16);
    row.extend_from_slice(&0_u16.to_le_bytes());
    row.extend_from_slice(&first.to_bytes());
    row.extend_from_slice(&first.to_bytes());
    row
}

fn read_header(row: &[u8]) -> Result<(u16, Place), Malformed> {
    let mut reader = Reader::new(row);
    let count = reader.u16()?;
    Place::read(&mut reader)?;
    Ok((count, Place::read(&mut reader)?))
}

fn write_header(header: &mut [u8; HEADER], count: u16, last: Place) {
    let (number, places) = header.split_at_mut(2);
    number.copy_from_slice(&count.to_le_bytes());
    if let Some(place) = places.last_chunk_mut::<16>() {
        *place = last.to_bytes();
    }
}

fn put_varint(out: &mut Vec<u8>, number: impl TryInto<u64>) {
    crate::codec::put_varint(out, number.try_into().unwrap_or(u64::MAX));
}

/// The entries of a piece, oldest first.
fn read_piece<const N: usize>(row: &[u8]) -> Result<Vec<Entry<N>>, Malformed> {
    let mut reader = Reader::new(row);
    let count = reader.u16()?;
    let mut place = Place::read(&mut reader)?;
    Place::read(&mut reader)?;
    let mut entries = Vec::with_capacity(usize::from(count));
    while !reader.is_empty() {
        place.position = place.position.plus(reader.varint()?);
        let at = place.at.as_millis().saturating_add(reader.varint()?);
        place.at = Timestamp::from_millis(at);
        entries.push(Entry { place, mark: reader.array()? });
    }
    if entries.len() == usize::from(count) { Ok(entries) } else { Err(Malformed) }
}

/// The entries of a list, newest first, read as they are asked for; ends after the first error.
pub(crate) struct Backwards<const N: usize> {
    rows: Option<Merged>,
    piece: Vec<Entry<N>>,
    before: Place,
    table: &'static str,
}

impl<const N: usize> Backwards<N> {
    /// The entries of the list of this prefix that stand before a place.
    pub(crate) fn of(
        rows: &Rows,
        prefix: &[u8],
        before: Place,
        table: &'static str,
    ) -> Result<Self, QueryError> {
        // The last piece first: what moves out of it meanwhile lies after its first place, and is
        // not met again.
        let last = rows.get(join(&[prefix, &LAST]))?;
        let mut piece = Vec::new();
        let mut end = before;
        if let Some(last) = last {
            piece = read_piece(&last).map_err(|Malformed| QueryError::Damaged { table })?;
            end = piece.first().map_or(end, |entry: &Entry<N>| entry.place.min(end));
        }
        let scan = Scan::prefix(prefix).before(join(&[prefix, &end.to_bytes()])).reverse();
        Ok(Self { rows: Some(rows.scan(scan)), piece, before, table })
    }
}

impl<const N: usize> Iterator for Backwards<N> {
    type Item = Result<Entry<N>, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(entry) = self.piece.pop() {
                if entry.place < self.before {
                    return Some(Ok(entry));
                }
            }
            let row = self.rows.as_mut()?.next()?;
            let table = self.table;
            let piece = row.map_err(QueryError::from).and_then(|(_, value)| {
                read_piece(&value).map_err(|Malformed| QueryError::Damaged { table })
            });
            match piece {
                Ok(piece) => self.piece = piece,
                Err(error) => {
                    self.rows = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use eventlog::Store;

    use super::*;
    use crate::layer::Layers;

    fn place(number: u64) -> Place {
        Place { at: Timestamp::from_millis(1_000 + number / 3), position: Position::new(number) }
    }

    #[test]
    fn a_list_is_read_from_any_place_and_cut_by_its_entries_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut dumps = Vec::new();
        for write_every in [u64::MAX, 100, 7] {
            let table = store.table(&write_every.to_string()).unwrap();
            let layers = Layers::above(vec![table.clone()]);
            let rows = Rows::new(layers.clone(), 0);
            for number in 1..=1_000 {
                let mut state = layers.write();
                let mut round = Round::new(&table, &mut state.layers[0]);
                let entry = Entry { place: place(number * 5), mark: [number.to_le_bytes()[0]] };
                append(&mut round, b"x", entry, "test").unwrap();
                // A neighbour.
                append(&mut round, b"y", entry, "test").unwrap();
                if number % write_every == 0 {
                    table.apply(state.layers[0].batch()).unwrap();
                    state.layers[0].clear();
                }
            }
            for before in [Place::END, place(5_000), place(2_561), place(1_280), place(6), place(5)]
            {
                let found: Vec<_> = Backwards::<1>::of(&rows, b"x", before, "test")
                    .unwrap()
                    .map(|entry| entry.unwrap())
                    .map(|entry| (entry.place, entry.mark))
                    .collect();
                let expected: Vec<_> = (1..=1_000_u64)
                    .rev()
                    .map(|number| (place(number * 5), [number.to_le_bytes()[0]]))
                    .filter(|(place, _)| *place < before)
                    .collect();
                assert_eq!(found, expected, "{before:?}");
            }
            assert_eq!(Backwards::<1>::of(&rows, b"z", Place::END, "test").unwrap().count(), 0);
            dumps.push(rows.scan(Scan::all()).map(Result::unwrap).collect::<Vec<_>>());
        }
        assert_eq!(dumps[0].len(), 8);
        assert!(dumps.iter().all(|dump| *dump == dumps[0]));
    }

    #[test]
    fn a_cut_piece_is_refused() {
        let mut row = begin(place(1));
        row.extend_from_slice(&[1, 1, 9]);
        assert_eq!(read_piece::<1>(&row), Err(Malformed), "its count is wrong");
        row[0] = 1;
        assert_eq!(read_piece::<1>(&row).unwrap().len(), 1);
        for end in 0..row.len() {
            assert_eq!(read_piece::<1>(&row[..end]), Err(Malformed), "{end}");
        }
    }
}
