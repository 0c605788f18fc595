//! Small and large messages.

use crate::{
    Outcome, Setting,
    cost::Moment,
    figures::{Row, Table, as_f64},
    world::World,
};

const CLIENTS: usize = 16;
/// Octets of text, and how many such messages.
const SIZES: [(usize, usize); 3] = [(1_000, 4_000), (100_000, 1_000), (10_000_000, 60)];

pub(crate) async fn run(setting: &Setting) -> Outcome<()> {
    let title = format!("Messages by size, {CLIENTS} clients, one domain");
    let mut table = Table::new("size", title, "mebibytesPerSecond");
    for (octets, messages) in SIZES {
        let messages = setting.count(messages);
        let world = World::start(setting, 1).await?;
        world.warm_up(&world.load(setting, CLIENTS, 1)?).await?;
        let setting = Setting { text_octets: octets, ..setting.clone() };
        let load = world.load(&setting, CLIENTS, 1)?;
        let before = Moment::now(&world.server).await?;
        let first = world.receiver.received();
        let through = world.through(&load, first..first + messages).await?;
        let per_second = as_f64(messages) / through.delivering.as_secs_f64();
        let row = Row::new(format!("{octets} octets"))
            .with("deliveredPerSecond", per_second)
            .with("mebibytesPerSecond", per_second * as_f64(octets) / 1_048_576.0)
            .with("acceptP50Ms", through.accepting.answers.permille_ms(500))
            .with("acceptP99Ms", through.accepting.answers.permille_ms(990));
        table.push(before.cost_in(row, &world.server, messages).await?);
        world.server.stop().await?;
    }
    table.finish(setting)
}
