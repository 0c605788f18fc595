//! `lumora replay`: read models from the log.

use std::sync::Arc;

use eventlog::{EventLog, Log, LogOptions, Position};
use projections::{Progress, ReadModels};

use super::{Failure, load, log::progress, print_json, print_line};
use crate::{
    cli::{ReplayArguments, Until},
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
    let dir = config.log_dir();
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", dir.display())));
    }
    let log: Arc<dyn EventLog> =
        Arc::new(Log::open(&dir, LogOptions::default()).map_err(Failure::failed)?);
    let vault = keys::vault(&config)?;
    let mut bar = progress("events");
    let mut show = |at: Progress| bar(at.position.get(), at.head.get());
    let Some(until) = arguments.until else {
        let read = ReadModels::rebuild(&config.read_dir(), log, vault, name, &mut show)
            .map_err(Failure::failed)?;
        read.stop();
        let what = name.unwrap_or("all read models");
        let line = format!("rebuilt {what} up to position {}", read.position());
        return print_line(&line).map(|_| ());
    };
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
