//! `lumora log why`: what led to an event, from the log or, while a server has it, from that server.

use eventlog::{Log, LogOptions, OpenError};
use evidence::Named;
use serde_json::Value;

use super::super::{Failure, Printed, ask::Server, load, print_json, print_line};
use crate::cli::OutputArguments;

pub(super) async fn run(event: Named, output: &OutputArguments) -> Result<(), Failure> {
    let trail = match Log::open(&super::dir(&output.config)?, LogOptions::default()) {
        Ok(log) => {
            let trail = evidence::why(&log, event).map_err(Failure::failed)?;
            let trail =
                trail.ok_or_else(|| Failure::failed(format!("{event}: there is no such event")))?;
            serde_json::to_value(trail).map_err(Failure::failed)?
        }
        Err(OpenError::Locked { .. }) => {
            Server::of(&load(&output.config)?)?.get(&format!("/log/why/{event}")).await?
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    if output.json {
        return print_json(&trail);
    }
    for step in trail.get("steps").and_then(Value::as_array).into_iter().flatten() {
        if print_line(&words(step))? == Printed::Closed {
            break;
        }
    }
    Ok(())
}

/// One event on the way back, in a line.
fn words(step: &Value) -> String {
    let text = |name: &str| match step.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let by = match step.get("cause").and_then(Value::as_str) {
        Some("registration") => "by somebody who registered".to_owned(),
        Some("visitor") => "by somebody at the portal".to_owned(),
        Some("operator") => "by an operator".to_owned(),
        Some("command_line") => "by a command".to_owned(),
        Some("configuration") => "by the configuration".to_owned(),
        Some("dns") => "by what the DNS says".to_owned(),
        Some("unsubscribe") => "by an unsubscribe link".to_owned(),
        Some("attempt") => "by an attempt".to_owned(),
        Some("alarm") => "by the alarm".to_owned(),
        Some("report") => "by a report".to_owned(),
        Some("letter") => "by a letter".to_owned(),
        Some(by) => format!("by {by}"),
        None => "its cause was not recorded".to_owned(),
    };
    let lost = if step.get("lost").is_some() {
        format!(", after {}, which was never recorded: the server stopped before", text("after"))
    } else if step.get("pruned").is_some() {
        format!(", after {}, which was pruned", text("after"))
    } else {
        String::new()
    };
    let (position, at, stream, kind) = (text("position"), text("at"), text("stream"), text("type"));
    format!("{position:>8}  {at}  {stream}  {kind}  {by}{lost}")
}
