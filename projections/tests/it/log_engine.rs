//! The same over the log as it is deployed: on the disk, closed and opened again.

use std::sync::Arc;

use eventlog::{Append, EventLog, Log, LogOptions, NewEvent, Position, Version};
use projections::ReadModels;

use crate::support::{World, assert_same, vault};

#[tokio::test]
async fn read_models_follow_the_log_on_the_disk_across_a_restart() {
    let world = World::grown(51, 250);
    let (log_dir, read_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let events = world.events();
    let half = events.len() / 2;
    for part in [&events[..half], &events[half..]] {
        let log = Arc::new(Log::open(log_dir.path(), LogOptions::default()).unwrap());
        let shared: Arc<dyn EventLog> = Arc::clone(&log) as Arc<dyn EventLog>;
        let read = ReadModels::open(read_dir.path(), shared, vault()).unwrap();
        assert_eq!(read.position(), *log.head().borrow());
        read.start();
        for recorded in part {
            let content = recorded.content.iter().map(|at| world.log.read_content(at).unwrap());
            let append = Append {
                stream: recorded.stream,
                expected: Version::new(recorded.version.get() - 1),
                at: recorded.at,
                events: vec![NewEvent { id: recorded.id, data: recorded.data.as_ref().into() }],
                content: content.collect(),
            };
            log.append(append).await.unwrap();
        }
        let head = *log.head().borrow();
        assert!(read.caught_up(head, std::time::Duration::from_mins(1)).await);
        read.stop();
        log.close().await.unwrap();
        if head.get() == events.len() as u64 {
            let fresh_dir = tempfile::tempdir().unwrap();
            let shared: Arc<dyn EventLog> = Arc::clone(&log) as Arc<dyn EventLog>;
            let fresh = ReadModels::open(fresh_dir.path(), shared, vault()).unwrap();
            assert_same(&world, &read, &fresh, "on the disk");
            assert!(head > Position::START);
        }
    }
}
