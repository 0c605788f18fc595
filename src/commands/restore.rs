//! `lumora restore …`: checks a backup, and makes a data directory of it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use actors::Clock as _;
use eventlog::{
    Append, BackupInfo, EventLog, InstanceKey, Log, LogOptions, MasterKey, NewEvent, Notary,
    Restoring, Vault, VerifierKey, VerifyReport, Version, check_backup,
};
use model::{
    By, EventId, InstanceId, StreamId,
    instance::{InstanceEvent, Restored},
};
use serde_json::json;

use super::{
    Failure,
    backup::{INSTANCE_KEY, MASTER_KEY, OWN_KEYS, TLS_REPORTS},
    log::progress,
    print_error, print_json, print_line,
};
use crate::{cli::RestoreArguments, clock::SystemClock, config::Config, telemetry};

/// Events of a stream that are read at once.
const PAGE: usize = 1_000;

pub(super) async fn run(arguments: RestoreArguments) -> Result<(), Failure> {
    let info = BackupInfo::read(&arguments.source).map_err(Failure::failed)?;
    let key = arguments.key.clone().unwrap_or_else(|| info.key.clone());
    let Some(target) = &arguments.target else { return check(&arguments, &info, &key) };
    telemetry::start_logging("warn");
    let keys = Keys::find(&arguments, &key)?;
    let config = Config { data_dir: target.clone(), ..Config::default() };
    make_directory(target, &config)?;
    let mut show = progress("events");
    let all = info.position.get();
    let restoring = Restoring::begin(&arguments.source, &config.log_dir(), &key, &mut |position| {
        show(position.get(), all);
    })
    .map_err(Failure::failed)?;
    let signer = put_beside(&arguments.source, &config, &keys)?;
    let anew = *signer.verifier() != key;
    if anew {
        restoring.set_checkpoints_aside().map_err(Failure::failed)?;
    }
    let verifier = signer.verifier().clone();
    write_down(&restoring, &config, &info, signer, anew).await?;
    let checked = restoring.report();
    let now = restoring.verify(&verifier, &mut progress("events")).map_err(Failure::failed)?;
    restoring.finish().map_err(Failure::failed)?;
    tell(&arguments, &config, &info, &Done { checked, now, verifier, anew, keys })
}

fn check(
    arguments: &RestoreArguments,
    info: &BackupInfo,
    key: &VerifierKey,
) -> Result<(), Failure> {
    let (mut show, all) = (progress("events"), info.position.get());
    let report = check_backup(&arguments.source, key, &mut |position| show(position.get(), all))
        .map_err(|error| Failure::failed(format!("the backup does not hold: {error}")))?;
    if arguments.json {
        return print_json(&json!({
            "holds": true,
            "head": report.head.get(),
            "signed": report.signed.get(),
            "content": report.content,
            "forgotten": report.forgotten,
            "backedUpAt": info.at.to_string(),
        }));
    }
    print_line(&format!(
        "the backup holds: {} events, signed up to position {}, {} content records, {} forgotten; \
         taken {}",
        report.head, report.signed, report.content, report.forgotten, info.at
    ))
    .map(|_| ())
}

/// The secret keys that are at hand, with the files that they are in.
struct Keys {
    master: Option<PathBuf>,
    instance: Option<PathBuf>,
}

impl Keys {
    /// Finds them, and refuses those of another instance before anything is written.
    fn find(arguments: &RestoreArguments, key: &VerifierKey) -> Result<Self, Failure> {
        let source = &arguments.source;
        let found = |given: &Option<PathBuf>, name: &str| {
            let in_backup = source.join(name);
            given.clone().or_else(|| in_backup.is_file().then_some(in_backup))
        };
        let master = found(&arguments.master_key, MASTER_KEY);
        if let Some(file) = &master {
            let master = MasterKey::load(file).map_err(Failure::usage)?;
            Vault::load(&source.join("log"), &master).map_err(Failure::usage)?;
        }
        let instance = found(&arguments.instance_key, INSTANCE_KEY);
        if let Some(file) = &instance {
            let instance = InstanceKey::load(file).map_err(Failure::usage)?;
            if instance.verifier() != key {
                let (file, name) = (file.display(), key.name());
                return Err(Failure::usage(format!("{file}: did not sign the backup, {name} did")));
            }
        }
        Ok(Self { master, instance })
    }
}

/// Makes the data directory; one that an attempt before left is gone on with.
fn make_directory(target: &Path, config: &Config) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("{}: {error}", target.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(target).map_err(failed)?;
    if config.log_dir().join("restoring").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(target).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "lost+found" {
            let what = format!("{}: is not empty, it has {}", target.display(), name.display());
            return Err(Failure::failed(what));
        }
    }
    Ok(())
}

/// Puts what a data directory has beside the log; gives the key that signs from now on.
fn put_beside(source: &Path, config: &Config, keys: &Keys) -> Result<InstanceKey, Failure> {
    if let Some(file) = &keys.master {
        put(file, &config.master_key_file())?;
    }
    if let Some(file) = &keys.instance {
        put(file, &config.instance_key_file())?;
    }
    let reports = source.join(TLS_REPORTS);
    if reports.is_file() {
        put(&reports, &config.tls_reports_file())?;
    }
    match fs::read_dir(source.join(OWN_KEYS)) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(Failure::failed)?;
                put(&entry.path(), &config.own_keys_dir().join(entry.file_name()))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::failed(error)),
    }
    InstanceKey::load_or_create(&config.instance_key_file()).map_err(Failure::usage)
}

/// Copies a small file, for its owner alone, durably.
fn put(from: &Path, to: &Path) -> Result<(), Failure> {
    let write = || {
        let bytes = fs::read(from)?;
        let directory = to.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::File::open(directory)?.sync_all()
    };
    write().map_err(|error: io::Error| Failure::failed(format!("{}: {error}", to.display())))
}

/// Records that the record was put back, and signs it.
async fn write_down(
    restoring: &Restoring,
    config: &Config,
    info: &BackupInfo,
    signer: InstanceKey,
    anew: bool,
) -> Result<(), Failure> {
    let log = restoring.open(LogOptions::default()).map_err(Failure::failed)?;
    let append = restored(&log, info, anew)?;
    log.append(append).await.map_err(Failure::failed)?;
    log.close().await.map_err(Failure::failed)?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let notary = Notary::open(&config.log_dir(), log, signer, None).map_err(Failure::failed)?;
    notary.sign(SystemClock.now()).map(drop).map_err(Failure::failed)
}

fn restored(log: &Log, info: &BackupInfo, signed_anew: bool) -> Result<Append, Failure> {
    let stream = StreamId::Instance(InstanceId::THIS);
    let mut expected = Version::NONE;
    loop {
        let page = log.read_stream(stream, expected, PAGE).map_err(Failure::failed)?;
        let Some(last) = page.last() else { break };
        expected = last.version;
    }
    let through = log.head().borrow().get();
    let event: InstanceEvent = Restored { through, backed_up_at: info.at, signed_anew }.into();
    let (at, mut random) = (SystemClock.now(), [0; 10]);
    getrandom::fill(&mut random).map_err(Failure::failed)?;
    let data = event.encode(&By::CommandLine.into());
    let events = vec![NewEvent { id: EventId::new(at, random), data }];
    Ok(Append { stream, expected, at, events, content: Vec::new() })
}

struct Done {
    checked: VerifyReport,
    now: VerifyReport,
    verifier: VerifierKey,
    anew: bool,
    keys: Keys,
}

fn tell(
    arguments: &RestoreArguments,
    config: &Config,
    info: &BackupInfo,
    done: &Done,
) -> Result<(), Failure> {
    let Done { checked, now, verifier, anew, keys } = done;
    if *anew {
        print_error(&format!(
            "lumora: the instance key was not given: a new one signs from now on, {verifier}"
        ));
    }
    if keys.master.is_none() {
        print_error(&format!(
            "lumora: put the master key at {} before the server starts",
            config.master_key_file().display()
        ));
    }
    if arguments.json {
        return print_json(&json!({
            "ready": true,
            "through": checked.head.get(),
            "signed": checked.signed.get(),
            "head": now.head.get(),
            "content": now.content,
            "forgotten": now.forgotten,
            "backedUpAt": info.at.to_string(),
            "key": verifier.to_string(),
            "signedAnew": anew,
            "masterKey": keys.master.is_some(),
        }));
    }
    print_line(&format!(
        "{} is ready: {} events of the backup taken {}, signed up to position {}, {} content \
         records, {} forgotten. Messages that were open then go on, and may come twice",
        config.data_dir.display(),
        checked.head,
        info.at,
        checked.signed,
        now.content,
        now.forgotten
    ))
    .map(|_| ())
}
