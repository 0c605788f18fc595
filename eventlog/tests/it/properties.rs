//! Any sequence of appends, reads and restarts agrees with a plain list.

use std::collections::HashMap;

use eventlog::{AppendError, EventLog, Log, MemoryLog, Position, Version};
use proptest::prelude::*;

use crate::support::{append, block_on, open, sealed, stream};

#[derive(Debug, Clone)]
enum Step {
    Append { to: u64, off: i64, count: u64, content: bool },
    ReadStream { of: u64, after: u64, limit: usize },
    ReadAll { after: u64, limit: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6_u64, prop_oneof![5 => Just(0_i64), 1 => -2..3_i64], 1..40_u64, any::<bool>())
            .prop_map(|(to, off, count, content)| Step::Append { to, off, count, content }),
        3 => (0..7_u64, 0..60_u64, 0..50_usize)
            .prop_map(|(of, after, limit)| Step::ReadStream { of, after, limit }),
        3 => (0..400_u64, 0..300_usize).prop_map(|(after, limit)| Step::ReadAll { after, limit }),
        1 => Just(Step::Reopen),
    ]
}

/// What should be there: for each event its stream, its version and its number.
#[derive(Default)]
struct Plain {
    events: Vec<(u64, u64, u64)>,
    versions: HashMap<u64, u64>,
}

fn run(log: &dyn EventLog, plain: &mut Plain, step: &Step) -> Result<(), TestCaseError> {
    match *step {
        Step::Append { to, off, count, content } => {
            let actual = plain.versions.get(&to).copied().unwrap_or(0);
            let expected = actual.saturating_add_signed(off);
            let first = plain.events.len() as u64;
            let mut append = append(to, expected, first..first + count);
            if content {
                append.content = vec![sealed(&format!("content {first}"))];
            }
            let result = block_on(log.append(append));
            if expected == actual {
                let appended = result.unwrap();
                prop_assert_eq!(appended.last_position.get(), first + count);
                prop_assert_eq!(appended.last_version.get(), actual + count);
                for number in 0..count {
                    plain.events.push((to, actual + number + 1, first + number));
                }
                plain.versions.insert(to, actual + count);
            } else {
                let conflict = AppendError::Conflict { actual: Version::new(actual) };
                prop_assert_eq!(result, Err(conflict));
            }
        }
        Step::ReadStream { of, after, limit } => {
            let read = log.read_stream(stream(of), Version::new(after), limit).unwrap();
            let expected =
                plain.events.iter().enumerate().filter(|(_, e)| e.0 == of && e.1 > after);
            check(log, &read, expected.take(limit))?;
        }
        Step::ReadAll { after, limit } => {
            let read = log.read_all(Position::new(after), limit).unwrap();
            let expected = plain.events.iter().enumerate();
            let after = usize::try_from(after).unwrap();
            // One read may give less, but something.
            prop_assert_eq!(read.is_empty(), limit == 0 || after >= plain.events.len());
            check(log, &read, expected.skip(after).take(read.len()))?;
        }
        Step::Reopen => {}
    }
    Ok(())
}

fn check<'a>(
    log: &dyn EventLog,
    read: &[eventlog::Recorded],
    expected: impl Iterator<Item = (usize, &'a (u64, u64, u64))>,
) -> Result<(), TestCaseError> {
    let expected: Vec<_> = expected.collect();
    prop_assert_eq!(read.len(), expected.len());
    for (event, (index, (to, version, number))) in read.iter().zip(expected) {
        prop_assert_eq!(event.position.get(), index as u64 + 1);
        prop_assert_eq!(event.stream, stream(*to));
        prop_assert_eq!(event.version.get(), *version);
        prop_assert_eq!(&*event.data, &*crate::support::event(*number).data);
        for location in &event.content {
            prop_assert!(log.read_content(location).is_ok());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn the_log_agrees_with_a_plain_list(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut log: Option<Log> = Some(open(dir.path()));
        let memory = MemoryLog::new();
        let (mut plain, mut in_memory) = (Plain::default(), Plain::default());
        for step in &steps {
            if matches!(step, Step::Reopen) {
                drop(log.take());
            }
            let log = log.get_or_insert_with(|| open(dir.path()));
            run(log, &mut plain, step)?;
            run(&memory, &mut in_memory, step)?;
        }
    }
}
