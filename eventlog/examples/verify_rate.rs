//! How many events a second are checked, what the tree costs an event, how large proofs are and how
//! long they take.
//!
//! `cargo run --release -p eventlog --example verify_rate [events] [directory]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for people, run by hand"
)]

use std::{path::PathBuf, time::Instant};

use eventlog::{
    Append, EventLog, Log, LogOptions, NewEvent, Position, Recorded, TreeHash, Version, verify,
};
use model::{EventId, MessageId, StreamId, Timestamp};

/// Events of one append.
const TOGETHER: u64 = 500;

/// An event as a delivery writes it, about 350 bytes.
fn event(number: u64) -> NewEvent {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let data = format!(
        "{{\"type\":\"message.delivered\",\"v\":1,\"recipient\":0,\"attempt\":1,\
         \"stage\":\"end_of_data\",\"reply\":{{\"code\":250,\"enhanced\":\"2.0.0\",\
         \"text\":\"AQAx8JmzVYc1Wk0v5J3mQ2l0c2VhbGVk{number:024}\"}},\
         \"peer\":{{\"mx\":\"mx1.example.net\",\"ip\":\"192.0.2.{}\",\"tls\":{{\
         \"version\":\"TLSv1.3\",\"cipher\":\"TLS13_AES_256_GCM_SHA384\",\"verified\":false}}}}}}",
        number % 250
    );
    NewEvent { id: EventId::from_bytes(id), data: data.into_bytes().into() }
}

async fn fill(log: &Log, count: u64) {
    for first in (0..count).step_by(usize::try_from(TOGETHER).unwrap()) {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&first.to_be_bytes());
        let append = Append {
            stream: StreamId::Message(MessageId::from_bytes(id)),
            expected: Version::NONE,
            at: Timestamp::from_millis(1_795_000_000_000 + first),
            events: (first..first + TOGETHER).map(event).collect(),
            content: Vec::new(),
        };
        log.append(append).await.unwrap();
    }
    log.close().await.unwrap();
}

/// Nanoseconds that each of these takes.
fn each<T>(items: &[T], mut work: impl FnMut(&T)) -> f64 {
    let begun = Instant::now();
    items.iter().for_each(&mut work);
    begun.elapsed().as_nanos() as f64 / items.len() as f64
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(500_000, |text| text.parse().unwrap());
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("verify-rate-{}", std::process::id()));
    let log = Log::open(&dir, LogOptions::default()).unwrap();
    let begun = Instant::now();
    fill(&log, count).await;
    println!("written      {:9.0} events/s", count as f64 / begun.elapsed().as_secs_f64());

    let events: Vec<Recorded> = log.read_all(Position::START, 8_192).unwrap();
    let bytes: Vec<Vec<u8>> = events.iter().map(Recorded::to_bytes).collect();
    let size = bytes.iter().map(Vec::len).sum::<usize>() / bytes.len();
    let leaf = each(&bytes, |bytes| {
        std::hint::black_box(TreeHash::of_leaf(bytes));
    });
    // Above each leaf stands one node, on the average, of two hashes and a mark.
    let node = each(&bytes, |bytes| {
        std::hint::black_box(TreeHash::of_leaf(bytes.get(..64).unwrap_or_default()));
    });
    println!("tree         {:9.0} ns an event of {size} bytes", leaf + node);

    let head = log.tree_head(log.tree_size()).unwrap().unwrap();
    let picked: Vec<u64> = (0..1_000).map(|number| 1 + number * (count - 1) / 1_000).collect();
    let mut longest = 0;
    let proof = each(&picked, |position| {
        let proof = log.inclusion(Position::new(*position), head.position).unwrap();
        longest = longest.max(proof.len());
    });
    println!("proof        {:9.0} us, {longest} hashes, {} bytes", proof / 1e3, longest * 32);
    let consistency = log.consistency(Position::new(count / 3), head.position).unwrap();
    println!("consistency  {:9} hashes from a third of it", consistency.len());
    drop(log);

    let begun = Instant::now();
    verify(&dir, &mut |_, _| {}).unwrap();
    println!("verified     {:9.0} events/s", count as f64 / begun.elapsed().as_secs_f64());
    std::fs::remove_dir_all(&dir).unwrap();
}
