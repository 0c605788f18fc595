//! The server is killed again and again, mostly with mail in its queue and requests under way,
//! sometimes before it listens.

use std::time::Duration;

use bench::{Outcome, figures::print_line as tell};
use tokio::time::{sleep, timeout};

use crate::{Setting, dice::Dice, reconcile::Account, stage::Stage};

const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(5);
/// Answers after which a life ends, at most.
const MOST_ANSWERS: u64 = 80;
/// A life is ended anyway after so long.
const LONGEST_LIFE: Duration = Duration::from_secs(2);
/// Connections of a process that is gone are read to their end within this time.
const EPILOGUE: Duration = Duration::from_millis(20);
/// The last quarter of starts may take so many times as long as the first.
const MOST_SLOWER: u32 = 4;
/// Starts that are faster than this are fast, whatever they are compared with.
const FAST: Duration = Duration::from_secs(2);

pub(crate) async fn run(setting: &Setting, cycles: u32) -> Outcome<Account> {
    let mut dice = Dice::new(setting.seed);
    let stage = Stage::set(setting.data_parent.as_deref(), None).await?;
    stage.desk.stall(true);
    let clients = stage.clients(CLIENTS, PACE)?;
    let (mut starts, mut unborn) = (Vec::new(), 0);
    for cycle in 1..=cycles {
        if dice.below(8) == 0 {
            // Dropped in the middle of its start, it is killed.
            drop(timeout(dice.between_ms(1, 300), stage.start()).await);
            unborn += 1;
            continue;
        }
        let (server, took) = stage.start().await?;
        starts.push(took);
        let answers = 1 + dice.below(MOST_ANSWERS);
        stage.accepts(usize::try_from(answers)?, LONGEST_LIFE).await;
        sleep(dice.between_ms(0, 20)).await;
        server.kill().await?;
        sleep(EPILOGUE).await;
        if cycle.is_multiple_of(100) {
            tell(&format!("  {cycle} cycles, {} acknowledged", stage.ledger.count()));
        }
    }
    // Nobody waits for an answer any more that will not come.
    stage.desk.stall(false);
    stage.desk.be_friendly(true);
    let (server, last) = stage.start().await?;
    let account = stage.settle(clients, server).await?;
    tell(&format!("  {cycles} kills, {unborn} of them before it listened"));
    quick(&mut starts, last)?;
    Ok(account)
}

/// Starts must not become slower with what has happened before.
fn quick(starts: &mut [Duration], last: Duration) -> Outcome<()> {
    let quarter = (starts.len() / 4).max(1);
    let middle = |part: &mut [Duration]| {
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or_default()
    };
    let before = starts.get_mut(..quarter).map(middle).unwrap_or_default();
    let after = starts.len().saturating_sub(quarter);
    let after = starts.get_mut(after..).map(middle).unwrap_or_default();
    let whole = middle(starts);
    tell(&format!(
        "  listens after {whole:.0?} (median; first quarter {before:.0?}, last {after:.0?}; the last \
         start, with all that waited, {last:.0?})"
    ));
    if after > FAST && after > before * MOST_SLOWER {
        return Err("starts have become slow".into());
    }
    Ok(())
}
