//! Changed rules are run over the past, and the difference is shown.

use std::{fs, path::PathBuf};

use mail::sink::Action;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    inbox::{ByRecipient, reply},
    process::{ended, run, run_bare, run_json},
};

/// A platform that was told "no" in three ways and was stopped; the ids of the three messages.
async fn stopped() -> (TestApp, Vec<String>) {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|recipient: &str| match recipient {
        "gone@reader.test" => reply(550, "moved to Tahiti"),
        "there@reader.test" => reply(554, "5.7.1 retired last year"),
        "clear@reader.test" => reply(550, "5.1.1 moved to Tahiti"),
        _ => Action::Accept,
    }));
    let mut ids = Vec::new();
    for name in ["gone", "there", "clear"] {
        let email = json!({ "to": [format!("{name}@reader.test")], "subject": "s", "text": "t" });
        let id = app.api.accepted(&email).await;
        app.api.becomes(&id, "bounced").await;
        ids.push(id);
    }
    app.stop().await;
    (app, ids)
}

/// The printed rules with two phrases more, as another version.
fn other_rules(app: &TestApp) -> PathBuf {
    let (status, printed, _) = ended(&run_bare(&["log", "rules"]));
    assert_eq!(status, 0);
    let mut rules: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(rules["version"], 1);
    rules["version"] = json!(2);
    let text = rules["text"].as_array_mut().unwrap();
    text.insert(0, json!({ "means": "policy", "says": ["moved to tahiti"] }));
    text.insert(1, json!({ "means": "reputation", "says": ["retired last year"] }));
    let path = app.world.path("rules.json");
    fs::write(&path, rules.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_show_what_they_would_have_made_of_the_past() {
    let (app, ids) = stopped().await;
    let config = app.world.config_file("1s");
    let by = |arguments: &[&str]| run_json(&[&["log", "reclassify"], arguments].concat(), &config);

    let same = by(&[]);
    assert_eq!(
        (&same["rules"], &same["replies"], &same["unchanged"]),
        (&json!(1), &json!(3), &json!(3))
    );
    assert_eq!(same["recordedBy"], json!([{ "rules": 1, "count": 3 }]));
    assert_eq!(same["changes"], json!([]));

    let rules = other_rules(&app);
    let rules = rules.to_str().unwrap();
    let other = by(&["--rules", rules]);
    assert_eq!(
        (&other["rules"], &other["unchanged"], &other["untold"]),
        (&json!(2), &json!(1), &json!(0))
    );
    assert_eq!(
        other["changes"],
        json!([
            { "from": "recipient", "to": "policy", "count": 1, "messages": [ids[0]] },
            { "from": "policy", "to": "reputation", "count": 1, "messages": [ids[1]] },
        ])
    );
    let not_listed = &other["suppressions"]["notListed"];
    assert_eq!(not_listed.as_array().unwrap().len(), 1, "{other}");
    assert_eq!(
        (&not_listed[0]["message"], &not_listed[0]["listed"]),
        (&json!(ids[0]), &json!(true))
    );
    assert_eq!(other["suppressions"]["newlyListed"], json!([]));

    let tenant = app.tenant.to_string();
    assert_eq!(by(&["--rules", rules, "--tenant", &tenant])["replies"], 3);
    let nobody = "ten_01kb05yt7qe5tvnr4w8jhjkz2m";
    assert_eq!(by(&["--rules", rules, "--tenant", nobody])["replies"], 0);
    assert_eq!(by(&["--rules", rules, "--until", "2026-01-01T00:00:00Z"])["replies"], 0);
    assert_eq!(by(&["--rules", rules, "--since", "2026-01-01T00:00:00Z"])["replies"], 3);

    let (status, words, _) = ended(&run(&["log", "reclassify", "--rules", rules], &config));
    assert_eq!(status, 0);
    assert!(words.contains(&format!("recipient -> policy: 1, such as {}", ids[0])), "{words}");
    assert!(!words.contains("reader.test") && !words.contains("ahiti"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_content_only_what_codes_alone_say_is_told() {
    let (app, ids) = stopped().await;
    let config = app.world.config_file("1s");
    let content = app.config.log_dir().join("content");
    for segment in fs::read_dir(content).unwrap() {
        fs::remove_file(segment.unwrap().path()).unwrap();
    }
    let rules = other_rules(&app);
    let arguments = ["log", "reclassify", "--rules", rules.to_str().unwrap()];
    let told = run_json(&arguments, &config);
    assert_eq!(
        (&told["replies"], &told["unchanged"], &told["untold"]),
        (&json!(3), &json!(1), &json!(2))
    );
    assert_eq!(told["changes"], json!([]), "{ids:?}");
    assert_eq!(told["suppressions"]["notListed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cannot_be_used_are_named() {
    let mut app = TestApp::start().await;
    app.stop().await;
    let config = app.world.config_file("1s");
    let file = app.world.path("rules.yaml");
    for (text, named) in [
        ("version: 1", "enhanced"),
        ("{version: 1, enhanced: [], basic: [], text: [{means: policy, says: [No]}]}", "`No`"),
        ("{version: 1, enhanced: [], basic: [], text: [], more: 1}", "more"),
        ("{version: 1, enhanced: [], basic: [{means: policy, codes: [450]}], text: []}", "500"),
    ] {
        fs::write(&file, text).unwrap();
        let output = run(&["log", "reclassify", "--rules", file.to_str().unwrap()], &config);
        let (status, _, errors) = ended(&output);
        assert_eq!((status, errors.contains(named)), (2, true), "{text}: {errors}");
    }
}
