//! The house rules that a compiler does not know: who may import whom, who owns which heavy crate,
//! how files are called and how long they may grow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Each room and the rooms that it may import.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("eventlog", &["model"]),
    ("evidence", &["model", "eventlog"]),
    ("projections", &["model", "eventlog"]),
    ("mail", &["model"]),
    ("templates", &[]),
    ("certificates", &[]),
    ("sandbox", &["model", "mail"]),
    ("actors", &["model", "eventlog", "projections", "mail", "templates"]),
    ("api", &["model", "eventlog", "evidence", "projections", "actors"]),
    (
        "lumora",
        &[
            "model",
            "certificates",
            "eventlog",
            "evidence",
            "projections",
            "mail",
            "sandbox",
            "actors",
            "api",
        ],
    ),
    ("bench", &["model", "mail", "sandbox", "eventlog"]),
    ("trials", &["bench", "mail", "sandbox"]),
    ("fuzz", &["model", "eventlog", "projections", "mail", "templates", "actors", "lumora"]),
];

/// Heavy crates and the only room that may name them.
const OWNERS: &[(&str, &str)] = &[
    ("sled", "eventlog"),
    ("ractor", "actors"),
    ("poem", "api"),
    ("poem-openapi", "api"),
    ("lettre", "mail"),
    ("mail-auth", "mail"),
    ("mail-builder", "mail"),
    ("mail-parser", "mail"),
    ("hickory-resolver", "mail"),
    ("hickory-server", "sandbox"),
    ("minijinja", "templates"),
    ("psl", "model"),
    ("argon2", "actors"),
    ("zxcvbn", "actors"),
    ("instant-acme", "certificates"),
    ("rcgen", "certificates"),
    ("html2text", "templates"),
    ("html5ever", "templates"),
];

/// What may never be anywhere in the tree of dependencies.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls", "ring"];

/// `model` does no IO, reads no clock and draws no randomness: nothing that could may be near it.
const PURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::io::",
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::thread",
];

/// Names that say nothing of what a thing is.
const EMPTY_NAMES: &[&str] =
    &["manager", "helper", "helpers", "util", "utils", "service", "handler", "common", "misc"];

/// A file longer than this has outgrown its reader.
const MAX_LINES: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Package {
    directory: PathBuf,
    dependencies: BTreeSet<String>,
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let read = |package: &serde_json::Value| {
        // Tests of a room may stand a real peer beside it, so what they alone need is not asked.
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let dependencies = dependencies
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let package_name = package["name"].as_str().unwrap().to_owned();
        let directory = manifest.parent().unwrap().to_owned();
        (package_name, Package { directory, dependencies })
    };
    metadata["packages"].as_array().unwrap().iter().map(read).collect()
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "data", "results", "node_modules"].contains(&name.as_str()) {
                files_below(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_below(root(), &mut found);
    found.retain(|path| path.extension().is_some_and(|known| known == extension));
    found.sort();
    assert!(!found.is_empty(), "no .{extension} files below {}", root().display());
    found
}

fn assert_none(what: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{what}:\n  {}", broken.join("\n  "));
}

#[test]
fn rooms_import_only_what_they_may() {
    let packages = packages();
    let known: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut broken = Vec::new();
    for (name, package) in &packages {
        let Some(allowed) = known.get(name.as_str()) else {
            broken.push(format!("{name} is a room that tests/tidy.rs does not know"));
            continue;
        };
        for dependency in &package.dependencies {
            if packages.contains_key(dependency) && !allowed.contains(&dependency.as_str()) {
                broken.push(format!("{name} may not import {dependency}"));
            }
        }
    }
    assert_none("import directions (README, code map)", &broken);
}

#[test]
fn heavy_crates_have_one_owner() {
    let mut broken = Vec::new();
    for (name, package) in packages() {
        for dependency in &package.dependencies {
            // What a fuzzer reads back with judges its owner, as a room's own tests do.
            if name == "fuzz" {
                continue;
            }
            let owner = OWNERS.iter().find(|(heavy, _)| heavy == dependency);
            if let Some((_, owner)) = owner.filter(|(_, owner)| *owner != name) {
                broken.push(format!("{name} names {dependency}, which {owner} owns"));
            }
        }
    }
    assert_none("one owner for each heavy crate", &broken);
}

#[test]
fn every_room_lies_in_the_folder_of_its_name_and_is_not_published() {
    for (name, package) in packages() {
        let folder = package.directory.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name == "lumora" || folder == name, "{name} lies in {folder}");
        let manifest = fs::read_to_string(package.directory.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("publish.workspace = true"), "{name} could be published");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} lacks the lints");
    }
}

#[test]
fn banned_crates_are_not_in_the_tree() {
    // The lock file also names what nothing turns on, so the tree is asked.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("aws-lc-rs v"), "the tree is not what was asked for");
    let broken: Vec<String> = tree
        .lines()
        .filter(|line| BANNED.iter().any(|banned| line.starts_with(&format!("{banned} v"))))
        .map(ToOwned::to_owned)
        .collect();
    assert_none("one TLS and cryptography stack: rustls with aws-lc-rs", &broken);
}

#[test]
fn the_model_touches_nothing() {
    let mut broken = Vec::new();
    for path in files("rs") {
        if path.starts_with(root().join("model/src")) {
            let text = fs::read_to_string(&path).unwrap();
            for impure in PURE.iter().filter(|impure| text.contains(**impure)) {
                broken.push(format!("{} names {impure}", path.display()));
            }
        }
    }
    assert_none("model is pure", &broken);
}

#[test]
fn files_are_named_for_a_thing_and_stay_readable() {
    let mut broken = Vec::new();
    for path in files("rs") {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if stem == "mod" {
            broken.push(format!("{}: foo.rs and foo/, no mod.rs", path.display()));
        }
        if EMPTY_NAMES.iter().any(|name| stem.split('_').any(|word| word == *name)) {
            broken.push(format!("{}: the name says nothing", path.display()));
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > MAX_LINES {
            broken.push(format!("{}: {lines} lines, split it by noun", path.display()));
        }
    }
    assert_none("files", &broken);
}

#[test]
fn every_room_says_what_it_is_for_and_why() {
    for (name, package) in packages() {
        let library = package.directory.join("src/lib.rs");
        if !library.exists() {
            continue;
        }
        let text = fs::read_to_string(&library).unwrap();
        assert!(text.starts_with("//! "), "{name}: lib.rs opens with what the room is for");
        assert!(text.lines().count() > 10, "{name}: lib.rs says too little");
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let markers = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let mut broken = Vec::new();
    for path in files("rs") {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if markers.iter().any(|marker| line.contains(marker.as_str())) {
                broken.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert_none("markers", &broken);
}

/// Whether a file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let starts = [format!("fn {name}("), format!("async fn {name}(")];
    let is_named = |line: &str| starts.iter().any(|start| line.starts_with(start.as_str()));
    let mut named = (0..lines.len()).filter(|number| is_named(lines[*number]));
    named.any(|number| {
        let mut attributes = lines[..number].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// That every row of the tables in one section of a page names tests, and that they are there.
fn assert_rows_name_tests(page: &str, section: &str, least: usize) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let (_, rows) = text.split_once(section).unwrap();
    let rows = rows.split("\n## ").next().unwrap();
    let (mut broken, mut found) = (Vec::new(), 0);
    for line in rows.lines() {
        let named = line.split('`').filter_map(|part| part.split_once(".rs::"));
        let before = found;
        for (path, name) in named {
            let file = fs::read_to_string(root().join(format!("{path}.rs"))).unwrap_or_default();
            if !has_test(&file, name) {
                broken.push(format!("{path}.rs has no test {name}"));
            }
            found += 1;
        }
        let is_row = line.starts_with("| ") && !line.contains("cargo test");
        let heads = ["| attack |", "| path |", "| case |", "| promise |"];
        let is_head = heads.iter().any(|head| line.starts_with(head));
        if is_row && !is_head && found == before {
            broken.push(format!("no test is named: {line}"));
        }
    }
    assert!(found > least, "only {found} tests are named");
    assert_none(&format!("{page}, {section}"), &broken);
}

#[test]
fn every_attack_has_the_tests_that_are_named_for_it() {
    assert_rows_name_tests("SECURITY.md", "## Attacks and their tests", 80);
}

#[test]
fn every_promise_has_the_tests_that_keep_it() {
    assert_rows_name_tests("README.md", "## What is promised, and what is not", 40);
}

#[test]
fn every_case_of_delivery_has_the_tests_that_are_named_for_it() {
    assert_rows_name_tests("docs/delivery.md", "## Cases and their tests", 50);
}
