//! One message at a time.

use std::time::Instant;

use crate::{
    Outcome, Setting,
    figures::{Row, Table},
    times::Times,
    world::World,
};

const MESSAGES: usize = 500;

pub(crate) async fn run(setting: &Setting) -> Outcome<()> {
    let title = "One message at a time on an idle server";
    let mut table = Table::new("latency", title, "p50Ms");
    let world = World::start(setting, 1).await?;
    let load = world.load(setting, 1, 1)?;
    world.warm_up(&load).await?;
    let (mut accepted, mut delivered) = (Vec::new(), Vec::new());
    for _ in 0..setting.count(MESSAGES) {
        let number = world.receiver.received();
        let started = Instant::now();
        load.send(number..number + 1).await?;
        accepted.push(started.elapsed());
        delivered.push(world.receiver.has(number + 1).await?.saturating_duration_since(started));
    }
    world.server.stop().await?;
    for (label, times) in [("request to 202", accepted), ("request to receiver's 250", delivered)] {
        let times = Times::new(times);
        table.push(
            Row::new(label)
                .with("p50Ms", times.permille_ms(500))
                .with("p95Ms", times.permille_ms(950))
                .with("p99Ms", times.permille_ms(990)),
        );
    }
    table.finish(setting)
}
