//! `lumora log reclassify`: other rules, run over the past.

use std::{borrow::Cow, fs::File, io::Read as _, path::Path};

use ::evidence::{open_reply, reply_key};
use eventlog::{EventLog as _, Log, Position, Recorded, Vault, Version};
use model::{
    Event, MessageId, StreamId, TenantId, Timestamp,
    delivery::{BounceClass, BounceRules},
    message::{Accepted, MessageEvent},
    reclassification::{Afresh, Comparison, Moved, reclassify, sealed_words},
};
use serde_json::{Value, json};

use super::{PAGE, open, progress};
use crate::{
    cli::ReclassifyArguments,
    commands::{Failure, load, print_json, print_line},
    keys,
};

/// Largest file of rules.
const MAX_RULES_BYTES: u64 = 1 << 20;
/// Addresses shown of each list, where people read it.
const SHOWN: usize = 20;

pub(super) fn run(arguments: &ReclassifyArguments) -> Result<(), Failure> {
    let rules = match &arguments.rules {
        Some(file) => Cow::Owned(read_rules(file)?),
        None => Cow::Borrowed(BounceRules::shipped()),
    };
    let config = load(&arguments.output.config)?;
    let file = config.master_key_file();
    // Nothing is made here: with a new key no reply could be read.
    if !file.is_file() {
        return Err(Failure::usage(format!("{}: there is no master key", file.display())));
    }
    let vault = keys::vault(&config)?;
    let log = open(&arguments.output.config)?;
    let past = Past {
        log: &log,
        vault: &vault,
        rules: &rules,
        tenant: arguments.tenant,
        since: arguments.since.unwrap_or_default(),
        until: arguments.until.unwrap_or(Timestamp::MAX),
    };
    let comparison = past.compare()?;
    if arguments.output.json {
        print_json(&as_json(&comparison, &rules))
    } else {
        print_words(&comparison, &rules)
    }
}

fn read_rules(file: &Path) -> Result<BounceRules, Failure> {
    let named = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("--rules: {}: {error}", file.display()))
    };
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| named(&error))?;
    let read = opened.take(MAX_RULES_BYTES + 1).read_to_string(&mut text);
    if read.map_err(|error| named(&error))? as u64 > MAX_RULES_BYTES {
        return Err(named(&format_args!("is larger than {MAX_RULES_BYTES} bytes")));
    }
    let rules: BounceRules = serde_norway::from_str(&text).map_err(|error| named(&error))?;
    rules.check().map_err(|error| named(&error))?;
    Ok(rules)
}

/// The record, and what is asked of it.
struct Past<'a> {
    log: &'a Log,
    vault: &'a Vault,
    rules: &'a BounceRules,
    tenant: Option<TenantId>,
    since: Timestamp,
    until: Timestamp,
}

impl Past<'_> {
    fn compare(&self) -> Result<Comparison, Failure> {
        let mut comparison = Comparison::default();
        let mut bar = progress("events");
        let head = self.log.head().borrow().get();
        let mut after = Position::START;
        loop {
            let page = self.log.read_all(after, PAGE).map_err(Failure::failed)?;
            let Some(last) = page.last() else { return Ok(comparison) };
            after = last.position;
            for recorded in &page {
                self.take(recorded, &mut comparison)?;
            }
            bar(after.get(), head);
        }
    }

    fn take(&self, recorded: &Recorded, comparison: &mut Comparison) -> Result<(), Failure> {
        let decode = || Event::decode(recorded.stream, &recorded.data).map_err(Failure::failed);
        match recorded.stream {
            StreamId::Suppression(_) => {
                if let Event::Suppression(event) = decode()? {
                    comparison.list(&event);
                }
                Ok(())
            }
            StreamId::Message(message) => match decode()? {
                Event::Message(event) => self.judge(message, recorded.at, &event, comparison),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn judge(
        &self,
        message: MessageId,
        at: Timestamp,
        event: &MessageEvent,
        comparison: &mut Comparison,
    ) -> Result<(), Failure> {
        // Most events say no such thing, and cost no look at how their message began.
        if reclassify(event, None, self.rules).is_none() {
            return Ok(());
        }
        let Some((first, accepted)) = self.beginning(message)? else { return Ok(()) };
        if self.tenant.is_some_and(|tenant| tenant != accepted.tenant) {
            return Ok(());
        }
        let words = sealed_words(event).and_then(|sealed| {
            let key = reply_key(self.log, self.vault, message, &first)?;
            open_reply(&key, message, sealed)
        });
        if let Some(reply) = reclassify(event, words.as_deref(), self.rules) {
            let asked = self.since <= at && at < self.until;
            comparison.take(message, &accepted, &reply, asked);
        }
        Ok(())
    }

    fn beginning(&self, message: MessageId) -> Result<Option<(Recorded, Accepted)>, Failure> {
        let stream = StreamId::Message(message);
        let first = self.log.read_stream(stream, Version::NONE, 1).map_err(Failure::failed)?;
        let Some(first) = first.into_iter().next() else { return Ok(None) };
        match Event::decode(stream, &first.data).map_err(Failure::failed)? {
            Event::Message(MessageEvent::Accepted(accepted)) => Ok(Some((first, accepted))),
            _ => Ok(None),
        }
    }
}

const fn name(afresh: Afresh) -> &'static str {
    match afresh {
        Afresh::Class(class) => class.as_str(),
        Afresh::NoBounce => "no_bounce",
        Afresh::Untold => "untold",
    }
}

fn as_json(comparison: &Comparison, rules: &BounceRules) -> Value {
    let recorded_by = comparison.recorded_by.iter();
    let changes = comparison.changes.iter().map(|((before, afresh), change)| {
        json!({
            "from": before.as_str(),
            "to": name(*afresh),
            "count": change.count,
            "messages": change.messages,
        })
    });
    let moved = |moved: Moved| {
        json!({
            "app": moved.app,
            "recipientHash": moved.recipient,
            "message": moved.message,
            "listed": moved.listed,
        })
    };
    json!({
        "rules": rules.version,
        "replies": comparison.replies,
        "unchanged": comparison.unchanged,
        "untold": comparison.untold,
        "recordedBy": recorded_by
            .map(|(rules, count)| json!({ "rules": rules, "count": count }))
            .collect::<Value>(),
        "changes": changes.collect::<Value>(),
        "suppressions": {
            "notListed": comparison.not_listed().map(moved).collect::<Value>(),
            "newlyListed": comparison.newly_listed().map(moved).collect::<Value>(),
        },
    })
}

fn print_words(comparison: &Comparison, rules: &BounceRules) -> Result<(), Failure> {
    let Comparison { replies, unchanged, untold, recorded_by, changes, .. } = comparison;
    let mut lines = vec![format!(
        "{replies} refusals by rules {}: {unchanged} unchanged, {} changed, {untold} untold as \
         their words were forgotten",
        rules.version,
        replies - unchanged - untold,
    )];
    for (version, count) in recorded_by {
        let by = version.map_or("rules without a number".to_owned(), |v| format!("rules {v}"));
        lines.push(format!("  {count} were recorded by {by}"));
    }
    for ((before, afresh), change) in changes {
        let messages: Vec<String> = change.messages.iter().map(ToString::to_string).collect();
        let (before, afresh) = (BounceClass::as_str(*before), name(*afresh));
        lines.push(format!(
            "{before} -> {afresh}: {}, such as {}",
            change.count,
            messages.join(", ")
        ));
    }
    let not_listed: Vec<Moved> = comparison.not_listed().collect();
    let newly_listed: Vec<Moved> = comparison.newly_listed().collect();
    for (moved, what) in [
        (not_listed, "suppressed addresses would not have been listed"),
        (newly_listed, "addresses would have been listed"),
    ] {
        lines.push(format!("{} {what}", moved.len()));
        for Moved { app, recipient, message, listed } in moved.iter().take(SHOWN) {
            let now = if *listed { "listed now" } else { "not listed now" };
            lines.push(format!("  {app} {recipient}, {now}: {message}"));
        }
        if moved.len() > SHOWN {
            lines.push(format!("  and {} more, which --json prints", moved.len() - SHOWN));
        }
    }
    print_line(&lines.join("\n")).map(|_| ())
}
