//! The rules that bounces were ever classified by.
//!
//! A file is called after the version that events record. Files are added and never changed: rules
//! that differ in anything have another version.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail loudly")]

use std::{fs, path::PathBuf};

use model::delivery::BounceRules;

fn file(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/rules/{version}.json"))
}

#[test]
fn rules_that_changed_have_another_version() {
    let rules = BounceRules::shipped();
    let path = file(rules.version);
    let written = serde_json::to_string_pretty(rules).unwrap() + "\n";
    assert!(
        fs::read_to_string(&path).is_ok_and(|known| known == written),
        "{} is not what `lumora log rules` prints: rules that differ get the next version",
        path.display()
    );
}

#[test]
fn every_version_can_still_be_tried() {
    for version in 1..=BounceRules::shipped().version {
        let rules: BounceRules =
            serde_json::from_str(&fs::read_to_string(file(version)).unwrap()).unwrap();
        assert_eq!((rules.version, rules.check()), (version, Ok(())));
    }
}
