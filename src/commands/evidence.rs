//! `lumora evidence …`: what happened to a message, with its proofs.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use actors::Clock as _;
use eventlog::VerifierKey;
use model::{
    MessageId, StreamId,
    reading::{ContentRead, Shown},
};
use serde_json::json;

use super::{Failure, administration::with_core, letters::record, load, print_json, print_line};
use crate::{
    cli::{ConfigArguments, EvidenceArguments, EvidenceCommand},
    clock::SystemClock,
};

pub(super) async fn run(arguments: EvidenceArguments) -> Result<(), Failure> {
    match (&arguments.command, arguments.message) {
        (Some(EvidenceCommand::Verify { file, key, json }), _) => verify(file, key, *json),
        (None, Some(message)) => show(message, &arguments.config).await,
        (None, None) => Err(Failure::usage("name a message, or `verify` and a file")),
    }
}

async fn show(message: MessageId, arguments: &ConfigArguments) -> Result<(), Failure> {
    let dir = load(arguments)?.log_dir();
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", dir.display())));
    }
    let bundle = with_core(arguments, async |core| {
        let (log, vault) = (Arc::clone(&core.log), core.vault.clone());
        let notary = Arc::clone(&core.notary);
        let gathered = tokio::task::spawn_blocking(move || {
            ::evidence::gather(log.as_ref(), &vault, &notary, message, SystemClock.now())
        });
        let bundle = gathered.await.map_err(Failure::failed)?.map_err(Failure::failed)?;
        let unknown = || Failure::failed(format!("{message}: there is no such message"));
        let bundle = bundle.ok_or_else(unknown)?;
        // Without the key it says nothing that the log does not.
        if bundle.reply_key.is_some() {
            let view = core.read.messages().get(message).map_err(Failure::failed)?;
            let tenant = view.map(|view| view.accepted.tenant);
            let of = StreamId::Message(message);
            let read = ContentRead { tenant, shown: Shown::Evidence, of };
            record(&core.platform, read).await?;
        }
        Ok(bundle)
    })
    .await?;
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
