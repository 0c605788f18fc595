//! What pruning gives back of the disk, and what it costs.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Outcome, Setting, disk_bytes,
    figures::{Row, Table, as_f64},
    fill::{fill_days, now},
    receiver::Receiver,
    server::{Sender, Server},
    world::{directory, site},
};

const DAYS: u64 = 500;
const KEPT_DAYS: u64 = 100;
/// How long the server may take to forget content, before it is stopped.
const SWEPT_WITHIN: Duration = Duration::from_mins(2);

pub(crate) async fn run(setting: &Setting, messages: usize) -> Outcome<()> {
    let messages = setting.count(messages);
    let title = format!("Disk of {messages} messages of {DAYS} days, in MiB");
    let mut table = Table::new("retention", title, "sled");
    let directory = directory(setting)?;
    let receiver = Receiver::start(1).await?;
    let site = site(directory.path(), &receiver)?;
    // Nobody signs up: that would be recorded now, and nothing is recorded before what is there.
    let nobody = "00000000000000000000000001";
    let sender = Sender {
        secret: String::new(),
        domain: String::new(),
        tenant: format!("ten_{nobody}"),
        app: format!("app_{nobody}"),
    };
    // One in ten is deferred once.
    fill_days(&site, &sender, messages * 21 / 10, DAYS).await?;
    table.push(row("written", &site.json(&["log", "stats"])?)?);

    // Content older than 30 days is forgotten at the start, and what there is is signed at the stop.
    let server = Server::start(&site).await?;
    let content = site.data().join("log/content");
    let begun = Instant::now();
    let whole = files(&content)?;
    while files(&content)? > whole / 5 && begun.elapsed() < SWEPT_WITHIN {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.stop().await?;
    let before = site.json(&["log", "stats"])?;
    table.push(row("content older than 30 days forgotten", &before)?);

    let since = now()?.minus(Duration::from_hours(24 * KEPT_DAYS)).to_string();
    let begun = Instant::now();
    let pruned = site.json(&["log", "prune", "--before", &since])?;
    let took = begun.elapsed();
    let after = site.json(&["log", "stats"])?;
    let events = number(&pruned, "events")?;
    table.push(
        row(&format!("all but {KEPT_DAYS} days pruned"), &after)?
            .with("seconds", took.as_secs_f64())
            .with("prunedEvents", events)
            .with("sledRatio", number(&after, "sledBytes")? / number(&before, "sledBytes")?)
            .with("read", as_f64(disk_bytes(&site.data().join("read"))?) / 1_048_576.0),
    );
    let verified = site.json(&["log", "verify"])?;
    if number(&verified, "pruned")? < events {
        return Err(format!("verify saw other gaps: {verified}").into());
    }
    table.finish(setting)
}

fn files(directory: &Path) -> Outcome<usize> {
    Ok(std::fs::read_dir(directory)?.count())
}

fn number(object: &Value, name: &str) -> Outcome<f64> {
    object.get(name).and_then(Value::as_f64).ok_or_else(|| format!("no {name}: {object}").into())
}

fn row(label: &str, stats: &Value) -> Outcome<Row> {
    let of = |name| number(stats, name).map(|bytes| bytes / 1_048_576.0);
    Ok(Row::new(label)
        .with("sled", of("sledBytes")?)
        .with("journal", of("journalBytes")?)
        .with("content", of("contentBytes")?)
        .with("events", number(stats, "indexed")?))
}
