//! The journal, as a crash, a disk or somebody leaves it.

use std::{cell::OnceCell, path::Path};

use eventlog::{OpenError, Recorded, fuzzing};
use tempfile::TempDir;

/// Most frames that are looked at.
const FRAMES: usize = 8;

thread_local! {
    static DIR: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Two octets each say where the file is cut, where an octet is changed, and into what; then frames,
/// each its length in two octets and its encoded events.
pub(super) fn run(octets: &[u8]) {
    DIR.with(|dir| {
        let dir = dir.get_or_init(|| tempfile::tempdir().unwrap());
        read_as_left(dir.path(), octets);
    });
}

fn read_as_left(dir: &Path, octets: &[u8]) {
    let Some((head, rest)) = octets.split_first_chunk::<5>() else { return };
    let [cut @ .., _, _, _] = *head;
    let [_, _, place @ .., change] = *head;
    let frames = frames(rest);
    let whole = fuzzing::segment(&frames);
    let written = fuzzing::read_segment(dir, &whole);
    // After each frame; a frame of what is no event ends the reading.
    let (mut expected, mut is_whole) = (vec![Vec::new()], true);
    for end in 1..=frames.len() {
        let events = readable(&frames[..end].concat());
        let octets: usize = events.iter().map(|(bytes, _)| bytes.len()).sum();
        is_whole = octets == frames[..end].iter().map(|frame| frame.len()).sum::<usize>();
        if !is_whole {
            break;
        }
        expected.push(events);
    }
    match &written {
        Ok(read) => assert!(is_whole && Some(&stored(read)) == expected.last(), "other events"),
        Err(error) => assert!(!is_whole, "{error}"),
    }
    // Cut off, as by a crash: what was whole before is there, and it is never called damage.
    let cut = usize::from(u16::from_le_bytes(cut)) % (whole.len() + 1);
    let mut left = whole[..cut].to_vec();
    left.resize(whole.len(), 0);
    let read = fuzzing::read_segment(dir, &left);
    if is_whole && cut >= 72 {
        let read = read.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!(expected.contains(&stored(&read)), "cut at {cut}: other events than were written");
    }
    // Changed: an error that says where, or what was written, or less at its end.
    let mut left = whole;
    let place = usize::from(u16::from_le_bytes(place)) % left.len();
    left[place] = change;
    match fuzzing::read_segment(dir, &left) {
        Ok(read) => {
            assert!(!is_whole || expected.contains(&stored(&read)), "changed unseen at {place}");
        }
        Err(OpenError::Journal { .. } | OpenError::Format { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

fn frames(mut octets: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((len, rest)) = octets.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (frame, rest) = rest.split_at(len);
        frames.push(frame);
        octets = rest;
        if frames.len() == FRAMES {
            break;
        }
    }
    frames
}

/// An event as it is stored, and the hash of the chain after it.
pub(super) type Stored = (Vec<u8>, [u8; 32]);

pub(super) fn stored(events: &[Recorded]) -> Vec<Stored> {
    events.iter().map(|event| (event.to_bytes(), *event.hash.as_bytes())).collect()
}

/// The events at the front of encoded ones that a log could have written from its start on.
pub(super) fn readable(raw: &[u8]) -> Vec<Stored> {
    let (mut events, mut rest) = (Vec::new(), raw);
    let (mut position, mut at, mut hash) = (0, 0, [0; 32]);
    while let Some((bytes, after)) = event_len(rest).and_then(|len| rest.split_at_checked(len)) {
        let Some(event) = Recorded::from_bytes(bytes) else { break };
        if event.position.get() != position + 1 || event.at.as_millis() < at {
            break;
        }
        assert_eq!(event.to_bytes(), bytes, "an event is written as it was read");
        hash = *blake3::Hasher::new().update(&hash).update(bytes).finalize().as_bytes();
        events.push((bytes.to_vec(), hash));
        (position, at, rest) = (event.position.get(), event.at.as_millis(), after);
    }
    events
}

/// How long the event is that begins here: what is fixed (position, stream, version, id, time), a
/// number of places of 48 octets, a length of data.
fn event_len(octets: &[u8]) -> Option<usize> {
    const FIXED: usize = 8 + 17 + 8 + 16 + 8;
    let places = octets.get(FIXED..FIXED + 2)?;
    let data = FIXED + 2 + usize::from(u16::from_le_bytes(places.try_into().ok()?)) * 48;
    let len = u32::from_le_bytes(octets.get(data..data + 4)?.try_into().ok()?);
    Some(data + 4 + usize::try_from(len).ok()?)
}
