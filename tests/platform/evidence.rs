//! The evidence of a message is checked without the server, by the program and by another one that
//! shares nothing with it, and both find what was changed.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    process::{ended, run, run_bare, run_json},
};

type Edit = fn(&mut Value);

/// What the program and the Python checker end with.
fn both(file: &Path, key: &str) -> (i32, i32) {
    let file = file.to_str().unwrap();
    let (own, _, _) = ended(&run_bare(&["evidence", "verify", file, "--key", key]));
    let checker = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_evidence.py");
    let other = Command::new("python3").arg(checker).args([file, key]).output().unwrap();
    assert!(other.stderr.is_empty(), "{}", String::from_utf8_lossy(&other.stderr));
    (own, other.status.code().unwrap())
}

fn delivered(bundle: &Value) -> &Value {
    let events = bundle["events"].as_array().unwrap();
    let event = events.iter().find(|event| event["event"]["type"] == "message.delivered");
    event.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_that_share_nothing_agree_on_every_bundle() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    let email = json!({ "to": ["ada@reader.test"], "subject": "Hello", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "delivered").await;
    let served = app.api.get(&format!("/v1/messages/{id}/evidence")).await.expect(200);
    // What the receiver holds is what was recorded, to the byte.
    let sent = delivered(&served)["event"]["sent"].clone();
    let (received, letter) = app.world.inbox.only();
    assert_eq!(sent["octets"], received.data.len());
    let file = app.world.path("received.eml");
    fs::write(&file, &received.data).unwrap();
    let sum = Command::new("sha256sum").arg(&file).output().unwrap().stdout;
    assert!(String::from_utf8(sum).unwrap().starts_with(sent["sha256"].as_str().unwrap()));
    let selector = sent["dkim"][0].as_str().unwrap();
    assert_eq!(letter.signature()["s"], selector);
    app.stop().await;

    let config = app.world.config_file("1s");
    let key = run_json(&["log", "key"], &config)["key"].as_str().unwrap().to_owned();
    let (status, shown, errors) = ended(&run(&["evidence", &id], &config));
    assert_eq!(status, 0, "{errors}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let file = app.world.path("bundle.json");
    for bundle in [&served, &shown] {
        let told = delivered(bundle);
        assert!(told["reply"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
        assert!(told["event"]["peer"]["ip"] == "127.0.0.1", "{told}");
        assert_eq!(sent["dkim"].as_array().unwrap().len(), 1, "{sent}");
        fs::write(&file, bundle.to_string()).unwrap();
        assert_eq!(both(&file, &key), (0, 0));
    }

    let edits: [(&str, Edit); 8] = [
        ("time", |b| b["events"][1]["at"] = "2020-01-01T00:00:00.000Z".into()),
        ("host", |b| b["events"][1]["event"]["peer"]["mx"] = "mx.evil.test".into()),
        ("leaf", |b| b["events"][1]["leaf"] = b["events"][0]["leaf"].clone()),
        ("proof", |b| b["events"][1]["proof"][0] = b["events"][0]["proof"][1].clone()),
        ("left out", |b| drop(b["events"].as_array_mut().unwrap().remove(0))),
        ("signature", |b| {
            let note = b["checkpoint"].as_str().unwrap();
            let place = note.len() - 10;
            let other = if &note[place..=place] == "A" { "B" } else { "A" };
            b["checkpoint"] = format!("{}{other}{}", &note[..place], &note[place + 1..]).into();
        }),
        ("size", |b| {
            let note = b["checkpoint"].as_str().unwrap().to_owned();
            let size = note.lines().nth(1).unwrap();
            b["checkpoint"] = note.replacen(&format!("\n{size}\n"), "\n999999\n", 1).into();
        }),
        ("message", |b| b["message"] = "msg_01kb05yt7qe5tvnr4w8jhjkz2m".into()),
    ];
    for (what, edit) in edits {
        let mut changed = served.clone();
        edit(&mut changed);
        fs::write(&file, changed.to_string()).unwrap();
        assert_eq!(both(&file, &key), (1, 1), "{what}");
    }
    fs::write(&file, served.to_string()).unwrap();
    // The key that Go's note package shows in its documentation: well formed, another one.
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(both(&file, stranger), (1, 1));
    // Only the program opens replies.
    let mut changed = served.clone();
    let place = served["events"].as_array().unwrap().len() - 1;
    changed["events"][place]["reply"] = "never happened".into();
    fs::write(&file, changed.to_string()).unwrap();
    assert_eq!(both(&file, &key), (1, 0));
}
