//! The system's clock jumps, ahead and back.
//!
//! By libfaketime (Debian: `apt-get install faketime`), which changes the time of day alone: the
//! clock that waits are measured by goes on, as the kernel's does when somebody sets the time.

use std::{fs, path::Path, time::Duration};

use bench::{Outcome, figures::print_line as tell};

use crate::{
    Setting,
    desk::PutOff,
    reconcile::Account,
    stage::{PATIENCE, Stage, until},
};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(10);
const ANSWERS: usize = 40;
/// Hours from the true time, one jump after the other, and whether the server is restarted then.
const JUMPS: [(i32, bool); 5] = [(3, false), (-2, false), (0, false), (30, true), (0, true)];

pub(crate) async fn run(setting: &Setting) -> Outcome<Option<Account>> {
    if !Path::new(LIBRARY).exists() {
        tell("  skipped: there is no libfaketime here (apt-get install faketime)");
        return Ok(None);
    }
    let stage = Stage::set(setting.data_parent.as_deref(), None).await?;
    let clients = stage.clients(CLIENTS, PACE)?;
    let file = stage.directory().join("time");
    fs::write(&file, "+0h\n")?;
    let time = format!("FAKETIME_TIMESTAMP_FILE={}", file.display());
    let preload = format!("LD_PRELOAD={LIBRARY}");
    let starter = ["env", &preload, &time, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let (mut server, _) = stage.start_under(&starter).await?;
    accepted(&stage, 0).await?;
    for (hours, restart) in JUMPS {
        // Some are put off just before the clock jumps, and some just after.
        stage.desk.put_off(PutOff::All);
        accepted(&stage, hours).await?;
        let fresh = file.with_extension("new");
        fs::write(&fresh, format!("{hours:+}h\n"))?;
        fs::rename(&fresh, &file)?;
        if restart {
            server.kill().await?;
            server = stage.start_under(&starter).await?.0;
        }
        accepted(&stage, hours).await?;
        stage.desk.put_off(PutOff::Nobody);
        let (before, waiting) = (stage.desk.taken(), stage.ledger.count());
        let goes_on = until(PATIENCE, || stage.desk.taken() > before + 2 * ANSWERS as u64).await;
        if !goes_on {
            return Err(format!("{hours:+} hours: of {waiting} messages none are delivered").into());
        }
    }
    tell(&format!("  the clock went to {JUMPS:?} hours from the true time"));
    stage.settle(clients, server).await.map(Some)
}

async fn accepted(stage: &Stage, hours: i32) -> Outcome<()> {
    if stage.accepts(ANSWERS, PATIENCE).await {
        return Ok(());
    }
    Err(format!("{hours:+} hours: nothing is accepted").into())
}
