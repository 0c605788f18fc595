//! Blocks of events, as sled gives them back.

use eventlog::{Position, fuzzing};

use super::journal::{readable, stored};

/// The first octet is the number of events that the block claims, the second one changes an octet of
/// the sealed block where it is not zero; encoded events follow.
pub(super) fn run(octets: &[u8]) {
    let Some(([count, change], raw)) = octets.split_first_chunk::<2>() else { return };
    // As it may lie there, whoever wrote it.
    let _read = fuzzing::read_block(Position::new(1), octets);
    let mut sealed = fuzzing::block(u16::from(*count), raw).unwrap();
    let whole = readable(raw);
    let read = fuzzing::read_block(Position::new(1), &sealed);
    if let Ok(events) = &read {
        assert_eq!(events.len(), usize::from(*count));
        assert_eq!(stored(events), whole);
    }
    if *change != 0 {
        let place = raw.len() % sealed.len();
        sealed[place] ^= *change;
        // What is read without an error is what was written.
        if let Ok(changed) = fuzzing::read_block(Position::new(1), &sealed) {
            assert_eq!(Ok(changed), read, "octet {place} was changed unseen");
        }
    }
}
