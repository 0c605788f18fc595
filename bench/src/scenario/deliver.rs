//! From request to receiver.

use serde_json::Value;

use crate::{
    Outcome, Setting,
    cost::Moment,
    figures::{Row, Table, as_f64},
    world::World,
};

const MESSAGES: usize = 5_000;
const CLIENTS: usize = 50;

pub(crate) async fn run(setting: &Setting, domains: &[usize]) -> Outcome<()> {
    let title = format!(
        "From request to receiver, RSA-2048 signature, {} octets of text, {CLIENTS} clients",
        setting.text_octets
    );
    let mut table = Table::new("deliver", title, "deliveredPerSecond");
    for domains in domains {
        table.push(measure(setting, *domains, setting.count(MESSAGES)).await?);
    }
    table.finish(setting)
}

/// One row: so many recipients' domains, so many messages.
pub(crate) async fn measure(setting: &Setting, domains: usize, messages: usize) -> Outcome<Row> {
    let world = World::start(setting, domains).await?;
    let load = world.load(setting, CLIENTS, domains)?;
    world.warm_up(&load).await?;
    let before = Moment::now(&world.server).await?;
    let first = world.receiver.received();
    let through = world.through(&load, first..first + messages).await?;
    let row = Row::new(format!("{domains} domains"))
        .with("deliveredPerSecond", as_f64(messages) / through.delivering.as_secs_f64())
        .with("acceptedPerSecond", as_f64(messages) / through.accepting.elapsed.as_secs_f64())
        .with("acceptP99Ms", through.accepting.answers.permille_ms(990))
        .with("putOff", as_f64(through.accepting.put_off));
    let row = before.cost_in(row, &world.server, messages).await?;
    let all = first + messages;
    let twice = world.receiver.received() - all;
    world.server.stop().await?;
    let log = world.site.log_stats()?;
    let bytes = |name: &str| log.get(name).and_then(Value::as_f64).map(|size| size / as_f64(all));
    Ok(row
        .with("receivedTwice", as_f64(twice))
        .with_some("journalBytes", bytes("journalBytes"))
        .with_some("sledBytes", bytes("sledBytes"))
        .with_some("contentBytes", bytes("contentBytes")))
}
