//! The read models as one thing: opened, followed, asked, made anew.

mod beside;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use eventlog::{CarriedRow, EventLog, Position, ReadError, Scan, Store, Vault};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::beside::{RebuildError, Rebuilding};
use crate::{
    alarms::{Alarms, AlarmsProjection},
    alerts::{Alerts, AlertsProjection},
    audit::{Audit, AuditProjection},
    erasures::{Erasures, ErasuresProjection},
    error::{Halt, OpenError, QueryError},
    feed::{Feed, FeedProjection, Herald},
    folds::{Folds, Until},
    follower::{Follower, Standing, follow_to_the_head},
    keys::{Keys, KeysProjection},
    layer::{Layers, Rows},
    letters::{Letters, LettersProjection},
    logs::{Logs, LogsProjection},
    messages::{Messages, MessagesProjection},
    policies::{Policies, PoliciesProjection},
    projection::Projection,
    sessions::{Sessions, SessionsProjection},
    stats::{Statistics, StatsProjection},
    store,
    suppressions::{Suppressions, SuppressionsProjection},
    template_history::{TemplateHistory, TemplateHistoryProjection},
    templates::{TemplateSourcesProjection, Templates, TemplatesProjection},
    tls_sessions::{TlsSessions, TlsSessionsProjection},
};

const NAMES: &[&str] = &[
    "keys",
    "policies",
    "alarms",
    "messages",
    "logs",
    "stats",
    "audit",
    "sessions",
    "templates",
    "template_sources",
    "suppressions",
    "tls_sessions",
    "letters",
    "alerts",
    "feed",
    "erasures",
    "template_history",
];

/// Those that follow from events of messages.
const CARRIED: &[&str] =
    &["keys", "alarms", "messages", "logs", "stats", "audit", "tls_sessions", "alerts", "feed"];

/// How far a rebuild has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last position taken in.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
}

/// How the read models are doing: for readiness and metrics.
#[derive(Debug, Clone)]
pub struct Health {
    /// The last position taken in.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
    /// Why they no longer follow the log, if they do not.
    pub halted: Option<Arc<Halt>>,
    /// Messages that have not ended; `None` when that cannot be read.
    pub unfinished: Option<u64>,
    /// Bytes on the disk.
    pub disk_bytes: u64,
}

/// The read models. Cheap to clone.
#[derive(Clone)]
pub struct ReadModels {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where everything lies.
    root: PathBuf,
    /// Where the tables lie: there, or below.
    place: Mutex<PathBuf>,
    log: Arc<dyn EventLog>,
    vault: Vault,
    store: Mutex<Store>,
    rebuilding: watch::Sender<Rebuilding>,
    layers: Layers,
    keys: Arc<Keys>,
    policies: Arc<Policies>,
    templates: Arc<Templates>,
    suppressions: Arc<Suppressions>,
    sessions: Arc<Sessions>,
    alarms: Alarms,
    messages: Messages,
    logs: Logs,
    stats: Statistics,
    audit: Audit,
    tls_sessions: TlsSessions,
    letters: Letters,
    alerts: Arc<Alerts>,
    feed: Feed,
    erasures: Erasures,
    template_history: TemplateHistory,
    standing: watch::Sender<Standing>,
    running: Mutex<Running>,
}

/// Who holds the folds.
enum Running {
    Idle(Box<Folds>),
    Following(Follower),
    /// The follower panicked, or its thread could not be started.
    Lost,
}

/// What opening is asked to do.
struct Opening<'a> {
    root: &'a Path,
    /// Where in `root` the tables are.
    place: PathBuf,
    log: Arc<dyn EventLog>,
    vault: Vault,
    until: Until,
    afresh: &'a dyn Fn(&str) -> bool,
    progress: &'a mut dyn FnMut(Progress),
}

impl ReadModels {
    /// The names of the read models.
    pub const fn names() -> &'static [&'static str] {
        NAMES
    }

    /// Opens the read models in `dir` and takes in all that the log holds by now. What is missing,
    /// damaged, of another version or not of this log is made anew. Blocks until then.
    pub fn open(dir: &Path, log: Arc<dyn EventLog>, vault: Vault) -> Result<Self, OpenError> {
        Self::open_with(dir, log, vault, &mut |_| {})
    }

    /// [`ReadModels::open`], telling how far it has come.
    pub fn open_with(
        dir: &Path,
        log: Arc<dyn EventLog>,
        vault: Vault,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, OpenError> {
        let (until, place) = (Until::Head, swept(dir));
        open(Opening { root: dir, place, log, vault, until, afresh: &|_| false, progress })
    }

    /// Opens the read models and makes one of them, or all, anew from the log.
    pub fn rebuild(
        dir: &Path,
        log: Arc<dyn EventLog>,
        vault: Vault,
        name: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, OpenError> {
        if let Some(name) = name.filter(|name| !NAMES.contains(name)) {
            return Err(OpenError::UnknownName { name: name.into(), known: NAMES.join(", ") });
        }
        let afresh = |table: &str| name.is_none_or(|name| name == table);
        let (until, place) = (Until::Head, swept(dir));
        open(Opening { root: dir, place, log, vault, until, afresh: &afresh, progress })
    }

    /// The read models as they were at `until`, made in `scratch`, a directory for this alone.
    /// They are not to be started: they would go on to the present.
    pub fn replay(
        scratch: &Path,
        log: Arc<dyn EventLog>,
        vault: Vault,
        until: Until,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, OpenError> {
        let place = scratch.to_owned();
        open(Opening { root: scratch, place, log, vault, until, afresh: &|_| true, progress })
    }

    /// Begins to follow the log, on a thread of its own. Does nothing when it follows already.
    pub fn start(&self) {
        let shared = &self.shared;
        let mut running = shared.running.lock();
        let folds = match std::mem::replace(&mut *running, Running::Lost) {
            Running::Idle(folds) => *folds,
            other => {
                *running = other;
                return;
            }
        };
        match Follower::start(folds, shared.place.lock().clone(), shared.standing.clone()) {
            Ok(follower) => *running = Running::Following(follower),
            Err(halt) => {
                tracing::error!(%halt, "the read models cannot follow the log");
                shared.standing.send_modify(|standing| standing.halted = Some(Arc::new(halt)));
            }
        }
    }

    /// Takes in what the log holds by now, on the thread that asks: for whoever wants each step to
    /// happen at a moment of its own choice. Does nothing while a thread follows, or once they have
    /// halted.
    pub fn follow_here(&self) {
        let shared = &self.shared;
        let mut running = shared.running.lock();
        let Running::Idle(folds) = &mut *running else { return };
        if shared.standing.borrow().halted.is_none() {
            follow_to_the_head(folds, &shared.place.lock(), &shared.standing);
        }
    }

    /// Stops following and makes everything durable. Blocks for the round that is under way.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// The last position that every read model has taken in.
    pub fn position(&self) -> Position {
        self.shared.standing.borrow().position
    }

    /// Waits until `to` is taken in, at most so long; whether it is. Answers at once when the read
    /// models have halted.
    pub async fn caught_up(&self, to: Position, within: Duration) -> bool {
        let mut standing = self.shared.standing.subscribe();
        let reached =
            standing.wait_for(|standing| standing.position >= to || standing.halted.is_some());
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(standing)) => standing.position >= to,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// How they are doing.
    pub fn health(&self) -> Health {
        let Standing { position, halted } = self.shared.standing.borrow().clone();
        Health {
            position,
            head: *self.shared.log.head().borrow(),
            halted,
            unfinished: self.shared.alarms.len().ok(),
            disk_bytes: self.shared.store.lock().disk_bytes(),
        }
    }

    /// The API keys.
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Tenants, users, apps and domains.
    pub fn policies(&self) -> &Policies {
        &self.shared.policies
    }

    /// What apps send with.
    pub fn templates(&self) -> &Templates {
        &self.shared.templates
    }

    /// What apps sent with.
    pub fn template_history(&self) -> &TemplateHistory {
        &self.shared.template_history
    }

    /// Whom apps do not write to.
    pub fn suppressions(&self) -> &Suppressions {
        &self.shared.suppressions
    }

    /// Who is signed in to the portal.
    pub fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// When unfinished messages must be looked at.
    pub fn alarms(&self) -> &Alarms {
        &self.shared.alarms
    }

    /// Messages in detail.
    pub fn messages(&self) -> &Messages {
        &self.shared.messages
    }

    /// Events by app.
    pub fn logs(&self) -> &Logs {
        &self.shared.logs
    }

    /// Counts by app.
    pub fn stats(&self) -> &Statistics {
        &self.shared.stats
    }

    /// Events by tenant.
    pub fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// TLS sessions by day and receiver's domain.
    pub fn tls_sessions(&self) -> &TlsSessions {
        &self.shared.tls_sessions
    }

    /// Letters that came to offices.
    pub fn letters(&self) -> &Letters {
        &self.shared.letters
    }

    /// Who was to be forgotten.
    pub fn erasures(&self) -> &Erasures {
        &self.shared.erasures
    }

    /// What of ours receivers find wrong.
    pub fn alerts(&self) -> &Alerts {
        &self.shared.alerts
    }

    /// Events by app, numbered.
    pub fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// Every row that must be carried in the log when events are pruned up to where these read models
    /// stand: of those that follow from events of messages.
    pub fn carried(
        &self,
    ) -> Result<impl Iterator<Item = Result<CarriedRow, ReadError>> + use<>, QueryError> {
        let mut tables = Vec::new();
        for name in CARRIED {
            tables.push((*name, rows_of(&self.shared.layers, name)));
        }
        Ok(tables.into_iter().flat_map(|(name, rows)| {
            rows.scan(Scan::all()).map(move |row| match row {
                Ok((key, value)) => Ok((Box::from(name), key, value)),
                Err(error) => Err(ReadError::Store(error.to_string().into())),
            })
        }))
    }

    /// Every row of one read model, in the order of keys: length and bytes of the key, length and
    /// bytes of the value, lengths in four little-endian bytes. Equal logs give equal bytes. `None`
    /// when there is none of this name.
    pub fn dump(&self, name: &str) -> Result<Option<Vec<u8>>, QueryError> {
        let Some(number) = NAMES.iter().position(|known| *known == name) else { return Ok(None) };
        let mut bytes = Vec::new();
        for row in Rows::new(self.shared.layers.clone(), number).scan(Scan::all()) {
            let (key, value) = row?;
            for part in [&key, &value] {
                let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
        Ok(Some(bytes))
    }

    /// What the read models hold, in numbers; and a digest of each, to compare two of them.
    pub fn summary(&self) -> Result<serde_json::Value, QueryError> {
        let mut digests = serde_json::Map::new();
        for name in NAMES {
            let rows = self.dump(name)?.unwrap_or_default();
            digests.insert((*name).into(), blake3::hash(&rows).to_hex().as_str().into());
        }
        let policies = self.policies();
        Ok(serde_json::json!({
            "position": self.position().get(),
            "tenants": policies.tenants().len(),
            "users": policies.user_count(),
            "apps": policies.app_count(),
            "domains": policies.domain_count(),
            "apiKeys": { "all": self.keys().len(), "active": self.keys().active() },
            "messages": self.messages().count()?,
            "unfinished": self.alarms().len()?,
            "recipients": self.stats().overall()?,
            "digests": digests,
        }))
    }
}

impl Shared {
    fn stop(&self) {
        let mut running = self.running.lock();
        *running = match std::mem::replace(&mut *running, Running::Lost) {
            Running::Following(follower) => match follower.stop() {
                Some(folds) => Running::Idle(Box::new(folds)),
                None => Running::Lost,
            },
            Running::Idle(mut folds) => {
                if let Err(error) = folds.flush() {
                    tracing::error!(%error, "the read models could not be made durable");
                }
                Running::Idle(folds)
            }
            Running::Lost => Running::Lost,
        };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ReadModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadModels")
            .field("dir", &self.shared.root)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// Where the tables are, rid of what lies beside them.
fn swept(root: &Path) -> PathBuf {
    let place = store::current(root);
    store::sweep(root, &place);
    place
}

/// Opens; damaged tables are made anew, once.
fn open(mut opening: Opening<'_>) -> Result<ReadModels, OpenError> {
    match open_once(&mut opening) {
        Err(OpenError::Halted(halt)) if halt.is_damage() && !store::is_locked(&halt) => {
            tracing::warn!(%halt, "the read models are made anew");
            store::condemn(&opening.place);
            open_once(&mut opening)
        }
        opened => opened,
    }
}

/// The rows of the table of this name.
fn rows_of(layers: &Layers, name: &str) -> Rows {
    let number = NAMES.iter().position(|known| *known == name).unwrap_or(NAMES.len());
    Rows::new(layers.clone(), number)
}

/// Whether what is asked for was not before events were pruned.
fn check_there(log: &dyn EventLog, until: Until) -> Result<(), OpenError> {
    match log.pruned().map_err(Halt::from)? {
        Some(pruned) if until.is_before(pruned.last, pruned.at) => {
            Err(OpenError::Pruned { position: pruned.last })
        }
        _ => Ok(()),
    }
}

fn open_once(opening: &mut Opening<'_>) -> Result<ReadModels, OpenError> {
    check_there(opening.log.as_ref(), opening.until)?;
    let store = store::open(&opening.place)?;
    let (log, vault) = (Arc::clone(&opening.log), opening.vault.clone());
    let tables = NAMES.iter().map(|name| store.table(name)).collect::<Result<_, _>>();
    let layers = Layers::above(tables.map_err(Halt::from)?);
    let rows = |name: &str| rows_of(&layers, name);
    let keys = Arc::new(Keys::default());
    let policies = Arc::new(Policies::new(Arc::clone(&keys)));
    let sessions = Arc::new(Sessions::default());
    let templates = Arc::new(Templates::new(rows("template_sources")));
    let suppressions =
        Arc::new(Suppressions::new(rows("suppressions"), Arc::clone(&log), vault.clone()));
    let template_history = TemplateHistory::new(rows("template_history"), vault.clone());
    let alerts = Arc::new(Alerts::default());
    let herald = Arc::new(Herald::default());
    // In the order of their names above.
    let projections: Vec<Box<dyn Projection>> = vec![
        Box::new(KeysProjection::new(Arc::clone(&keys), vault.clone())),
        Box::new(PoliciesProjection::new(Arc::clone(&policies), vault.clone())),
        Box::new(AlarmsProjection::default()),
        Box::new(MessagesProjection),
        Box::new(LogsProjection),
        Box::new(StatsProjection::default()),
        Box::new(AuditProjection),
        Box::new(SessionsProjection::new(Arc::clone(&sessions))),
        Box::new(TemplatesProjection::new(Arc::clone(&templates), vault)),
        Box::new(TemplateSourcesProjection),
        Box::new(SuppressionsProjection(Arc::clone(&suppressions))),
        Box::new(TlsSessionsProjection::default()),
        Box::new(LettersProjection),
        Box::new(AlertsProjection(Arc::clone(&alerts))),
        Box::new(FeedProjection::new(Arc::clone(&herald))),
        Box::new(ErasuresProjection),
        Box::new(TemplateHistoryProjection),
    ];
    let messages = Messages::new(rows("messages"), Arc::clone(&log));
    let logs = Logs::new(rows("logs"), Arc::clone(&log), messages.clone());
    let feed = Feed::new(rows("feed"), Arc::clone(&log), messages.clone(), herald);
    let (alarms, stats) = (Alarms::new(rows("alarms")), Statistics::new(rows("stats")));
    let audit = Audit::new(rows("audit"), Arc::clone(&log));
    let tls_sessions = TlsSessions::new(rows("tls_sessions"));
    let letters = Letters::new(rows("letters"), Arc::clone(&log));
    let erasures = Erasures::new(rows("erasures"), Arc::clone(&log));
    let mut folds =
        Folds::open(Arc::clone(&log), store.clone(), layers.clone(), projections, opening.afresh)?;
    while folds.round(opening.until)? {
        let head = *log.head().borrow();
        (opening.progress)(Progress { position: folds.position(), head });
    }
    folds.flush().map_err(Halt::from)?;
    let standing = Standing { position: folds.position(), halted: None };
    Ok(ReadModels {
        shared: Arc::new(Shared {
            root: opening.root.to_owned(),
            place: Mutex::new(opening.place.clone()),
            log,
            vault: opening.vault.clone(),
            store: Mutex::new(store),
            rebuilding: watch::Sender::new(Rebuilding::default()),
            layers,
            keys,
            policies,
            templates,
            suppressions,
            sessions,
            alarms,
            messages,
            logs,
            stats,
            audit,
            tls_sessions,
            letters,
            alerts,
            feed,
            erasures,
            template_history,
            standing: watch::Sender::new(standing),
            running: Mutex::new(Running::Idle(Box::new(folds))),
        }),
    })
}
