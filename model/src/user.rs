//! A user's sessions: who is signed in to the portal, and until when.
//!
//! The user itself (address, password) stands in its tenant's stream; what happens at every visit
//! has a stream of its own, so that a tenant's stays short.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    event::{SealedText, SecretHash, events, is_zero},
    ids::TenantId,
    time::Timestamp,
};

/// A session that was not used for as long is over (OWASP ASVS 5.0, 7.3.1: a time without use).
pub const SESSION_IDLE: Duration = Duration::from_hours(12);
/// A session is over after this, however much it is used (7.3.2: a time in all).
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
        /// Somebody showed a password that is not this user's.
        PasswordRefused = "user.password_refused" v 1,
        /// The password is the same; it is kept as a hash of another cost.
        PasswordRehashed = "user.password_rehashed" v 1,
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
    /// Attempts before it that were refused and that no event tells of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u32,
}

/// See [`UserEvent::PasswordRefused`]. Of attempts within an hour the first has an event: who guesses
/// must not fill the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordRefused {
    /// The user's tenant.
    pub tenant: TenantId,
    /// Attempts before this one that were refused and that no event tells of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u32,
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
    /// Which change it is: 1 for the first.
    pub number: u32,
    /// Address and password hash from now on, sealed.
    pub profile: SealedText,
}

/// See [`UserEvent::PasswordRehashed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordRehashed {
    /// The user's tenant.
    pub tenant: TenantId,
    /// How often the password was changed before.
    pub number: u32,
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
    password_changes: u32,
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
        // Once it is idle as late as it is over, there is nothing more to gain.
        self.is_live(now)
            && self.idle_until < self.expires_at
            && now.since(recorded) >= SESSION_EXTENDED_EVERY
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
            UserEvent::PasswordChanged(changed) => self.password_changes = changed.number,
            UserEvent::PasswordRefused(_) | UserEvent::PasswordRehashed(_) => {}
        }
    }

    /// How often the password was changed.
    pub const fn password_changes(&self) -> u32 {
        self.password_changes
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = (&SecretHash, &Session)> {
        self.sessions.iter().filter(move |(_, session)| session.is_live(now))
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
        /// The password that was shown: how often it had been changed then.
        number: u32,
        /// Attempts before that were refused and that no event tells of.
        refused: u32,
    },
    /// Note that a session was used.
    Extend(SecretHash),
    /// End a session.
    SignOut(SecretHash),
    /// Change the password; every session but `keep` ends.
    ChangePassword {
        /// What is recorded. Its number is the one after the password that was shown.
        changed: PasswordChanged,
        /// The session that the change was asked in.
        keep: SecretHash,
    },
    /// Note that a password was refused.
    Refuse(PasswordRefused),
    /// Keep the password as another hash.
    Rehash(PasswordRehashed),
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such session, or not any more.
    #[error("there is no such session")]
    Unknown,
    /// The password was changed since it was looked at: what was shown opens nothing any more.
    #[error("the password was changed meanwhile")]
    Outdated,
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(user: &User, command: &Command, now: Timestamp) -> Result<Vec<UserEvent>, Refusal> {
    match command {
        Command::SignIn { tenant, session, replaces, number, refused } => {
            is_current(user, *number)?;
            let mut events = ended_for_one_more(user, *replaces, now);
            events.push(
                SessionStarted {
                    tenant: *tenant,
                    session: *session,
                    idle_until: now.plus(SESSION_IDLE),
                    expires_at: now.plus(SESSION_LIFETIME),
                    refused: *refused,
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
            is_current(user, changed.number.saturating_sub(1))?;
            let others = user.live(now).filter(|(known, _)| *known != keep);
            let ended = others.map(|(known, _)| end(*known, SessionEnd::PasswordChanged));
            Ok(std::iter::once(changed.clone().into()).chain(ended).collect())
        }
        Command::Refuse(refused) => Ok(vec![refused.clone().into()]),
        Command::Rehash(rehashed) => {
            is_current(user, rehashed.number)?;
            Ok(vec![rehashed.clone().into()])
        }
    }
}

fn end(session: SecretHash, reason: SessionEnd) -> UserEvent {
    SessionEnded { session, reason }.into()
}

const fn is_current(user: &User, number: u32) -> Result<(), Refusal> {
    if user.password_changes == number { Ok(()) } else { Err(Refusal::Outdated) }
}

/// The ends of the session that is replaced and of those that are too many beside a new one.
fn ended_for_one_more(user: &User, replaces: Option<SecretHash>, now: Timestamp) -> Vec<UserEvent> {
    let replaced = replaces.filter(|known| user.session(known, now).is_some());
    let mut events: Vec<_> =
        replaced.map(|known| end(known, SessionEnd::Rotated)).into_iter().collect();
    let mut left: Vec<_> = user.live(now).filter(|(known, _)| Some(**known) != replaced).collect();
    left.sort_unstable_by_key(|(known, state)| (state.idle_until, **known));
    let displaced = (left.len() + 1).saturating_sub(MAX_SESSIONS);
    events
        .extend(left.iter().take(displaced).map(|(known, _)| end(**known, SessionEnd::Displaced)));
    events
}

#[cfg(test)]
mod tests;
