//! The composition root: configuration, wiring and the commands of the `lumora` binary.
//!
//! Everything that the other rooms take as an argument is chosen here: the real clock, the system's
//! randomness, directories, sockets, DNS servers. Nothing here holds a rule.
//!
//! # Contract
//! - [`run`] does what the command line says and answers with an exit status: 0 well, 1 the thing
//!   checked does not hold or failed, 2 bad usage or configuration.
//! - Data goes to standard output; errors go to standard error, in one line.
//!
//! # Why
//! A library beside the binary lets the platform tests start the very node that `serve` starts, in
//! their own process, with every socket on port 0.

mod anchoring;
mod cli;
pub mod clock;
mod commands;
pub mod config;
mod descriptors;
mod front;
mod inbound;
pub mod keys;
pub mod node;
mod operator;
mod own_key;
mod pruning;
mod retention;
mod shown;
mod signing;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

/// How a command can end badly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was done, and what was checked does not hold, or it could not be done: exit status 1.
    #[error("{0}")]
    Failed(String),
    /// It cannot be done as asked: exit status 2.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// A failure with the words of its cause.
    pub fn failed(cause: impl std::fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }

    /// A usage error with the words of its cause.
    pub fn usage(cause: impl std::fmt::Display) -> Self {
        Self::Usage(cause.to_string())
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { 2 } else { 0 };
            // Help and usage are the output here; a closed pipe is no failure of ours.
            drop(error.print());
            return ExitCode::from(status);
        }
    };
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let line = failure.to_string().replace(['\n', '\r'], " ");
            commands::print_error(&format!("lumora: {line}"));
            ExitCode::from(match failure {
                Failure::Failed(_) => 1,
                Failure::Usage(_) => 2,
            })
        }
    }
}
