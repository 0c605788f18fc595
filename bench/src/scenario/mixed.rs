//! Accepting while delivering.

use crate::{
    Outcome, Setting,
    cost::Moment,
    figures::{Row, Table, as_f64},
    world::World,
};

const MESSAGES: usize = 10_000;
const DOMAINS: usize = 50;

pub(crate) async fn run(setting: &Setting) -> Outcome<()> {
    let title = format!("Accepting while delivering to {DOMAINS} domains");
    let mut table = Table::new("mixed", title, "acceptP99Ms");
    for clients in [4, 16, 64] {
        let messages = setting.count(MESSAGES);
        let world = World::start(setting, DOMAINS).await?;
        let load = world.load(setting, clients, DOMAINS)?;
        world.warm_up(&load).await?;
        let before = Moment::now(&world.server).await?;
        let first = world.receiver.received();
        let through = world.through(&load, first..first + messages).await?;
        let accepting = &through.accepting;
        let row = Row::new(format!("{clients} clients"))
            .with("acceptP50Ms", accepting.answers.permille_ms(500))
            .with("acceptP99Ms", accepting.answers.permille_ms(990))
            .with("acceptedPerSecond", as_f64(messages) / accepting.elapsed.as_secs_f64())
            .with("deliveredPerSecond", as_f64(messages) / through.delivering.as_secs_f64());
        table.push(before.cost_in(row, &world.server, messages).await?);
        world.server.stop().await?;
    }
    table.finish(setting)
}
