//! What of ours a receiver finds wrong is told to whoever can mend it, and suppresses nobody.

use std::sync::Arc;

use mail::sink::{MessageAction, Policy, Received, SinkReply};
use parking_lot::Mutex;
use projections::Alert;
use serde_json::{Value, json};

use crate::support::{
    app::{SENDING_DOMAIN, TestApp},
    client::Client,
    eventually,
    process::{ended, run, run_json},
};

/// Answers to the final dot what it is told to.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<Option<(u16, &'static str)>>>);

impl Moody {
    fn says(&self, reply: Option<(u16, &'static str)>) {
        *self.0.lock() = reply;
    }
}

impl Policy for Moody {
    fn message(&self, _message: &Received) -> MessageAction {
        match *self.0.lock() {
            Some((code, text)) => MessageAction::Reply(SinkReply::new(code, text)),
            None => MessageAction::Accept,
        }
    }
}

fn email(to: &str) -> Value {
    json!({ "to": [to], "subject": "Hello", "text": "Hello" })
}

async fn open(app: &TestApp, count: usize) -> Vec<Alert> {
    eventually(&format!("{count} alerts"), async || {
        let alerts = app.node().core().read.alerts().of(app.tenant);
        (alerts.len() == count).then_some(alerts)
    })
    .await
}

async fn metric(app: &TestApp, kind: &str) -> String {
    let text = app.api.get("/metrics").await.text;
    let name = format!("lumora_alerts_open{{kind=\"{kind}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_ours_opens_one_alert_and_a_delivery_closes_it() {
    let mut app = TestApp::start().await;
    let moody = Moody::default();
    app.world.inbox.obey(moody.clone());
    app.world.receives("reader.test");
    app.world.receives("other.test");
    moody.says(Some((550, "5.7.26 unauthenticated mail from ada@reader.test")));
    for to in ["ada@reader.test", "grace@reader.test", "ada@other.test"] {
        let id = app.api.accepted(&email(to)).await;
        let read = app.api.becomes(&id, "bounced").await;
        assert_eq!(read["events"][1]["reason"], "infrastructure");
    }
    let alerts = open(&app, 1).await;
    assert_eq!((&*alerts[0].site, alerts[0].count), ("receiver.test", 3));
    assert_eq!(alerts[0].trouble.as_str(), "authentication");
    assert_eq!(metric(&app, "authentication").await, "1");
    // Nobody is suppressed for it.
    let listed = app.api.get("/v1/suppressions").await.expect(200);
    assert_eq!(listed["data"], json!([]));

    // Another thing is another alert.
    moody.says(Some((554, "5.7.1 Client host [192.0.2.1] blocked using list.test")));
    let id = app.api.accepted(&email("ada@reader.test")).await;
    app.api.becomes(&id, "bounced").await;
    open(&app, 2).await;
    // A missing person is none.
    moody.says(Some((550, "5.1.1 no such user")));
    let id = app.api.accepted(&email("nobody@reader.test")).await;
    app.api.becomes(&id, "bounced").await;
    assert_eq!(open(&app, 2).await[0].count, 1);

    // They are as they were after a stop, made anew or not.
    app.stop().await;
    let config = app.world.config_file("1s");
    let told = run_json(&["alerts"], &config);
    assert_eq!(told.as_array().unwrap().len(), 2);
    assert_eq!(
        (&told[0]["kind"], &told[1]["kind"]),
        (&json!("blocklist"), &json!("authentication"))
    );
    assert_eq!(told[1]["domains"][0]["name"], SENDING_DOMAIN);
    let (status, words, _) = ended(&run(&["alerts"], &config));
    assert!(status == 0 && words.contains("receiver.test"), "{words}");
    std::fs::remove_dir_all(app.config.read_dir()).unwrap();
    assert_eq!(run_json(&["alerts"], &config), told);
    app.start_again().await;

    moody.says(None);
    let id = app.api.accepted(&email("ada@reader.test")).await;
    app.api.becomes(&id, "delivered").await;
    open(&app, 0).await;
    assert_eq!(metric(&app, "authentication").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_its_own_part_with_the_receivers_words() {
    let app = TestApp::start_in(crate::support::world::World::new().await, |config| {
        config.portal.registration = lumora::config::Registration::Open;
    })
    .await;
    let moody = Moody::default();
    app.world.inbox.obey(moody.clone());
    app.world.receives("reader.test");
    moody.says(Some((550, "5.7.25 no PTR for you, ada@reader.test")));
    let id = app.api.accepted(&email("ada@reader.test")).await;
    app.api.becomes(&id, "bounced").await;
    open(&app, 1).await;

    let base = format!("http://{}", app.node().address());
    let stranger = signed_in(&base).await;
    assert_eq!(alerts(&stranger, &base).await, json!([]));
    // The owner's portal, by a session of the same tenant, is the API's own test; here the read
    // model's part of it is asked.
    let own = app.node().core().read.alerts().of(app.tenant);
    assert_eq!(own[0].affected[0].message.to_string(), id);
    let text = serde_json::to_string(&own).unwrap();
    assert!(!text.contains("ada@") && !text.contains("PTR"), "{text}");
}

async fn signed_in(base: &str) -> String {
    let client = Client::new(base, None);
    let answer = client
        .request("POST", "/portal/register", |request| {
            request.json(&json!({
                "tenantName": "Eve", "email": "eve@eve.test", "password": "paper-otter-violin-42-oaks",
            }))
        })
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn alerts(cookie: &str, base: &str) -> Value {
    let client = Client::new(base, None);
    let answer =
        client.request("GET", "/portal/alerts", |request| request.header("cookie", cookie)).await;
    answer.expect(200)["data"].clone()
}
