//! Events whose time is over are pruned by the server itself, and what is left holds: the log
//! verifies, nobody is lost in counts, and whoever asks for what is gone is told.

use std::{path::Path, time::Duration};

use eventlog::{
    Append, EventLog as _, KeepJournal, Log, LogOptions, NewEvent, Position, Recorded, Version,
};
use lumora::config::Retention;
use mail::sink::Action;
use model::{MessageId, StreamId};
use projections::ReadModels;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    client::assert_conserved,
    inbox::{ByRecipient, reply},
    process::{ended, run, run_json},
    world::World,
};

const DAY: Duration = Duration::from_hours(24);

/// Writes the log anew as if what is in it had happened so many days earlier, each event by its own
/// number of days, and as if the journal had let go of it.
async fn backdate(dir: &Path, days: impl Fn(&Recorded) -> u32) {
    let new_dir = dir.with_extension("new");
    let old = Log::open(dir, LogOptions::default()).unwrap();
    let options = LogOptions {
        keep_journal: KeepJournal::Within { age: Duration::ZERO, bytes: 0 },
        segment_bytes: 1024,
        ..LogOptions::default()
    };
    let new = Log::open(&new_dir, options).unwrap();
    for recorded in eventlog::export(&old, Position::START).map(Result::unwrap) {
        let content = recorded.content.iter().map(|at| old.read_content(at).unwrap());
        let append = Append {
            stream: recorded.stream,
            expected: Version::new(recorded.version.get() - 1),
            at: recorded.at.minus(DAY * days(&recorded)),
            events: vec![NewEvent { id: recorded.id, data: recorded.data.as_ref().into() }],
            content: content.collect(),
        };
        new.append(append).await.unwrap();
    }
    for log in [&old, &new] {
        log.close().await.unwrap();
    }
    drop((old, new));
    std::fs::copy(dir.join("keyring"), new_dir.join("keyring")).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::rename(&new_dir, dir).unwrap();
}

fn email(to: &str) -> Value {
    json!({ "to": [format!("{to}@reader.test")], "subject": "s", "text": "t", "tags": ["old"] })
}

/// A platform that kept events for 60 days, and was stopped: 12 messages ended 500 days ago, of
/// which one bounced; 3 more, of which one is still tried, are 40 days old.
async fn aged() -> (TestApp, Vec<String>, Vec<String>) {
    let mut app = TestApp::start_in(World::new().await, |config| {
        config.retention.events = Retention::For(DAY * 60);
    })
    .await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|recipient: &str| match recipient.as_bytes()[0] {
        b'b' => reply(550, "5.1.1 No such user"),
        b'l' => reply(450, "4.2.0 Later"),
        _ => Action::Accept,
    }));
    let (mut old, mut young) = (Vec::new(), Vec::new());
    for number in 0..12 {
        let name = if number == 5 { "bob".to_owned() } else { format!("ada{number}") };
        let answer = app.api.send_once(&email(&name), &format!("key {number}")).await.expect(202);
        let id = answer["messageId"].as_str().unwrap().to_owned();
        app.api.ended(&id).await;
        old.push(id);
    }
    for name in ["eve", "eva", "lea"] {
        young.push(app.api.accepted(&email(name)).await);
    }
    app.api.ended(&young[1]).await;
    app.api.until(&young[2], "was tried", |m| m["events"].as_array().unwrap().len() > 1).await;
    app.stop().await;
    let recent: Vec<StreamId> =
        young.iter().map(|id| StreamId::Message(id.parse::<MessageId>().unwrap())).collect();
    let dir = app.config.log_dir();
    let of_young = |recorded: &Recorded| recent.contains(&recorded.stream);
    let first = {
        let log = Log::open(&dir, LogOptions::default()).unwrap();
        let mut events = eventlog::export(&log, Position::START).map(Result::unwrap);
        events.find(of_young).unwrap().position
    };
    backdate(&dir, |recorded| if recorded.position < first { 500 } else { 40 }).await;
    std::fs::remove_dir_all(app.config.read_dir()).unwrap();
    (app, old, young)
}

async fn pruned(app: &TestApp) -> eventlog::Pruned {
    let deadline = std::time::Instant::now() + Duration::from_mins(2);
    loop {
        if let Some(pruned) = app.node().core().log.pruned().unwrap() {
            return pruned;
        }
        assert!(std::time::Instant::now() < deadline, "never pruned");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_prunes_what_is_older_than_configured_and_all_else_holds() {
    let (mut app, old, young) = aged().await;
    app.start_again().await;
    let first = app.node().core().log.read_all(Position::START, 1).unwrap();
    let range = format!("from={}&interval=day", first[0].at);
    let before = app.api.get(&format!("/v1/emails/stats?{range}")).await;
    let evidence = app.api.get(&format!("/v1/messages/{}/evidence", young[0])).await.expect(200);
    let feed = app.api.get("/v1/events?after=0&limit=100").await.expect(200);
    let pruned = pruned(&app).await;
    assert_eq!((pruned.messages, pruned.events), (12, 24));

    // Who asks for what is gone is told so, and what is left is there.
    for id in &old {
        assert_eq!(app.api.get(&format!("/v1/messages/{id}")).await.status, 404);
    }
    for id in &young {
        app.api.get(&format!("/v1/messages/{id}")).await.expect(200);
        app.api.get(&format!("/v1/messages/{id}/evidence")).await.expect(200);
    }
    let gone = app.api.get("/v1/events?after=23").await.expect(410);
    assert_eq!(gone["error"], "events_pruned");
    assert!(gone["message"].as_str().unwrap().contains("after that number"), "{gone}");
    assert!(gone["message"].as_str().unwrap().contains("up to 24 were"), "{gone}");
    assert_eq!(app.api.get("/v1/events/stream?after=0").await.expect(410), {
        app.api.get("/v1/events?after=0").await.expect(410)
    });
    let left = app.api.get("/v1/events?after=24&limit=100").await.expect(200);
    let (left, feed) = (left["data"].as_array().unwrap(), feed["data"].as_array().unwrap());
    assert_eq!(left[..5], feed[24..29], "numbers stay as they are");
    let logs = app.api.all_logs("").await;
    assert!(logs.iter().all(|row| young.iter().any(|id| row["messageId"] == **id)));
    let after = app.api.get(&format!("/v1/emails/stats?{range}")).await.expect(200);
    assert_conserved(&after);
    assert_eq!(after["totals"]["accepted"], before.expect(200)["totals"]["accepted"]);

    // The same key makes a new message now.
    let again = app.api.send_once(&email("ada0"), "key 0").await.expect(202);
    assert_eq!((&again["messageId"], &again["idempotentReplay"]), (&json!(old[0]), &json!(false)));
    app.api.ended(&old[0]).await;
    app.stop().await;
    holds(&app, &evidence);
}

/// The record, without the server.
fn holds(app: &TestApp, evidence: &Value) {
    let config = app.world.config_file("5m");
    let verified = run_json(&["log", "verify"], &config);
    assert_eq!((&verified["holds"], &verified["pruned"]), (&json!(true), &json!(24)));
    assert!(run_json(&["log", "stats", "--check"], &config)["holds"].as_bool().unwrap());
    let exported = ended(&run(&["log", "export"], &config)).1;
    let recorded: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["event"]["type"] == "instance.log_pruned")
        .collect();
    let [recorded] = &recorded[..] else { panic!("{recorded:?}") };
    assert_eq!(recorded["event"]["cause"], "configuration");
    assert_eq!(recorded["event"]["events"], 24);
    let position = recorded["position"].to_string();
    let why = ended(&run(&["log", "why", &position], &config)).1;
    assert!(why.contains("by the configuration"), "{why}");
    let up_to = recorded["event"]["up_to"].as_u64().unwrap();
    let (code, _, error) = ended(&run(&["log", "why", &up_to.to_string()], &config));
    assert!(code == 1 && error.contains("was pruned"), "{error}");
    let before = (up_to - 1).to_string();
    let (code, _, error) = ended(&run(&["replay", "--until", &before], &config));
    assert!(code == 1 && error.contains("cannot be shown"), "{error}");

    // Nothing is left to prune by hand, and a rebuild keeps what is.
    let none = run_json(&["log", "prune", "--before", "2026-01-01T00:00:00Z"], &config);
    assert_eq!(none, json!({ "pruned": false }));
    let (code, _, error) = ended(&run(&["log", "rebuild"], &config));
    assert_eq!(code, 0, "{error}");
    assert_eq!(run_json(&["log", "verify"], &config)["pruned"], 24);
    let scratch = tempfile::tempdir().unwrap();
    let bundle = scratch.path().join("bundle.json");
    std::fs::write(&bundle, evidence.to_string()).unwrap();
    let key = run_json(&["log", "key"], &config)["key"].as_str().unwrap().to_owned();
    let bundle = bundle.to_str().unwrap();
    let output = std::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify_evidence.py"))
        .args([bundle, &key])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_of_a_pruned_log_are_made_anew_to_the_same_bytes() {
    let (mut app, ..) = aged().await;
    app.start_again().await;
    pruned(&app).await;
    let head = *app.node().core().log.head().borrow();
    assert!(app.node().core().read.caught_up(head, Duration::from_mins(1)).await);
    app.stop().await;
    let config = app.world.config_file("5m");
    let until = run_json(&["log", "stats"], &config)["head"].to_string();
    let kept = run_json(&["replay", "--until", &until], &config);
    let live = {
        let vault_log =
            std::sync::Arc::new(Log::open(&app.config.log_dir(), LogOptions::default()).unwrap());
        let file = app.config.master_key_file();
        let master = eventlog::MasterKey::load_or_create(&file).unwrap();
        let vault = eventlog::Vault::load_or_create(&app.config.log_dir(), &file, &master).unwrap();
        let read = ReadModels::open(&app.config.read_dir(), vault_log, vault).unwrap();
        read.summary().unwrap()
    };
    assert_eq!(kept["digests"], live["digests"]);
    assert_eq!(kept["messages"], 15);
}
