//! File systems of our own, where root may mount them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, should something still be open: the machine must not keep it.
        run("umount", &["-l", self.at.to_str().unwrap()]).unwrap();
    }
}

impl Mounted {
    pub(crate) fn unmount(self) {
        drop(self);
    }
}

/// Runs a command; what it printed to stderr if it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Makes an image with an empty ext4 of `mib` MiB.
pub(crate) fn ext4_image(path: &Path, mib: u64) -> Result<(), String> {
    let file = std::fs::File::create(path).map_err(|error| error.to_string())?;
    file.set_len(mib * 1024 * 1024).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &["-q", "-F", "-m", "0", path.to_str().unwrap()])
}

/// Mounts an image on a new directory.
pub(crate) fn mount_image(image: &Path, at: &Path) -> Result<Mounted, String> {
    std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
    run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()])?;
    Ok(Mounted { at: at.to_owned() })
}

/// Mounts a file system in memory of `mib` MiB on a new directory.
pub(crate) fn mount_memory(at: &Path, mib: u64) -> Result<Mounted, String> {
    std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
    let size = format!("size={mib}m");
    run("mount", &["-t", "tmpfs", "-o", &size, "none", at.to_str().unwrap()])?;
    Ok(Mounted { at: at.to_owned() })
}

/// Gives what was mounted, or says why the test is skipped.
pub(crate) fn or_skip<T>(mounted: Result<T, String>) -> Option<T> {
    mounted
        .inspect_err(|why| println!("skipped: no file system of our own here: {}", why.trim()))
        .ok()
}
