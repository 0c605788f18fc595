//! Waiting for read models, and holding what they say against each other.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use eventlog::{Position, Store, StoreError};
use projections::ReadModels;

use super::World;

/// Waits until the read models have taken everything in.
pub(crate) fn follow(read: &ReadModels, to: Position) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let reached = runtime.block_on(read.caught_up(to, Duration::from_mins(1)));
    assert!(reached, "{:?}", read.health());
}

/// The tables, without the read models.
pub(crate) fn tables(dir: &Path) -> Store {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match Store::open(&dir.join("tables")) {
            // sled lets go of its lock a moment after it was dropped.
            Err(StoreError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::WouldBlock
                    && std::time::Instant::now() < deadline =>
            {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Every read model's rows.
pub(crate) fn dumps(read: &ReadModels) -> BTreeMap<&'static str, Vec<u8>> {
    let names = ReadModels::names().iter();
    names.map(|name| (*name, read.dump(name).unwrap().unwrap())).collect()
}

/// What the memory of keys and policies holds, printed.
pub(crate) fn memory(world: &World, read: &ReadModels) -> String {
    let mut text = String::new();
    for tenant in read.policies().tenants() {
        writeln!(text, "{} {}", tenant.id, tenant.name).unwrap();
        for app in read.policies().apps_of(tenant.id) {
            writeln!(text, "  {} {}", app.id, app.name).unwrap();
            for key in read.policies().keys_of(app.id) {
                writeln!(text, "    {key:?}").unwrap();
            }
        }
        for domain in read.policies().domains_of(tenant.id) {
            writeln!(text, "  {domain:?}").unwrap();
        }
    }
    for (paused, view) in read.policies().pauses().all() {
        writeln!(text, "{paused:?} {view:?} {:?}", view.reason).unwrap();
    }
    for (_, tenant, name) in &world.domains {
        writeln!(text, "{:?}", read.policies().sender(*tenant, name).map(|found| found.id))
            .unwrap();
    }
    text
}

pub(crate) fn assert_same(world: &World, left: &ReadModels, right: &ReadModels, what: &str) {
    for (name, rows) in dumps(left) {
        assert!(rows == right.dump(name).unwrap().unwrap(), "{what}: {name} differs");
    }
    assert_eq!(memory(world, left), memory(world, right), "{what}");
}
