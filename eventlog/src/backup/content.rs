//! Content of a backup: the same segments, and in them what the log has now.
//!
//! A segment is looked at when it is not as it was at the last backup, block by block, and only
//! blocks that differ are written. So what was erased since is overwritten here, too, and a segment
//! to which nothing happened costs nothing.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use model::Timestamp;

use super::{
    BackedUp,
    state::{Stamp, State},
};
use crate::{
    content::{ContentSegments, Hour, dropped_file, segment_path},
    files,
};

/// Bytes that are compared at once.
const BLOCK: usize = 256 * 1024;

/// Copies what is new or was overwritten, and deletes what was dropped. `all`: looks at every
/// segment, whatever is known of it. `now`: a time before any of it is looked at.
pub(super) fn bring(
    from: &Path,
    to: &Path,
    (all, now): (bool, Timestamp),
    state: &mut State,
    done: &mut BackedUp,
) -> io::Result<()> {
    let segments = ContentSegments::open(from, Hour::default())?.hours()?;
    for hour in segments {
        let source = match File::open(segment_path(from, hour)) {
            // Dropped in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        // Before it is read: what is written meanwhile is seen by its times the next time.
        let stamp = Stamp::settled(&source.metadata()?, now);
        let path = segment_path(to, hour);
        let known = stamp.is_some() && state.stamp(hour) == stamp.as_ref() && path.is_file();
        if known && !all {
            done.segments_kept += 1;
            continue;
        }
        // Until it is whole, nothing is known of it, whatever was written down before.
        state.segments.remove(&hour.get());
        done.content_bytes += level(&source, &path)?;
        done.segments_read += 1;
        if let Some(stamp) = stamp {
            state.segments.insert(hour.get(), stamp);
        }
    }
    drop_old(from, to, state, done)
}

/// Makes the file at `path` the same as `source`; the bytes that were written.
fn level(source: &File, path: &Path) -> io::Result<u64> {
    let existed = path.exists();
    let target = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let (len, mut had) = (source.metadata()?.len(), target.metadata()?.len());
    if had > len {
        had = len;
    }
    target.set_len(len)?;
    let (mut wanted, mut present) = (vec![0; BLOCK], vec![0; BLOCK]);
    let (mut at, mut written) = (0, 0);
    while at < len {
        let size = usize::try_from(len - at).unwrap_or(BLOCK).min(BLOCK);
        let Some((wanted, present)) = wanted.get_mut(..size).zip(present.get_mut(..size)) else {
            break;
        };
        source.read_exact_at(wanted, at)?;
        // Behind what it had the file is a hole, which reads as zeros.
        if at < had {
            target.read_exact_at(present, at)?;
        } else {
            present.fill(0);
        }
        if wanted != present {
            target.write_all_at(wanted, at)?;
            written += size as u64;
        }
        at += size as u64;
    }
    target.sync_all()?;
    if !existed {
        files::sync_directory(files::parent(path))?;
    }
    Ok(written)
}

/// Deletes what the log dropped. The note that says so comes first, as there.
fn drop_old(from: &Path, to: &Path, state: &mut State, done: &mut BackedUp) -> io::Result<()> {
    let before = match std::fs::read(dropped_file(from)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let note = dropped_file(to);
    if std::fs::read(&note).ok().as_deref() != Some(&before) {
        files::replace(&note, &before)?;
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "dropped-before is not a number");
    let text = std::str::from_utf8(&before).map_err(|_| invalid())?;
    let before: u32 = text.trim().parse().map_err(|_| invalid())?;
    for hour in ContentSegments::open(to, Hour::default())?.hours()? {
        if hour.get() < before {
            std::fs::remove_file(segment_path(to, hour))?;
            state.segments.remove(&hour.get());
            done.segments_dropped += 1;
        }
    }
    files::sync_directory(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_that_differ_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut bytes = vec![7; 3 * BLOCK + 100];
        let copy = |bytes: &[u8]| {
            std::fs::write(&from, bytes).unwrap();
            let written = level(&File::open(&from).unwrap(), &to).unwrap();
            assert!(std::fs::read(&to).unwrap() == bytes, "they differ");
            written
        };
        assert_eq!(copy(&bytes), bytes.len() as u64);
        assert_eq!(copy(&bytes), 0);
        bytes[BLOCK + 5] = 0;
        assert_eq!(copy(&bytes), BLOCK as u64);
        bytes.resize(bytes.len() + BLOCK, 0);
        assert_eq!(copy(&bytes), 0, "zeros need not be written");
        bytes.truncate(BLOCK);
        assert_eq!(copy(&bytes), 0);
    }
}
