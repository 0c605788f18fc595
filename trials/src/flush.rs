//! The disk fails: from one moment on, no flush succeeds (EIO).
//!
//! By libfiu (Debian: `apt-get install fiu-utils libfiu0`), which stands between the server and the
//! C library's `fsync` and `fdatasync`.

use std::{path::Path, time::Duration};

use bench::{Outcome, figures::print_line as tell, server::Server};
use tokio::time::sleep;

use crate::{
    Setting,
    mounts::run as command,
    reconcile::Account,
    stage::{PATIENCE, Stage},
};

const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(20);
const ANSWERS: usize = 60;
/// Input or output error.
const EIO: i32 = 5;
const FAULTS: [&str; 2] = ["posix/io/sync/fdatasync", "posix/io/sync/fsync"];
/// Answers that had been decided upon when the disk began to fail may be on their way so long.
const ON_THEIR_WAY: Duration = Duration::from_millis(500);

pub(crate) async fn run(setting: &Setting) -> Outcome<Option<Account>> {
    if !Path::new("/usr/bin/fiu-run").exists() {
        tell("  skipped: there is no fiu-run here (apt-get install fiu-utils libfiu0)");
        return Ok(None);
    }
    let stage = Stage::set(setting.data_parent.as_deref(), None).await?;
    let clients = stage.clients(CLIENTS, PACE)?;
    let pipes = stage.directory().join("fiu").to_string_lossy().into_owned();
    let (mut server, _) = stage.start_under(&["fiu-run", "-x", "-f", &pipes]).await?;
    if !stage.accepts(ANSWERS, PATIENCE).await {
        return Err("nothing is accepted".into());
    }
    let pipe = format!("{pipes}-{}", server.pid().as_raw_nonzero());
    for fault in FAULTS {
        let fault = format!("enable name={fault},failinfo={EIO}");
        command("fiu-ctrl", &["-c", &fault, &pipe])?;
    }
    sleep(ON_THEIR_WAY).await;
    let accepted = stage.ledger.count();
    ends(&mut server).await?;
    let after = stage.ledger.count() - accepted;
    if after > 0 {
        return Err(format!("{after} were acknowledged after a flush had failed").into());
    }
    drop(server);
    let (server, _) = stage.start().await?;
    if !stage.accepts(ANSWERS, PATIENCE).await {
        return Err("nothing is accepted after a restart on a sound disk".into());
    }
    stage.settle(clients, server).await.map(Some)
}

/// It must see by itself that it can do nothing more, and say so.
async fn ends(server: &mut Server) -> Outcome<()> {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(status) = server.has_ended()? {
                return Outcome::Ok(status);
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let Ok(status) = waited.await else {
        return Err("a server that can write nothing goes on and on".into());
    };
    let status = status?;
    let said =
        server.complaints().lines().iter().any(|line| line.contains("the log stops writing"));
    tell(&format!("  after a failed flush it ended by itself: {status}"));
    if status.code() != Some(1) || !said {
        return Err(format!("it ended with {status}, and said why: {said}").into());
    }
    Ok(())
}
