//! Policies that are known: believed until their time is over, whatever the DNS says meanwhile,
//! asked for again before, and kept across restarts (RFC 8461, sections 3.3 and 5.1).
//!
//! # Why
//! Who can tamper with the DNS can make a policy's announcement vanish. What protects against him
//! is that the policy was known before, so it lies in a file, too: a restart would otherwise be
//! his chance.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use model::{Timestamp, address::DomainName, delivery::TlsFailure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::sts::Policy;

/// Most domains whose policy is known.
const MOST_DOMAINS: u64 = 50_000;
/// A policy that is this old is fetched again, or at half its time if that is sooner.
const REFRESH: Duration = Duration::from_hours(24);
/// How long a policy that could not be fetched is left alone (RFC 8461, section 3.3).
const HOLD: Duration = Duration::from_mins(5);
/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Largest file that is read back, in octets.
const MAX_FILE_OCTETS: u64 = 256 * 1024 * 1024;

/// A policy that was fetched.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What the DNS called it.
    pub(super) id: Box<str>,
    pub(super) policy: Arc<Policy>,
    pub(super) fetched_at: Timestamp,
}

impl Known {
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        now < self.fetched_at.plus(self.policy.max_age)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.fetched_at.plus(REFRESH.min(self.policy.max_age / 2))
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    domain: Box<str>,
    id: Box<str>,
    fetched_at: u64,
    policy: Box<str>,
}

pub(super) struct Cache {
    known: moka::sync::Cache<DomainName, Known>,
    failed: moka::sync::Cache<(DomainName, Box<str>), TlsFailure>,
    /// Who fetches what at present: others wait for it.
    gates: Mutex<HashMap<DomainName, Arc<tokio::sync::Mutex<()>>>>,
    file: Option<PathBuf>,
    writing: Arc<tokio::sync::Mutex<()>>,
    gathering: AtomicBool,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("known", &self.known.entry_count()).finish_non_exhaustive()
    }
}

impl Cache {
    /// With what lies in the file. A file that cannot be read is begun anew: policies are fetched
    /// again when mail is due.
    pub(super) fn open(file: Option<PathBuf>) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(MOST_DOMAINS).build();
        let lines = file.as_deref().map_or_else(|| Ok(Vec::new()), read).unwrap_or_else(|error| {
            tracing::warn!(%error, "known MTA-STS policies could not be read");
            Vec::new()
        });
        for line in lines {
            if let (Ok(domain), Ok(policy)) =
                (DomainName::parse(&line.domain), Policy::parse(&line.policy))
            {
                let fetched_at = Timestamp::from_millis(line.fetched_at);
                known.insert(domain, Known { id: line.id, policy: Arc::new(policy), fetched_at });
            }
        }
        Self {
            known,
            failed: moka::sync::Cache::builder()
                .max_capacity(MOST_DOMAINS)
                .time_to_live(HOLD)
                .build(),
            gates: Mutex::default(),
            file,
            writing: Arc::default(),
            gathering: AtomicBool::new(false),
        }
    }

    pub(super) fn good(&self, domain: &DomainName, now: Timestamp) -> Option<Known> {
        self.known.get(domain).filter(|known| known.is_good(now))
    }

    /// Why a policy could not be had a moment ago.
    pub(super) fn failure(&self, domain: &DomainName, id: &str) -> Option<TlsFailure> {
        self.failed.get(&(domain.clone(), id.into()))
    }

    pub(super) fn fail(&self, domain: &DomainName, id: &str, failure: TlsFailure) {
        self.failed.insert((domain.clone(), id.into()), failure);
    }

    pub(super) fn learn(&self, domain: &DomainName, known: Known) {
        self.known.insert(domain.clone(), known);
    }

    /// One at a time for each domain.
    pub(super) fn gate(&self, domain: &DomainName) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.gates.lock().entry(domain.clone()).or_default())
    }

    /// Whoever waits at the gate still passes it.
    pub(super) fn open_gate(&self, domain: &DomainName) {
        self.gates.lock().remove(domain);
    }

    /// Whether somebody is to call [`Cache::write`] after [`GATHER`].
    pub(super) fn begin_gathering(&self) -> Option<Duration> {
        let first = self.file.is_some() && !self.gathering.swap(true, Ordering::SeqCst);
        first.then_some(GATHER)
    }

    /// Writes what is known and still good.
    pub(super) async fn write(&self, now: Timestamp) {
        self.gathering.store(false, Ordering::SeqCst);
        let Some(file) = self.file.clone() else { return };
        let lines: Vec<Line> = self
            .known
            .iter()
            .filter(|(_, known)| known.is_good(now))
            .map(|(domain, known)| Line {
                domain: domain.as_str().into(),
                id: known.id,
                fetched_at: known.fetched_at.as_millis(),
                policy: known.policy.text.clone(),
            })
            .collect();
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            write(&file, &lines)
        });
        if let Err(error) = written.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(%error, "known MTA-STS policies could not be written");
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<Line>> {
    match std::fs::metadata(file) {
        Ok(found) if found.len() > MAX_FILE_OCTETS => {
            return Err(io::Error::other("the file is too large"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    serde_json::from_slice(&std::fs::read(file)?).map_err(io::Error::other)
}

/// Beside it and then in its place: a crash leaves the old file or the new one.
fn write(file: &Path, lines: &[Line]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let bytes = serde_json::to_vec(lines).map_err(io::Error::other)?;
    let mut out = std::fs::File::create(&beside)?;
    io::Write::write_all(&mut out, &bytes)?;
    out.sync_all()?;
    std::fs::rename(&beside, file)
}
