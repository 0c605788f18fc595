//! Messages that wait.

use std::time::{Duration, Instant};

use super::accept::in_ms;
use crate::{
    Outcome, Setting, disk_bytes,
    figures::{Row, Table, as_f64},
    server::{Server, Usage},
    world::World,
};

const DOMAINS: usize = 50;
const CLIENTS: usize = 8;
const BATCH: usize = 100;
/// What is accepted while the first of them is not yet due.
const ACCEPTED_PER_SECOND: u64 = 2_000;
/// Draining is measured over so many: that is how fast they go while the others still wait.
const DRAINED: usize = 20_000;

pub(crate) async fn run(setting: &Setting, waiting: &[usize]) -> Outcome<()> {
    let title = "Waiting messages: accepted, killed, started when all are due, drained";
    let mut table = Table::new("backlog", title, "drainedPerSecond");
    for waiting in waiting {
        table.push(measure(setting, setting.count(*waiting)).await?);
    }
    table.finish(setting)
}

async fn measure(setting: &Setting, waiting: usize) -> Outcome<Row> {
    let mut world = World::start(setting, DOMAINS).await?;
    world.warm_up(&world.load(setting, CLIENTS, DOMAINS)?).await?;
    let idle = world.server.usage()?;
    let patience = Duration::from_secs(30 + u64::try_from(waiting)? / ACCEPTED_PER_SECOND);
    let due = Instant::now() + patience;
    let load = world
        .load(setting, CLIENTS, DOMAINS)?
        .scheduled_at(&in_ms(u64::try_from(patience.as_millis())?)?)
        .in_batches(BATCH);
    let first = world.receiver.received();
    let disk_before = disk_bytes(world.site.data())?;
    load.send(first..first + waiting).await?;
    // What was only under way has settled by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let laden = world.server.usage()?;
    let disk = disk_bytes(world.site.data())?.saturating_sub(disk_before);
    world.server.kill().await?;
    tokio::time::sleep_until(due.into()).await;

    let started = Instant::now();
    world.server = Server::start(&world.site).await?;
    let listening = started.elapsed();
    let fresh = world.server.usage()?;
    let began = world.receiver.has(first + 1).await?.saturating_duration_since(started);
    let some = waiting.min(DRAINED);
    let drained = world.receiver.has(first + some).await?.saturating_duration_since(started);
    let draining = world.server.usage()?;
    world.server.stop().await?;
    let rise = |after: &Usage| as_f64(after.rss_kib.saturating_sub(idle.rss_kib)) * 1_024.0;
    Ok(Row::new(format!("{waiting} waiting"))
        .with("memoryBytesEach", rise(&laden) / as_f64(waiting))
        .with("memoryBytesEachRestarted", rise(&fresh) / as_f64(waiting))
        .with("diskBytesEach", as_f64(disk) / as_f64(waiting))
        .with("startSeconds", listening.as_secs_f64())
        .with("firstDeliverySeconds", began.as_secs_f64())
        .with("memoryBytesEachDraining", rise(&draining) / as_f64(waiting))
        .with("drainedPerSecond", as_f64(some) / drained.saturating_sub(began).as_secs_f64()))
}
