//! Every target with its whole corpus, and with changed copies of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests fail loudly"
)]

use std::{fs, panic, path::PathBuf};

use fuzz::{
    TARGETS, Target,
    mutation::{Dice, mutate},
};

/// Changed copies of each target's corpus; `LUMORA_FUZZ_ROUNDS` tries more.
const ROUNDS: u64 = 1_500;
/// The seed; `LUMORA_FUZZ_SEED` takes another one.
const SEED: u64 = 20_261_127;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|_| panic!("no {}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs a target. What breaks it stays in a file: that is written before, for a stack that overflows
/// ends the process.
fn bears(target: &Target, octets: &[u8], what: &str) {
    let file = std::env::temp_dir().join(format!("lumora-fuzz-{}", target.name));
    fs::write(&file, octets).unwrap();
    let ran = panic::catch_unwind(|| (target.run)(octets));
    if let Err(reason) = ran {
        println!("{}: {what} breaks it; the octets are in {}", target.name, file.display());
        panic::resume_unwind(reason);
    }
    fs::remove_file(&file).unwrap();
}

fn bears_its_corpus(name: &str) {
    let target = fuzz::target(name).unwrap();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    bears(target, &[], "nothing at all");
    for (number, octets) in corpus.iter().enumerate() {
        bears(target, octets, &format!("number {number} of its corpus"));
    }
    let (seed, rounds) = (number("LUMORA_FUZZ_SEED", SEED), number("LUMORA_FUZZ_ROUNDS", ROUNDS));
    let name = target.name.bytes().fold(seed, |sum, octet| sum.rotate_left(8) ^ u64::from(octet));
    let mut dice = Dice::new(name);
    for round in 0..rounds {
        let mut octets = corpus[dice.below(corpus.len())].clone();
        let other = &corpus[dice.below(corpus.len())];
        mutate(&mut dice, &mut octets, other, target.words, target.max_octets);
        bears(target, &octets, &format!("round {round} of LUMORA_FUZZ_SEED={seed}"));
    }
}

#[test]
fn addresses_are_read_or_refused_whatever_they_are() {
    bears_its_corpus("address");
}

#[test]
fn blocks_are_read_as_written_or_refused() {
    bears_its_corpus("block");
}

#[test]
fn whole_messages_say_to_another_reader_what_they_were_made_of() {
    bears_its_corpus("compose");
}

#[test]
fn configurations_are_used_or_refused_whatever_they_are() {
    bears_its_corpus("config");
}

#[test]
fn cursors_and_ids_have_one_text_each() {
    bears_its_corpus("cursor");
}

#[test]
fn events_are_written_again_as_they_were_read() {
    bears_its_corpus("event");
}

#[test]
fn header_fields_say_to_another_reader_what_they_were_made_of() {
    bears_its_corpus("header");
}

#[test]
fn a_journal_gives_what_was_written_or_an_error() {
    bears_its_corpus("journal");
}

#[test]
fn published_policies_are_read_or_refused_whatever_they_are() {
    bears_its_corpus("policy");
}

#[test]
fn whatever_a_client_says_the_listener_answers_in_its_own_words() {
    bears_its_corpus("received");
}

#[test]
fn whatever_comes_back_is_read_within_bounds() {
    bears_its_corpus("report");
}

#[test]
fn whatever_a_mail_host_says_every_recipient_has_an_outcome() {
    bears_its_corpus("session");
}

#[test]
fn templates_end_within_their_bounds_whatever_they_say() {
    bears_its_corpus("template");
}

#[test]
fn nobody_makes_a_token_by_changing_another() {
    bears_its_corpus("token");
}

#[test]
fn every_target_has_a_test_and_nothing_else_has_a_corpus() {
    let mut known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    known.sort_unstable();
    for name in &known {
        let test = format!("bears_its_corpus(\"{name}\")");
        assert!(include_str!("targets.rs").contains(&test), "{name} has no test");
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(folder).unwrap();
    let mut folders: Vec<String> =
        folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    assert_eq!(folders, known);
}
