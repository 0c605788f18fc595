//! What each command does.

mod administration;
mod alerts;
mod ask;
mod backup;
mod dev;
mod doctor;
mod document;
mod erase;
mod evidence;
mod letters;
mod log;
mod queue;
mod read;
mod replay;
mod restore;
mod serve;
mod tls_report;

use std::io::{self, Write as _};

use crate::{
    Failure,
    cli::{Arguments, Command, ConfigArguments},
    config::Config,
};

/// Carries a command line out.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Dev(arguments) => in_runtime(dev::run(arguments)),
        Command::Serve { config } => in_runtime(serve::run(load(&config)?)),
        Command::Openapi { yaml } => document::print(yaml),
        Command::Tenant(command) => in_runtime(administration::tenant(command)),
        Command::App(command) => in_runtime(administration::app(command)),
        Command::Key(command) => in_runtime(administration::key(command)),
        Command::Domain(command) => in_runtime(administration::domain(command)),
        Command::Log(command) => in_runtime(log::run(command)),
        Command::Alerts { output } => in_runtime(alerts::run(output)),
        Command::Letters(command) => in_runtime(letters::run(command)),
        Command::Doctor(arguments) => in_runtime(doctor::run(arguments)),
        Command::Queue(command) => in_runtime(queue::run(command)),
        Command::Erase(arguments) => in_runtime(erase::run(arguments)),
        Command::Backup(arguments) => in_runtime(backup::run(arguments)),
        Command::Restore(arguments) => in_runtime(restore::run(arguments)),
        Command::Evidence(arguments) => in_runtime(evidence::run(arguments)),
        Command::TlsReport(arguments) => in_runtime(async move { tls_report::run(&arguments) }),
        Command::Read(command) => in_runtime(read::run(command)),
        Command::Replay(arguments) => in_runtime(async { replay::run(&arguments) }),
    }
}

/// The configuration that a command was pointed to.
fn load(arguments: &ConfigArguments) -> Result<Config, Failure> {
    let mut config = Config::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    if let Some(data_dir) = &arguments.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    Ok(config)
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let done = runtime.block_on(work);
    // What is left are blocking reads that nobody waits for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    done
}

/// Writes one line of data to standard output. A closed pipe ends the command well: whoever read
/// has enough.
fn print_line(line: &str) -> Result<Printed, Failure> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Ok(()) => Ok(Printed::More),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Printed::Closed),
        Err(error) => Err(Failure::failed(error)),
    }
}

/// Whether anybody still reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Printed {
    More,
    Closed,
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print_line(&text).map(|_| ())
}

/// Writes one line to standard error.
pub(crate) fn print_error(line: &str) {
    // There is nowhere left to report that standard error is gone.
    drop(writeln!(io::stderr().lock(), "{line}"));
}
