//! The master key is replaced: everything goes on under the new one, and the old one opens nothing.

use std::fs;

use serde_json::json;

use crate::support::{
    client::Client,
    process::{ended, run, run_json, serve, sign_up},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_under_a_new_master_key_and_the_old_one_opens_nothing() {
    let world = World::new().await;
    world.receives("reader.test");
    let file = world.config_file("1s");
    let secret = sign_up(&world, &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let email = json!({ "to": ["ada@reader.test"], "subject": "Before", "text": "t" });
    let id = api.accepted(&email).await;
    api.becomes(&id, "delivered").await;
    // Not while a server runs.
    assert_eq!(ended(&run(&["key", "rotate"], &file)).0, 1);
    server.crash();
    let master = world.config().master_key_file();
    let old = fs::read(&master).unwrap();
    let rotated = run_json(&["key", "rotate"], &file);
    assert_eq!(rotated["oldKeyOpensThePast"], false, "{rotated}");
    let new = fs::read(&master).unwrap();
    assert_ne!(new, old);

    let (_, exported, _) = ended(&run(&["log", "export"], &file));
    let told = exported.lines().filter(|line| line.contains("instance.master_key_rotated"));
    assert_eq!(told.count(), 1);

    // The same API key, the same DKIM key, what was said before and what is said now.
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    assert_eq!(api.message(&id).await["message"]["subject"], "Before");
    let email = json!({ "to": ["ada@reader.test"], "subject": "After", "text": "t" });
    let later = api.accepted(&email).await;
    assert_eq!(api.becomes(&later, "delivered").await["message"]["subject"], "After");
    server.crash();
    fs::write(&master, &old).unwrap();
    for command in [&["evidence", &later][..], &["tenant", "list"], &["replay"]] {
        let (status, output, errors) = ended(&run(command, &file));
        assert!(status == 2 && output.is_empty() && errors.contains("keyring"), "{errors}");
    }
    fs::write(&master, &new).unwrap();
    assert!(run(&["evidence", &id], &file).status.success());
    let (_, exported, _) = ended(&run(&["log", "export"], &file));
    let look = exported.lines().find(|line| line.contains("content.read")).unwrap();
    assert!(look.contains(&id) && look.contains("evidence"), "{look}");
    assert!(run(&["log", "verify"], &file).status.success());
}
