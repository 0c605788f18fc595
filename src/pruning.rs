//! Messages that ended long ago are pruned from the log, when `retention.events` says so or somebody
//! does.
//!
//! What read models need of them is carried in the log: their tables, as they were at the point up to
//! which it is pruned. So a read model that is made anew has the bytes of the one that was there. The
//! balances of what was pruned are carried as well, for `lumora log stats --check`, which does not
//! believe read models.
//!
//! # Why
//! All that stays is copied each time, so nothing is pruned for little: a log is pruned when its
//! oldest messages are an eighth older than they are to be, and at least a day.

use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use actors::{Chance as _, Clock, OsChance};
use eventlog::{
    Append, CarriedRow, EventLog, InstanceKey, Log, NewEvent, Prunable, PruneError, Pruned,
    Pruning, ReadError, Recorded, Vault, Version,
};
use model::{
    By, Event, EventId, InstanceId, MessageId, StreamId, Timestamp,
    conservation::{Account, Balance, Ledger},
    instance::{self, Command, Instance, LogPruned},
    message::{Message, MessageEvent},
};
use projections::{ReadModels, Until};

/// How often it is looked whether there is something to prune.
const EVERY: Duration = Duration::from_hours(1);
/// How soon after the start it is looked: content whose time was over goes first, and the log is
/// signed.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// The least that is pruned at a time.
const LEAST: Duration = Duration::from_hours(24);
/// A running server does other things as well: it rests so long after each few thousand events.
const REST: Duration = Duration::from_millis(20);
/// The table in which balances are carried.
const BALANCES: &str = "balances";
/// How often it is tried when somebody else records something of the instance at the same time.
const TRIES: usize = 5;

/// Why nothing was pruned, or why that was not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PruningError {
    #[error(transparent)]
    Prune(#[from] PruneError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Open(#[from] projections::OpenError),
    #[error(transparent)]
    Query(#[from] projections::QueryError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the read models have not yet come to what is to be pruned")]
    Behind,
    #[error("pruning panicked")]
    Lost,
    #[error("balances that were carried are not what was written")]
    Balances,
    #[error("it was pruned, and is recorded at the next start: {0}")]
    Record(Box<str>),
}

/// What pruning needs.
pub(crate) struct Pruner {
    pub(crate) log: Arc<Log>,
    pub(crate) vault: Vault,
    pub(crate) key: InstanceKey,
    /// The read models that follow the log, where there are: they must have come further than what is
    /// pruned, or they would fold what is left as if it were all.
    pub(crate) following: Option<ReadModels>,
    /// A directory for this alone, where tables are made that are to be carried.
    pub(crate) scratch: std::path::PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Pruner {
    /// Prunes what is older than `keep`, for as long as it is polled.
    pub(crate) async fn run(self, keep: Duration) {
        let pruner = Arc::new(self);
        pruner.clock.sleep_until(pruner.clock.now().plus(FIRST_AFTER)).await;
        loop {
            let now = pruner.clock.now();
            match Arc::clone(&pruner).apart(now, keep).await {
                Ok(None) => {}
                Ok(Some(pruned)) => {
                    let Pruned { messages, events, last, .. } = pruned;
                    tracing::info!(messages, events, %last, "the log was pruned");
                }
                Err(error) => tracing::warn!(%error, "the log was not pruned"),
            }
            if let Err(error) = pruner.record(By::Configuration).await {
                tracing::warn!(%error, "pruning");
            }
            pruner.clock.sleep_until(now.plus(EVERY)).await;
        }
    }

    /// Records what was pruned by hand, if that was not done.
    pub(crate) async fn record_only(self) {
        if let Err(error) = self.record(By::CommandLine).await {
            tracing::warn!(%error, "pruning");
        }
    }

    /// On a thread that nobody waits for when the server stops: it can be ended at any moment, and
    /// then nothing was pruned, or all.
    async fn apart(
        self: Arc<Self>,
        now: Timestamp,
        keep: Duration,
    ) -> Result<Option<Pruned>, PruningError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("prune".into()).spawn(move || {
            // Nobody listens once the server stops.
            drop(tell.send(self.when_due(now, keep)));
        })?;
        told.await.unwrap_or(Err(PruningError::Lost))
    }

    fn when_due(&self, now: Timestamp, keep: Duration) -> Result<Option<Pruned>, PruningError> {
        let slack = (keep / 8).max(LEAST);
        match self.log.prunable(now.minus(keep.saturating_add(slack)))? {
            None => Ok(None),
            Some(_) => self.prune(now.minus(keep), REST),
        }
    }

    /// Prunes what ended before a time; `None` when there is nothing. Blocks until it is done.
    pub(crate) fn prune(
        &self,
        before: Timestamp,
        rest: Duration,
    ) -> Result<Option<Pruned>, PruningError> {
        let Some(up_to) = self.log.prunable(before)? else { return Ok(None) };
        if self.following.as_ref().is_some_and(|read| read.position() < up_to.last) {
            return Err(PruningError::Behind);
        }
        remove(&self.scratch)?;
        std::fs::create_dir_all(&self.scratch)?;
        let pruned = self.prune_up_to(up_to, rest);
        remove(&self.scratch)?;
        pruned.map(Some)
    }

    fn prune_up_to(&self, up_to: Prunable, rest: Duration) -> Result<Pruned, PruningError> {
        let log: Arc<dyn EventLog> = Arc::clone(&self.log) as Arc<dyn EventLog>;
        let until = Until::Position(up_to.last);
        let then = ReadModels::replay(
            &self.scratch,
            Arc::clone(&log),
            self.vault.clone(),
            until,
            &mut |_| {},
        )?;
        let leaving = Leaving { balances: RefCell::new(carried_balances(log.as_ref())?) };
        let tables = then.carried()?;
        // Made once everything was looked at.
        let balances = std::iter::once_with(|| leaving.rows()).flatten().map(Ok);
        let pruned = self.log.prune(Pruning {
            up_to,
            is_over: &|events| leaving.takes(events),
            carried: &mut tables.chain(balances),
            key: &self.key,
            now: self.clock.now(),
            rest,
        });
        then.stop();
        Ok(pruned?)
    }

    /// Records what was pruned, if that was not done.
    pub(crate) async fn record(&self, by: By) -> Result<(), PruningError> {
        let Some(pruned) = self.log.pruned()? else { return Ok(()) };
        let pruned = LogPruned {
            up_to: pruned.last.get(),
            up_to_at: pruned.at,
            messages: pruned.messages,
            events: pruned.events,
            gaps: pruned.gaps,
            stubs: pruned.stubs_hex().into(),
        };
        let stream = StreamId::Instance(InstanceId::THIS);
        let mut last = None;
        for _ in 0..TRIES {
            let (instance, version) = instance(self.log.as_ref())?;
            let news = instance::decide(&instance, &Command::RecordPruning(pruned.clone()));
            let news = news.map_err(|refusal| PruningError::Record(refusal.to_string().into()))?;
            if news.is_empty() {
                return Ok(());
            }
            let (at, mut events) = (self.clock.now(), Vec::new());
            for event in news {
                let mut random = [0; 10];
                let drawn = OsChance.fill(&mut random);
                drawn.map_err(|error| PruningError::Record(error.to_string().into()))?;
                events.push(NewEvent {
                    id: EventId::new(at, random),
                    data: event.encode(&by.into()),
                });
            }
            let append = Append { stream, expected: version, at, events, content: Vec::new() };
            match self.log.append(append).await {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        let last = last.map_or_else(String::new, |error| error.to_string());
        Err(PruningError::Record(last.into()))
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn instance(log: &dyn EventLog) -> Result<(Instance, Version), PruningError> {
    let (mut instance, mut version) = (Instance::default(), Version::NONE);
    let stream = StreamId::Instance(InstanceId::THIS);
    loop {
        let page = log.read_stream(stream, version, usize::MAX)?;
        let Some(last) = page.last() else { return Ok((instance, version)) };
        version = last.version;
        for recorded in &page {
            if let Ok(Event::Instance(event)) = Event::decode(stream, &recorded.data) {
                instance.evolve(&event, recorded.at);
            }
        }
    }
}

/// Messages that are being pruned, and what they come to.
struct Leaving {
    balances: RefCell<BTreeMap<Account, Balance>>,
}

impl Leaving {
    /// Whether a message is over, by all its events; then it is counted. What cannot be read stays.
    fn takes(&self, events: &[Recorded]) -> bool {
        let Some(first) = events.first() else { return false };
        let StreamId::Message(message) = first.stream else { return false };
        let Some(events) = decoded(events) else { return false };
        let mut state = Message::default();
        for (event, at) in &events {
            state.evolve(event, *at);
        }
        if state.accepted().is_none() || state.open().next().is_some() {
            return false;
        }
        let Some(counted) = counted(message, &events) else { return false };
        let mut balances = self.balances.borrow_mut();
        for (account, balance) in counted {
            balances.entry(account).or_default().add(&balance);
        }
        true
    }

    fn rows(&self) -> Vec<CarriedRow> {
        let balances = self.balances.borrow();
        let row = |(account, balance): (&Account, &Balance)| {
            (BALANCES.into(), key_of(account), value_of(balance))
        };
        balances.iter().map(row).collect()
    }
}

fn decoded(events: &[Recorded]) -> Option<Vec<(MessageEvent, Timestamp)>> {
    let decode = |recorded: &Recorded| match Event::decode(recorded.stream, &recorded.data) {
        Ok(Event::Message(event)) => Some((event, recorded.at)),
        Ok(_) | Err(_) => None,
    };
    events.iter().map(decode).collect()
}

fn counted(
    message: MessageId,
    events: &[(MessageEvent, Timestamp)],
) -> Option<BTreeMap<Account, Balance>> {
    let mut ledger = Ledger::default();
    for (number, (event, at)) in events.iter().enumerate() {
        if ledger.take(message, event, *at).is_err() {
            let earlier = events.iter().take(number);
            ledger.recall(message, earlier.map(|(event, at)| (event, *at)));
            ledger.take(message, event, *at).ok()?;
        }
    }
    Some(ledger.balances().clone())
}

fn key_of(account: &Account) -> Box<[u8]> {
    let Account { tenant, app, day } = account;
    [&tenant.as_bytes()[..], &app.as_bytes()[..], &day.number().to_be_bytes()].concat().into()
}

fn value_of(balance: &Balance) -> Box<[u8]> {
    let Balance { accepted, delivered, bounced, failed, suppressed, canceled, in_flight } = balance;
    [accepted, delivered, bounced, failed, suppressed, canceled, in_flight]
        .into_iter()
        .flat_map(|count| count.to_le_bytes())
        .collect()
}

/// The balances of what was ever pruned.
pub(crate) fn carried_balances(
    log: &dyn EventLog,
) -> Result<BTreeMap<Account, Balance>, PruningError> {
    log.carried(BALANCES)
        .map(|row| {
            let (key, value) = row?;
            account_of(&key).zip(balance_of(&value)).ok_or(PruningError::Balances)
        })
        .collect()
}

fn account_of(key: &[u8]) -> Option<Account> {
    let (tenant, rest) = key.split_first_chunk()?;
    let (app, rest) = rest.split_first_chunk()?;
    let day = u32::from_be_bytes(rest.try_into().ok()?);
    Some(Account {
        tenant: model::TenantId::from_bytes(*tenant),
        app: model::AppId::from_bytes(*app),
        day: model::tls_report::Day::from_number(day),
    })
}

fn balance_of(value: &[u8]) -> Option<Balance> {
    let counts: Vec<u64> =
        value.as_chunks::<8>().0.iter().map(|count| u64::from_le_bytes(*count)).collect();
    let [accepted, delivered, bounced, failed, suppressed, canceled, in_flight] = counts[..] else {
        return None;
    };
    Some(Balance { accepted, delivered, bounced, failed, suppressed, canceled, in_flight })
}
