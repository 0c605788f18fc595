//! `lumora log prune`: takes messages that ended long ago out of the log.

use std::{sync::Arc, time::Duration};

use eventlog::{EventLog as _, Log, LogOptions, Pruned};
use model::{By, Timestamp};
use serde_json::json;

use super::dir;
use crate::{
    Failure,
    cli::OutputArguments,
    commands::{load, print_json, print_line},
    keys, node,
};

pub(super) async fn run(before: Timestamp, output: &OutputArguments) -> Result<(), Failure> {
    let config = load(&output.config)?;
    let dir = dir(&output.config)?;
    if !config.master_key_file().is_file() {
        let file = config.master_key_file();
        return Err(Failure::usage(format!("{}: there is no master key", file.display())));
    }
    let vault = keys::vault(&config)?;
    let log = Arc::new(Log::open(&dir, LogOptions::default()).map_err(Failure::failed)?);
    let pruner = node::pruner(&config, &log, &vault)?;
    let before_bytes = log.stats().map_err(Failure::failed)?.sled_bytes;
    let pruned = pruner.prune(before, Duration::ZERO).map_err(Failure::failed)?;
    pruner.record(By::CommandLine).await.map_err(Failure::failed)?;
    let after_bytes = log.stats().map_err(Failure::failed)?.sled_bytes;
    log.close().await.map_err(Failure::failed)?;
    let Some(Pruned { last, at, messages, events, gaps, .. }) = pruned else {
        if output.json {
            return print_json(&json!({ "pruned": false }));
        }
        let words = "there is nothing to prune: of what was recorded before, all that was signed \
                     and that the journal no longer holds was looked at";
        return print_line(words).map(|_| ());
    };
    if output.json {
        return print_json(&json!({
            "pruned": true,
            "upTo": last.get(),
            "upToAt": at.to_string(),
            "messages": messages,
            "events": events,
            "gaps": gaps,
            "bytesBefore": before_bytes,
            "bytesAfter": after_bytes,
        }));
    }
    print_line(&format!(
        "pruned up to position {last}, recorded {at}: by now {messages} messages with {events} \
         events are gone; {before_bytes} bytes before, {after_bytes} after"
    ))
    .map(|_| ())
}
