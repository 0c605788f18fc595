//! What is appended and what is read back, and the bytes in which both are kept.
//!
//! One encoding serves the journal, the blocks and the hash chain, so what is hashed is exactly
//! what is stored. All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | position |
//! | 17 | stream ([`StreamId::to_bytes`]) |
//! | 8 | version in the stream |
//! | 16 | event id |
//! | 8 | time, milliseconds since the epoch |
//! | 2 | number of content locations, then 48 bytes each (hour 4, offset 8, length 4, hash 32) |
//! | 4 | length of the data, then the data |

use std::{collections::HashSet, fmt, pin::Pin};

use bytes::Bytes;
use model::{EventId, StreamId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    content::{ContentHash, ContentLocation, Hour, Sealed},
    error::{AppendError, Bound, Cause},
    merkle::TreeHash,
    position::{Position, Version},
};

/// A boxed future, so that [`crate::EventLog`] can be held as `Arc<dyn EventLog>`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Longest [`NewEvent::data`], in bytes. Larger values would push blocks out of the sizes that
/// survived the power cuts.
pub const MAX_EVENT_BYTES: usize = 32 * 1024;
/// Most events of one [`Append`].
pub const MAX_APPEND_EVENTS: usize = 1000;
/// Most appends that are written together.
pub const MAX_APPENDS: usize = 256;
/// Most bytes of event data in one [`Append`]; bounds a journal frame.
pub const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;
/// Most sealed records of one [`Append`].
pub const MAX_APPEND_CONTENT: usize = 256;

const FIXED_LEN: usize = 8 + StreamId::LEN + 8 + 16 + 8 + 2 + 4;
const LOCATION_LEN: usize = 4 + 8 + 4 + 32;

/// One event to append.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Chosen by the writer, so that after [`crate::AppendError::Unknown`] it can recognise its own.
    pub id: EventId,
    /// The text of a JSON object, `{"type":"message.accepted","v":1,…}`; at most
    /// [`MAX_EVENT_BYTES`]. Holds no personal data.
    pub data: Box<[u8]>,
}

/// Events for one stream, written together or not at all.
#[derive(Clone)]
pub struct Append {
    /// Whose events.
    pub stream: StreamId,
    /// The version the writer decided upon; [`Version::NONE`]: no such stream may exist yet.
    pub expected: Version,
    /// The writer's clock. The log moves it forward where needed, so that times never go backwards
    /// along positions.
    pub at: Timestamp,
    /// 1 to [`MAX_APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// Sealed records, durable before the events. Their locations are recorded, in this order, on
    /// the first event.
    pub content: Vec<Sealed>,
}

/// One event as it stands in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Place in the log.
    pub position: Position,
    /// Whose event.
    pub stream: StreamId,
    /// Place in the stream.
    pub version: Version,
    /// The writer's id.
    pub id: EventId,
    /// When it was recorded; never before the time of the position before.
    pub at: Timestamp,
    /// Where the content that came with it lies.
    pub content: Box<[ContentLocation]>,
    /// The text of a JSON object. A part of the block that it was read in: whoever keeps it keeps
    /// the block.
    pub data: Bytes,
    /// Covers this event and every one before it.
    pub hash: ChainHash,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Position of the last event.
    pub last_position: Position,
    /// The stream's version now.
    pub last_version: Version,
    /// The time that was recorded.
    pub at: Timestamp,
}

/// BLAKE3 over the hash before and the event's stored bytes. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The hash before the first event.
    pub const START: Self = Self([0; 32]);

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the text that it was written as.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }

    /// The hash after one more event.
    pub(crate) fn link(self, encoded: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(encoded);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ChainHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        blake3::Hash::from_hex(text.as_bytes())
            .map(|h| Self(*h.as_bytes()))
            .map_err(D::Error::custom)
    }
}

// The data holds no personal data, but a log line is no place for it either.
impl fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEvent").field("id", &self.id).field("bytes", &self.data.len()).finish()
    }
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("stream", &self.stream)
            .field("expected", &self.expected)
            .field("at", &self.at)
            .field("events", &self.events)
            .field("content", &self.content)
            .finish()
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("position", &self.position)
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("id", &self.id)
            .field("at", &self.at)
            .field("content", &self.content)
            .field("bytes", &self.data.len())
            .field("hash", &self.hash)
            .finish()
    }
}

impl Append {
    /// Whether it keeps within the bounds of the log.
    pub(crate) fn check(&self) -> Result<(), Bound> {
        if self.events.is_empty() || self.events.len() > MAX_APPEND_EVENTS {
            return Err(Bound::EventCount { count: self.events.len() });
        }
        let mut total = 0;
        for event in &self.events {
            if event.data.len() > MAX_EVENT_BYTES {
                return Err(Bound::EventBytes { bytes: event.data.len() });
            }
            // Text keeps the frame mark, which is not UTF-8, out of event data: a torn frame can
            // then never be mistaken for damage before a good one.
            if event.data.first() != Some(&b'{') || std::str::from_utf8(&event.data).is_err() {
                return Err(Bound::NotAnObject);
            }
            total += event.data.len();
        }
        if total > MAX_APPEND_BYTES {
            return Err(Bound::AppendBytes { bytes: total });
        }
        if self.content.len() > MAX_APPEND_CONTENT {
            return Err(Bound::ContentCount { count: self.content.len() });
        }
        Ok(())
    }

    /// Bytes that its events take in a journal frame.
    pub(crate) fn encoded_len(&self) -> usize {
        let data: usize = self.events.iter().map(|event| FIXED_LEN + event.data.len()).sum();
        data + self.content.len() * LOCATION_LEN
    }

    /// Where its content goes when it is written at `at`. Who is on a suppression list, and who is
    /// to be forgotten, must be known for as long as that holds, and goes by no clock.
    pub(crate) fn segment(&self, at: Timestamp) -> Hour {
        match self.stream {
            StreamId::Suppression(_) | StreamId::Erasure(_) => Hour::LASTING,
            _ => Hour::of(at),
        }
    }

    /// Bytes of sealed content.
    pub(crate) fn content_len(&self) -> usize {
        self.content.iter().map(|sealed| sealed.as_bytes().len()).sum()
    }
}

/// Whether appends that belong together keep within the bounds of the log.
pub(crate) fn check_all(appends: &[Append]) -> Result<(), Bound> {
    if appends.is_empty() || appends.len() > MAX_APPENDS {
        return Err(Bound::AppendCount { count: appends.len() });
    }
    appends.iter().try_for_each(Append::check)?;
    if let [_] = appends {
        return Ok(());
    }
    let streams: HashSet<StreamId> = appends.iter().map(|append| append.stream).collect();
    if streams.len() < appends.len() {
        return Err(Bound::StreamTwice);
    }
    let octets =
        |append: &Append| append.events.iter().map(|event| event.data.len()).sum::<usize>();
    let bytes = appends.iter().map(octets).sum();
    if bytes > MAX_APPEND_BYTES {
        return Err(Bound::AppendBytes { bytes });
    }
    let count = appends.iter().map(|append| append.events.len()).sum();
    if count > MAX_APPEND_EVENTS {
        return Err(Bound::EventCount { count });
    }
    Ok(())
}

/// The answer to one append that was made alone.
pub(crate) fn only(answer: Result<Vec<Appended>, AppendError>) -> Result<Appended, AppendError> {
    // One append, one answer; anything else would not say whether it was written.
    answer?.pop().ok_or(AppendError::Unknown(Cause::Closed))
}

/// The place from which the next event goes on: after `position`, with its hash and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    pub(crate) position: Position,
    pub(crate) hash: ChainHash,
    pub(crate) at: Timestamp,
}

impl ChainEnd {
    pub(crate) const START: Self =
        Self { position: Position::START, hash: ChainHash::START, at: Timestamp::from_millis(0) };

    /// Writes `append` after this place: the encoded bytes go to `out`, the events to `recorded`.
    pub(crate) fn record(
        &mut self,
        append: Append,
        content: Box<[ContentLocation]>,
        out: &mut Vec<u8>,
        recorded: &mut Vec<Recorded>,
    ) -> Appended {
        let at = append.at.max(self.at);
        let mut version = append.expected;
        let mut content = content;
        for event in append.events {
            version = version.next();
            let mut event = Recorded {
                position: self.position.next(),
                stream: append.stream,
                version,
                id: event.id,
                at,
                content: std::mem::take(&mut content),
                data: event.data.into(),
                hash: ChainHash::START,
            };
            let start = out.len();
            event.encode(out);
            event.hash = self.hash.link(out.get(start..).unwrap_or_default());
            *self = Self { position: event.position, hash: event.hash, at };
            recorded.push(event);
        }
        Appended { last_position: self.position, last_version: version, at }
    }

    /// Reads the event that follows this place from the front of `bytes`; `keep` makes its data
    /// outlast them.
    pub(crate) fn read(
        &mut self,
        bytes: &mut &[u8],
        keep: impl Fn(&[u8]) -> Bytes,
    ) -> Result<Recorded, Malformed> {
        let whole = *bytes;
        let mut event = Recorded::decode(bytes, keep)?;
        let used = whole.len() - bytes.len();
        if event.position != self.position.next() {
            return Err(Malformed("its events do not stand in order"));
        }
        if event.at < self.at {
            return Err(Malformed("its times go backwards"));
        }
        event.hash = self.hash.link(whole.get(..used).unwrap_or_default());
        *self = Self { position: event.position, hash: event.hash, at: event.at };
        Ok(event)
    }
}

/// Stored bytes that are not what the log writes; says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Recorded {
    /// The bytes that stand for it in the journal, in blocks, in the chain and in the tree.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode(&mut bytes);
        bytes
    }

    /// The event that [`Recorded::to_bytes`] wrote; `None` for anything else. Its hash is not known
    /// from its bytes alone, and is [`ChainHash::START`].
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let recorded = Self::decode(&mut bytes, Bytes::copy_from_slice).ok()?;
        bytes.is_empty().then_some(recorded)
    }

    /// Its leaf in the tree.
    pub fn leaf(&self) -> TreeHash {
        TreeHash::of_leaf(&self.to_bytes())
    }

    /// Bytes that this takes in the journal and in a block before compression.
    pub(crate) fn encoded_len(&self) -> usize {
        FIXED_LEN + self.content.len() * LOCATION_LEN + self.data.len()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.get().to_le_bytes());
        out.extend_from_slice(&self.stream.to_bytes());
        out.extend_from_slice(&self.version.get().to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.at.as_millis().to_le_bytes());
        let count = u16::try_from(self.content.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for location in &self.content {
            out.extend_from_slice(&location.segment.get().to_le_bytes());
            out.extend_from_slice(&location.offset.to_le_bytes());
            out.extend_from_slice(&location.len.to_le_bytes());
            out.extend_from_slice(location.hash.as_bytes());
        }
        let len = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.data);
    }

    /// Reads one event from the front; its hash is not yet known.
    fn decode(bytes: &mut &[u8], keep: impl Fn(&[u8]) -> Bytes) -> Result<Self, Malformed> {
        let position = Position::new(take_u64(bytes)?);
        let stream = StreamId::from_bytes(take(bytes)?).ok_or(Malformed("unknown stream kind"))?;
        let version = Version::new(take_u64(bytes)?);
        let id = EventId::from_bytes(take(bytes)?);
        let at = take_u64(bytes)?;
        if at > Timestamp::MAX.as_millis() {
            return Err(Malformed("a time after the year 9999"));
        }
        let count = usize::from(u16::from_le_bytes(take(bytes)?));
        if count > MAX_APPEND_CONTENT {
            return Err(Malformed("too many content locations"));
        }
        let mut content = Vec::with_capacity(count);
        for _ in 0..count {
            content.push(ContentLocation {
                segment: Hour::new(take_u32(bytes)?),
                offset: take_u64(bytes)?,
                len: take_u32(bytes)?,
                hash: ContentHash::from_bytes(take(bytes)?),
            });
        }
        let len = usize::try_from(take_u32(bytes)?).unwrap_or(usize::MAX);
        if len > MAX_EVENT_BYTES {
            return Err(Malformed("too long an event"));
        }
        let (data, rest) = bytes.split_at_checked(len).ok_or(Malformed("it ends too early"))?;
        *bytes = rest;
        Ok(Self {
            position,
            stream,
            version,
            id,
            at: Timestamp::from_millis(at),
            content: content.into_boxed_slice(),
            data: keep(data),
            hash: ChainHash::START,
        })
    }
}

/// Takes `N` bytes from the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed("it ends too early"))?;
    *bytes = rest;
    Ok(*head)
}

/// Takes a little-endian number of 4 bytes from the front.
pub(crate) fn take_u32(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    take(bytes).map(u32::from_le_bytes)
}

/// Takes a little-endian number of 8 bytes from the front.
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    take(bytes).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use model::MessageId;

    use super::*;

    fn append(events: usize) -> Append {
        Append {
            stream: StreamId::Message(MessageId::from_bytes([7; 16])),
            expected: Version::NONE,
            at: Timestamp::from_millis(1_764_000_000_000),
            events: (0..events)
                .map(|_| NewEvent { id: EventId::from_bytes([1; 16]), data: (*b"{}").into() })
                .collect(),
            content: Vec::new(),
        }
    }

    #[test]
    fn what_is_recorded_reads_back_with_the_same_hash() {
        let location = ContentLocation {
            segment: Hour::new(490_000),
            offset: 12,
            len: 345,
            hash: ContentHash::from_bytes([9; 32]),
        };
        let (mut out, mut recorded) = (Vec::new(), Vec::new());
        let mut end = ChainEnd::START;
        end.record(append(3), Box::new([location]), &mut out, &mut recorded);
        assert_eq!(out.len(), recorded.iter().map(Recorded::encoded_len).sum::<usize>());
        assert_eq!(recorded[0].content.len(), 1);
        assert!(recorded[1].content.is_empty());
        let mut reading = ChainEnd::START;
        let mut bytes = out.as_slice();
        for expected in &recorded {
            assert_eq!(&reading.read(&mut bytes, Bytes::copy_from_slice).unwrap(), expected);
        }
        assert!(bytes.is_empty());
        assert_eq!(reading, end);
    }

    #[test]
    fn every_flipped_bit_changes_the_chain_or_is_refused() {
        let (mut out, mut recorded) = (Vec::new(), Vec::new());
        let mut end = ChainEnd::START;
        end.record(append(1), Box::new([]), &mut out, &mut recorded);
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut start = ChainEnd::START;
            if let Ok(event) = start.read(&mut flipped.as_slice(), Bytes::copy_from_slice) {
                assert_ne!(event.hash, recorded[0].hash, "bit {bit}");
            }
        }
    }

    #[test]
    fn times_never_go_backwards() {
        let (mut out, mut recorded) = (Vec::new(), Vec::new());
        let mut end = ChainEnd { at: Timestamp::MAX, ..ChainEnd::START };
        let appended = end.record(append(1), Box::new([]), &mut out, &mut recorded);
        assert_eq!(appended.at, Timestamp::MAX);
    }

    #[test]
    fn bounds_are_kept() {
        assert_eq!(append(0).check(), Err(Bound::EventCount { count: 0 }));
        assert_eq!(append(1001).check(), Err(Bound::EventCount { count: 1001 }));
        assert_eq!(append(1000).check(), Ok(()));
        let mut long = append(1);
        long.events[0].data = vec![b'{'; MAX_EVENT_BYTES + 1].into();
        assert_eq!(long.check(), Err(Bound::EventBytes { bytes: MAX_EVENT_BYTES + 1 }));
        let mut wrong = append(1);
        wrong.events[0].data = Box::new([b'{', 0xff]);
        assert_eq!(wrong.check(), Err(Bound::NotAnObject));
    }
}
