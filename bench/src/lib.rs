//! Measures the real server: how fast it accepts and delivers, how long each takes, and what a
//! message costs in CPU time, memory, disk and syncs; beside it, the same of other mail servers
//! and of the machine itself.
//!
//! The server is the release binary in a process of its own, with its defaults for durability. The
//! name server, the mail server and the clients are in this process, so what they cost is not in
//! the server's figures, though they share its cores.
//!
//! # Why
//! - **Accepted/s and delivered/s are kept apart**: the one is how fast clients get their durable
//!   answer, the other how fast mail servers get the messages, from the first request to the last
//!   delivery. On a machine with few cores the one is paid for by the other.
//! - **Ratios, not times.** A figure of one machine says little about another. What stands in one
//!   table was measured in one run, servers by turns, so that a busy neighbour disturbs all alike.
//! - **A library beside the program**: who tries whether the server survives starts the same server,
//!   from the same tree, in the same way.

mod cost;
pub mod figures;
mod fill;
mod limits;
mod load;
mod peers;
pub mod portal;
mod receiver;
mod scenario;
pub mod server;
pub mod times;
mod world;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// What can go wrong ends the program; its words are enough.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measure the server from HTTP request to mail server.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
    #[command(flatten)]
    setting: Setting,
}

/// What holds for every scenario.
#[derive(Debug, Clone, clap::Args)]
struct Setting {
    /// A twentieth of everything: shows that it works, and whether a rate has collapsed.
    #[arg(long, global = true)]
    quick: bool,
    /// Where tables and plots are written; `bench/results` of this tree when not given.
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where servers keep their data: the disk that is measured. The system's directory for
    /// temporary files when not given.
    #[arg(long, global = true, value_name = "DIR")]
    data_parent: Option<PathBuf>,
    /// Size of a message's text, in octets.
    #[arg(long, global = true, default_value_t = 5_000)]
    text_octets: usize,
}

impl Setting {
    /// How many of something, in this run.
    fn count(&self, whole: usize) -> usize {
        if self.quick { (whole / 20).max(1) } else { whole }
    }
}

#[derive(Debug, Clone, Subcommand)]
enum Scenario {
    /// Durable answers per second at 1, 16, 64 and 256 clients; nothing is delivered meanwhile.
    Accept,
    /// From request to receiver, signed.
    Deliver {
        /// How many domains the recipients have.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 50, 5_000])]
        domains: Vec<usize>,
    },
    /// Accepting while delivering: how long an answer takes then.
    Mixed,
    /// Messages that wait: what each costs, how soon a killed server is back, how fast they go.
    Backlog {
        /// How many wait.
        #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
        waiting: Vec<usize>,
    },
    /// Events per second of `log verify` and `replay`.
    Replay {
        /// Events in the log.
        #[arg(long, default_value_t = 1_000_000)]
        events: usize,
    },
    /// Disk of a log of 500 days before and after all but the last 100 were pruned.
    Retention {
        /// Messages in the log.
        #[arg(long, default_value_t = 200_000)]
        messages: usize,
    },
    /// A page of the logs and 30 days of statistics over long logs.
    Query {
        /// Events in the log.
        #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000])]
        events: Vec<usize>,
    },
    /// Delivering for 1, 100 and 10 000 tenants.
    Tenants {
        /// How many tenants.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 10_000])]
        tenants: Vec<usize>,
    },
    /// Messages of 1 KB, 100 KB and 10 MB.
    Size,
    /// One message at a time on an idle server, from the request to the receiver's 250.
    Latency,
    /// What the machine can do: signatures, syncs, and the receiver alone.
    Limits,
    /// Other mail servers by turns with this one: Postfix with `OpenDKIM`, and Haraka.
    Peers {
        /// Turns of each.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Messages in a turn.
        #[arg(long, default_value_t = 2_000)]
        messages: usize,
    },
    /// A minute's worth: fails where a ratio has collapsed.
    Guard,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match measure(&Arguments::parse()) {
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
async fn measure(arguments: &Arguments) -> Outcome<()> {
    let setting = &arguments.setting;
    if cfg!(debug_assertions) {
        figures::print_line("a debug build: what works is seen, not how fast; use --release");
    }
    match &arguments.scenario {
        Scenario::Accept => scenario::accept::run(setting).await,
        Scenario::Deliver { domains } => scenario::deliver::run(setting, domains).await,
        Scenario::Mixed => scenario::mixed::run(setting).await,
        Scenario::Backlog { waiting } => scenario::backlog::run(setting, waiting).await,
        Scenario::Replay { events } => scenario::replay::run(setting, *events).await,
        Scenario::Retention { messages } => scenario::retention::run(setting, *messages).await,
        Scenario::Query { events } => scenario::query::run(setting, events).await,
        Scenario::Tenants { tenants } => scenario::tenants::run(setting, tenants).await,
        Scenario::Size => scenario::size::run(setting).await,
        Scenario::Latency => scenario::latency::run(setting).await,
        Scenario::Limits => limits::run(setting).await,
        Scenario::Peers { rounds, messages } => peers::run(setting, *rounds, *messages).await,
        Scenario::Guard => scenario::guard::run(setting).await,
    }
}

/// Disk that the files of a directory take.
pub fn disk_bytes(directory: &std::path::Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // A file may go while the server works.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
