//! Reading a segment, and telling what a crash leaves behind from damage.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use model::Timestamp;

use super::{
    first_of,
    frame::{FRAME_HEADER_LEN, FrameHeader, MARK, MAX_FRAME_BYTES},
};
use crate::{
    error::OpenError,
    event::{ChainEnd, ChainHash, Malformed, Recorded, take, take_u32, take_u64},
    position::Position,
};

const MAGIC: [u8; 8] = *b"lumora-j";
const FORMAT: u8 = 1;
/// Magic 8, format 1, zeros 7, first position 8, hash before 32, time before 8, CRC32 4, zeros 4.
pub(super) const SEGMENT_HEADER_LEN: usize = 72;
const SECTOR: usize = 512;
/// The last bytes of a frame, from a hash: they are zero only where nothing was written.
const TRAILER: usize = 8;

/// The header of the segment that goes on after `before`.
pub(crate) fn segment_header(before: ChainEnd) -> Vec<u8> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_LEN);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&[FORMAT, 0, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(&before.position.next().get().to_le_bytes());
    header.extend_from_slice(before.hash.as_bytes());
    header.extend_from_slice(&before.at.as_millis().to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header.resize(SEGMENT_HEADER_LEN, 0);
    header
}

/// A segment whose header is good.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    len: u64,
    before: ChainEnd,
}

/// Where the frames of the last segment end.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) path: PathBuf,
    /// Where its last frame begins; the end of the header if it has none.
    pub(crate) last_frame: u64,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// The length of the file.
    pub(crate) len: u64,
    /// Bytes of a frame that a crash cut off, from `end` on.
    pub(crate) torn: u64,
    /// The chain's end there.
    pub(crate) chain: ChainEnd,
}

impl Segment {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let named = first_of(path).unwrap_or_default();
        let damaged = |what: &'static str| OpenError::Journal {
            file: path.to_owned(),
            offset: 0,
            position: named,
            what: what.into(),
        };
        let mut header = [0; SEGMENT_HEADER_LEN];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("the segment's header is cut off"));
            }
            read => read.map_err(failed)?,
        }
        let before = match parse_header(&header) {
            Ok(before) => before,
            Err(HeaderError::Format(format)) => {
                return Err(OpenError::Format { file: path.to_owned(), format });
            }
            Err(HeaderError::Damaged(what)) => return Err(damaged(what)),
        };
        if before.position.next() != named {
            return Err(damaged("the segment's header names another position"));
        }
        Ok(Self { path: path.to_owned(), file, len, before })
    }

    /// The chain's end before the segment.
    pub(crate) fn before(&self) -> ChainEnd {
        self.before
    }

    pub(crate) fn read(self) -> SegmentReader {
        let offset = SEGMENT_HEADER_LEN as u64;
        SegmentReader {
            chain: self.before,
            segment: self,
            offset,
            last_frame: offset,
            ending: None,
            body: Vec::new(),
        }
    }
}

enum HeaderError {
    Format(u8),
    Damaged(&'static str),
}

impl From<Malformed> for HeaderError {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed.0)
    }
}

fn parse_header(header: &[u8; SEGMENT_HEADER_LEN]) -> Result<ChainEnd, HeaderError> {
    let mut bytes = header.as_slice();
    let bytes = &mut bytes;
    if take::<8>(bytes)? != MAGIC {
        return Err(HeaderError::Damaged("the file is no journal segment"));
    }
    let [format, reserved @ ..] = take::<8>(bytes)?;
    let first = take_u64(bytes)?;
    let hash = ChainHash::from_bytes(take(bytes)?);
    let at = Timestamp::from_millis(take_u64(bytes)?);
    let crc = take_u32(bytes)?;
    let checked = header.get(..SEGMENT_HEADER_LEN - 8).unwrap_or_default();
    if crc != crc32fast::hash(checked) || take::<4>(bytes)? != [0; 4] {
        return Err(HeaderError::Damaged("the segment's header fails its checksum"));
    }
    if format != FORMAT || reserved != [0; 7] {
        return Err(HeaderError::Format(format));
    }
    let position = Position::new(first.saturating_sub(1));
    Ok(ChainEnd { position, hash, at })
}

/// Reads the frames of one segment.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    segment: Segment,
    chain: ChainEnd,
    offset: u64,
    last_frame: u64,
    ending: Option<Ending>,
    body: Vec<u8>,
}

impl SegmentReader {
    /// The chain's end after what was read.
    pub(crate) fn end(&self) -> ChainEnd {
        self.chain
    }

    /// How it ended, once `next_frame` said so.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.clone()
    }

    /// The events of the next frame; `None` at the end. Only the last segment may end in a torn
    /// frame.
    pub(crate) fn next_frame(
        &mut self,
        last_segment: bool,
    ) -> Result<Option<Vec<Recorded>>, OpenError> {
        match self.read_frame().map_err(|error| OpenError::io(&self.segment.path, error))? {
            Ok(events) => Ok(Some(events)),
            Err(malformed) => {
                let torn = self.classify(malformed)?;
                if torn > 0 && !last_segment {
                    return Err(self.damage(malformed.0));
                }
                self.ending = Some(Ending {
                    path: self.segment.path.clone(),
                    last_frame: self.last_frame,
                    end: self.offset,
                    len: self.segment.len,
                    torn,
                    chain: self.chain,
                });
                Ok(None)
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<Result<Vec<Recorded>, Malformed>> {
        let mut header = [0; FRAME_HEADER_LEN];
        if self.left() < FRAME_HEADER_LEN as u64 {
            return Ok(Err(Malformed("a frame header is cut off")));
        }
        self.segment.file.read_exact_at(&mut header, self.offset)?;
        let header = match FrameHeader::parse(&header) {
            Ok(header) => header,
            Err(malformed) => return Ok(Err(malformed)),
        };
        let frame_len = (FRAME_HEADER_LEN + header.body_len) as u64;
        if self.left() < frame_len {
            return Ok(Err(Malformed("a frame is cut off")));
        }
        self.body.resize(header.body_len, 0);
        self.segment.file.read_exact_at(&mut self.body, self.offset + FRAME_HEADER_LEN as u64)?;
        let events = header.events(&self.body, &mut self.chain);
        if events.is_ok() {
            self.last_frame = self.offset;
            self.offset += frame_len;
        }
        Ok(events)
    }

    fn left(&self) -> u64 {
        self.segment.len.saturating_sub(self.offset)
    }

    fn damage(&self, what: &str) -> OpenError {
        OpenError::Journal {
            file: self.segment.path.clone(),
            offset: self.offset,
            position: self.chain.position.next(),
            what: what.into(),
        }
    }

    /// What stands where no good frame does: nothing (0), a frame that a crash cut off (its
    /// bytes), or damage (an error).
    ///
    /// One frame is written at a time, into zeros, and synced before the next. So a frame that a
    /// crash cut off has no good frame behind it, and shows its missing part: the file ends before
    /// the frame does, or a sector of it is still zero. A frame that is all there and yet wrong was
    /// good once.
    fn classify(&self, malformed: Malformed) -> Result<u64, OpenError> {
        let failed = |error| OpenError::io(&self.segment.path, error);
        // One frame at most can follow unsynced; what is longer was not written by us.
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let mut rest = vec![0; left];
        self.segment.file.read_exact_at(&mut rest, self.offset).map_err(failed)?;
        let Some(written) = rest.iter().rposition(|&byte| byte != 0).map(|last| last + 1) else {
            return Ok(0);
        };
        // A frame that passes its checksum was whole once, this one too: whatever is wrong with what it
        // says, no crash cut it off. It may end in zeros.
        let frames = (0..written).filter(|&at| rest.get(at) == MARK.first());
        for at in frames {
            if rest.get(at..).is_some_and(is_good_frame) {
                return Err(self.damage(malformed.0));
            }
        }
        let rest = rest.get(..written).unwrap_or_default();
        let declared = FrameHeader::parse(rest)
            .ok()
            .filter(|header| header.first == self.chain.position.next())
            .map(|header| FRAME_HEADER_LEN + header.body_len);
        let frame_len = declared.unwrap_or(written);
        let short = declared.is_some_and(|len| left < len || written < len.saturating_sub(TRAILER));
        if short || self.has_hole(rest, frame_len) {
            return Ok(written as u64);
        }
        // No header to go by and too short for one: the very first bytes of a frame.
        if declared.is_none() && written < FRAME_HEADER_LEN && MARK.starts_with(&head(rest)) {
            return Ok(written as u64);
        }
        Err(self.damage(malformed.0))
    }

    /// Whether a sector, or the part of one, within the frame was never written.
    fn has_hole(&self, rest: &[u8], frame_len: usize) -> bool {
        // Of the place in the file, only that in its sector matters.
        let offset = usize::try_from(self.offset % SECTOR as u64).unwrap_or(0);
        let mut at = 0;
        while at < frame_len {
            let next = (at + SECTOR - (offset + at) % SECTOR).min(frame_len);
            match rest.get(at..next.min(rest.len())) {
                Some(part) if part.iter().any(|&byte| byte != 0) => {}
                _ => return true,
            }
            at = next;
        }
        false
    }
}

fn head(rest: &[u8]) -> Vec<u8> {
    rest.iter().take(MARK.len()).copied().collect()
}

fn is_good_frame(bytes: &[u8]) -> bool {
    FrameHeader::parse(bytes).is_ok_and(|header| {
        header.body_len <= MAX_FRAME_BYTES
            && bytes
                .get(FRAME_HEADER_LEN..FRAME_HEADER_LEN + header.body_len)
                .is_some_and(|body| header.matches(body))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{EventId, MessageId, StreamId};

    use super::*;
    use crate::{
        fuzzing::{read_segment, segment},
        position::Version,
    };

    fn encoded(position: u64, data: &str) -> Vec<u8> {
        let event = Recorded {
            position: Position::new(position),
            stream: StreamId::Message(MessageId::from_bytes([7; 16])),
            version: Version::new(position),
            id: EventId::from_bytes([1; 16]),
            at: Timestamp::from_millis(1_764_000_000_000),
            content: Box::new([]),
            data: Bytes::copy_from_slice(data.as_bytes()),
            hash: ChainHash::START,
        };
        event.to_bytes()
    }

    /// A sector of an acknowledged frame that reads as zeros looks like one that was never written,
    /// but for the frame behind it; which is as good as any where its own last octet is zero.
    #[test]
    fn damage_before_a_frame_that_ends_in_zero_is_no_torn_end() {
        let first = encoded(1, &format!("{{\"x\":\"{}\"}}", "y".repeat(1_500)));
        let whole = (0..10_000).find_map(|number| {
            let last = encoded(2, &format!("{{\"n\":{number}}}"));
            let bytes = segment(&[&first, &last]);
            (bytes.last() == Some(&0)).then_some(bytes)
        });
        let mut bytes = whole.unwrap();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_segment(dir.path(), &bytes).unwrap().len(), 2);
        bytes[SECTOR..2 * SECTOR].fill(0);
        let read = read_segment(dir.path(), &bytes);
        assert!(matches!(read, Err(OpenError::Journal { .. })), "{read:?}");
    }

    /// What a later program wrote, or a fault of ours, is not taken for the work of a crash.
    #[test]
    fn a_whole_frame_that_says_nothing_is_no_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut unknown = encoded(1, &format!("{{\"x\":\"{}\"}}", "\0".repeat(1_500)));
        // No kind of stream.
        unknown[8] = 0xee;
        let read = read_segment(dir.path(), &segment(&[&unknown]));
        assert!(matches!(read, Err(OpenError::Journal { .. })), "{read:?}");
    }
}
