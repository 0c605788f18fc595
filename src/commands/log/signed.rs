//! What was signed of the log: checked, shown, proved.

use std::path::Path;

use eventlog::{
    Checkpoints, EventLog as _, InstanceKey, Position, Signed, SignedCheckpoint, VerifierKey,
};
use serde_json::json;

use super::{dir, open, progress};
use crate::{
    Failure,
    cli::{ConfigArguments, OutputArguments},
    commands::{load, print_json, print_line},
    config::Config,
};

/// Checks everything; with a trusted checkpoint, everything after it.
pub(super) fn verify(
    from: Option<&Path>,
    key: Option<VerifierKey>,
    output: &OutputArguments,
) -> Result<(), Failure> {
    let config = load(&output.config)?;
    let dir = dir(&output.config)?;
    let key = match key {
        Some(key) => Some(key),
        None => own_key(&config, from.is_some() || dir.join("checkpoints").exists())?,
    };
    let from = from.map(newest).transpose()?;
    let kept = config.log.checkpoint_file.into_iter().filter(|path| path.exists()).collect();
    let report = eventlog::verify_signed(
        &dir,
        &Signed { key, kept, from: from.clone() },
        &mut progress("events"),
    )
    .map_err(|error| Failure::failed(format!("the log does not hold: {error}")))?;
    let after = from.map_or(Position::START, |from| from.head().position);
    if output.json {
        return print_json(&json!({
            "holds": true,
            "head": report.head.get(),
            "sealed": report.sealed.get(),
            "after": after.get(),
            "signed": report.signed.get(),
            "journalFrom": report.journal_from.get(),
            "pruned": report.pruned,
            "content": report.content,
            "forgotten": report.forgotten,
        }));
    }
    let pruned = match report.pruned {
        0 => String::new(),
        pruned => format!(", {pruned} of them pruned"),
    };
    let read = match after {
        Position::START => format!("{} events", report.head),
        after => format!("{} events after position {after}", report.head.get() - after.get()),
    };
    print_line(&format!(
        "the chain holds: {read}{pruned}, signed up to position {}, {} content records, {} forgotten",
        report.signed, report.content, report.forgotten
    ))
    .map(|_| ())
}

/// This instance's own public key. `needed`: something was signed, so it must be there.
fn own_key(config: &Config, needed: bool) -> Result<Option<VerifierKey>, Failure> {
    let file = config.instance_key_file();
    if !file.exists() && !needed {
        return Ok(None);
    }
    match InstanceKey::load(&file) {
        Ok(key) => Ok(Some(key.verifier().clone())),
        Err(error) => Err(Failure::usage(format!("{error}: name the key that signed with --key"))),
    }
}

fn newest(file: &Path) -> Result<SignedCheckpoint, Failure> {
    let named = |error: String| Failure::usage(format!("{}: {error}", file.display()));
    let newest = Checkpoints::newest(file).map_err(|error| named(error.to_string()))?;
    newest.ok_or_else(|| named("there is no checkpoint".to_owned()))
}

/// Prints the public key.
pub(super) fn key(output: &OutputArguments) -> Result<(), Failure> {
    let file = load(&output.config)?.instance_key_file();
    let key = InstanceKey::load(&file).map_err(Failure::usage)?;
    if output.json {
        return print_json(&json!({ "key": key.verifier().to_string() }));
    }
    print_line(&key.verifier().to_string()).map(|_| ())
}

/// Prints the newest checkpoint, with the empty line that ends one in a file.
pub(super) fn checkpoint(config: &ConfigArguments) -> Result<(), Failure> {
    let text = newest(&dir(config)?.join("checkpoints"))?.to_string();
    print_line(&format!("{}\n", text.trim_end())).map(|_| ())
}

/// Prints the proof that one tree goes on from another.
pub(super) fn consistency(from: u64, to: u64, config: &ConfigArguments) -> Result<(), Failure> {
    let log = open(config)?;
    let root = |position: u64| -> Result<String, Failure> {
        let head = log.tree_head(Position::new(position)).map_err(Failure::failed)?;
        let none = || Failure::usage(format!("the log ends before position {position}"));
        Ok(head.ok_or_else(none)?.root.to_string())
    };
    if from == 0 || from > to {
        return Err(Failure::usage("--from must be at least 1, and at most --to"));
    }
    let (root_from, root_to) = (root(from)?, root(to)?);
    let proof = log.consistency(Position::new(from), Position::new(to)).map_err(Failure::failed)?;
    let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
    print_json(&json!({
        "from": { "size": from, "root": root_from },
        "to": { "size": to, "root": root_to },
        "proof": proof,
    }))
}
