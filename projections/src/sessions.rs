//! Sessions of the portal, in memory: found by the keyed hash of their secret on every request.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{
    Event, StreamId, TenantId, Timestamp, UserId,
    event::{KeyedHash, SecretHash},
    user::{Session, UserEvent},
};

use crate::{
    codec::{Malformed, Reader, join},
    error::Halt,
    fact::{Fact, malformed},
    layer::Round,
    projection::Projection,
};

/// How often memory is rid of sessions that are over.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The keyed hash of its secret.
    pub hash: SecretHash,
    /// Who is signed in.
    pub user: UserId,
    /// The user's tenant.
    pub tenant: TenantId,
    /// When it began.
    pub started_at: Timestamp,
    /// Until when it may be used.
    pub times: Session,
}

/// Every session that has not ended. Reads take no lock.
#[derive(Debug, Default)]
pub struct Sessions {
    by_hash: papaya::HashMap<SecretHash, Arc<SessionView>>,
    of_user: papaya::HashMap<UserId, Arc<[SecretHash]>>,
    swept_at_ms: AtomicU64,
}

impl Sessions {
    /// The session whose secret has this keyed hash, while it is live.
    pub fn find(&self, hash: &SecretHash, now: Timestamp) -> Option<Arc<SessionView>> {
        self.by_hash.pin().get(hash).filter(|session| session.times.is_live(now)).cloned()
    }

    /// The live sessions of a user, the one that began first, first.
    pub fn of_user(&self, user: UserId, now: Timestamp) -> Vec<Arc<SessionView>> {
        let hashes = self.of_user.pin().get(&user).cloned().unwrap_or_default();
        hashes.iter().filter_map(|hash| self.find(hash, now)).collect()
    }

    /// How many are in memory, those too that are over and were not swept out yet.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Drops what is over by `now` from memory, unless that was done within the hour. Rows stay
    /// as they are: they follow from the events alone, and a user's are cleared at the next sign-in.
    pub fn sweep(&self, now: Timestamp) {
        let swept = self.swept_at_ms.load(Ordering::Relaxed);
        if now.since(Timestamp::from_millis(swept)) < SWEEP_EVERY {
            return;
        }
        self.swept_at_ms.store(now.as_millis(), Ordering::Relaxed);
        self.by_hash.pin().retain(|_, session| session.times.is_live(now));
        let by_hash = self.by_hash.pin();
        self.of_user.pin().retain(|_, hashes| hashes.iter().any(|hash| by_hash.contains_key(hash)));
    }

    /// Takes the place of all that was known of a user.
    fn replace(&self, user: UserId, row: &Row) {
        let (by_hash, of_user) = (self.by_hash.pin(), self.of_user.pin());
        let before = of_user.get(&user).cloned().unwrap_or_default();
        for gone in before.iter().filter(|hash| !row.sessions.contains_key(*hash)) {
            by_hash.remove(gone);
        }
        let mut order: Vec<_> = row.sessions.iter().collect();
        order.sort_unstable_by_key(|(hash, (started_at, _))| (*started_at, **hash));
        for (hash, (started_at, times)) in &order {
            let view = SessionView {
                hash: **hash,
                user,
                tenant: row.tenant,
                started_at: *started_at,
                times: *times,
            };
            by_hash.insert(**hash, Arc::new(view));
        }
        if order.is_empty() {
            of_user.remove(&user);
        } else {
            of_user.insert(user, order.into_iter().map(|(hash, _)| *hash).collect());
        }
    }
}

/// All sessions of one user that have not ended: one row, so that those that ran out go when the
/// next begins, and a user leaves no more than [`model::user::MAX_SESSIONS`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    tenant: TenantId,
    sessions: BTreeMap<SecretHash, (Timestamp, Session)>,
}

impl Row {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.tenant.as_bytes().to_vec();
        for (hash, (started_at, times)) in &self.sessions {
            let millis = [*started_at, times.idle_until, times.expires_at]
                .map(|time| time.as_millis().to_le_bytes());
            bytes.extend(join(&[&hash.0, millis.as_flattened()]));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let tenant = TenantId::from_bytes(reader.array()?);
        let mut sessions = BTreeMap::new();
        while !reader.is_empty() {
            let hash = KeyedHash(reader.array()?);
            let [started_at, idle_until, expires_at] =
                [reader.u64()?, reader.u64()?, reader.u64()?].map(Timestamp::from_millis);
            sessions.insert(hash, (started_at, Session { idle_until, expires_at }));
        }
        Ok(Self { tenant, sessions })
    }
}

/// Folds the sessions.
pub(crate) struct SessionsProjection {
    sessions: Arc<Sessions>,
}

const NAME: &str = "sessions";

impl SessionsProjection {
    pub(crate) const fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }
}

impl Projection for SessionsProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (StreamId::User(user), Some(Event::User(event))) =
            (fact.recorded.stream, fact.known.other())
        else {
            return Ok(());
        };
        let at = fact.recorded.at;
        let key = key(user);
        let known = round.get(&key)?.map(Row::read).transpose();
        let mut row = match (known.map_err(|_| malformed(NAME))?, event) {
            (Some(row), _) => row,
            (None, UserEvent::SessionStarted(started)) => {
                Row { tenant: started.tenant, sessions: BTreeMap::new() }
            }
            // Nothing that could be extended or ended.
            (None, _) => return Ok(()),
        };
        match event {
            UserEvent::SessionStarted(started) => {
                row.sessions.retain(|_, (_, times)| times.is_live(at));
                let times =
                    Session { idle_until: started.idle_until, expires_at: started.expires_at };
                row.sessions.insert(started.session, (at, times));
            }
            UserEvent::SessionExtended(extended) => {
                if let Some((_, times)) = row.sessions.get_mut(&extended.session) {
                    times.idle_until = extended.idle_until;
                }
            }
            UserEvent::SessionEnded(ended) => {
                row.sessions.remove(&ended.session);
            }
            UserEvent::PasswordRefused(_)
            | UserEvent::PasswordChanged(_)
            | UserEvent::PasswordRehashed(_) => return Ok(()),
        }
        // An empty row stays: what is taken out of a table is not remembered.
        round.put(key, row.to_bytes());
        Ok(())
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        let read = || {
            let user = UserId::from_bytes(Reader::new(key.get(1..).ok_or(Malformed)?).array()?);
            Ok((user, Row::read(value)?))
        };
        let (user, row) = read().map_err(|_: Malformed| malformed(NAME))?;
        self.sessions.replace(user, &row);
        Ok(())
    }
}

fn key(user: UserId) -> Vec<u8> {
    join(&[&[1], user.as_bytes()])
}
