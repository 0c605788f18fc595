//! `docs/audit.md`, run as it stands: every block of shell, one after the other.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

/// The blocks of shell in a text, in their order.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (line, open.as_mut()) {
            ("```sh", None) => open = Some(String::new()),
            ("```", Some(_)) => blocks.extend(open.take()),
            (line, Some(block)) => block.extend([line, "\n"]),
            (_, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_audit_guide_does_what_the_guide_says() {
    for needed in ["curl", "python3"] {
        if Command::new(needed).arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: the guide needs {needed}, and there is none");
            return;
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lumora = Path::new(env!("CARGO_BIN_EXE_lumora"));
    let place = tempfile::tempdir().unwrap();
    let programs = place.path().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(lumora, programs.join("lumora")).unwrap();
    // Cargo builds the examples with the tests, beside the binary.
    symlink(lumora.parent().unwrap().join("examples/world"), programs.join("world")).unwrap();
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    symlink(root.join("docs"), empty.join("docs")).unwrap();

    let guide = fs::read_to_string(root.join("docs/audit.md")).unwrap();
    let blocks = blocks(&guide);
    assert!(blocks.len() > 10, "{}", blocks.len());
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for (number, block) in blocks.iter().enumerate() {
        script.extend([format!("echo '== block {number}'\n"), block.clone()]);
    }
    script.push_str("echo '== all of it holds'\n");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let running = tokio::task::spawn_blocking(move || {
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(empty)
            .env("PATH", path)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let output = running.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.contains("all of it holds"), "{said}\n{errors}");
}
