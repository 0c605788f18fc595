//! The power of the whole server is cut.
//!
//! Simulated: its data lies on an ext4 in an image file. All its threads are stopped, the image is
//! copied as it is at that moment, without what the kernel still holds back, and the server goes on
//! with the copy.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bench::{Outcome, figures::print_line as tell, server::Server};
use rustix::process::{Signal, kill_process};
use tokio::time::sleep;

use crate::{
    Setting,
    dice::Dice,
    mounts::{Mounted, ext4_image, mount_image, run as command},
    reconcile::Account,
    stage::{Stage, until},
};

const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(5);
const MOST_ANSWERS: u64 = 80;
const LONGEST_LIFE: Duration = Duration::from_secs(3);
const STANDS_WITHIN: Duration = Duration::from_secs(30);
const EPILOGUE: Duration = Duration::from_millis(20);
const IMAGE_MIB: u64 = 1_024;

pub(crate) async fn run(setting: &Setting, rounds: u32) -> Outcome<Option<Account>> {
    let mut dice = Dice::new(setting.seed);
    let directory = tempfile::tempdir()?;
    let mut disk = match Disk::new(directory.path()) {
        Ok(disk) => disk,
        Err(why) => {
            tell(&format!("  skipped: no file system of our own here: {}", why.trim()));
            return Ok(None);
        }
    };
    let mut stage = Stage::set(None, Some(&disk.data())).await?;
    stage.desk.stall(true);
    let clients = stage.clients(CLIENTS, PACE)?;
    for _ in 0..rounds {
        let (server, _) = stage.start().await?;
        let answers = 1 + dice.below(MOST_ANSWERS);
        stage.accepts(usize::try_from(answers)?, LONGEST_LIFE).await;
        sleep(dice.between_ms(0, 300)).await;
        freeze(&server).await?;
        let copy = disk.copy()?;
        server.kill().await?;
        sleep(EPILOGUE).await;
        disk = disk.replaced_by(copy)?;
        stage.move_to(&disk.data())?;
    }
    stage.desk.stall(false);
    stage.desk.be_friendly(true);
    let (server, _) = stage.start().await?;
    let account = stage.settle(clients, server).await?;
    tell(&format!("  {rounds} power cuts"));
    Ok(Some(account))
}

/// A file system in an image file.
struct Disk {
    mounted: Mounted,
    image: PathBuf,
    directory: PathBuf,
    number: u32,
}

impl Disk {
    fn new(directory: &Path) -> Result<Self, String> {
        let image = directory.join("image-0");
        ext4_image(&image, IMAGE_MIB)?;
        let mounted = mount_image(&image, &directory.join("disk-0"))?;
        Ok(Self { mounted, image, directory: directory.to_owned(), number: 0 })
    }

    fn data(&self) -> PathBuf {
        self.mounted.at.join("data")
    }

    /// The image as it is now.
    fn copy(&self) -> Outcome<PathBuf> {
        let copy = self.directory.join(format!("image-{}", self.number + 1));
        let [from, to] = [&self.image, &copy].map(|path| path.to_string_lossy().into_owned());
        command("cp", &["--sparse=always", &from, &to])?;
        Ok(copy)
    }

    /// Takes this one away and mounts another image.
    fn replaced_by(self, image: PathBuf) -> Outcome<Self> {
        let Self { mounted, image: old, directory, number } = self;
        mounted.unmount();
        fs::remove_file(old)?;
        let number = number + 1;
        let mounted = mount_image(&image, &directory.join(format!("disk-{number}")))?;
        Ok(Self { mounted, image, directory, number })
    }
}

/// Stops all threads of the server and waits until they stand: one in the middle of a write stands
/// only once that is done.
async fn freeze(server: &Server) -> Outcome<()> {
    kill_process(server.pid(), Signal::STOP)?;
    let tasks = format!("/proc/{}/task", server.pid().as_raw_nonzero());
    let stands = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    let all_stand = || fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().all(stands));
    if until(STANDS_WITHIN, all_stand).await { Ok(()) } else { Err("it does not stand".into()) }
}
