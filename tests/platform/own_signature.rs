//! A server that has a domain of its own signs with its key, too.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use crate::support::{
    app::{SENDING_DOMAIN, TestApp},
    process::{ended, run},
    world::World,
};

const OWN_DOMAIN: &str = "platform.test";
const RECORD: &str = "lumora._domainkey.platform.test";

/// What `lumora doctor` finds out about the signature.
async fn finding(config: &Path) -> Value {
    let config = config.to_owned();
    let arguments = ["doctor", "--json", "--probe", "reader.test", "--time-server", "127.0.0.1:9"];
    let output = tokio::task::spawn_blocking(move || run(&arguments, &config)).await.unwrap();
    let (_, report, errors) = ended(&output);
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{errors}"));
    let findings = report["findings"].as_array().unwrap();
    let own = findings.iter().find(|finding| finding["check"] == "own signature");
    own.cloned().unwrap_or_default()
}

fn config_file(world: &World) -> std::path::PathBuf {
    let file = world.config_file("1s");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}signing_domain = \"{OWN_DOMAIN}\"\n")).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn both_signatures_cover_the_same_fields_and_the_key_stays() {
    let mut app = TestApp::start_in(World::new().await, |config| {
        config.delivery.signing_domain = Some(OWN_DOMAIN.parse().unwrap());
    })
    .await;
    app.world.receives("reader.test");
    let letter = json!({ "to": ["ada@reader.test"], "subject": "News", "text": "t", "bulk": true });
    let id = app.api.accepted(&letter).await;
    app.api.becomes(&id, "delivered").await;
    let (_, received) = app.world.inbox.only();
    let signatures = received.signatures();
    let domains: Vec<&str> = signatures.iter().map(|tags| &*tags["d"]).collect();
    assert_eq!(domains, [SENDING_DOMAIN, OWN_DOMAIN]);
    assert_eq!(signatures[1]["s"], "lumora");
    for tag in ["a", "c", "h", "bh"] {
        assert_eq!(signatures[0][tag], signatures[1][tag], "{tag}");
    }
    assert_eq!(&*signatures[1]["c"], "relaxed/relaxed");
    let signed = signatures[1]["h"].to_ascii_lowercase();
    for name in ["list-unsubscribe", "list-unsubscribe-post"] {
        assert!(signed.split(':').any(|known| known == name), "{name}: {signed}");
    }
    // What is recorded names the sender's keys: the domain of the message tells where they are.
    let log = &app.node().core().log;
    let events = log.read_stream(
        id.parse().map(model::StreamId::Message).unwrap(),
        eventlog::Version::NONE,
        10,
    );
    let delivered = events.unwrap().pop().unwrap();
    let delivered: Value = serde_json::from_slice(&delivered.data).unwrap();
    assert_eq!(delivered["sent"]["dkim"], json!([signatures[0]["s"]]));

    let file = app.config.own_keys_dir().join(RECORD);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read(&file).unwrap();
    app.stop().await;
    app.start_again().await;
    assert_eq!(fs::read(&file).unwrap(), key, "a start makes no new key");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_whether_its_record_is_published_and_fits() {
    let world = World::new().await;
    world.receives("reader.test");
    assert_eq!(finding(&world.config_file("1s")).await, Value::Null, "only where it is set");
    let config = config_file(&world);
    assert_eq!(finding(&config).await["state"], "doubtful", "there is no key yet");
    assert!(!world.data_dir().join("dkim").exists(), "and the doctor makes none");

    let list = ["tenant", "list", "--json"];
    let (status, _, errors) = ended(&run(&list, &config));
    assert_eq!(status, 0, "{errors}");
    let missing = finding(&config).await;
    assert_eq!(missing["state"], "failed");
    let key = fs::read(world.data_dir().join("dkim").join(RECORD)).unwrap();
    let key: Value = serde_json::from_slice(&key).unwrap();
    let record = key["record"].as_str().unwrap();
    let found = missing["found"].as_str().unwrap();
    assert!(found.ends_with(&format!("{RECORD} TXT {record}")), "{found}");

    world.dns.add_txt(RECORD, "v=DKIM1; k=rsa; p=AAECAwQFBgcICQ==").unwrap();
    let another = finding(&config).await;
    assert_eq!(another["state"], "failed");
    assert!(another["found"].as_str().unwrap().contains("another key"), "{another}");
    world.dns.remove(RECORD).unwrap();
    world.dns.add_txt(RECORD, record).unwrap();
    assert_eq!(finding(&config).await["state"], "well");
}
