//! The simulation of `actors/tests/simulation`, for as many seeds as wanted.

use std::process::Command;

use bench::{Outcome, figures::print_line as tell};

/// Runs it, optimised as this program is; it prints what it tried.
pub(crate) fn run(seed: Option<u64>, seeds: u64) -> Outcome<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--locked", "--package", "actors", "--test", "simulation"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.args(["--", "--nocapture", "nothing_is_lost_whatever_happens"]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match seed {
        Some(seed) => cargo.env("LUMORA_SIM_SEED", seed.to_string()),
        None => cargo.env("LUMORA_SIM_SEEDS", seeds.to_string()),
    };
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("the simulation ended with {status}").into());
    }
    tell("  nothing was lost");
    Ok(())
}
