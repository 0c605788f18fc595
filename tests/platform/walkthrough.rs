//! The walk-through of the documentation, run as it stands.

use std::{
    path::Path,
    process::{Command, Stdio},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_goes_from_nothing_to_a_delivered_templated_message() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: the walk-through needs curl, and there is none");
        return;
    }
    let lumora = Path::new(env!("CARGO_BIN_EXE_lumora"));
    // Cargo builds the examples with the tests, beside the binary.
    let world = lumora.parent().unwrap().join("examples/world");
    let walk = tokio::task::spawn_blocking(move || {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/walkthrough.sh"))
            .env("LUMORA", lumora)
            .env("WORLD", world)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let output = walk.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("All of it holds"), "{said}\n{errors}");
}
