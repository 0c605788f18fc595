//! Other mail servers, measured by turns with this one in one run.
//!
//! Each gets the same messages from as many clients, signs them with an RSA-2048 key and delivers
//! them to the same receiver. Postfix and Haraka take them by SMTP, which is how they are used, and
//! keep their defaults for durability: Postfix syncs its queue file before it says 250, Haraka
//! writes its queue file without a sync.

pub(crate) mod client;
mod haraka;
mod postfix;
mod processes;

use std::{net::SocketAddr, sync::Arc, time::Duration, time::Instant};

use tokio::task::JoinSet;

use crate::{
    Outcome, Setting,
    figures::{Row, Table, as_f64},
    limits,
    load::{Load, text},
    receiver::Receiver,
    times::{Times, median},
    world::World,
};

const CLIENTS: usize = 50;
const SENT_FROM: &str = "bench@sender.test";

/// A mail server that takes messages by SMTP.
trait Peer {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// CPU time of all its processes so far, in seconds.
    fn cpu_s(&self) -> Outcome<f64>;
}

/// One turn.
struct Turn {
    accepted: f64,
    delivered: f64,
    cpu_ms: f64,
    p99_ms: f64,
}

pub(crate) async fn run(setting: &Setting, rounds: usize, messages: usize) -> Outcome<()> {
    let messages = setting.count(messages).max(CLIENTS);
    let title = format!(
        "Medians of {rounds} turns each, {messages} messages of {} octets, {CLIENTS} clients",
        setting.text_octets
    );
    let mut table = Table::new("peers", title, "deliveredPerSecond");
    let signature_ms = limits::signature_ms()?;
    let world = World::start(setting, 1).await?;
    let load = world.load(setting, CLIENTS, 1)?;
    world.warm_up(&load).await?;
    let peers: Vec<Box<dyn Peer>> = vec![
        Box::new(postfix::Postfix::start(&world.receiver).await?),
        Box::new(haraka::Haraka::start(&world.receiver).await?),
    ];
    let message: Arc<str> = client::message(&text(setting.text_octets)).into();
    for peer in &peers {
        peer_turn(peer.as_ref(), &world.receiver, &message, CLIENTS * 2).await?;
    }
    let mut turns: Vec<Vec<Turn>> = (0..=peers.len()).map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        let mut round = vec![own_turn(&world, &load, messages).await?];
        for peer in &peers {
            round.push(peer_turn(peer.as_ref(), &world.receiver, &message, messages).await?);
        }
        turns.iter_mut().zip(round).for_each(|(all, turn)| all.push(turn));
    }
    world.server.stop().await?;
    let names = std::iter::once("Lumora").chain(peers.iter().map(|peer| peer.name()));
    let rows: Vec<Row> = names.zip(&turns).map(|(name, turns)| medians(name, turns)).collect();
    let own: Vec<f64> = COLUMNS.iter().filter_map(|name| rows.first()?.get(name)).collect();
    for row in rows {
        let ratios =
            COLUMNS.iter().zip(&own).filter_map(|(name, own)| Some((*name, own / row.get(name)?)));
        let ratio = Row::new(format!("Lumora / {}", row.label()));
        let ratio = ratios.fold(ratio, |ratio, (name, figure)| ratio.with(name, figure));
        let is_peer = row.label() != "Lumora";
        table.push(row);
        if is_peer {
            table.push(ratio);
        }
    }
    table.push(Row::new("one RSA-2048 signature").with("cpuMsPerMessage", signature_ms));
    table.finish(setting)
}

const COLUMNS: [&str; 4] =
    ["acceptedPerSecond", "deliveredPerSecond", "cpuMsPerMessage", "acceptP99Ms"];

fn medians(name: &str, turns: &[Turn]) -> Row {
    let of = |figure: fn(&Turn) -> f64| median(turns.iter().map(figure).collect());
    let figures = [
        of(|turn| turn.accepted),
        of(|turn| turn.delivered),
        of(|turn| turn.cpu_ms),
        of(|turn| turn.p99_ms),
    ];
    COLUMNS
        .into_iter()
        .zip(figures)
        .fold(Row::new(name), |row, (name, figure)| row.with(name, figure))
}

async fn own_turn(world: &World, load: &Load, messages: usize) -> Outcome<Turn> {
    let before = world.server.usage()?.cpu_s;
    let first = world.receiver.received();
    let through = world.through(load, first..first + messages).await?;
    Ok(Turn {
        accepted: as_f64(messages) / through.accepting.elapsed.as_secs_f64(),
        delivered: as_f64(messages) / through.delivering.as_secs_f64(),
        cpu_ms: (world.server.usage()?.cpu_s - before) / as_f64(messages) * 1_000.0,
        p99_ms: through.accepting.answers.permille_ms(990),
    })
}

async fn peer_turn(
    peer: &dyn Peer,
    receiver: &Receiver,
    message: &Arc<str>,
    messages: usize,
) -> Outcome<Turn> {
    let before = peer.cpu_s()?;
    let first = receiver.received();
    let each = messages / CLIENTS;
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (address, message) = (peer.address(), Arc::clone(message));
        clients.spawn(async move { one_client(address, &message, client * each, each).await });
    }
    let mut answers: Vec<Duration> = Vec::with_capacity(messages);
    while let Some(done) = clients.join_next().await {
        answers.extend(done??);
    }
    let accepting = started.elapsed();
    let sent = each * CLIENTS;
    let delivered_at = receiver.has(first + sent).await?;
    Ok(Turn {
        accepted: as_f64(sent) / accepting.as_secs_f64(),
        delivered: as_f64(sent) / delivered_at.saturating_duration_since(started).as_secs_f64(),
        cpu_ms: (peer.cpu_s()? - before) / as_f64(sent) * 1_000.0,
        p99_ms: Times::new(answers).permille_ms(990),
    })
}

async fn one_client(
    address: SocketAddr,
    message: &str,
    first: usize,
    messages: usize,
) -> Outcome<Vec<Duration>> {
    let mut session = client::Session::open(address).await?;
    let mut took = Vec::with_capacity(messages);
    for number in first..first + messages {
        let started = Instant::now();
        let recipient = format!("reader{number}@d0.receiver.test");
        session.send(SENT_FROM, &recipient, message).await?;
        took.push(started.elapsed());
    }
    session.quit().await?;
    Ok(took)
}
