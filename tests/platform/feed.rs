//! A client follows the events of its app by one number, over stops of the server and lost read
//! models.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{app::TestApp, eventually};

/// Remembers the number of the last event, as a program would in a file, and what it was given.
#[derive(Default)]
struct Follower {
    remembered: u64,
    got: Vec<Value>,
}

impl Follower {
    fn take(&mut self, event: &Value) {
        assert_eq!(event["seq"], self.remembered + 1, "gapless: {event}");
        self.remembered += 1;
        self.got.push(event.clone());
    }

    /// Asks once, waits a little for news, and keeps only some of what came: as if the program had
    /// died in the midst of it.
    async fn poll(&mut self, app: &TestApp, limit: usize, kept: usize) {
        let path = format!("/v1/events?after={}&limit={limit}&waitSeconds=1", self.remembered);
        let page = app.api.get(&path).await.expect(200);
        for event in page["data"].as_array().unwrap().iter().take(kept) {
            self.take(event);
        }
    }

    /// Reads a stream until it has some events, then hangs up.
    async fn stream(&mut self, app: &TestApp, kept: usize) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.get(format!("http://{}/v1/events/stream", app.node().address()));
        let request = request.header("x-api-key", &app.secret);
        let request = request.header("last-event-id", self.remembered);
        let mut answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let (mut text, before) = (String::new(), self.got.len());
        let patience = Duration::from_millis(500);
        while let Ok(Ok(Some(chunk))) = tokio::time::timeout(patience, answer.chunk()).await {
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some((event, rest)) = text.split_once("\n\n") {
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    let event: Value = serde_json::from_str(data).unwrap();
                    self.take(&event);
                    if self.got.len() - before == kept {
                        return;
                    }
                }
                text = rest.to_owned();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_misses_and_repeats_nothing_over_stops_and_lost_read_models() {
    let mut app = TestApp::start().await;
    app.world.receives("reader.test");
    let mut follower = Follower::default();
    let mut ids = Vec::new();
    for round in 0..12_usize {
        for number in 0..5 {
            let to = format!("reader{round}.{number}@reader.test");
            let email = json!({ "to": [to], "subject": "s", "text": "t" });
            ids.push(app.api.accepted(&email).await);
        }
        match round % 4 {
            0 => follower.poll(&app, 3 + round, round % 5).await,
            1 => follower.stream(&app, 1 + round).await,
            2 => follower.poll(&app, 100, 2 * round).await,
            _ => {
                app.stop().await;
                if round % 8 == 3 {
                    std::fs::remove_dir_all(app.config.read_dir()).unwrap();
                }
                app.start_again().await;
            }
        }
    }
    for id in &ids {
        app.api.becomes(id, "delivered").await;
    }
    let head = app.api.get("/v1/events?limit=1").await.expect(200)["headSeq"].as_u64().unwrap();
    eventually("the follower has all", async || {
        follower.poll(&app, 100, 70).await;
        (follower.remembered == head).then_some(())
    })
    .await;
    // The logs are another read model, and tell the same events.
    let mut logs = app.api.all_logs("limit=100").await;
    logs.reverse();
    assert_eq!(logs.len(), follower.got.len());
    for (log, event) in logs.iter().zip(&follower.got) {
        assert_eq!((&log["id"], &log["messageId"]), (&event["id"], &event["messageId"]));
    }
}

/// The commands of a page of the documentation, one after another.
fn commands(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let mut commands = String::new();
    for block in text.split("```sh\n").skip(1) {
        commands.push_str(block.split("```").next().unwrap());
    }
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_it_holds_as_written() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: the page needs curl, and there is none");
        return;
    }
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    for name in ["ada", "bob"] {
        let email = json!({ "to": [format!("{name}@reader.test")], "subject": "s", "text": "t" });
        let id = app.api.accepted(&email).await;
        app.api.becomes(&id, "delivered").await;
    }
    let commands = commands("feed.md");
    assert!(commands.matches("curl").count() >= 4, "{commands}");
    let (base, key) = (format!("http://{}", app.node().address()), app.secret.clone());
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &commands])
            .current_dir(place)
            .env("base", base)
            .env("key", key)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let output = run.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("\"hasMore\":true,\"headSeq\":4,\"lastSeq\":2"), "{said}");
    assert!(said.contains("id: 3\n") && said.contains("\nid: 4\n"), "{said}");
    assert!(!said.contains("id: 2\n"), "{said}");
    assert!(said.contains("\"epoch\":\"0\""), "{said}");
    assert_eq!(std::fs::read_to_string(dir.path().join("seen")).unwrap().trim(), "4");
}
