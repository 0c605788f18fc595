//! How many events a second the log takes, at different numbers of waiting appenders.
//!
//! `cargo run --release -p eventlog --example append_rate [directory] [seconds]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for people, run by hand"
)]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use eventlog::{Append, EventLog, Log, LogOptions, MasterKey, NewEvent, Purpose, Vault, Version};
use model::{EventId, MessageId, StreamId, Timestamp};

/// An event as a delivery writes it, about 250 bytes.
fn event(number: u64) -> NewEvent {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let data = format!(
        "{{\"type\":\"message.delivered\",\"v\":1,\"recipients\":[0],\"attempt\":1,\
         \"smtp\":{{\"code\":250,\"enhanced\":\"2.0.0\",\"mx\":\"mx1.example.com\",\
         \"ip\":\"192.0.2.{}\",\"tls\":\"TLSv1.3\"}},\"site\":\"mx1.example.com\",\"ms\":{number}}}",
        number % 250
    );
    NewEvent { id: EventId::from_bytes(id), data: data.into_bytes().into() }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = arguments.next().map_or(5, |text| text.parse().unwrap());
    let vault = Vault::new(&MasterKey::from_bytes([7; 32]));
    println!("appenders  content   events/s  events/sync  journal B/event");
    for content_bytes in [0, 5000] {
        let sealed = (content_bytes > 0).then(|| {
            // Random bytes, which do not compress.
            let mut text = vec![0; content_bytes];
            blake3::Hasher::new().finalize_xof().fill(&mut text);
            vault.seal(Purpose::MessageBody, b"bench", &text).unwrap()
        });
        for appenders in [1_u64, 16, 64, 256] {
            let dir = dir.join(format!("append-rate-{}", std::process::id()));
            let log = Arc::new(Log::open(&dir, LogOptions::default()).unwrap());
            let until = Instant::now() + Duration::from_secs(seconds);
            let started = Instant::now();
            let tasks: Vec<_> = (0..appenders)
                .map(|appender| {
                    let (log, sealed) = (Arc::clone(&log), sealed.clone());
                    tokio::spawn(async move {
                        let mut number = 0_u64;
                        while Instant::now() < until {
                            // Two events to a message, as in life.
                            let mut id = [0; 16];
                            id[..8].copy_from_slice(&(number / 2).to_be_bytes());
                            id[8..].copy_from_slice(&appender.to_be_bytes());
                            let append = Append {
                                stream: StreamId::Message(MessageId::from_bytes(id)),
                                expected: Version::new(number % 2),
                                at: Timestamp::from_millis(1_795_000_000_000 + number),
                                events: vec![event(number)],
                                content: match number % 2 {
                                    0 => sealed.iter().cloned().collect(),
                                    _ => Vec::new(),
                                },
                            };
                            log.append(append).await.unwrap();
                            number += 1;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let elapsed = started.elapsed().as_secs_f64();
            let health = log.health();
            println!(
                "{appenders:9}  {:>7}  {:9.0}  {:11.1}  {:15.0}",
                content_bytes,
                health.events as f64 / elapsed,
                health.events as f64 / (health.journal_syncs + health.content_syncs) as f64,
                health.journal_bytes as f64 / health.events as f64,
            );
            log.close().await.unwrap();
            drop(log);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}
