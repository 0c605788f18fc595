//! Questions over long logs.

use std::time::Duration;

use serde_json::Value;

use crate::{
    Outcome, Setting,
    figures::{Row, Table, as_f64},
    times::Times,
    world::World,
};

const ASKED: usize = 400;
const QUESTIONS: [(&str, &str); 5] = [
    ("page of the logs", "/v1/emails/logs?limit=50"),
    ("page of one type", "/v1/emails/logs?limit=50&type=deferred"),
    ("page of one tag", "/v1/emails/logs?limit=50&tag=receipt"),
    ("30 days of statistics", "/v1/emails/stats?interval=day"),
    ("statistics by domain", "/v1/emails/stats?interval=day&groupBy=recipientDomain"),
];

pub(crate) async fn run(setting: &Setting, events: &[usize]) -> Outcome<()> {
    let mut table = Table::new("query", "Questions over long logs, by HTTP", "p99Ms");
    for events in events {
        let events = setting.count(*events);
        let world = World::start_filled(setting, 1, events).await?;
        for (label, path) in QUESTIONS {
            let times = Times::new(ask(&world, path, setting.count(ASKED)).await?);
            table.push(
                Row::new(format!("{label}, {events} events"))
                    .with("p50Ms", times.permille_ms(500))
                    .with("p99Ms", times.permille_ms(990)),
            );
        }
        let usage = world.server.usage()?;
        table.push(
            Row::new(format!("memory, {events} events"))
                .with("peakRssMib", as_f64(usage.peak_rss_kib) / 1_024.0),
        );
        world.server.stop().await?;
    }
    table.finish(setting)
}

/// Pages through the logs, or asks the same again.
async fn ask(world: &World, path: &str, times: usize) -> Outcome<Vec<Duration>> {
    let mut took = Vec::with_capacity(times);
    let mut next = path.to_owned();
    for _ in 0..times {
        let (answer, time) = world.server.ask(&next, &world.sender.secret).await?;
        took.push(time);
        next = match answer.get("nextCursor").and_then(Value::as_str) {
            Some(cursor) => format!("{path}&cursor={cursor}"),
            None => path.to_owned(),
        };
    }
    Ok(took)
}
