//! The store of the read models.

use eventlog::{Batch, MAX_VALUE_BYTES, Scan, Store, StoreError};
use proptest::prelude::*;

use crate::kill::Random;

fn keys(table: &eventlog::Table, scan: Scan) -> Vec<Vec<u8>> {
    table.scan(scan).map(|row| row.unwrap().0.into_vec()).collect()
}

#[test]
fn rows_are_written_together_and_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.reset().is_none());
    let table = store.table("rows").unwrap();
    let mut batch = Batch::new();
    for key in ["a1", "a2", "a3", "b1", "b2", "\u{7f}"] {
        batch.put(key, key);
    }
    batch.delete("a2");
    assert_eq!(batch.len(), 7);
    table.apply(batch).unwrap();
    assert_eq!(table.get("a1").unwrap().as_deref(), Some(&b"a1"[..]));
    assert_eq!(table.get("a2").unwrap(), None);
    let text = |keys: Vec<Vec<u8>>| -> Vec<String> {
        keys.into_iter().map(|key| String::from_utf8(key).unwrap()).collect()
    };
    assert_eq!(text(keys(&table, Scan::prefix("a"))), ["a1", "a3"]);
    assert_eq!(text(keys(&table, Scan::prefix("b").reverse())), ["b2", "b1"]);
    assert_eq!(text(keys(&table, Scan::range("a3", "b2"))), ["a3", "b1"]);
    assert_eq!(text(keys(&table, Scan::prefix("a").after("a1"))), ["a3"]);
    assert_eq!(text(keys(&table, Scan::prefix("b").before("b2").reverse())), ["b1"]);
    assert_eq!(keys(&table, Scan::all()).len(), 5);
    assert!(keys(&table, Scan::range("z", "a")).is_empty());
    assert!(keys(&table, Scan::range("a", "a")).is_empty());
    assert!(keys(&table, Scan::prefix("a").after("z")).is_empty());
    let other = store.table("other").unwrap();
    assert!(keys(&other, Scan::all()).is_empty());
    table.clear().unwrap();
    assert!(keys(&table, Scan::all()).is_empty());
}

#[test]
fn a_prefix_of_the_highest_bytes_has_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let table = Store::open(dir.path()).unwrap().table("rows").unwrap();
    let mut batch = Batch::new();
    for key in [&[0xfe, 0xff][..], &[0xff], &[0xff, 0xff], &[0xff, 0xff, 1]] {
        batch.put(key, []);
    }
    table.apply(batch).unwrap();
    assert_eq!(keys(&table, Scan::prefix([0xff])).len(), 3);
    assert_eq!(keys(&table, Scan::prefix([0xff, 0xff])).len(), 2);
    assert_eq!(keys(&table, Scan::prefix([0xfe])).len(), 1);
}

#[test]
fn what_was_flushed_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0_u8..3 {
        let store = Store::open(dir.path()).unwrap();
        let table = store.table("rows").unwrap();
        assert_eq!(keys(&table, Scan::all()).len(), usize::from(round));
        let mut batch = Batch::new();
        batch.put([round], [round]);
        table.apply(batch).unwrap();
        table.flush().unwrap();
        assert!(store.disk_bytes() > 0);
    }
}

#[test]
fn what_is_too_large_is_refused_and_nothing_of_it_applied() {
    let dir = tempfile::tempdir().unwrap();
    let table = Store::open(dir.path()).unwrap().table("rows").unwrap();
    let mut batch = Batch::new();
    batch.put("small", "x");
    batch.put("large", vec![0; MAX_VALUE_BYTES + 1]);
    assert!(matches!(table.apply(batch), Err(StoreError::TooLarge { what: "a value", .. })));
    let mut batch = Batch::new();
    batch.put(vec![b'k'; 600], "x");
    assert!(matches!(table.apply(batch), Err(StoreError::TooLarge { what: "a key", .. })));
    assert!(keys(&table, Scan::all()).is_empty());
}

#[test]
fn a_store_that_does_not_open_is_begun_anew_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut batch = Batch::new();
    batch.put("key", "value");
    store.table("rows").unwrap().apply(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    // sled reads much nonsense as nothing; this it cannot.
    std::fs::remove_file(dir.path().join("db")).unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.reset().is_some());
    assert!(keys(&store.table("rows").unwrap(), Scan::all()).is_empty());
}

#[test]
fn a_store_in_use_is_not_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut batch = Batch::new();
    batch.put("key", "value");
    store.table("rows").unwrap().apply(batch).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Io { .. })));
    assert!(store.table("rows").unwrap().get("key").unwrap().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn scans_agree_with_a_plain_map(seed in 1_u64..u64::MAX) {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let table = Store::open(dir.path()).unwrap().table("rows").unwrap();
        let mut plain = std::collections::BTreeMap::new();
        let key = |random: &mut Random| -> Vec<u8> {
            (0..random.below(3)).map(|_| [0, 1, 254, 255][usize::try_from(random.below(4)).unwrap()]).collect()
        };
        for round in 0_u8..20 {
            let mut batch = Batch::new();
            for _ in 0..random.below(8) {
                let key = key(&mut random);
                if random.below(3) == 0 {
                    plain.remove(&key);
                    batch.delete(key);
                } else {
                    plain.insert(key.clone(), vec![round]);
                    batch.put(key, [round]);
                }
            }
            table.apply(batch).unwrap();
            let (prefix, after, before) = (key(&mut random), key(&mut random), key(&mut random));
            let expected: Vec<_> = plain.keys()
                .filter(|k| k.starts_with(&prefix) && **k > after && **k < before)
                .cloned().collect();
            let scan = Scan::prefix(&prefix).after(&after).before(&before);
            prop_assert_eq!(keys(&table, scan.clone()), expected.clone());
            let backwards: Vec<_> = expected.into_iter().rev().collect();
            prop_assert_eq!(keys(&table, scan.reverse()), backwards);
        }
    }
}
