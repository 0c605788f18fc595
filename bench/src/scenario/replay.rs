//! Reading the whole log again.

use crate::{
    Outcome, Setting,
    figures::{Row, Table, as_f64},
    fill::fill,
    receiver::Receiver,
    world::{directory, site},
};

pub(crate) async fn run(setting: &Setting, events: usize) -> Outcome<()> {
    let events = setting.count(events);
    let title = format!("Commands over a log of {events} events");
    let mut table = Table::new("replay", title, "eventsPerSecond");
    let directory = directory(setting)?;
    let receiver = Receiver::start(1).await?;
    let site = site(directory.path(), &receiver)?;
    let sender = site.sign_up(receiver.dns())?;
    fill(&site, &sender, events).await?;
    for (label, arguments) in [
        ("log verify", &["log", "verify"][..]),
        ("log rebuild", &["log", "rebuild"]),
        ("replay", &["replay"]),
    ] {
        let took = site.timed(arguments)?;
        table.push(
            Row::new(label)
                .with("eventsPerSecond", as_f64(events) / took.as_secs_f64())
                .with("seconds", took.as_secs_f64()),
        );
    }
    table.finish(setting)
}
