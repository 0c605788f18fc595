//! The read directory holds nothing that says who.

use std::{fs, path::Path};

use crate::support::{World, follow};

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[test]
fn no_file_holds_an_address_a_name_a_subject_or_a_secret() {
    let mut world = World::with_app(1);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    for _ in 0..400 {
        world.step();
    }
    follow(&read, world.head());
    read.stop();
    // What is searched is what was made: the views know the canary, the files know a mail domain.
    assert!(read.policies().tenants()[0].name.contains("Canary"));
    let mut paths = Vec::new();
    files(dir.path(), &mut paths);
    let mut found_domain = false;
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        assert!(!contains(&bytes, b"canary"), "{}", path.display());
        assert!(!contains(&bytes, b"users.example"), "{}", path.display());
        assert!(!contains(&bytes, b"argon2id"), "{}", path.display());
        found_domain |= contains(&bytes, b"three.example");
    }
    assert!(found_domain, "{paths:?}");
    for name in projections::ReadModels::names() {
        assert!(!contains(&read.dump(name).unwrap().unwrap(), b"canary"), "{name}");
    }
}
