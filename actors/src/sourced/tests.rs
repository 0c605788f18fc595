use eventlog::{Fault, MemoryLog};
use model::{
    By, StreamId, TenantId,
    event::SealedText,
    tenant::{AppCreated, Tenant, TenantCreated, TenantEvent},
};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

fn stream() -> StreamId {
    StreamId::Tenant(TenantId::from_bytes([1; 16]))
}

fn created() -> TenantEvent {
    TenantCreated { profile: SealedText("sealed".into()) }.into()
}

fn app(number: u8) -> TenantEvent {
    let app = model::AppId::from_bytes([number; 16]);
    AppCreated { app, profile: SealedText("sealed".into()), permissions: None }.into()
}

fn draft(events: Vec<TenantEvent>) -> Draft<TenantEvent> {
    Draft::new(events, Vec::new(), NOW, |_| By::CommandLine.into()).unwrap()
}

fn journal(log: &Arc<MemoryLog>) -> Journal {
    let log: Arc<dyn EventLog> = log.clone();
    Journal::new(log, Blocking::OnThreads, Histogram::noop())
}

async fn written(journal: &Journal) -> usize {
    journal.read(|log| log.read_stream(stream(), Version::NONE, 100).unwrap().len()).await.unwrap()
}

#[tokio::test]
async fn what_is_committed_is_what_is_loaded() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let mut tenant = Sourced::<Tenant>::absent(stream());
    tenant.commit(&journal, NOW, &draft(vec![created(), app(1)])).await.unwrap();
    tenant.commit(&journal, NOW, &draft(vec![])).await.unwrap();
    tenant.commit(&journal, NOW, &draft(vec![app(2)])).await.unwrap();
    let loaded = Sourced::<Tenant>::load(&journal, stream()).await.unwrap();
    assert_eq!(loaded.state(), tenant.state());
    assert_eq!((loaded.version, loaded.at()), (Version::new(3), NOW));
}

#[tokio::test]
async fn a_conflict_brings_the_state_up_to_date() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let mut one = Sourced::<Tenant>::absent(stream());
    let mut two = Sourced::<Tenant>::absent(stream());
    one.commit(&journal, NOW, &draft(vec![created()])).await.unwrap();
    let lost = two.commit(&journal, NOW, &draft(vec![created()])).await;
    assert!(matches!(lost, Err(CommitError::Conflict)), "{lost:?}");
    assert_eq!(two.state(), one.state());
    two.commit(&journal, NOW, &draft(vec![app(1)])).await.unwrap();
}

#[tokio::test]
async fn what_is_not_written_leaves_the_state_alone_and_may_be_tried_again() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let mut tenant = Sourced::<Tenant>::absent(stream());
    let draft = draft(vec![created()]);
    for fault in [Fault::Lost, Fault::StorageFull] {
        log.inject([fault]);
        let failed = tenant.commit(&journal, NOW, &draft).await;
        assert!(matches!(failed, Err(CommitError::NotWritten(_))), "{failed:?}");
        assert_eq!(tenant.state(), &Tenant::default());
    }
    tenant.commit(&journal, NOW, &draft).await.unwrap();
    assert_eq!(written(&journal).await, 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_found_out_by_reading() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let mut tenant = Sourced::<Tenant>::absent(stream());
    log.inject([Fault::UnknownWritten]);
    tenant.commit(&journal, NOW, &draft(vec![created()])).await.unwrap();
    assert_ne!(tenant.state(), &Tenant::default(), "it was there, and was taken in");

    let second = draft(vec![app(1)]);
    log.inject([Fault::UnknownLost]);
    let unknown = tenant.commit(&journal, NOW, &second).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    tenant.commit(&journal, NOW, &second).await.unwrap();
    assert_eq!(written(&journal).await, 2);
}

/// The draft was written, its writer does not know, and commits it again.
#[tokio::test]
async fn a_draft_committed_twice_is_written_once() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let draft = draft(vec![created(), app(1)]);
    Sourced::<Tenant>::absent(stream()).commit(&journal, NOW, &draft).await.unwrap();
    let mut tenant = Sourced::<Tenant>::absent(stream());
    tenant.commit(&journal, NOW, &draft).await.unwrap();
    assert_eq!(written(&journal).await, 2);
    assert_eq!(tenant.version, Version::new(2));
}

/// The draft was written, and the read that should tell fails before it has come to the end.
#[tokio::test]
async fn a_read_that_fails_half_way_does_not_make_a_draft_be_written_twice() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let mut tenant = Sourced::<Tenant>::absent(stream());
    let draft = draft(vec![created(), app(1)]);
    log.inject([Fault::UnknownWritten]);
    log.inject_into_reads([false, true]);
    let failed = tenant.commit(&journal, NOW, &draft).await;
    assert!(matches!(failed, Err(CommitError::Load(_))), "{failed:?}");
    assert_eq!(tenant.version, Version::NONE, "nothing of it was taken in");
    tenant.commit(&journal, NOW, &draft).await.unwrap();
    assert_eq!(written(&journal).await, 2);
    assert_eq!(tenant.version, Version::new(2));
}

#[tokio::test]
async fn what_the_log_never_takes_is_told_apart() {
    let log = Arc::new(MemoryLog::new());
    let journal = journal(&log);
    let mut tenant = Sourced::<Tenant>::absent(stream());
    let huge = TenantCreated { profile: SealedText("x".repeat(40_000).into()) };
    let refused = tenant.commit(&journal, NOW, &draft(vec![huge.into()])).await;
    assert!(matches!(refused, Err(CommitError::Invalid(_))), "{refused:?}");
}
