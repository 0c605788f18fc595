//! `lumora queue` against a server in a process of its own.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    client::Client,
    inbox::{ByRecipient, reply},
    process::{ended, run, run_json, serve, sign_up},
    world::World,
};

const NOBODY: &str = "lumora: no server runs on the data directory";

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_a_running_server_is_looked_at_paused_resumed_and_tried_again() {
    let world = World::new().await;
    world.receives("reader.test");
    // Nobody's turn comes again by itself.
    let config = world.config_file("1h");
    let secret = sign_up(&world, &config);
    let (status, _, errors) = ended(&run(&["queue", "list"], &config));
    assert_eq!((status, errors.starts_with(NOBODY)), (1, true), "{errors}");

    world.inbox.obey(ByRecipient(|_: &str| reply(452, "4.2.2 <ada@reader.test> is full")));
    let (server, url) = serve(&config, &[]);
    let file = world.data_dir().join("operator.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let api = Client::new(&url, Some(&secret));
    let send =
        |name: &str| json!({ "to": [format!("{name}@reader.test")], "subject": "s", "text": "t" });
    let deferred = api.accepted(&send("ada")).await;
    api.becomes(&deferred, "sending").await;

    let (status, output, _) = ended(&run(&["queue", "sites"], &config));
    assert_eq!(status, 0);
    assert!(output.contains("mx.receiver.test: 1 recipients wait, 0 are due"), "{output}");
    assert!(output.contains("last reply: 452 4.2.2 …@… is full"), "{output}");
    let (status, output, _) = ended(&run(&["queue", "why", &deferred], &config));
    assert_eq!(status, 0);
    assert!(output.contains("attempt 1 failed; the next is due at"), "{output}");
    assert!(output.contains("last response: 452 4.2.2") && !output.contains("ada@"), "{output}");

    // Paused by the receiver's name: what is sent now waits, and says why.
    let site = ["--site", "reader.test"];
    let pause = ["queue", "pause", "--reason", "they asked us to wait"];
    let paused = run_json(&[&pause[..], &site].concat(), &config);
    assert_eq!(paused["pauses"][0]["site"], "reader.test");
    world.inbox.obey(mail::sink::AcceptAll);
    let held = api.accepted(&send("bob")).await;
    let listed = run_json(&["queue", "list"], &config);
    let waits = |id: &str| {
        let rows = listed["data"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).unwrap()["waitsFor"].clone()
    };
    assert_eq!((waits(&held), &listed["waiting"]), (json!("pause"), &json!(2)));
    let (_, output, _) = ended(&run(&["queue", "why", &held], &config));
    assert!(output.contains("the receiver reader.test is paused since"), "{output}");
    assert!(output.contains("by an operator: they asked us to wait"), "{output}");
    // Asked to be tried again, it waits for the end of the pause all the same.
    let retried = run_json(&["queue", "retry", &deferred], &config);
    assert_eq!(retried["retried"], 1);
    assert!(world.inbox.taken().is_empty());

    // The pause outlives the server, also one that is killed; its file then leads nowhere.
    server.crash();
    let (status, _, errors) = ended(&run(&["queue", "sites"], &config));
    assert_eq!((status, errors.starts_with(NOBODY)), (1, true), "{errors}");
    let (server, url) = serve(&config, &[]);
    let api = Client::new(&url, Some(&secret));
    assert_eq!(api.message(&held).await["message"]["paused"]["scope"], "receiver");
    let resume = [&["queue", "resume"][..], &site].concat();
    let (status, output, _) = ended(&run(&resume, &config));
    assert_eq!((status, output.as_str()), (0, "resumed\n"));
    api.becomes(&held, "delivered").await;
    api.becomes(&deferred, "delivered").await;
    assert_eq!(world.inbox.taken().len(), 2);
    let (status, output, _) = ended(&run(&resume, &config));
    assert_eq!((status, output.as_str()), (0, "it was not paused\n"));

    // By the receiver, whoever waits for it.
    world.inbox.obey(ByRecipient(|_: &str| reply(452, "4.2.2 full")));
    let waiting = api.accepted(&send("cyd")).await;
    api.becomes(&waiting, "sending").await;
    world.inbox.obey(mail::sink::AcceptAll);
    let retry = ["queue", "retry", "--site", "mx.receiver.test"];
    assert_eq!(run_json(&retry, &config)["retried"], 1);
    api.becomes(&waiting, "delivered").await;
    assert_eq!(run_json(&["queue", "list"], &config)["data"], Value::Array(vec![]));

    server.signal(Signal::TERM);
    assert!(server.wait().await.success());
    assert!(!file.exists(), "who has stopped is not looked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_of_the_queue_is_told_in_one_line() {
    let world = World::new().await;
    let config = world.config_file("1h");
    for arguments in [
        &["queue", "pause"][..],
        &["queue", "pause", "--site", "a.test", "--tenant", "ten_01kb05yt7qe5tvnr4w8jhjkz2m"],
        &["queue", "resume", "--domain", "nonsense"],
        &["queue", "why", "nonsense"],
        &["queue", "retry", "msg_01kb05yt7qe5tvnr4w8jhjkz2m", "--site", "a.test"],
    ] {
        assert_eq!(ended(&run(arguments, &config)).0, 2, "{arguments:?}");
    }
    let (server, _) = serve(&config, &[]);
    let (status, _, errors) = ended(&run(&["queue", "retry"], &config));
    assert_eq!(status, 2, "{errors}");
    let long = "x".repeat(201);
    let reason = ["queue", "pause", "--site", "a.test", "--reason", &long];
    assert_eq!(ended(&run(&reason, &config)).0, 2);
    let unknown = "msg_01kb05yt7qe5tvnr4w8jhjkz2m";
    let tenant = ["queue", "pause", "--tenant", "ten_01kb05yt7qe5tvnr4w8jhjkz2m"];
    for arguments in [&["queue", "why", unknown][..], &["queue", "retry", unknown], &tenant] {
        let (status, output, errors) = ended(&run(arguments, &config));
        assert_eq!((status, output.as_str()), (1, ""), "{arguments:?}");
        assert!(errors.starts_with("lumora: ") && errors.lines().count() == 1, "{errors}");
    }
    let (status, output, _) = ended(&run(&["queue", "sites"], &config));
    let nothing = "nothing waits, and no receiver was spoken to since the start\n";
    assert_eq!((status, output.as_str()), (0, nothing));
    drop(server);
}
