//! `lumora replay`: read models from the log.

use std::sync::Arc;

use eventlog::{EventLog, Log, LogOptions, Position, Vault};
use projections::{Progress, ReadModels};

use super::{Failure, load, log::progress, print_json, print_line};
use crate::{
    cli::{ReplayArguments, Until},
    config::Config,
    keys, telemetry,
};

pub(super) fn run(arguments: &ReplayArguments) -> Result<(), Failure> {
    telemetry::start_logging("warn");
    let config = load(&arguments.output.config)?;
    let name = arguments.projection.as_deref();
    if let Some(unknown) = name.filter(|name| !ReadModels::names().contains(name)) {
        let known = ReadModels::names().join(", ");
        return Err(Failure::usage(format!("--projection: `{unknown}` is none of {known}")));
    }
    let Some(until) = arguments.until else {
        let position = rebuild(&config, name)?;
        let what = name.unwrap_or("all read models");
        return print_line(&format!("rebuilt {what} up to position {position}")).map(|_| ());
    };
    let (log, vault) = open(&config)?;
    let mut bar = progress("events");
    let mut show = |at: Progress| bar(at.position.get(), at.head.get());
    let until = match until {
        Until::Position(position) => projections::Until::Position(Position::new(position)),
        Until::Time(time) => projections::Until::Time(time),
    };
    let scratch = tempfile::tempdir().map_err(Failure::failed)?;
    let past = ReadModels::replay(scratch.path(), log, vault, until, &mut show)
        .map_err(Failure::failed)?;
    let mut summary = past.summary().map_err(Failure::failed)?;
    if let (Some(name), Some(digests)) = (name, summary.get_mut("digests")) {
        *digests = serde_json::json!({ name: digests.get(name) });
    }
    print_json(&summary)
}

fn open(config: &Config) -> Result<(Arc<dyn EventLog>, Vault), Failure> {
    let dir = config.log_dir();
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", dir.display())));
    }
    let log = Log::open(&dir, LogOptions::default()).map_err(Failure::failed)?;
    Ok((Arc::new(log), keys::vault(config)?))
}

/// Makes one read model anew, or all, on a stopped server's data directory; up to which position.
pub(super) fn rebuild(config: &Config, name: Option<&str>) -> Result<u64, Failure> {
    let (log, vault) = open(config)?;
    let mut bar = progress("events");
    let mut show = |at: Progress| bar(at.position.get(), at.head.get());
    let read = ReadModels::rebuild(&config.read_dir(), log, vault, name, &mut show);
    let read = read.map_err(Failure::failed)?;
    read.stop();
    Ok(read.position().get())
}
