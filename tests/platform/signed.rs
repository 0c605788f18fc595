//! What the log held is signed, and a log that was put back to an earlier state is missed.

use std::{fs, path::Path};

use serde_json::json;

use crate::support::{
    app::TestApp,
    process::{ended, run, run_json},
};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).map(drop).unwrap();
        }
    }
}

async fn deliver_one(app: &TestApp) {
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_state_put_back_is_found_by_a_checkpoint_kept_elsewhere() {
    let world = crate::support::world::World::new().await;
    let anchor = world.path("anchor");
    let mut app = TestApp::start_in(world, |config| {
        config.log.checkpoint_file = Some(anchor.clone());
    })
    .await;
    app.world.receives("reader.test");
    deliver_one(&app).await;
    app.stop().await;
    let log = app.config.log_dir();
    let earlier = app.world.path("earlier");
    copy(&log, &earlier);
    app.start_again().await;
    deliver_one(&app).await;
    app.stop().await;

    let config = app.world.config_file("1s");
    let key = run_json(&["log", "key"], &config);
    let key = key["key"].as_str().unwrap();
    let (status, checkpoint, errors) = ended(&run(&["log", "checkpoint"], &config));
    assert_eq!(status, 0, "{errors}");
    assert!(fs::read_to_string(&anchor).unwrap().ends_with(&checkpoint));
    let head = run_json(&["log", "verify"], &config)["head"].as_u64().unwrap();
    assert_eq!(checkpoint.lines().nth(1).unwrap(), head.to_string());
    let kept = anchor.to_str().unwrap();
    let from = run_json(&["log", "verify", "--from-checkpoint", kept, "--key", key], &config);
    assert_eq!((&from["after"], &from["signed"]), (&json!(head), &json!(head)));
    let (to, before) = (head.to_string(), (head - 1).to_string());
    let (status, proof, errors) =
        ended(&run(&["log", "consistency", "--from", &before, "--to", &to], &config));
    assert_eq!(status, 0, "{errors}");
    let proof: serde_json::Value = serde_json::from_str(&proof).unwrap();
    assert_eq!(proof["to"]["root"], checkpoint.lines().nth(2).unwrap());

    // Put back as a whole, the earlier state holds by itself; who kept a checkpoint knows better.
    fs::remove_dir_all(&log).unwrap();
    copy(&earlier, &log);
    let (status, _, errors) = ended(&run(&["log", "verify"], &config));
    assert_eq!(status, 0, "{errors}");
    let (status, _, errors) = ended(&run(&["log", "verify", "--from-checkpoint", kept], &config));
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("the log ends here"), "{errors}");
    // Without the whole of it: the checkpoints beside the log tell, and no server starts on it.
    fs::copy(&anchor, log.join("checkpoints")).unwrap();
    let (status, _, errors) = ended(&run(&["log", "verify"], &config));
    assert!(status == 1 && errors.contains("the log ends here"), "{errors}");
    let (status, _, errors) = ended(&run(&["serve"], &config));
    assert!(status == 1 && errors.contains("does not hold what was signed"), "{errors}");
}
