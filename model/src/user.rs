//! A user's sessions: who is signed in to the portal, and until when.
//!
//! The user itself (address, password) stands in its tenant's stream; what happens at every visit
//! has a stream of its own, so that a tenant's stays short.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    event::{SealedText, SecretHash, events},
    ids::TenantId,
    time::Timestamp,
};

/// A session that was not used for as long is over (OWASP ASVS 3.3: an idle timeout).
pub const SESSION_IDLE: Duration = Duration::from_hours(12);
/// A session is over after this, however much it is used.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// A use is recorded once this part of the idle time has gone by since the last that was: one
/// append an hour for a person at work, not one a request.
pub const SESSION_EXTENDED_EVERY: Duration = Duration::from_hours(1);
/// Most sessions of a user at once; the one that was used least recently ends for a new one.
pub const MAX_SESSIONS: usize = 20;

events! {
    /// An event of a user.
    UserEvent {
        /// Somebody signed in.
        SessionStarted = "user.session_started" v 1,
        /// The session was used: its idle time begins anew.
        SessionExtended = "user.session_extended" v 1,
        /// The session opens nothing any more.
        SessionEnded = "user.session_ended" v 1,
        /// There is another password.
        PasswordChanged = "user.password_changed" v 1,
    }
}

/// See [`UserEvent::SessionStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStarted {
    /// The user's tenant.
    pub tenant: TenantId,
    /// The keyed hash of the session's secret.
    pub session: SecretHash,
    /// When it is over unless it is used.
    pub idle_until: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

/// See [`UserEvent::SessionExtended`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionExtended {
    /// Which session.
    pub session: SecretHash,
    /// When it is over unless it is used again.
    pub idle_until: Timestamp,
}

/// See [`UserEvent::SessionEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// Which session.
    pub session: SecretHash,
    /// Why.
    pub reason: SessionEnd,
}

/// See [`UserEvent::PasswordChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordChanged {
    /// The user's tenant.
    pub tenant: TenantId,
    /// Address and password hash from now on, sealed.
    pub profile: SealedText,
}

/// Why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The user signed out.
    SignedOut,
    /// The user signed in again, and the browser got another secret.
    Rotated,
    /// There were too many.
    Displaced,
    /// The password was changed elsewhere.
    PasswordChanged,
}

/// A user folded from its events. [`User::default`] is one that never signed in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    sessions: BTreeMap<SecretHash, Session>,
}

/// A session that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// When it is over unless it is used.
    pub idle_until: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

impl Session {
    /// Whether it still opens anything.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.idle_until && now < self.expires_at
    }

    /// Whether a use at `now` is worth recording.
    pub fn wants_extension(&self, now: Timestamp) -> bool {
        let recorded = self.idle_until.minus(SESSION_IDLE);
        self.is_live(now) && now.since(recorded) >= SESSION_EXTENDED_EVERY
    }
}

impl User {
    /// Takes in what happened at `at`.
    pub fn evolve(&mut self, event: &UserEvent, at: Timestamp) {
        match event {
            UserEvent::SessionStarted(started) => {
                self.sessions.retain(|_, session| session.is_live(at));
                let SessionStarted { session, idle_until, expires_at, .. } = *started;
                self.sessions.insert(session, Session { idle_until, expires_at });
            }
            UserEvent::SessionExtended(extended) => {
                if let Some(session) = self.sessions.get_mut(&extended.session) {
                    session.idle_until = extended.idle_until;
                }
            }
            UserEvent::SessionEnded(ended) => {
                self.sessions.remove(&ended.session);
            }
            UserEvent::PasswordChanged(_) => {}
        }
    }

    /// The session of that secret, while it is live.
    pub fn session(&self, session: &SecretHash, now: Timestamp) -> Option<&Session> {
        self.sessions.get(session).filter(|session| session.is_live(now))
    }
}

/// What somebody wants of a user.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin a session; the one that the browser had before ends.
    SignIn {
        /// The user's tenant.
        tenant: TenantId,
        /// The keyed hash of the new session's secret.
        session: SecretHash,
        /// The session that it takes the place of.
        replaces: Option<SecretHash>,
    },
    /// Note that a session was used.
    Extend(SecretHash),
    /// End a session.
    SignOut(SecretHash),
    /// Change the password; every session but `keep` ends.
    ChangePassword {
        /// What is recorded.
        changed: PasswordChanged,
        /// The session that the change was asked in.
        keep: SecretHash,
    },
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such session, or not any more.
    #[error("there is no such session")]
    Unknown,
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(user: &User, command: &Command, now: Timestamp) -> Result<Vec<UserEvent>, Refusal> {
    let end = |session: SecretHash, reason| SessionEnded { session, reason }.into();
    match command {
        Command::SignIn { tenant, session, replaces } => {
            let mut events: Vec<UserEvent> = Vec::new();
            if let Some(replaced) = replaces.filter(|known| user.session(known, now).is_some()) {
                events.push(end(replaced, SessionEnd::Rotated));
            }
            let mut left: Vec<_> = user
                .sessions
                .iter()
                .filter(|(known, state)| state.is_live(now) && Some(**known) != *replaces)
                .collect();
            left.sort_unstable_by_key(|(_, state)| state.idle_until);
            let displaced = (left.len() + 1).saturating_sub(MAX_SESSIONS);
            let oldest = left.iter().take(displaced);
            events.extend(oldest.map(|(known, _)| end(**known, SessionEnd::Displaced)));
            events.push(
                SessionStarted {
                    tenant: *tenant,
                    session: *session,
                    idle_until: now.plus(SESSION_IDLE),
                    expires_at: now.plus(SESSION_LIFETIME),
                }
                .into(),
            );
            Ok(events)
        }
        Command::Extend(session) => {
            let state = user.session(session, now).ok_or(Refusal::Unknown)?;
            if !state.wants_extension(now) {
                return Ok(Vec::new());
            }
            let idle_until = now.plus(SESSION_IDLE).min(state.expires_at);
            Ok(vec![SessionExtended { session: *session, idle_until }.into()])
        }
        Command::SignOut(session) => {
            user.session(session, now).ok_or(Refusal::Unknown)?;
            Ok(vec![end(*session, SessionEnd::SignedOut)])
        }
        Command::ChangePassword { changed, keep } => {
            user.session(keep, now).ok_or(Refusal::Unknown)?;
            let others = user.sessions.keys().filter(|known| *known != keep);
            let ended = others.map(|known| end(*known, SessionEnd::PasswordChanged));
            Ok(std::iter::once(changed.clone().into()).chain(ended).collect())
        }
    }
}
