//! `lumora evidence …`: what happened to a message, with its proofs.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use actors::Clock as _;
use eventlog::{EventLog, InstanceKey, Log, LogOptions, Notary, VerifierKey};
use model::MessageId;
use serde_json::json;

use super::{Failure, load, print_json, print_line};
use crate::{
    cli::{ConfigArguments, EvidenceArguments, EvidenceCommand},
    clock::SystemClock,
    keys,
};

pub(super) fn run(arguments: &EvidenceArguments) -> Result<(), Failure> {
    match (&arguments.command, arguments.message) {
        (Some(EvidenceCommand::Verify { file, key, json }), _) => verify(file, key, *json),
        (None, Some(message)) => show(message, &arguments.config),
        (None, None) => Err(Failure::usage("name a message, or `verify` and a file")),
    }
}

fn show(message: MessageId, config: &ConfigArguments) -> Result<(), Failure> {
    let config = load(config)?;
    let dir = config.log_dir();
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", dir.display())));
    }
    let log = Log::open(&dir, LogOptions::default()).map_err(Failure::failed)?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let key = InstanceKey::load_or_create(&config.instance_key_file()).map_err(Failure::usage)?;
    let vault = keys::vault(&config);
    let anchor = config.log.checkpoint_file;
    let notary = Notary::open(&dir, Arc::clone(&log), key, anchor).map_err(Failure::failed)?;
    let vault = vault?;
    let bundle = ::evidence::gather(log.as_ref(), &vault, &notary, message, SystemClock.now())
        .map_err(Failure::failed)?
        .ok_or_else(|| Failure::failed(format!("{message}: there is no such message")))?;
    print_json(&serde_json::to_value(bundle).map_err(Failure::failed)?)
}

fn verify(file: &Path, key: &VerifierKey, as_json: bool) -> Result<(), Failure> {
    let named = |error: std::io::Error| Failure::usage(format!("{}: {error}", file.display()));
    let mut text = Vec::new();
    let most = ::evidence::MAX_BUNDLE_BYTES as u64 + 1;
    File::open(file).map_err(named)?.take(most).read_to_end(&mut text).map_err(named)?;
    if ::evidence::is_certificate(&text) {
        return verify_certificate(&text, key, as_json);
    }
    let report = ::evidence::verify(&text, key)
        .map_err(|flaw| Failure::failed(format!("the evidence does not hold: {flaw}")))?;
    let ::evidence::Report { message, events, last_position, signed_at, replies } = report;
    if as_json {
        return print_json(&json!({
            "holds": true,
            "message": message,
            "events": events,
            "lastPosition": last_position.get(),
            "signedAt": signed_at.to_string(),
            "replies": replies,
        }));
    }
    print_line(&format!(
        "the evidence holds: {message}, {events} events up to position {last_position}, {replies} \
         replies, signed at {signed_at}"
    ))
    .map(|_| ())
}

fn verify_certificate(text: &[u8], key: &VerifierKey, as_json: bool) -> Result<(), Failure> {
    let certified = ::evidence::verify_certificate(text, key)
        .map_err(|flaw| Failure::failed(format!("the certificate does not hold: {flaw}")))?;
    let ::evidence::Certified { erasure, tenant, messages, records, erased_at } = certified;
    if as_json {
        return print_json(&json!({
            "holds": true,
            "erasure": erasure,
            "tenant": tenant,
            "messages": messages,
            "records": records,
            "erasedAt": erased_at,
        }));
    }
    print_line(&format!(
        "the certificate holds: {erasure}, in the data of {tenant} {records} sealed records, those \
         of {messages} messages among them, were overwritten by {erased_at}"
    ))
    .map(|_| ())
}
