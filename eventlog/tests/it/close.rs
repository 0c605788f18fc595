//! Closing and dropping.

use std::sync::Arc;

use eventlog::{AppendError, Cause, EventLog, Log, Recovery};

use crate::support::{append, block_on, everything, open, runtime};

#[test]
fn a_close_finishes_what_waits_and_leaves_nothing_to_replay() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()));
    let runtime = runtime();
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let log: Arc<Log> = Arc::clone(&log);
            runtime.spawn(async move { log.append(append(number, 0, [number])).await })
        })
        .collect();
    let mut head = log.head();
    runtime.block_on(head.wait_for(|head| head.get() > 10)).unwrap();
    runtime.block_on(log.close()).unwrap();
    let mut written = 0;
    for task in tasks {
        match runtime.block_on(task).unwrap() {
            Ok(_) => written += 1,
            Err(AppendError::NotWritten(Cause::Closed)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let health = log.health();
    assert_eq!(health.sealed, health.head);
    assert_eq!(everything(log.as_ref()).len(), written);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.recovery(), &Recovery::default());
    assert_eq!(everything(&log).len(), written);
}

#[test]
fn a_dropped_log_can_be_opened_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let log: Arc<dyn EventLog> = Arc::new(open(dir.path()));
        block_on(log.append(append(1, round, [round]))).unwrap();
    }
    assert_eq!(everything(&open(dir.path())).len(), 10);
}

#[test]
fn an_append_whose_future_is_dropped_is_written_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    block_on(async {
        let mut future = log.append(append(1, 0, [1]));
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        // Polled until the committer has it, then given up.
        assert!(future.as_mut().poll(&mut context).is_pending());
        drop(future);
        log.head().wait_for(|head| head.get() == 1).await.unwrap();
    });
    assert_eq!(everything(&log).len(), 1);
}
