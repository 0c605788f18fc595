//! A bundle that was changed anywhere does not hold.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail loudly"
)]

use std::sync::Arc;

use eventlog::{
    Append, EventLog, InstanceKey, MasterKey, MemoryLog, NewEvent, Notary, ReplyKey, Vault, Version,
};
use evidence::{Bundle, Flaw, gather, verify};
use model::{EventId, MessageId, StreamId, Timestamp};
use serde_json::Value;

const AT: Timestamp = Timestamp::from_millis(1_795_000_000_000);

struct World {
    log: Arc<dyn EventLog>,
    vault: Vault,
    notary: Notary,
    _dir: tempfile::TempDir,
}

fn message(number: u8) -> MessageId {
    MessageId::from_bytes([number; 16])
}

/// Three messages, their events in turns; the second one with a reply.
async fn world() -> World {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let key = ReplyKey::from_bytes([5; 32]);
    let text = key.seal(message(2).as_bytes(), b"queued as 1").unwrap().to_base64();
    let delivered = format!(
        "{{\"type\":\"message.delivered\",\"v\":1,\"recipient\":0,\"attempt\":1,\
         \"stage\":\"end_of_data\",\"reply\":{{\"code\":250,\"text\":\"{text}\"}}}}"
    );
    for version in 0..4_u64 {
        for owner in 1..=3_u8 {
            let data = match version {
                3 => delivered.clone(),
                _ => format!("{{\"type\":\"message.test\",\"v\":1,\"number\":{version}}}"),
            };
            let id = EventId::from_bytes([owner + u8::try_from(version).unwrap() * 10; 16]);
            log.append(Append {
                stream: StreamId::Message(message(owner)),
                expected: Version::new(version),
                at: AT,
                events: vec![NewEvent { id, data: data.into_bytes().into() }],
                content: Vec::new(),
            })
            .await
            .unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let signing = InstanceKey::from_seed(&[3; 32]).unwrap();
    let notary = Notary::open(dir.path(), Arc::clone(&log), signing, None).unwrap();
    let vault = Vault::new(&MasterKey::from_bytes([1; 32]));
    World { log, vault, notary, _dir: dir }
}

impl World {
    fn bundle(&self, number: u8) -> Bundle {
        let gathered = gather(self.log.as_ref(), &self.vault, &self.notary, message(number), AT);
        gathered.unwrap().unwrap()
    }

    fn check(&self, bundle: &Value) -> Result<evidence::Report, Flaw> {
        verify(&serde_json::to_vec(bundle).unwrap(), self.notary.key().verifier())
    }
}

#[tokio::test]
async fn what_was_recorded_is_proved() {
    let world = world().await;
    for number in 1..=3 {
        let bundle = world.bundle(number);
        let report = world.check(&serde_json::to_value(&bundle).unwrap()).unwrap();
        assert_eq!((report.message, report.events), (message(number), 4));
        assert_eq!((report.signed_at, report.replies), (AT, 0));
    }
    let none = gather(world.log.as_ref(), &world.vault, &world.notary, message(9), AT);
    assert!(none.unwrap().is_none());
}

#[tokio::test]
async fn a_change_anywhere_is_found() {
    let world = world().await;
    let good = serde_json::to_value(world.bundle(2)).unwrap();
    let other = serde_json::to_value(world.bundle(1)).unwrap();
    let mut bad: Vec<(&str, Value)> = Vec::new();
    let mut change = |what, edit: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        edit(&mut changed);
        assert_ne!(changed, good, "{what}");
        bad.push((what, changed));
    };
    for field in ["position", "version"] {
        change(field, &|bundle| bundle["events"][1][field] = 7.into());
    }
    for field in ["id", "stream"] {
        change(field, &|bundle| bundle["events"][1][field] = other["events"][0][field].clone());
    }
    change("at", &|bundle| bundle["events"][1]["at"] = "2020-01-01T00:00:00.000Z".into());
    change("event", &|bundle| bundle["events"][1]["event"]["number"] = 9.into());
    change("leaf", &|bundle| bundle["events"][1]["leaf"] = bundle["events"][0]["leaf"].clone());
    change("proof", &|bundle| {
        bundle["events"][1]["proof"][0] = bundle["events"][0]["proof"][1].clone();
    });
    change("short proof", &|bundle| bundle["events"][1]["proof"] = Value::Array(Vec::new()));
    change("format", &|bundle| bundle["format"] = "lumora-evidence-2".into());
    change("message", &|bundle| bundle["message"] = other["message"].clone());
    change("unknown field", &|bundle| bundle["note"] = "believe me".into());
    change("left out", &|bundle| drop(bundle["events"].as_array_mut().unwrap().remove(1)));
    change("first left out", &|bundle| drop(bundle["events"].as_array_mut().unwrap().remove(0)));
    change("swapped", &|bundle| bundle["events"].as_array_mut().unwrap().swap(1, 2));
    change("empty", &|bundle| bundle["events"].as_array_mut().unwrap().clear());
    change("a reply", &|bundle| bundle["events"][3]["reply"] = "queued as 2".into());
    change("another's", &|bundle| bundle["events"][1] = other["events"][1].clone());
    change("size", &|bundle| {
        let note = bundle["checkpoint"].as_str().unwrap().replacen("\n12\n", "\n13\n", 1);
        bundle["checkpoint"] = note.into();
    });
    for (what, bundle) in bad {
        assert!(world.check(&bundle).is_err(), "{what}");
    }
    let cut = serde_json::to_vec(&good).unwrap();
    let key = world.notary.key().verifier();
    assert!(matches!(verify(&cut[..cut.len() - 1], key), Err(Flaw::NotABundle(_))));
    let stranger = InstanceKey::from_seed(&[4; 32]).unwrap();
    assert!(matches!(verify(&cut, stranger.verifier()), Err(Flaw::NotSigned(_))));
}

/// The last events can be left out: a bundle proves what is in it, not that nothing came after.
#[tokio::test]
async fn a_shorter_history_is_a_true_one() {
    let world = world().await;
    let mut bundle = serde_json::to_value(world.bundle(2)).unwrap();
    bundle["events"].as_array_mut().unwrap().pop();
    assert_eq!(world.check(&bundle).unwrap().events, 3);
}

#[tokio::test]
async fn an_opened_reply_is_compared_with_the_sealed_one() {
    let world = world().await;
    let mut bundle = serde_json::to_value(world.bundle(2)).unwrap();
    bundle["replyKey"] = serde_json::to_value(ReplyKey::from_bytes([5; 32])).unwrap();
    bundle["events"][3]["reply"] = "queued as 1".into();
    assert_eq!(world.check(&bundle).unwrap().replies, 1);
    for wrong in ["queued as 2", ""] {
        bundle["events"][3]["reply"] = wrong.into();
        assert!(world.check(&bundle).is_err(), "{wrong}");
    }
    bundle["events"][3]["reply"] = "queued as 1".into();
    bundle["replyKey"] = serde_json::to_value(ReplyKey::from_bytes([6; 32])).unwrap();
    assert!(world.check(&bundle).is_err());
}
