//! Fails where something has collapsed: ratios of one run, with wide margins, and counts that do
//! not depend on the machine's mood.

use super::{accept, deliver};
use crate::{
    Outcome, Setting,
    figures::{Row, Table},
    limits,
};

const MESSAGES: usize = 1_500;
/// Whether the way of a message is compiled for speed. The signature always is.
const OPTIMISED: bool = !cfg!(debug_assertions);
/// CPU time of a delivered message, in RSA-2048 signatures: one is made, the rest is the way.
const MOST_SIGNATURES: f64 = if OPTIMISED { 15.0 } else { 60.0 };
/// Durable answers at 64 clients against one client: the disk's syncs are shared. Unoptimised, the
/// server is slower than the disk, and appends seldom wait for one another.
const LEAST_SHARED: f64 = if OPTIMISED { 3.0 } else { 1.2 };
/// Of events and of content: two when nothing is shared.
const MOST_SYNCS: f64 = if OPTIMISED { 0.4 } else { 2.1 };
const MOST_CONNECTIONS: f64 = 0.2;

pub(crate) async fn run(setting: &Setting) -> Outcome<()> {
    let signature_ms = limits::signature_ms()?;
    let alone = accept::measure(setting, 1, MESSAGES).await?;
    let shared = accept::measure(setting, 64, MESSAGES).await?;
    let deliver = deliver::measure(setting, 1, MESSAGES).await?;
    let get =
        |row: &Row, name: &str| row.get(name).ok_or_else(|| format!("{}: no {name}", row.label()));
    let per_client = get(&shared, "acceptedPerSecond")? / get(&alone, "acceptedPerSecond")?;
    let mut table = Table::new("guard", "Ratios that must hold", "measured");
    let mut broken = Vec::new();
    let mut hold = |label: &str, measured: f64, holds: bool, bound: f64| {
        table.push(Row::new(label).with("measured", measured).with("bound", bound));
        if !holds {
            broken.push(format!("{label}: {measured:.2}, bound {bound}"));
        }
    };
    let signatures = get(&deliver, "cpuMsPerMessage")? / signature_ms;
    hold(
        "CPU of a message in signatures",
        signatures,
        signatures <= MOST_SIGNATURES,
        MOST_SIGNATURES,
    );
    hold("64 clients against one", per_client, per_client >= LEAST_SHARED, LEAST_SHARED);
    let syncs = get(&shared, "syncsPerMessage")?;
    hold("syncs of a message at 64 clients", syncs, syncs <= MOST_SYNCS, MOST_SYNCS);
    let connections = get(&deliver, "connectionsPerMessage")?;
    hold(
        "connections of a message",
        connections,
        connections <= MOST_CONNECTIONS,
        MOST_CONNECTIONS,
    );
    let twice = get(&deliver, "receivedTwice")?;
    hold("messages received twice", twice, twice <= 0.0, 0.0);
    table.finish(setting)?;
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}
