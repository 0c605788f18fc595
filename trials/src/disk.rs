//! The disk runs full while mail is sent, and has space again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use bench::{Outcome, figures::print_line as tell, server::Server};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::time::sleep;

use crate::{
    Setting,
    desk::PutOff,
    mounts::{Mounted, ext4_image, mount_image},
    reconcile::Account,
    stage::{PATIENCE, Stage, until},
};

const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(20);
const IMAGE_MIB: u64 = 512;
/// Below the log's low-water mark, and enough for what follows from what was accepted.
const LITTLE: u64 = 48 * 1024 * 1024;
/// Messages before the disk is full.
const ANSWERS: usize = 60;
/// What was under way when the disk became full has come to its end then.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Due messages are looked at several times in it.
const FULL_FOR: Duration = Duration::from_secs(4);
/// Requests that are put off, to be sure.
const REFUSED: u64 = 20;

pub(crate) async fn run(_: &Setting) -> Outcome<Option<Account>> {
    let directory = tempfile::tempdir()?;
    let mounted = match disk(directory.path()) {
        Ok(mounted) => mounted,
        Err(why) => {
            tell(&format!("  skipped: no file system of our own here: {}", why.trim()));
            return Ok(None);
        }
    };
    let stage = Stage::set(None, Some(&mounted.at.join("data"))).await?;
    let clients = stage.clients(CLIENTS, PACE)?;
    let (server, _) = stage.start().await?;
    // Half of what is accepted waits for another attempt when the space goes.
    accepted(&stage, ANSWERS).await?;
    stage.desk.put_off(PutOff::All);
    accepted(&stage, 2 * ANSWERS).await?;

    let filler = Filler::new(&mounted.at)?;
    filler.leave(LITTLE)?;
    refuses(&stage, &server, "little space").await?;
    let before = stage.desk.taken();
    stage.desk.put_off(PutOff::Odd);
    let goes_on = until(PATIENCE, || stage.desk.taken() > before + 10).await;
    tell(&format!("  little space: 503, {} delivered all the same", stage.desk.taken() - before));
    if !goes_on {
        return Err("with little space, what was accepted is not delivered".into());
    }

    filler.leave(0)?;
    sleep(AFTERMATH).await;
    stage.desk.put_off(PutOff::Nobody);
    let before = stage.desk.taken();
    refuses(&stage, &server, "no space").await?;
    sleep(FULL_FOR).await;
    let meanwhile = stage.desk.taken() - before;
    tell(&format!("  no space: 503, {meanwhile} delivered meanwhile"));
    if meanwhile > 0 {
        return Err(format!("{meanwhile} were delivered though it could not be recorded").into());
    }
    // The log gives up its ballast, and has room for some outcomes again.
    let server = again(&stage, server).await?;
    refuses(&stage, &server, "no space, after a restart").await?;
    tell(&format!("  no space, after a restart: 503, {} delivered", stage.desk.taken() - before));
    filler.leave(0)?;
    let server = again(&stage, server).await?;
    refuses(&stage, &server, "no space at all, after a restart").await?;
    tell("  no space at all, after a restart: 503");

    drop(filler);
    accepted(&stage, ANSWERS).await?;
    tell("  space again: accepts and delivers by itself");
    stage.settle(clients, server).await.map(Some)
}

fn disk(directory: &Path) -> Result<Mounted, String> {
    let image = directory.join("image");
    ext4_image(&image, IMAGE_MIB)?;
    mount_image(&image, &directory.join("disk"))
}

async fn accepted(stage: &Stage, more: usize) -> Outcome<()> {
    if stage.accepts(more, PATIENCE).await {
        return Ok(());
    }
    Err("nothing is accepted any more".into())
}

/// Nothing is accepted, each is told when to come back, and all can be read.
async fn refuses(stage: &Stage, server: &Server, when: &str) -> Outcome<()> {
    let put_off = || stage.ledger.put_off.load(Ordering::Relaxed);
    let before = put_off();
    if !until(PATIENCE, || put_off() >= before + REFUSED).await {
        return Err(format!("{when}: requests are not put off").into());
    }
    let accepted = stage.ledger.count();
    let before = put_off();
    until(PATIENCE, || put_off() >= before + REFUSED).await;
    if stage.ledger.count() > accepted {
        return Err(format!("{when}: some requests are put off and others accepted").into());
    }
    let known = stage.ledger.accepted().into_values().next().ok_or("nothing was accepted")?;
    for path in ["/v1/emails/logs", "/v1/emails/stats", &format!("/v1/messages/{known}")] {
        server.ask(path, &stage.sender.secret).await.map_err(|error| format!("{when}: {error}"))?;
    }
    Ok(())
}

/// A restart in order, whatever it comes to, and the new server.
async fn again(stage: &Stage, server: Server) -> Outcome<Server> {
    if let Err(error) = server.stop().await {
        tell(&format!("  it stops while the disk is full, with the words: {error}"));
    }
    Ok(stage.start().await?.0)
}

/// A file that takes space.
struct Filler(PathBuf);

impl Filler {
    fn new(disk: &Path) -> Outcome<Self> {
        let path = disk.join("filler");
        File::create(&path)?;
        Ok(Self(path))
    }

    /// Grows until so many bytes are free.
    fn leave(&self, bytes: u64) -> Outcome<()> {
        let file = File::options().write(true).open(&self.0)?;
        loop {
            let stat = statvfs(&self.0)?;
            let free = (stat.f_bavail * stat.f_frsize).saturating_sub(bytes);
            let len = file.metadata()?.len();
            // Where the file system needs some itself, less and less is asked for.
            let mut piece = free;
            while piece >= stat.f_frsize
                && fallocate(&file, FallocateFlags::empty(), len, piece).is_err()
            {
                piece /= 2;
            }
            if piece < stat.f_frsize {
                return Ok(());
            }
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // The disk goes with its image in any case.
        drop(fs::remove_file(&self.0));
    }
}
