//! The commands that read a stopped server's directory.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    process::{ended, run, run_json},
};

/// A platform that delivered some mail and was stopped.
async fn stopped(messages: usize) -> (TestApp, Vec<String>) {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    let mut ids = Vec::new();
    for number in 0..messages {
        let email = json!({
            "to": [format!("r{number}@reader.test")], "subject": "s", "text": "t",
        });
        ids.push(app.api.accepted(&email).await);
    }
    for id in &ids {
        app.api.becomes(id, "delivered").await;
    }
    app.stop().await;
    (app, ids)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_verified_exported_counted_and_replayed() {
    let (app, ids) = stopped(5).await;
    let config = app.world.config_file("1s");

    let (status, output, _) = ended(&run(&["log", "verify"], &config));
    assert_eq!((status, output.starts_with("the chain holds: ")), (0, true), "{output}");
    let verified = run_json(&["log", "verify"], &config);
    let head = verified["head"].as_u64().unwrap();
    assert_eq!((&verified["holds"], &verified["sealed"]), (&json!(true), &json!(head)));
    assert_eq!(verified["content"], 10, "two records a message");
    assert_eq!(verified["signed"], head, "signed at the stop: {verified}");

    let (status, output, _) = ended(&run(&["log", "export"], &config));
    let events = lines(&output);
    assert_eq!((status, events.len() as u64), (0, head));
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event["position"], position);
        assert_eq!(event["hash"].as_str().unwrap().len(), 64);
        assert!(event["event"]["type"].is_string() && event["event"]["v"] == 1, "{event}");
    }
    let (_, output, _) = ended(&run(&["log", "export", "--stream", &ids[2]], &config));
    let kinds: Vec<Value> = lines(&output).iter().map(|e| e["event"]["type"].clone()).collect();
    assert_eq!(kinds, ["message.accepted", "message.delivered"]);
    let after = (head - 3).to_string();
    let (_, output, _) = ended(&run(&["log", "export", "--after", &after], &config));
    assert_eq!(lines(&output), events[events.len() - 3..]);
    let (status, output, _) = ended(&run(&["log", "tail", "-n", "4"], &config));
    assert_eq!((status, output.lines().count()), (0, 4), "{output}");

    let stats = run_json(&["log", "stats"], &config);
    assert_eq!((&stats["head"], &stats["sealed"]), (&json!(head), &json!(head)));
    assert!(stats["contentBytes"].as_u64().unwrap() > 0, "{stats}");

    let (status, output, errors) = ended(&run(&["replay"], &config));
    assert_eq!(status, 0, "{errors}");
    assert_eq!(output.trim(), format!("rebuilt all read models up to position {head}"));
    let now = run_json(&["replay", "--until", &head.to_string()], &config);
    let before = events.iter().position(|e| e["event"]["type"] == "message.accepted").unwrap();
    let past = run_json(&["replay", "--until", &before.to_string()], &config);
    assert_ne!(now, past);
    let (status, output, _) = ended(&run(&["log", "rebuild"], &config));
    assert_eq!((status, output.contains(&format!("{head} events"))), (0, true), "{output}");
    assert_eq!(run_json(&["log", "verify"], &config)["head"], head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_found_and_its_position_named() {
    let (app, _) = stopped(3).await;
    let config = app.world.config_file("1s");
    let segment = only_file(&app.config.log_dir().join("journal"));
    let mut bytes = fs::read(&segment).unwrap();
    let wanted = b"message.delivered";
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (status, output, errors) = ended(&run(&["log", "verify"], &config));
    assert_eq!((status, output.as_str()), (1, ""), "{errors}");
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    let (_, after) = errors.split_once("position ").unwrap_or_else(|| panic!("{errors}"));
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    assert!(digits.parse::<u64>().unwrap() > 0, "{errors}");
}

fn only_file(directory: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().find(|path| fs::metadata(path).unwrap().len() > 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_as_asked_ends_with_2_and_one_line() {
    let mut app = TestApp::start().await;
    let config = app.world.config_file("1s");
    let one_line = |output: &std::process::Output, status: i32| {
        let (ended, _, errors) = ended(output);
        assert_eq!(ended, status, "{errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
        assert!(errors.starts_with("lumora: "), "{errors}");
        errors
    };
    // A running server has the directory.
    one_line(&run(&["log", "verify"], &config), 1);
    app.stop().await;
    one_line(&run(&["replay", "--projection", "nothing"], &config), 2);
    one_line(&run(&["log", "verify", "--data-dir", "/nonexistent/lumora"], &config), 2);
    one_line(&run(&["log", "verify"], Path::new("/nonexistent.toml")), 2);
    fs::write(app.world.path("bad.toml"), "[http]\nlisten_on = \"127.0.0.1:1\"\n").unwrap();
    let errors = one_line(&run(&["serve"], &app.world.path("bad.toml")), 2);
    assert!(errors.contains("listen_on"), "{errors}");
    let (status, _, errors) = ended(&run(&["log", "nonsense"], &config));
    assert_eq!((status, errors.contains("nonsense")), (2, true), "{errors}");
    let (status, output, _) = ended(&run(&["--help"], &config));
    assert_eq!((status, output.contains("serve")), (0, true), "{output}");
}
