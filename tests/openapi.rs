//! The committed OpenAPI document is what the program prints.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

use std::{path::Path, process::Command};

#[test]
fn the_committed_document_is_what_the_program_prints() {
    let printed = Command::new(env!("CARGO_BIN_EXE_lumora")).arg("openapi").output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let committed = std::fs::read(path).unwrap_or_default();
    if committed != printed.stdout {
        let place = committed.iter().zip(&printed.stdout).position(|(a, b)| a != b);
        let line = place.map(|place| committed[..place].split(|byte| *byte == b'\n').count());
        panic!(
            "openapi/openapi.json is not what `lumora openapi` prints (first difference in line \
             {line:?}). Look at the difference, and when it is meant: \
             cargo openapi > openapi/openapi.json"
        );
    }
}

#[test]
fn as_yaml_it_says_the_same() {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_lumora")).args(["openapi", "--yaml"]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let read: serde_json::Value = serde_norway::from_slice(&printed.stdout).unwrap();
    assert!(read == api::document(), "YAML and JSON differ");
}
