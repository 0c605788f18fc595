//! Tries whether the server survives: it is killed, its power is cut, its disk is full or fails,
//! its clock jumps, it runs out of file descriptors, it is asked for more than it can do, it runs
//! for hours. Each trial prints its seed, what it tried and what came of it.
//!
//! # Contract
//! - The server is the binary of this tree in a process of its own, with its defaults for
//!   durability, a real name server, a real mail server that refuses, puts off and breaks off, and
//!   clients that repeat what has no certain answer.
//! - At the end what clients were told (202), what the log holds and what the receiver has are held
//!   against one another: 0 lost, each recipient ended once, duplicates only where nobody could
//!   know, and counted. Anything else, and anything that the server never should do, is exit
//!   status 1.
//! - A trial that this machine cannot hold (no root, no loop devices, no libfiu) says so and is
//!   skipped.
//!
//! # Why
//! - **Beside the bench**: both drive the real server from outside, so both start it by the same
//!   code ([`bench::server`]). But a measurement must not be disturbed and a trial does nothing
//!   else; one fails when it is slow and the other when it is wrong.
//! - **Programs, and not tests**: what they try takes from seconds to hours, and how long is
//!   somebody's choice. `small` is all of them for a few minutes, run in `.ci/run`.
//! - **No bound on times.** Machines are slow and busy. What must be quick is compared with itself.

mod clients;
mod clock;
mod crash;
mod descriptors;
mod desk;
mod dice;
mod disk;
mod flush;
mod overload;
mod plot;
mod power;
mod reconcile;
mod simulate;
mod slow;
mod soak;
mod stage;
mod timing;

#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "what the tests of the log mount, as it stands there"
)]
#[expect(clippy::print_stdout, reason = "it says why it skips")]
#[path = "../../eventlog/tests/it/mounts.rs"]
mod mounts;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use bench::{Outcome, figures::print_line as tell};
use clap::{Parser, Subcommand};

use crate::reconcile::Account;

/// Try whether the server survives.
#[derive(Debug, Clone, Parser)]
#[command(name = "trials", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    trial: Trial,
    #[command(flatten)]
    setting: Setting,
}

/// What holds for every trial.
#[derive(Debug, Clone, clap::Args)]
struct Setting {
    /// What chance begins with: the same again throws the same dice.
    #[arg(long, global = true, default_value_t = 4_711)]
    seed: u64,
    /// Where servers keep their data. The system's directory for temporary files when not given.
    #[arg(long, global = true, value_name = "DIR")]
    data_parent: Option<PathBuf>,
    /// Where plots are written; `trials/results` of this tree when not given.
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
enum Trial {
    /// SIGKILL at any moment, again and again, under load.
    Crash {
        /// How often.
        #[arg(long, default_value_t = 1_000)]
        cycles: u32,
    },
    /// The power is cut, again and again, under load. Needs root and loop devices.
    Power {
        /// How often.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
    /// The disk runs full while mail is sent. Needs root and loop devices.
    Disk,
    /// The disk becomes slow while mail is sent: a flush takes some 200 ms. Needs root, loop devices
    /// and qemu's storage daemon.
    Slow {
        /// How long, in seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// From one moment on no flush succeeds. Needs libfiu.
    Flush,
    /// The system's clock jumps ahead and back. Needs libfaketime.
    Clock,
    /// There are too few file descriptors.
    Descriptors,
    /// Ten times as many clients as it can take, and callers and mail hosts that are slow on purpose.
    Overload {
        /// How long, in seconds.
        #[arg(long, default_value_t = 180)]
        seconds: u64,
    },
    /// Everything comes and goes, for long.
    Soak {
        /// How long, in seconds.
        #[arg(long, default_value_t = 3_600)]
        seconds: u64,
    },
    /// The platform in a simulated world: what a seed leads to can be run again.
    Simulate {
        /// How many seeds.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// This seed alone, told event by event.
        #[arg(long)]
        only: Option<u64>,
    },
    /// Whether refusals of sign-ins and keys tell by their time what there is.
    Timing {
        /// How many sign-ins of each kind; of keys ten times as many.
        #[arg(long, default_value_t = 300)]
        rounds: usize,
    },
    /// Each of them for a short time, together a few minutes.
    Small,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match attempt(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a program tells why it failed")]
            {
                eprintln!("trials: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn attempt(arguments: &Arguments) -> Outcome<()> {
    let Arguments { trial, setting } = arguments;
    let started = Instant::now();
    let trials = match trial {
        Trial::Small => small(),
        one => vec![one.clone()],
    };
    let mut failed = Vec::new();
    for trial in &trials {
        tell(&format!("{trial:?}, seed {}", setting.seed));
        let begun = Instant::now();
        if let Err(error) = one(setting, trial).await {
            tell(&format!("  FAILED: {error}"));
            failed.push(format!("{trial:?}"));
        }
        tell(&format!("  in {:.0?}", begun.elapsed()));
    }
    tell(&format!("{} trials in {:.0?}", trials.len(), started.elapsed()));
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ").into()) }
}

fn small() -> Vec<Trial> {
    vec![
        Trial::Crash { cycles: 50 },
        Trial::Power { rounds: 3 },
        Trial::Disk,
        Trial::Slow { seconds: 10 },
        Trial::Flush,
        Trial::Clock,
        Trial::Descriptors,
        Trial::Overload { seconds: 12 },
        Trial::Soak { seconds: 30 },
    ]
}

async fn one(setting: &Setting, trial: &Trial) -> Outcome<()> {
    let account = match trial {
        Trial::Crash { cycles } => Some(crash::run(setting, *cycles).await?),
        Trial::Power { rounds } => power::run(setting, *rounds).await?,
        Trial::Disk => disk::run(setting).await?,
        Trial::Slow { seconds } => slow::run(setting, Duration::from_secs(*seconds)).await?,
        Trial::Flush => flush::run(setting).await?,
        Trial::Clock => clock::run(setting).await?,
        Trial::Descriptors => Some(descriptors::run(setting).await?),
        Trial::Overload { seconds } => {
            Some(overload::run(setting, Duration::from_secs(*seconds)).await?)
        }
        Trial::Soak { seconds } => Some(soak::run(setting, Duration::from_secs(*seconds)).await?),
        Trial::Simulate { seeds, only } => {
            simulate::run(*only, *seeds)?;
            None
        }
        Trial::Timing { rounds } => {
            timing::run(setting, *rounds).await?;
            None
        }
        Trial::Small => None,
    };
    account.map_or(Ok(()), |account| judge(&account))
}

fn judge(account: &Account) -> Outcome<()> {
    account.tell();
    match account.broken().len() {
        0 => Ok(()),
        count => Err(format!("{count} broken promises").into()),
    }
}
