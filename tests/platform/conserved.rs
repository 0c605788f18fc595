//! Nobody is lost, and who says so can be checked: by the log alone, by the metrics, by an alert.

use eventlog::{
    Append, EventLog, Log, LogOptions, NewEvent, Position, Purpose, Scan, Store, Version,
};
use lumora::node::Core;
use mail::sink::Action;
use model::{
    By, Cause, Event, EventId, MessageId, StreamId, Timestamp,
    message::{Accepted, MessageEvent},
};
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    client::assert_conserved,
    inbox::{ByRecipient, reply},
    process::{ended, run, run_json},
};

async fn metric(app: &TestApp, name: &str) -> String {
    let text = app.api.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
}

/// A platform with every common end, and some in flight.
async fn grown() -> TestApp {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    app.world.inbox.obey(ByRecipient(|recipient: &str| match recipient.as_bytes()[0] {
        b'b' => reply(550, "5.1.1 No such user"),
        b'l' => reply(450, "4.2.0 Later"),
        _ => Action::Accept,
    }));
    for number in 0..6 {
        let email = json!({
            "to": [
                format!("ada{number}@reader.test"),
                format!("bob{number}@reader.test"),
                format!("lea{number}@reader.test"),
            ],
            "subject": "s", "text": "t",
        });
        let id = app.api.accepted(&email).await;
        app.api.until(&id, "was tried", |m| m["events"].as_array().unwrap().len() == 4).await;
    }
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_alone_finds_a_count_that_was_changed_and_names_tenant_and_day() {
    let mut app = grown().await;
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    let expected = json!({ "accepted": 18, "ended": 12, "inFlight": 6, "difference": 0 });
    assert_eq!(stats["conservation"], expected);
    let in_flight: u64 =
        stats["series"].as_array().unwrap().iter().map(|p| p["inFlight"].as_u64().unwrap()).sum();
    assert_eq!(in_flight, 6);
    for name in ["accepted", "ended", "in_flight", "difference"] {
        metric(&app, &format!("lumora_recipients_{name}")).await;
    }
    assert_eq!(metric(&app, "lumora_recipients_difference").await, "0");
    app.stop().await;

    let config = app.world.config_file("1s");
    let told = run_json(&["log", "stats", "--check"], &config);
    assert_eq!((&told["holds"], &told["differences"]), (&json!(true), &json!([])));
    assert_eq!((&told["accepted"], &told["ended"]), (&json!(18), &json!(12)));
    let (status, printed, errors) = ended(&run(&["log", "stats", "--check"], &config));
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(printed.contains("nobody is lost: 18 accepted = 12 ended + 6 in flight"), "{printed}");

    // Somebody changes what is counted: one more delivered, one fewer bounced.
    let day = tampered(&app);
    let (status, printed, errors) = ended(&run(&["log", "stats", "--check"], &config));
    assert_eq!(status, 1, "{printed}{errors}");
    let named = format!("{} {day} {}: delivered is 6 by the log and 7", app.tenant, app.app);
    assert!(printed.contains(&named), "{printed}");
    assert!(errors.contains(&named), "{errors}");
    let told = run(&["log", "stats", "--check", "--json"], &config);
    assert_eq!(told.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["holds"], false);
    assert_eq!(told["differences"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told["differences"][1]["what"], "bounced");
    // Made anew they are right again.
    assert!(run(&["replay", "--projection", "stats"], &config).status.success());
    assert_eq!(run_json(&["log", "stats", "--check"], &config)["holds"], true);
}

/// Changes the statistics' row of one hour; its day.
fn tampered(app: &TestApp) -> String {
    let store = Store::open(&app.config.read_dir().join("tables")).unwrap();
    let table = store.table("stats").unwrap();
    let mut batch = eventlog::Batch::new();
    let mut day = String::new();
    // Keys: 1, app, dimension (0: the whole), hour, part. Rows: a name of no octets, then counts of
    // one octet each: accepted, delivered, deferred, bounced.
    for row in table.scan(Scan::prefix([1])) {
        let (key, mut value) = row.unwrap();
        if key[17] == 0 && day.is_empty() && value[4] > 0 {
            value[2] += 1;
            value[4] -= 1;
            let hour = u32::from_be_bytes(key[18..22].try_into().unwrap());
            let at = Timestamp::from_millis(u64::from(hour) * 3_600_000).to_string();
            at.split('T').next().unwrap().clone_into(&mut day);
            batch.put(key, value);
        }
    }
    assert_eq!(batch.len(), 1);
    table.apply(batch).unwrap();
    store.flush().unwrap();
    day
}

/// Records that a message was accepted long ago, in a log on which nothing has run since: as if the
/// server had forgotten it.
async fn forgotten(app: &TestApp) -> MessageId {
    let log = Log::open(&app.config.log_dir(), LogOptions::default()).unwrap();
    let vault = lumora::keys::vault(&app.config).unwrap();
    let all = log.read_all(Position::START, 1_000).unwrap();
    let known =
        all.iter().find_map(|recorded| match Event::decode(recorded.stream, &recorded.data) {
            Ok(Event::Message(MessageEvent::Accepted(accepted))) => Some((recorded, accepted)),
            _ => None,
        });
    let (recorded, accepted) = known.unwrap();
    let id = MessageId::from_bytes([7; 16]);
    // The log's time does not go backwards: what expired is the message, not the log.
    let expires_at = recorded.at.minus(std::time::Duration::from_hours(1));
    let accepted = Accepted { expires_at, ..accepted };
    let content = [Purpose::MessageHead, Purpose::MessageBody]
        .map(|purpose| vault.seal(purpose, id.as_bytes(), b"gone").unwrap());
    let data = MessageEvent::Accepted(accepted).encode(&Cause::by(By::CommandLine));
    let events = vec![NewEvent { id: EventId::from_bytes([7; 16]), data }];
    let at = all.last().unwrap().at;
    let (stream, expected) = (StreamId::Message(id), Version::NONE);
    let append = Append { stream, expected, at, events, content: content.into() };
    log.append(append).await.unwrap();
    log.close().await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_ended_is_an_alert_until_it_ends() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "delivered").await;
    assert_eq!(metric(&app, "lumora_messages_overdue").await, "0");
    app.stop().await;
    let late = forgotten(&app).await;
    let config = app.world.config_file("1s");
    let told = run_json(&["alerts"], &config);
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    let alert = &told[0];
    assert_eq!((&alert["kind"], &alert["count"]), (&json!("overdue"), &json!(1)));
    assert_eq!(alert["message"], json!(late));
    let (status, printed, _) = ended(&run(&["alerts"], &config));
    assert!(status == 0 && printed.starts_with("overdue "), "{printed}");
    {
        let core = Core::open(&app.config, false).await.unwrap();
        let metrics = (core.metrics())();
        for line in ["lumora_messages_overdue 1", "lumora_alerts_open{kind=\"overdue\"} 1"] {
            assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
        }
        core.close(std::time::Duration::from_secs(20)).await.unwrap();
    }
    // A server looks after it, and the alert is gone.
    app.start_again().await;
    let read = app.api.ended(&late.to_string()).await;
    assert_eq!(read["recipients"][0]["status"], "failed", "{read}");
    assert_eq!(metric(&app, "lumora_messages_overdue").await, "0");
    app.stop().await;
    assert_eq!(run_json(&["alerts"], &config), json!([]));
    assert_eq!(run_json(&["log", "stats", "--check"], &config)["holds"], true);
}
