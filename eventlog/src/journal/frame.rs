//! A frame: what one group commit writes.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | mark, not UTF-8, so it never occurs in event data |
//! | 4 | length of the body |
//! | 8 | first position |
//! | 4 | CRC32 of the body |
//! | 4 | CRC32 of the 20 bytes before |
//! | … | body: the encoded events, then the chain's hash after the last (32) |

use bytes::Bytes;

use crate::{
    event::{ChainEnd, Malformed, Recorded, take, take_u32, take_u64},
    position::Position,
};

pub(super) const MARK: [u8; 4] = [0xf7, 0xfe, 0x4c, 0x0a];
pub(super) const FRAME_HEADER_LEN: usize = 24;
const HASH_LEN: usize = 32;

/// Longest body of a frame, in bytes: the cap of a group and its largest append.
pub(super) const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;

/// A frame's header, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    pub(super) body_len: usize,
    pub(super) first: Position,
    body_crc: u32,
}

impl FrameHeader {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(checked) = bytes.get(..FRAME_HEADER_LEN - 4) else {
            return Err(Malformed("a frame header is cut off"));
        };
        let bytes = &mut bytes;
        if take::<4>(bytes)? != MARK {
            return Err(Malformed("no frame begins here"));
        }
        let body_len = usize::try_from(take_u32(bytes)?).unwrap_or(usize::MAX);
        let first = Position::new(take_u64(bytes)?);
        let body_crc = take_u32(bytes)?;
        if take_u32(bytes)? != crc32fast::hash(checked) {
            return Err(Malformed("a frame header fails its checksum"));
        }
        if !(HASH_LEN..=MAX_FRAME_BYTES).contains(&body_len) {
            return Err(Malformed("a frame of impossible length"));
        }
        Ok(Self { body_len, first, body_crc })
    }

    pub(super) fn matches(&self, body: &[u8]) -> bool {
        body.len() == self.body_len && crc32fast::hash(body) == self.body_crc
    }

    /// The events of a body that follows `end`, which moves on.
    pub(super) fn events(
        &self,
        body: &[u8],
        end: &mut ChainEnd,
    ) -> Result<Vec<Recorded>, Malformed> {
        if !self.matches(body) {
            return Err(Malformed("a frame fails its checksum"));
        }
        if self.first != end.position.next() {
            return Err(Malformed("a frame does not follow the one before"));
        }
        let (mut bytes, hash) =
            body.split_last_chunk::<HASH_LEN>().ok_or(Malformed("a frame is cut off"))?;
        let mut events = Vec::new();
        let mut reached = *end;
        while !bytes.is_empty() {
            // The buffer is used again for the next frame.
            events.push(reached.read(&mut bytes, Bytes::copy_from_slice)?);
        }
        if reached.hash.as_bytes() != hash {
            return Err(Malformed("the chain does not hold"));
        }
        *end = reached;
        Ok(events)
    }
}

/// Puts a frame together, reusing one buffer.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
}

/// A group's buffer stays this large between commits; a rare larger one is given back.
const KEPT_CAPACITY: usize = 1024 * 1024;

impl FrameBuilder {
    /// Begins a frame; the encoded events are to be added to what is returned.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.bytes.resize(FRAME_HEADER_LEN, 0);
        &mut self.bytes
    }

    /// Ends the frame after the events from `first` to `end`, and gives its bytes.
    pub(crate) fn finish(&mut self, first: Position, end: ChainEnd) -> &[u8] {
        self.bytes.extend_from_slice(end.hash.as_bytes());
        let body = self.bytes.get(FRAME_HEADER_LEN..).unwrap_or_default();
        let mut header = Vec::with_capacity(FRAME_HEADER_LEN);
        header.extend_from_slice(&MARK);
        header.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        header.extend_from_slice(&first.get().to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        if let Some(place) = self.bytes.get_mut(..FRAME_HEADER_LEN) {
            place.copy_from_slice(&header);
        }
        &self.bytes
    }
}
