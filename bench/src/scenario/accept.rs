//! Durable answers per second.

use crate::{
    Outcome, Setting,
    cost::Moment,
    figures::{Row, Table, as_f64},
    world::World,
};

const MESSAGES: usize = 10_000;
/// Long after the measurement: what is accepted waits, so that nothing but accepting is measured.
const TOMORROW_MS: u64 = 24 * 3_600 * 1_000;

pub(crate) async fn run(setting: &Setting) -> Outcome<()> {
    let title =
        format!("Durable answers, {} octets of text, nothing delivered", setting.text_octets);
    let mut table = Table::new("accept", title, "acceptedPerSecond");
    for clients in [1, 16, 64, 256] {
        table.push(measure(setting, clients, setting.count(MESSAGES)).await?);
    }
    table.finish(setting)
}

/// One row: so many clients, so many messages.
pub(crate) async fn measure(setting: &Setting, clients: usize, messages: usize) -> Outcome<Row> {
    // One client waits for the disk at each message: a tenth is enough.
    let messages = if clients == 1 { (messages / 10).max(1) } else { messages };
    let world = World::start(setting, 1).await?;
    let load = world.load(setting, clients, 1)?.scheduled_at(&in_ms(TOMORROW_MS)?);
    load.send(0..clients).await?;
    let before = Moment::now(&world.server).await?;
    let accepting = load.send(clients..clients + messages).await?;
    let row = Row::new(format!("{clients} clients"))
        .with("acceptedPerSecond", as_f64(messages) / accepting.elapsed.as_secs_f64())
        .with("p50Ms", accepting.answers.permille_ms(500))
        .with("p95Ms", accepting.answers.permille_ms(950))
        .with("p99Ms", accepting.answers.permille_ms(990))
        .with("putOff", as_f64(accepting.put_off));
    let row = before.cost_in(row, &world.server, messages).await?;
    world.server.stop().await?;
    Ok(row)
}

/// A time from now, as the API takes it.
pub(crate) fn in_ms(later_ms: u64) -> Outcome<String> {
    #[expect(clippy::disallowed_methods, reason = "a time of day is told to the server")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let at = u64::try_from(now.as_millis())? + later_ms;
    Ok(model::Timestamp::from_millis(at).to_string())
}
