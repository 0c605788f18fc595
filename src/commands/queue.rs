//! `lumora queue …`, which asks the server that runs on the data directory.

use model::{MessageId, pause::Reason};
use serde_json::{Map, Value, json};

use super::{Failure, Printed, ask::Server, load, print_json, print_line};
use crate::cli::{FilterArguments, OutputArguments, QueueCommand, TargetArguments};

/// Messages that one request names at the most; the server takes as many.
const MESSAGES_AT_ONCE: usize = 1_000;

pub(super) async fn run(command: QueueCommand) -> Result<(), Failure> {
    match command {
        QueueCommand::List { filter, limit, output } => {
            let filter = query(&filter);
            let answer = server(&output)?.get(&format!("/queue?limit={limit}{filter}")).await?;
            show(&output, &answer, listed)
        }
        QueueCommand::Sites { limit, output } => {
            let answer = server(&output)?.get(&format!("/queue/sites?limit={limit}")).await?;
            show(&output, &answer, sites)
        }
        QueueCommand::Why { message, output } => {
            let answer = server(&output)?.get(&format!("/queue/messages/{message}")).await?;
            show(&output, &answer, why)
        }
        QueueCommand::Retry { messages, filter, output } => {
            let retried = retry(&server(&output)?, &messages, &filter).await?;
            let line = format!("{retried} messages are tried again");
            show(&output, &json!({ "retried": retried }), |_| vec![line])
        }
        QueueCommand::Pause { target, reason, output } => {
            let mut body = named(&target);
            if let Some(reason) = reason {
                let reason = Reason::parse(&reason)
                    .map_err(|error| Failure::usage(format!("--reason: {error}")))?;
                body.insert("reason".into(), reason.as_str().into());
            }
            let answer = server(&output)?.post("/queue/pause", &body.into()).await?;
            show(&output, &answer, |answer| {
                std::iter::once("paused; what is paused now:".to_owned())
                    .chain(pauses(answer))
                    .collect()
            })
        }
        QueueCommand::Resume { target, output } => {
            let answer = server(&output)?.post("/queue/resume", &named(&target).into()).await?;
            show(&output, &answer, |answer| {
                let was_paused = answer["wasPaused"] == true;
                vec![if was_paused { "resumed" } else { "it was not paused" }.to_owned()]
            })
        }
    }
}

fn server(output: &OutputArguments) -> Result<Server, Failure> {
    Server::of(&load(&output.config)?)
}

/// Asks page by page, until nobody is left who waits.
async fn retry(
    server: &Server,
    messages: &[MessageId],
    filter: &FilterArguments,
) -> Result<u64, Failure> {
    let mut retried = 0;
    if !messages.is_empty() {
        for some in messages.chunks(MESSAGES_AT_ONCE) {
            let answer = server.post("/queue/retry", &json!({ "messages": some })).await?;
            retried += count(&answer);
        }
        return Ok(retried);
    }
    let FilterArguments { tenant, domain, site } = filter.clone();
    let mut body = named(&TargetArguments { tenant, domain, site });
    if body.is_empty() {
        return Err(Failure::usage("name messages, or --tenant, --domain or --site"));
    }
    loop {
        let answer = server.post("/queue/retry", &body.clone().into()).await?;
        retried += count(&answer);
        let Some(Value::String(next)) = answer.get("next") else { return Ok(retried) };
        body.insert("after".into(), next.clone().into());
    }
}

fn count(answer: &Value) -> u64 {
    answer.get("retried").and_then(Value::as_u64).unwrap_or_default()
}

/// Ids and names of domains need no escaping in an address.
fn query(filter: &FilterArguments) -> String {
    let FilterArguments { tenant, domain, site } = filter.clone();
    let named = named(&TargetArguments { tenant, domain, site });
    let pairs = named
        .iter()
        .flat_map(|(name, value)| ["&", name.as_str(), "=", value.as_str().unwrap_or_default()]);
    pairs.collect()
}

fn named(target: &TargetArguments) -> Map<String, Value> {
    let TargetArguments { tenant, domain, site } = target;
    let fields = [
        ("tenant", tenant.map(|tenant| tenant.to_string())),
        ("domain", domain.map(|domain| domain.to_string())),
        ("site", site.as_ref().map(ToString::to_string)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

fn show(
    output: &OutputArguments,
    answer: &Value,
    lines: impl FnOnce(&Value) -> Vec<String>,
) -> Result<(), Failure> {
    if output.json {
        return print_json(answer);
    }
    for line in lines(answer) {
        if print_line(&line)? == Printed::Closed {
            break;
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pauses(answer: &Value) -> Vec<String> {
    rows(&answer["pauses"]).map(pause).collect()
}

fn pause(pause: &Value) -> String {
    let scope = text(&pause["scope"]);
    let reason = pause["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (what, since, by) = (text(&pause[&scope]), text(&pause["since"]), text(&pause["by"]));
    format!("  {scope} {what} since {since} by {by}{reason}")
}

fn listed(answer: &Value) -> Vec<String> {
    let mut lines = vec![format!("{} messages wait", text(&answer["waiting"]))];
    let paused = pauses(answer);
    if !paused.is_empty() {
        lines.push("paused:".to_owned());
        lines.extend(paused);
    }
    for row in rows(&answer["data"]) {
        let receivers = rows(&row["receivers"]).map(|receiver| {
            format!("{} ({})", text(&receiver["domain"]), text(&receiver["recipients"]))
        });
        let receivers = receivers.collect::<Vec<_>>().join(", ");
        let (id, due, waits) = (text(&row["id"]), text(&row["dueAt"]), text(&row["waitsFor"]));
        lines.push(format!("{id}  due {due}  waits for {waits}  {receivers}"));
    }
    if answer["next"].is_string() {
        lines.push("… and more: see --limit, --tenant, --domain and --site".to_owned());
    }
    lines
}

fn reply(reply: &Value) -> Option<String> {
    reply.as_object()?;
    let parts = ["code", "enhancedCode", "message"].map(|name| &reply[name]);
    let parts = parts.into_iter().filter(|part| !part.is_null()).map(text);
    Some(parts.collect::<Vec<_>>().join(" "))
}

fn sites(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows(&answer["data"]) {
        let (site, waiting, due) = (text(&row["site"]), text(&row["waiting"]), text(&row["due"]));
        lines.push(format!("{site}: {waiting} recipients wait, {due} are due"));
        let domains = rows(&row["domains"]).map(text).collect::<Vec<_>>().join(", ");
        if !domains.is_empty() {
            lines.push(format!("  domains: {domains}"));
        }
        if let Some(words) = reply(&row["lastReply"]) {
            let last = &row["lastReply"];
            let (at, stage) = (text(&last["at"]), text(&last["stage"]));
            lines.push(format!("  last reply: {words} (at {stage}, {at})"));
        }
        if let Some(until) = row["restingUntil"].as_str() {
            lines.push(format!("  rests until {until}"));
        }
        if row["paused"].is_object() {
            lines.push(format!("  paused: {}", pause(&row["paused"]).trim_start()));
        }
    }
    if lines.is_empty() {
        lines.push("nothing waits, and no receiver was spoken to since the start".to_owned());
    }
    lines
}

fn why(answer: &Value) -> Vec<String> {
    let (id, status) = (text(&answer["id"]), text(&answer["status"]));
    let expires = text(&answer["expiresAt"]);
    let mut lines = vec![format!("{id} is {status}; it expires at {expires}")];
    for row in rows(&answer["recipients"]) {
        let (number, domain) = (text(&row["recipient"]), text(&row["domain"]));
        let (status, why) = (text(&row["status"]), text(&row["why"]));
        lines.push(format!("  recipient {number} at {domain} is {status}: {why}"));
        if let Some(words) = reply(&row["lastResponse"]) {
            lines.push(format!("    last response: {words}"));
        }
    }
    lines
}
