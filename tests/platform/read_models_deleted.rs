//! The read models are deleted while the server is stopped: the answers stay the same.

use mail::sink::Action;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    inbox::{ByRecipient, reply},
};

async fn answers(app: &TestApp, ids: &[String], paths: &[String]) -> Vec<Value> {
    let mut answers = Vec::new();
    for id in ids {
        answers.push(app.api.message(id).await);
    }
    for path in paths {
        answers.push(app.api.get(path).await.expect(200));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_folded_is_folded_again_to_the_same_answers() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|recipient: &str| match recipient.as_bytes()[0] {
        b'b' => reply(550, "5.1.1 No such user"),
        _ => Action::Accept,
    }));
    let mut ids = Vec::new();
    for number in 0..12 {
        let name = if number % 3 == 0 { "bob" } else { "ada" };
        let email = json!({
            "to": [format!("{name}{number}@reader.test"), "zoe@reader.test"],
            "subject": format!("Number {number}"), "text": "t", "tags": [name],
        });
        ids.push(app.api.accepted(&email).await);
    }
    for id in &ids {
        app.api.ended(id).await;
    }
    // A time with fixed ends: the default one moves on.
    let time = "from=2026-01-01T00:00:00Z&to=2099-01-01T00:00:00Z";
    let stats = |rest: &str| format!("/v1/emails/stats?from={}&{rest}", from_of(&ids[0]));
    let paths = [
        format!("/v1/emails/logs?limit=100&{time}"),
        "/v1/emails/logs?limit=7".to_owned(),
        "/v1/emails/logs?recipient=zoe@reader.test".to_owned(),
        stats("groupBy=tag"),
        stats("groupBy=recipientDomain&interval=hour"),
    ];
    let steady = |answers: Vec<Value>| -> Vec<Value> {
        answers
            .into_iter()
            .map(|mut answer| {
                if let Some(to) = answer.get_mut("to") {
                    to.take();
                }
                answer
            })
            .collect()
    };
    let before = steady(answers(&app, &ids, &paths).await);
    app.stop().await;
    std::fs::remove_dir_all(app.config.read_dir()).unwrap();
    app.start_again().await;
    let after = steady(answers(&app, &ids, &paths).await);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    // It goes on from there: the key still opens, and new mail is counted.
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "delivered").await;
}

/// The day in which a message was made, from its time-ordered id.
fn from_of(id: &str) -> String {
    let id: model::MessageId = id.parse().unwrap();
    let mut millis = [0_u8; 8];
    millis[2..].copy_from_slice(&id.as_bytes()[..6]);
    let day_ms = 86_400_000;
    let at = u64::from_be_bytes(millis) / day_ms * day_ms;
    model::Timestamp::from_millis(at).to_string()
}
