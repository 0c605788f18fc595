//! `lumora backup …`: a copy of all that cannot be made anew, of a server that runs or of one that
//! does not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use actors::Clock as _;
use eventlog::{
    BackedUp, BackupPlan, EventLog, InstanceKey, Log, LogOptions, Notary, Position,
    SignedCheckpoint, VerifierKey, back_up, backup_piece,
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Failure, ask::Server, load, log::progress, print_error, print_json, print_line};
use crate::{
    cli::{BackupArguments, ConfigArguments},
    clock::SystemClock,
    config::Config,
};

/// Where the running server gives its events.
const PATH: &str = "/backup";
/// Names in a backup, beside the log.
pub(super) const MASTER_KEY: &str = "master.key";
pub(super) const INSTANCE_KEY: &str = "instance.key";
pub(super) const OWN_KEYS: &str = "dkim";
pub(super) const TLS_REPORTS: &str = "tls-reports";
const CONFIGURATION: &str = "lumora.toml";

pub(super) async fn run(arguments: BackupArguments) -> Result<(), Failure> {
    let config = load(&arguments.output.config)?;
    if !config.log_dir().is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", config.log_dir().display())));
    }
    refuse_inside(&arguments.destination, &config.data_dir)?;
    let (files, configuration) = beside(&config, &arguments)?;
    let done = match Server::running(&config).await? {
        Some(server) => running(server, &config, &arguments, &files).await?,
        None => stopped(&config, &arguments, &files).await?,
    };
    tell(&done, configuration, &arguments)
}

/// Its own copy would be copied, and would go with the disk.
fn refuse_inside(destination: &Path, data_dir: &Path) -> Result<(), Failure> {
    let mut existing = std::path::absolute(destination).map_err(Failure::failed)?;
    while !existing.exists() && existing.pop() {}
    let inside = match (existing.canonicalize(), data_dir.canonicalize()) {
        (Ok(existing), Ok(data_dir)) => existing.starts_with(data_dir),
        _ => false,
    };
    if !inside {
        return Ok(());
    }
    Err(Failure::usage(format!("{}: lies in the data directory", destination.display())))
}

type Files = Vec<(PathBuf, PathBuf)>;

/// What is copied beside the log, and what becomes of the configuration.
fn beside(config: &Config, arguments: &BackupArguments) -> Result<(Files, Configuration), Failure> {
    let mut files = vec![(config.tls_reports_file(), PathBuf::from(TLS_REPORTS))];
    match fs::read_dir(config.own_keys_dir()) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(Failure::failed)?;
                files.push((entry.path(), Path::new(OWN_KEYS).join(entry.file_name())));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::failed(error)),
    }
    if arguments.include_keys {
        files.push((config.master_key_file(), PathBuf::from(MASTER_KEY)));
        files.push((config.instance_key_file(), PathBuf::from(INSTANCE_KEY)));
    }
    let ConfigArguments { config: file, .. } = &arguments.output.config;
    let Some(file) = file else { return Ok((files, Configuration::NotNamed)) };
    let text = fs::read_to_string(file).map_err(Failure::failed)?;
    if tells_secrets(&text) && !arguments.include_keys {
        return Ok((files, Configuration::HasSecrets));
    }
    files.push((file.clone(), PathBuf::from(CONFIGURATION)));
    Ok((files, Configuration::Copied))
}

/// What becomes of the configuration's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Configuration {
    Copied,
    NotNamed,
    /// It holds a relay's password, and the backup alone should open nothing.
    HasSecrets,
}

/// Whether somebody may log in with what the file says. Too often rather than too rarely.
fn tells_secrets(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.any(|line| {
        let names = line.to_ascii_lowercase().replace("password_file", "");
        names.contains("password") || (line.contains("://") && line.contains('@'))
    })
}

async fn running(
    server: Server,
    config: &Config,
    arguments: &BackupArguments,
    files: &[(PathBuf, PathBuf)],
) -> Result<BackedUp, Failure> {
    let signed = server.post(&format!("{PATH}/checkpoint"), &json!({})).await?;
    let text = |name: &str| signed.get(name).and_then(Value::as_str).map(str::to_owned);
    let checkpoint = text("checkpoint").ok_or_else(empty)?;
    let checkpoint: SignedCheckpoint = checkpoint.parse().map_err(Failure::failed)?;
    let key = text("key").unwrap_or_default().parse().map_err(Failure::failed)?;
    let asked = Handle::current();
    let read = move |after: Position, through: Position| {
        let path = format!("{PATH}/events?after={after}&through={through}");
        asked.block_on(server.get_bytes(&path)).map_err(|error| error.to_string().into())
    };
    work(config, arguments, files, (checkpoint, key), read).await
}

async fn stopped(
    config: &Config,
    arguments: &BackupArguments,
    files: &[(PathBuf, PathBuf)],
) -> Result<BackedUp, Failure> {
    let log = Log::open(&config.log_dir(), LogOptions::default()).map_err(Failure::failed)?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let key = InstanceKey::load_or_create(&config.instance_key_file()).map_err(Failure::usage)?;
    let verifier = key.verifier().clone();
    let notary = Notary::open(&config.log_dir(), Arc::clone(&log), key, None);
    let signed = notary.map_err(Failure::failed)?.sign(SystemClock.now());
    let checkpoint = signed.map_err(Failure::failed)?.ok_or_else(empty)?;
    let source = Arc::clone(&log);
    let read = move |after: Position, through: Position| {
        backup_piece(source.as_ref(), after, through).map_err(|error| error.to_string().into())
    };
    let done = work(config, arguments, files, (checkpoint, verifier), read).await;
    log.close().await.map_err(Failure::failed)?;
    done
}

fn empty() -> Failure {
    Failure::failed("the log is empty: there is nothing to back up")
}

/// Copies, where blocking is allowed.
async fn work(
    config: &Config,
    arguments: &BackupArguments,
    files: &[(PathBuf, PathBuf)],
    (checkpoint, key): (SignedCheckpoint, VerifierKey),
    mut read: impl FnMut(Position, Position) -> Result<Vec<u8>, Box<str>> + Send + 'static,
) -> Result<BackedUp, Failure> {
    let (log, destination) = (config.log_dir(), arguments.destination.clone());
    let (files, compare_all) = (files.to_vec(), arguments.compare_all);
    let copied = tokio::task::spawn_blocking(move || {
        let plan = BackupPlan {
            log: &log,
            destination: &destination,
            checkpoint: &checkpoint,
            key: &key,
            files: &files,
            compare_all,
            now: SystemClock.now(),
        };
        let (mut show, all) = (progress("events"), checkpoint.head().position.get());
        back_up(&plan, &mut read, &mut |position| show(position.get(), all))
    });
    copied.await.map_err(Failure::failed)?.map_err(Failure::failed)
}

fn tell(
    done: &BackedUp,
    configuration: Configuration,
    arguments: &BackupArguments,
) -> Result<(), Failure> {
    if configuration == Configuration::HasSecrets {
        print_error(
            "lumora: the configuration holds a password and is not in the backup: use \
             password_file, or --include-keys",
        );
    }
    let events = done.position.get() - done.from.get();
    if arguments.output.json {
        return print_json(&json!({
            "position": done.position.get(),
            "from": done.from.get(),
            "events": events,
            "contentBytes": done.content_bytes,
            "segmentsRead": done.segments_read,
            "segmentsKept": done.segments_kept,
            "segmentsDropped": done.segments_dropped,
            "configuration": configuration == Configuration::Copied,
            "keys": arguments.include_keys,
        }));
    }
    print_line(&format!(
        "{}: {events} new events up to position {}, {} bytes of content",
        arguments.destination.display(),
        done.position,
        done.content_bytes
    ))
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_with_a_password_is_known() {
        for secret in [
            "password = \"x\"",
            "  Password='x'",
            "first = { host = \"a\", password = \"x\", password_file = \"y\" }",
            "smarthost = \"smtp://me:secret@relay.example\"",
        ] {
            assert!(tells_secrets(&format!("[delivery]\n{secret}\n")), "{secret}");
        }
        let none = "# password = \"x\"\npassword_file = \"/run/x\"\nurl = \"https://a.example\"\n";
        assert!(!tells_secrets(none));
    }
}
