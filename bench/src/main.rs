//! Measures the real server: accepted and delivered messages per second, how long accepting takes,
//! and what a message costs in CPU time, memory, disk and syncs.
//!
//! The server is the release binary in a process of its own, with its defaults for durability. The
//! name server, the mail server and the clients are in this process, so what they cost is not in
//! the server's figures, though they share its cores.
//!
//! # Why
//! Two numbers that are often mixed up are kept apart: *accepted/s* is how fast clients get their
//! durable 202, *delivered/s* how fast mail servers get the messages, measured from the first
//! request to the last delivery. On a machine with few cores the one is paid for by the other.

mod load;
mod receiver;
mod report;
mod server;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;

use crate::{
    load::Load,
    receiver::Receiver,
    report::Report,
    server::{Server, Site},
};

/// What can go wrong ends the measurement; its words are enough.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measure the server from HTTP request to mail server.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Arguments {
    /// Messages to send.
    #[arg(long, default_value_t = 3_000)]
    messages: usize,
    /// Clients that send at once, each over one kept connection.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Domains that the recipients are spread over, each with a mail host of its own.
    #[arg(long, default_value_t = 1)]
    domains: usize,
    /// Size of a message's text, in octets.
    #[arg(long, default_value_t = 5_000)]
    text_octets: usize,
    /// Messages sent before the measurement, so that connections, caches and keys are there.
    #[arg(long, default_value_t = 200)]
    warm_up: usize,
    /// Where the figures are written as JSON; named after the time when not given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the server keeps its data: the disk that is measured. The system's directory for
    /// temporary files when not given.
    #[arg(long, value_name = "DIR")]
    data_parent: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a program tells why it failed")]
            {
                eprintln!("bench: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Outcome<()> {
    let directory = match &arguments.data_parent {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let receiver = Receiver::start(arguments.domains).await?;
    let site = Site::new(directory.path(), &receiver)?;
    let secret = site.sign_up(&receiver)?;
    let server = Server::start(&site).await?;
    let load = Load::new(arguments, server.url(), &secret)?;

    load.send(0..arguments.warm_up).await?;
    receiver.has(arguments.warm_up).await?;
    let before = (server.usage()?, load.metrics().await?);

    let started = Instant::now();
    let all = arguments.warm_up + arguments.messages;
    let accepting = load.send(arguments.warm_up..all).await?;
    let delivered_at = receiver.has(all).await?;
    let delivering = delivered_at.saturating_duration_since(started);
    let after = (server.usage()?, load.metrics().await?);

    server.stop().await?;
    let log = site.log_stats()?;
    let twice = receiver.received() - all;
    let report = Report { arguments, accepting, delivering, before, after, log, twice };
    report.print_and_write()
}
