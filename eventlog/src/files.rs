//! What std lacks for files that must be there after a power cut.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

/// The directory in which a path lies.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces a small file: after a crash it is wholly the old or wholly the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(parent(path))
}

/// Tries for about a second to take a lock. A process that was just killed holds its locks until it
/// is wholly gone, and one that is just being started holds ours between its fork and its exec.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> T, is_locked: impl Fn(&T) -> bool) -> T {
    let mut result = attempt();
    for _ in 0..50 {
        if !is_locked(&result) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        result = attempt();
    }
    result
}

/// Writes zeros from one place of a file to another.
pub(crate) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(ZEROS.get(..len).unwrap_or_default(), at)?;
        at += len as u64;
    }
    Ok(())
}

/// Whether an error says that something is short now that can be there again in a moment: space, or
/// file descriptors. Nothing is damaged, and the same may be tried again.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const NO_DESCRIPTORS: [i32; 2] =
        [rustix::io::Errno::MFILE.raw_os_error(), rustix::io::Errno::NFILE.raw_os_error()];
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|number| NO_DESCRIPTORS.contains(&number))
}

/// Bytes that are free to us on the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes that a file or a directory with its files takes on the disk.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let mut total = metadata.blocks().saturating_mul(512);
    if metadata.is_dir()
        && let Ok(entries) = std::fs::read_dir(path)
    {
        total += entries.flatten().map(|entry| disk_bytes(&entry.path())).sum::<u64>();
    }
    total
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_is_short_is_told_from_what_fails() {
        let errno = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for short in [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::DQUOT] {
            assert!(is_shortage(&errno(short)), "{short}");
        }
        for failed in [Errno::IO, Errno::BADF, Errno::ROFS, Errno::ACCESS] {
            assert!(!is_shortage(&errno(failed)), "{failed}");
        }
    }
}
