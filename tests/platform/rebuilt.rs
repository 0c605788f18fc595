//! Read models are made anew while the server serves.

use serde_json::{Value, json};

use crate::support::{
    client::Client,
    eventually,
    process::{run, run_json, serve, sign_up},
    world::World,
};

/// Makes them anew, and asks all the while.
async fn rebuilt(file: &std::path::Path, api: &Client, id: &str) -> Value {
    let command = file.to_owned();
    let rebuilding = tokio::task::spawn_blocking(move || run_json(&["read", "rebuild"], &command));
    while !rebuilding.is_finished() {
        assert_eq!(api.message(id).await["message"]["status"], "delivered");
        assert_eq!(api.get("/readyz").await.status, 200);
        let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
        let sent = api.accepted(&email).await;
        assert_eq!(api.message(&sent).await["message"]["id"], sent, "its own write");
    }
    rebuilding.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_are_made_anew_beside_a_server_that_serves_and_is_killed() {
    let world = World::new().await;
    world.receives("reader.test");
    let file = world.config_file("1s");
    let secret = sign_up(&world, &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = api.accepted(&email).await;
    api.becomes(&id, "delivered").await;
    for _ in 0..2 {
        let told = rebuilt(&file, &api, &id).await;
        assert!(told["position"].as_u64() > Some(5), "{told}");
    }
    // Killed in the middle: what serves then is whole, whichever it is.
    let command = file.clone();
    let rebuilding = tokio::task::spawn_blocking(move || run(&["read", "rebuild"], &command));
    let read = world.config().read_dir();
    eventually("a third place to make them in", async || {
        (read.join("made-3").is_dir() || rebuilding.is_finished()).then_some(())
    })
    .await;
    server.crash();
    rebuilding.await.unwrap();
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    assert_eq!(api.message(&id).await["message"]["status"], "delivered");
    server.crash();
    // The same as from nothing; and where no server runs, the command works itself.
    assert_eq!(run_json(&["log", "stats", "--check"], &file)["holds"], true);
    let stopped = run_json(&["read", "rebuild"], &file);
    assert!(stopped["position"].as_u64() > Some(5), "{stopped}");
}
