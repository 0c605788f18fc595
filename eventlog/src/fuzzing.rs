//! What a fuzzer reaches and nobody else needs: octets as they lie on the disk, sealed rightly
//! around what it made up.

use std::{io, path::Path};

use crate::{
    Position, Recorded,
    block::Block,
    compression::compress,
    error::OpenError,
    event::ChainEnd,
    journal::{FrameBuilder, JournalReader, segment_header, segment_path},
};

/// A segment of the journal from the first position on, with a frame for each of these encoded
/// events. Its checksums are right, and its chain as far as they can be read.
pub fn segment(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = segment_header(ChainEnd::START);
    let mut end = ChainEnd::START;
    let mut builder = FrameBuilder::default();
    for frame in frames {
        let first = end.position.next();
        follow(frame, &mut end);
        builder.begin().extend_from_slice(frame);
        bytes.extend_from_slice(builder.finish(first, end));
    }
    bytes
}

/// Reads these octets as the only segment of a journal in `dir`.
pub fn read_segment(dir: &Path, bytes: &[u8]) -> Result<Vec<Recorded>, OpenError> {
    let path = segment_path(dir, Position::new(1));
    std::fs::write(&path, bytes).map_err(|error| OpenError::io(&path, error))?;
    let mut reader = JournalReader::open(dir, Position::new(1))?;
    let mut events = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        events.extend(frame);
    }
    Ok(events)
}

/// A block of these encoded events, rightly compressed, from the first position on. Its chain is
/// right as far as they can be read.
pub fn block(count: u16, raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut end = ChainEnd::START;
    follow(raw, &mut end);
    let start = ChainEnd::START;
    let mut bytes = vec![crate::block::FORMAT];
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&start.at.as_millis().to_le_bytes());
    bytes.extend_from_slice(start.hash.as_bytes());
    bytes.extend_from_slice(end.hash.as_bytes());
    bytes.extend_from_slice(&compress(raw)?);
    Ok(bytes)
}

/// The events of a block from `first` on; else why there are none.
pub fn read_block(first: Position, bytes: &[u8]) -> Result<Vec<Recorded>, &'static str> {
    Block::read(first, bytes).map(|block| block.events).map_err(|malformed| malformed.0)
}

/// Moves `end` over all encoded events that can be read.
fn follow(mut encoded: &[u8], end: &mut ChainEnd) {
    let mut reached = *end;
    while reached.read(&mut encoded, bytes::Bytes::copy_from_slice).is_ok() {
        *end = reached;
    }
}
