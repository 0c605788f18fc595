//! `lumora log …`: the record, read for audit.

mod conservation;
mod prune;
mod reclassify;
mod signed;
mod why;

use eventlog::{EventLog as _, Log, LogOptions, Position, Recorded};
use model::StreamId;
use serde_json::{Value, json, value::RawValue};

use super::{Failure, Printed, load, print_error, print_json, print_line};
use crate::cli::{ConfigArguments, LogCommand};

/// Events read at a time.
const PAGE: usize = 1_000;

pub(super) async fn run(command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Tail { lines, output } => {
            let log = open(&output.config)?;
            let head = log.head().borrow().get();
            let after = head.saturating_sub(u64::try_from(lines).unwrap_or(u64::MAX));
            let print = |recorded: &Recorded| {
                print_line(&if output.json { line(recorded)? } else { words(recorded) })
            };
            each(&log, after, print)
        }
        LogCommand::Export { after, stream, config } => {
            let log = open(&config)?;
            each(&log, after, |recorded| match stream {
                Some(stream) if stream != recorded.stream => Ok(Printed::More),
                _ => print_line(&line(recorded)?),
            })
        }
        LogCommand::Verify { from_checkpoint, key, output } => {
            signed::verify(from_checkpoint.as_deref(), key, &output)
        }
        LogCommand::Key { output } => signed::key(&output),
        LogCommand::Checkpoint { config } => signed::checkpoint(&config),
        LogCommand::Consistency { from, to, config } => signed::consistency(from, to, &config),
        LogCommand::Prune { before, output } => prune::run(before, &output).await,
        LogCommand::Rebuild { config } => {
            let dir = dir(&config)?;
            let rebuilt = eventlog::rebuild(&dir, &LogOptions::default(), &mut |_| {})
                .map_err(Failure::failed)?;
            print_line(&format!("sled's files were made anew: {} events", rebuilt.events))
                .map(|_| ())
        }
        LogCommand::Why { event, output } => why::run(event, &output).await,
        LogCommand::Stats { check: true, output } => conservation::check(&output),
        LogCommand::Stats { check: false, output } => stats(&output.config, output.json),
        LogCommand::Rules => {
            let rules = model::delivery::BounceRules::shipped();
            let text = serde_json::to_string_pretty(rules).map_err(Failure::failed)?;
            print_line(&text).map(|_| ())
        }
        LogCommand::Reclassify(arguments) => reclassify::run(&arguments),
    }
}

fn dir(config: &ConfigArguments) -> Result<std::path::PathBuf, Failure> {
    let dir = load(config)?.log_dir();
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Failure::usage(format!("{}: there is no log", dir.display())))
}

fn open(config: &ConfigArguments) -> Result<Log, Failure> {
    Log::open(&dir(config)?, LogOptions::default()).map_err(Failure::failed)
}

fn each(
    log: &Log,
    after: u64,
    mut print: impl FnMut(&Recorded) -> Result<Printed, Failure>,
) -> Result<(), Failure> {
    let mut after = Position::new(after);
    loop {
        let page = log.read_all(after, PAGE).map_err(Failure::failed)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.position;
        for recorded in &page {
            if print(recorded)? == Printed::Closed {
                return Ok(());
            }
        }
    }
}

/// One event as a line of JSON, its data exactly as recorded.
fn line(recorded: &Recorded) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        position: u64,
        stream: StreamId,
        version: u64,
        id: model::EventId,
        at: String,
        hash: String,
        content: &'a [eventlog::ContentLocation],
        event: &'a RawValue,
    }
    let event = serde_json::from_slice(&recorded.data).map_err(Failure::failed)?;
    serde_json::to_string(&Line {
        position: recorded.position.get(),
        stream: recorded.stream,
        version: recorded.version.get(),
        id: recorded.id,
        at: recorded.at.to_string(),
        hash: recorded.hash.to_string(),
        content: &recorded.content,
        event,
    })
    .map_err(Failure::failed)
}

fn words(recorded: &Recorded) -> String {
    let value: Value = serde_json::from_slice(&recorded.data).unwrap_or_default();
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("?");
    let (position, at, stream) = (recorded.position, recorded.at, recorded.stream);
    format!("{position:>8}  {at}  {stream}  {:>3}  {kind}", recorded.version)
}

fn stats(config: &ConfigArguments, as_json: bool) -> Result<(), Failure> {
    let stats = open(config)?.stats().map_err(Failure::failed)?;
    let rows = [
        ("head", stats.head.get()),
        ("sealed", stats.sealed.get()),
        ("journalFrom", stats.journal_from.get()),
        ("journalSegments", stats.journal_segments),
        ("journalBytes", stats.journal_bytes),
        ("sledBytes", stats.sled_bytes),
        ("blocks", stats.blocks),
        ("indexed", stats.indexed),
        ("pruned", stats.pruned),
        ("contentSegments", stats.content_segments),
        ("contentBytes", stats.content_bytes),
    ];
    if as_json {
        let object = rows.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        return print_json(&Value::Object(object.collect()));
    }
    for (name, value) in rows {
        print_line(&format!("{name:<16} {value:>14}"))?;
    }
    Ok(())
}

/// A progress bar on standard error, when somebody looks.
pub(super) fn progress(unit: &'static str) -> impl FnMut(u64, u64) {
    let bar = indicatif::ProgressBar::new(0);
    let style = format!("{{bar:40}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}}");
    match indicatif::ProgressStyle::with_template(&style) {
        Ok(style) => bar.set_style(style),
        Err(error) => print_error(&format!("lumora: {error}")),
    }
    move |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        if done >= all {
            bar.finish_and_clear();
        }
    }
}
