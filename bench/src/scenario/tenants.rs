//! Many tenants.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Outcome, Setting,
    cost::Moment,
    figures::{Row, Table, as_f64},
    load::Load,
    portal::Owner,
    server::Sender,
    world::World,
};

const MESSAGES: usize = 5_000;
const CLIENTS: usize = 50;
const DOMAINS: usize = 50;
/// Registrations at once: each costs a password hash and a DKIM key.
const AT_ONCE: usize = 4;

pub(crate) async fn run(setting: &Setting, tenants: &[usize]) -> Outcome<()> {
    let title = format!("Delivering for many tenants, {CLIENTS} clients, {DOMAINS} domains");
    let mut table = Table::new("tenants", title, "deliveredPerSecond");
    for tenants in tenants {
        let tenants = setting.count(*tenants);
        let messages = setting.count(MESSAGES).max(tenants);
        let world = World::start(setting, DOMAINS).await?;
        let senders: Vec<Sender> = stream::iter(0..tenants)
            .map(|number| register(&world, number))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let octets = setting.text_octets;
        let load = Load::new(world.server.url(), senders.into(), CLIENTS, DOMAINS, octets)?;
        world.warm_up(&load).await?;
        let before = Moment::now(&world.server).await?;
        let first = world.receiver.received();
        let through = world.through(&load, first..first + messages).await?;
        let row = Row::new(format!("{tenants} tenants"))
            .with("deliveredPerSecond", as_f64(messages) / through.delivering.as_secs_f64())
            .with("acceptP99Ms", through.accepting.answers.permille_ms(990));
        table.push(before.cost_in(row, &world.server, messages).await?);
        world.server.stop().await?;
    }
    table.finish(setting)
}

/// A tenant with a domain, an app and a key.
async fn register(world: &World, number: usize) -> Outcome<Sender> {
    let owner = Owner::register(world.server.url(), number).await?;
    owner.sender(world.receiver.dns(), &["email:send"]).await
}
