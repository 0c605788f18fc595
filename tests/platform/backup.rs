//! A server that runs is copied, the copy is put back elsewhere, and all goes on from there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    canary::{Echo, Search, WORDS, bytes_of, email, files_below},
    support::{
        client::Client,
        process::{Process, ended, run, run_bare, run_json, serve, sign_up},
        world::World,
    },
};

/// A backup beside the world's data directory, and what is made of it.
struct Place {
    backup: PathBuf,
    target: PathBuf,
    keys: PathBuf,
}

impl Place {
    /// Keeps the secret keys of the world elsewhere, as one should.
    fn of(world: &World) -> Self {
        let keys = world.path("keys");
        fs::create_dir_all(&keys).unwrap();
        for name in ["master.key", "instance.key"] {
            fs::copy(world.data_dir().join(name), keys.join(name)).unwrap();
        }
        Self { backup: world.path("backup"), target: world.path("restored"), keys }
    }

    fn back_up(&self, config: &Path) -> Value {
        run_json(&["backup", text(&self.backup)], config)
    }

    fn restore(&self, with: &[&str]) -> (i32, String, String) {
        let arguments = ["restore", text(&self.backup), text(&self.target)];
        ended(&run_bare(&[&arguments[..], with].concat()))
    }

    fn restore_with_keys(&self) -> String {
        let (master, instance) = (self.keys.join("master.key"), self.keys.join("instance.key"));
        let keys = ["--master-key", text(&master), "--instance-key", text(&instance)];
        let (status, output, errors) = self.restore(&keys);
        assert_eq!(status, 0, "{errors}");
        output
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The same configuration for another data directory.
fn config_of(world: &World, config: &Path, data_dir: &Path) -> PathBuf {
    let text = fs::read_to_string(config).unwrap();
    let changed =
        text.replace(&world.data_dir().display().to_string(), &data_dir.display().to_string());
    let path = world.path("restored.toml");
    fs::write(&path, changed).unwrap();
    path
}

async fn stop(server: Process) {
    server.signal(Signal::TERM);
    assert!(server.wait().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_copied_and_put_back_and_what_was_open_goes_on() {
    let world = World::new().await;
    world.receives("reader.test");
    let file = world.config_file("1s");
    let secret = sign_up(&world, &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let letter =
        |subject: &str| json!({ "to": ["ada@reader.test"], "subject": subject, "text": "t" });
    let before = api.accepted(&letter("Before")).await;
    api.becomes(&before, "delivered").await;
    let place = Place::of(&world);
    let first = place.back_up(&file);
    assert_eq!((&first["from"], &first["keys"]), (&json!(0), &json!(false)), "{first}");
    assert_eq!(first["configuration"], true);
    assert!(!place.backup.join("master.key").exists());
    assert!(!place.backup.join("instance.key").exists());
    let key = run_json(&["log", "key"], &file)["key"].as_str().unwrap().to_owned();
    assert_eq!(fs::read_to_string(place.backup.join("instance.pub")).unwrap().trim(), key);

    // Something that is to be delivered later is open at the second backup.
    let mut later = letter("Later");
    let at =
        actors::Clock::now(&lumora::clock::SystemClock).plus(std::time::Duration::from_secs(15));
    later["scheduledAt"] = json!(at.to_string());
    let open = api.accepted(&later).await;
    let kept = api.get("/v1/events?limit=100").await.expect(200);
    assert_eq!(kept["epoch"], "0");
    let second = place.back_up(&file);
    assert_eq!(second["from"], first["position"]);
    assert!((1..20).contains(&second["events"].as_u64().unwrap()), "{second}");
    let lost = api.accepted(&letter("Lost")).await;
    api.becomes(&lost, "delivered").await;
    let seen = api.get("/v1/events?limit=100").await.expect(200);
    let (kept, seen) = (kept["lastSeq"].as_u64().unwrap(), seen["lastSeq"].as_u64().unwrap());
    assert!(seen > kept);
    server.crash();
    fs::remove_dir_all(world.data_dir()).unwrap();

    let checked = ended(&run_bare(&["restore", text(&place.backup), "--check", "--key", &key]));
    assert!(checked.0 == 0 && checked.1.contains("the backup holds"), "{checked:?}");
    let said = place.restore_with_keys();
    assert!(said.contains("is ready"), "{said}");
    let (status, _, errors) = place.restore(&[]);
    assert!(status == 1 && errors.contains("is not empty"), "{errors}");
    let config = config_of(&world, &file, &place.target);
    let verified = run_json(&["log", "verify"], &config);
    assert_eq!(verified["head"].as_u64(), second["position"].as_u64().map(|head| head + 1));
    assert_eq!(verified["signed"], verified["head"], "signed by the same key, to the end");
    let (server, url) = serve(&config, &[]);
    let api = Client::new(url, Some(&secret));
    assert_eq!(api.message(&before).await["message"]["subject"], "Before");
    assert_eq!(api.becomes(&open, "delivered").await["message"]["subject"], "Later");
    assert_eq!(api.get(&format!("/v1/messages/{lost}")).await.status, 404);
    follow(&api, kept, seen).await;
    // The backup goes on with it.
    let third = place.back_up(&config);
    assert_eq!(third["from"], second["position"]);
    stop(server).await;
    let fourth = place.back_up(&config);
    assert_eq!(fourth["from"], third["position"], "of a stopped one");
    let events = ended(&run(&["log", "export"], &config)).1;
    assert_eq!(events.matches("\"instance.restored\"").count(), 1);
}

/// A client that had seen more than was put back is taken back to what it shares with the server.
async fn follow(api: &Client, kept: u64, seen: u64) {
    let page = api.get(&format!("/v1/events?after={seen}&epoch=0&limit=100")).await.expect(200);
    let numbers: Vec<_> =
        page["data"].as_array().unwrap().iter().map(|e| e["seq"].clone()).collect();
    assert_eq!(numbers.first(), Some(&json!(kept + 1)), "{page}");
    assert!(!page.to_string().contains("Lost"));
    let epoch = page["epoch"].as_str().unwrap();
    assert_ne!(epoch, "0");
    let last = page["lastSeq"].as_u64().unwrap();
    let page = api.get(&format!("/v1/events?after={last}&epoch={epoch}")).await.expect(200);
    assert_eq!((&page["data"], &page["epoch"]), (&json!([]), &json!(epoch)));
    // Who had seen no more than was kept goes on as if nothing had been.
    let page = api.get("/v1/events?after=1&epoch=0&limit=1").await.expect(200);
    assert_eq!(page["data"][0]["seq"], 2);
    let refused = api.get(&format!("/v1/events/stream?after={last}&epoch=0")).await;
    assert!(refused.status == 422 && refused.text.contains("put back"), "{refused:?}");
    let refused = api.get("/v1/events?after=1&epoch=none").await;
    assert_eq!(refused.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_called_ready_and_the_first_bad_position_is_named() {
    let world = World::new().await;
    let file = world.config_file("1s");
    sign_up(&world, &file);
    let place = Place::of(&world);
    let head = place.back_up(&file)["position"].as_u64().unwrap();
    let segments = fs::read_dir(place.backup.join("log/journal")).unwrap();
    let segment = segments.map(|entry| entry.unwrap().path()).max().unwrap();
    let whole = fs::read(&segment).unwrap();
    let mut changed = whole.clone();
    let last = changed.iter().rposition(|byte| *byte != 0).unwrap();
    changed[last - 100] ^= 1;
    fs::write(&segment, &changed).unwrap();
    let (status, output, errors) = place.restore(&[]);
    assert!(status == 1 && output.is_empty() && errors.contains("position "), "{errors}");
    // Nobody takes what is there for a log.
    let config = config_of(&world, &file, &place.target);
    let (status, _, errors) = ended(&run(&["serve"], &config));
    assert!(status != 0 && errors.contains("restore"), "{errors}");
    fs::remove_file(place.target.join("master.key")).unwrap();

    // Other keys are refused before anything is written; without any, a new one signs.
    fs::write(&segment, &whole).unwrap();
    let other = world.path("other");
    fs::create_dir_all(&other).unwrap();
    let stranger = other.join("instance.key");
    fs::write(&stranger, [7; 32]).unwrap();
    fs::set_permissions(&stranger, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for flag in ["--master-key", "--instance-key"] {
        let (status, _, errors) = place.restore(&[flag, text(&stranger)]);
        assert_eq!(status, 2, "{errors}");
    }
    let (status, output, errors) = place.restore(&["--json"]);
    assert_eq!(status, 0, "{errors}");
    let restored: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&restored["through"], &restored["signedAnew"]), (&json!(head), &json!(true)));
    assert!(errors.contains("master key") && errors.contains("a new one signs"), "{errors}");
    fs::copy(place.keys.join("master.key"), place.target.join("master.key")).unwrap();
    assert!(run(&["log", "verify"], &config).status.success());
    assert_eq!(run_json(&["tenant", "list"], &config).as_array().unwrap().len(), 1);
    // Whoever kept the old key checks with it what it signed.
    assert!(place.target.join("log/checkpoints.before").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_after_a_rotation_holds_no_word_and_what_is_erased_goes_from_it_too() {
    let search = Search::new(&WORDS);
    let world = World::new().await;
    world.receives("reader.test");
    world.inbox.obey(Echo::default());
    let file = world.config_file("300ms");
    let secret = sign_up(&world, &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let sent = api.send_once(&email(), "qzcanaryidempotency").await.expect(202);
    api.ended(sent["messageId"].as_str().unwrap()).await;
    stop(server).await;
    let old = fs::read(world.data_dir().join("master.key")).unwrap();
    run_json(&["key", "rotate"], &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let id = api.accepted(&email()).await;
    api.ended(&id).await;
    let place = Place::of(&world);
    place.back_up(&file);
    stop(server).await;
    let said = place.restore_with_keys();
    let config = config_of(&world, &file, &place.target);
    let (server, url) = serve(&config, &[]);
    let shown = Client::new(url, Some(&secret)).message(&id).await.to_string();
    assert!(shown.contains("qzcanarysubject") && shown.contains("qzcanarydelivery"), "{shown}");
    let (output, errors) = (server.output.clone(), server.errors.clone());
    stop(server).await;
    assert_eq!(search.find((output.text() + &errors.text() + &said).as_bytes()), None);
    let mut files = Vec::new();
    for dir in [&place.backup, &place.target] {
        files_below(dir, &mut files);
    }
    assert!(files.len() > 12, "{files:?}");
    for path in &files {
        let bytes = bytes_of(path);
        assert_eq!(search.find(&bytes), None, "{}", path.display());
        // The old master key is nowhere, and the new one where it was put alone.
        assert!(!bytes.windows(old.len()).any(|window| window == old), "{}", path.display());
    }
    let backup_key = place.keys.join("old");
    fs::write(&backup_key, &old).unwrap();
    fs::set_permissions(&backup_key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::remove_dir_all(&place.target).unwrap();
    let (status, _, errors) = place.restore(&["--master-key", text(&backup_key)]);
    assert!(status == 2 && errors.contains("keyring"), "{errors}");

    let sealed = sealed_records(&place.backup);
    let tenant = run_json(&["tenant", "list"], &file)[0]["id"].as_str().unwrap().to_owned();
    let erase = ["erase", "--tenant", &tenant, "qzcanarytolocal@reader.test"];
    assert_eq!(run_json(&erase, &file)["messages"], 2);
    assert_eq!(sealed_records(&place.backup), sealed, "a copy knows nothing of what comes later");
    place.back_up(&file);
    let left = sealed_records(&place.backup);
    assert!(left.len() + 4 <= sealed.len(), "{} of {}", left.len(), sealed.len());
    let (status, _, errors) = ended(&run_bare(&["restore", text(&place.backup), "--check"]));
    assert_eq!(status, 0, "{errors}");
}

/// The records of a backup that are there, by their place.
fn sealed_records(backup: &Path) -> Vec<(String, u64)> {
    let target = tempfile::tempdir().unwrap();
    let log = target.path().join("log");
    let info = eventlog::BackupInfo::read(backup).unwrap();
    let restoring = eventlog::Restoring::begin(backup, &log, &info.key, &mut |_| {}).unwrap();
    let log = restoring.open(eventlog::LogOptions::default()).unwrap();
    let mut found = Vec::new();
    for event in crate::canary::every_event(&log) {
        for location in &event.content {
            if eventlog::EventLog::read_content(&log, location).is_ok() {
                found.push((event.stream.to_string(), location.offset));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_a_backup_holds_and_goes_on() {
    let world = World::new().await;
    world.receives("reader.test");
    let file = world.config_file("1s");
    let secret = sign_up(&world, &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let place = Place::of(&world);
    place.back_up(&file);
    let letter = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let arguments = ["backup", text(&place.backup), "--config", text(&file)];
    for moment in 0..6 {
        for _ in 0..20 {
            api.accepted(&letter).await;
        }
        let backup = Process::start(&arguments, &[]);
        std::thread::sleep(std::time::Duration::from_millis(moment * 12));
        backup.crash();
        let (status, _, errors) = ended(&run_bare(&["restore", text(&place.backup), "--check"]));
        assert_eq!(status, 0, "after {moment}: {errors}");
    }
    place.back_up(&file);
    stop(server).await;
    let head = run_json(&["log", "stats"], &file)["head"].as_u64().unwrap();
    assert_eq!(place.back_up(&file)["position"], head);
    let (status, _, errors) = ended(&run_bare(&["restore", text(&place.backup), "--check"]));
    assert_eq!(status, 0, "{errors}");
}
