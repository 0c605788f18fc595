//! The disk becomes slow while mail is sent, as one does that dies or is shared with others, and is
//! quick again.
//!
//! The data lies on an ext4 in an image that qemu's storage daemon gives out as a file (FUSE), with
//! a bound on writes that is changed meanwhile: every write of the server, its flushes and those of
//! the file system pass it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bench::{Outcome, figures::print_line as tell};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Setting,
    mounts::{Mounted, ext4_image, mount_image},
    reconcile::Account,
    stage::{PATIENCE, Stage},
};

/// More at once than a disk with a few writes a second can take.
const CLIENTS: usize = 400;
const PACE: Duration = Duration::from_millis(20);
const IMAGE_MIB: u64 = 1_024;
/// Writes a second, of whatever size, and octets a second: a flush takes some 200 ms.
const WRITES: u32 = 10;
const OCTETS: u32 = 1 << 20;
/// Memory may grow by so much above that of the quick disk, in KiB: what waits has bounds.
const MOST_GROWTH_KIB: u64 = 256 * 1024;
/// Messages before the disk is slow, and after it.
const ANSWERS: usize = 400;

pub(crate) async fn run(_: &Setting, length: Duration) -> Outcome<Option<Account>> {
    let directory = tempfile::tempdir()?;
    let disk = match Disk::new(directory.path()) {
        Ok(disk) => disk,
        Err(why) => {
            tell(&format!("  skipped: no disk that can be made slow here: {}", why.trim()));
            return Ok(None);
        }
    };
    let stage = Stage::set(None, Some(&disk.mounted.at.join("data"))).await?;
    stage.desk.be_friendly(true);
    let clients = stage.clients(CLIENTS, PACE)?;
    let (server, _) = stage.start().await?;
    let begun = Instant::now();
    accepted(&stage, ANSWERS, "at first").await?;
    let quick = begun.elapsed();
    let before = server.usage()?;

    disk.write_at_most(WRITES, OCTETS)?;
    let (known, put_off) = (stage.ledger.count(), stage.ledger.put_off.load(Ordering::Relaxed));
    let taken = stage.desk.taken();
    sleep(length).await;
    let during = server.usage()?;
    let (accepts, delivered) = (stage.ledger.count() - known, stage.desk.taken() - taken);
    let put_off = stage.ledger.put_off.load(Ordering::Relaxed) - put_off;
    tell(&format!(
        "  slow: {accepts} accepted, {put_off} told to come back, {delivered} delivered in \
         {length:.0?}; memory {} MiB before, {} MiB at most",
        before.rss_kib / 1_024,
        during.peak_rss_kib / 1_024,
    ));
    // It goes on, slowly; all that waits fits into bounds, and who finds no place is told.
    if accepts == 0 {
        return Err("on a slow disk nothing is accepted".into());
    }
    if during.peak_rss_kib > before.rss_kib + MOST_GROWTH_KIB {
        return Err("memory grew without bound".into());
    }

    disk.write_at_most(0, 0)?;
    let again = Instant::now();
    accepted(&stage, 1, "quick again").await?;
    let first = again.elapsed();
    accepted(&stage, ANSWERS, "quick again").await?;
    tell(&format!(
        "  quick again: the first 202 after {first:.0?}, {ANSWERS} more after {:.0?}; at first \
         {ANSWERS} took {quick:.0?}",
        again.elapsed(),
    ));
    stage.settle(clients, server).await.map(Some)
}

async fn accepted(stage: &Stage, more: usize, when: &str) -> Outcome<()> {
    if stage.accepts(more, PATIENCE).await {
        return Ok(());
    }
    Err(format!("{when}, nothing is accepted").into())
}

/// A file system on a disk that writes as fast as it is told. Unmounted first, then its daemon ends.
struct Disk {
    mounted: Mounted,
    daemon: Daemon,
}

impl Disk {
    fn new(directory: &Path) -> Result<Self, String> {
        let image = directory.join("image");
        ext4_image(&image, IMAGE_MIB)?;
        let daemon = Daemon::start(&image, &directory.join("disk"))?;
        let mounted = mount_image(&directory.join("disk"), &directory.join("mounted"))?;
        Ok(Self { mounted, daemon })
    }

    /// Sets the bounds on writes; 0 for none.
    fn write_at_most(&self, a_second: u32, octets_a_second: u32) -> Outcome<()> {
        let limits = format!(r#"{{"iops-write":{a_second},"bps-write":{octets_a_second}}}"#);
        self.daemon.ask(&format!(
            r#"{{"execute":"qom-set","arguments":{{"path":"/objects/slow","property":"limits","value":{limits}}}}}"#
        ))
    }
}

/// qemu's storage daemon, which gives the image out. It is told what to do over its own input.
struct Daemon {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Daemon {
    /// Gives `image` out as the file `at`.
    fn start(image: &Path, at: &Path) -> Result<Self, String> {
        let words = |error: std::io::Error| format!("qemu-storage-daemon: {error}");
        File::create(at).map_err(words)?;
        let (image, at) = (image.display(), at.display());
        let mut child = Command::new("qemu-storage-daemon")
            .args(["--chardev", "stdio,id=talk", "--monitor", "chardev=talk"])
            .args(["--object", "throttle-group,id=slow"])
            .args(["--blockdev", &format!("driver=file,filename={image},node-name=image")])
            .args(["--blockdev", "driver=throttle,node-name=disk,throttle-group=slow,file=image"])
            .args(["--export", &format!("fuse,id=disk,node-name=disk,mountpoint={at},writable=on")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(words)?;
        let talk = child.stdin.take().zip(child.stdout.take().map(BufReader::new));
        let daemon = Self { child, talk: Mutex::new(talk.ok_or("it has no input")?) };
        // It speaks only once the export stands, or not at all.
        daemon.ask(r#"{"execute":"qmp_capabilities"}"#).map_err(|error| error.to_string())?;
        Ok(daemon)
    }

    /// Says a command of QMP and hears whether it was done.
    fn ask(&self, command: &str) -> Outcome<()> {
        let mut talk = self.talk.lock();
        let (input, output) = &mut *talk;
        writeln!(input, "{command}")?;
        loop {
            let mut line = String::new();
            if output.read_line(&mut line)? == 0 {
                return Err("qemu-storage-daemon ended".into());
            }
            let said: Value = serde_json::from_str(&line)?;
            if said.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = said.get("error") {
                return Err(format!("qemu-storage-daemon: {error}").into());
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In order, or the file that it gives out would hang about.
        if self.ask(r#"{"execute":"quit"}"#).is_err() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
