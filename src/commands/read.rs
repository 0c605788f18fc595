//! `lumora read …`: the read models of the server that runs on the data directory, or of a stopped
//! one's.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Failure, ask::Server, load, log::progress, print_json, print_line, replay};
use crate::cli::{OutputArguments, ReadCommand};

const PATH: &str = "/read/rebuild";
/// How often a running server is asked how far it is.
const EVERY: Duration = Duration::from_millis(250);

pub(super) async fn run(command: ReadCommand) -> Result<(), Failure> {
    let ReadCommand::Rebuild { output } = command;
    let config = load(&output.config)?;
    let Some(server) = Server::running(&config).await? else {
        let position = replay::rebuild(&config, None)?;
        return told(&output, position);
    };
    let mut answer = server.post(PATH, &json!({})).await?;
    let mut bar = progress("events");
    while text(&answer, "status") == "running" {
        let (position, head) = (number(&answer, "position"), number(&answer, "head"));
        // A bar that is full is gone.
        bar(position.min(head.saturating_sub(1)), head);
        sleep(EVERY).await;
        answer = server.get(PATH).await?;
    }
    bar(1, 1);
    if text(&answer, "status") == "done" {
        return told(&output, number(&answer, "position"));
    }
    let reason = text(&answer, "reason");
    Err(Failure::failed(format!("what served before goes on: {reason}")))
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(answer: &Value, name: &str) -> u64 {
    answer.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn told(output: &OutputArguments, position: u64) -> Result<(), Failure> {
    if output.json {
        return print_json(&json!({ "position": position }));
    }
    print_line(&format!("rebuilt all read models up to position {position}")).map(|_| ())
}
