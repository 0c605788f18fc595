//! Signing in to the portal, and out of it.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use eventlog::{HashPurpose, Purpose};
use model::{
    By, Cause, Event, StreamId, TenantId, Timestamp, UserId,
    address::EmailAddress,
    event::{KeyedHash, RecipientHash, SealedText, SecretHash},
    profile::{Profile, UserProfile},
    user::{self, Command, PasswordChanged, PasswordRehashed, Refusal, User, UserEvent},
};
use projections::{SessionView, UserView};

use crate::{
    Platform,
    accounts::{BASE62, characters},
    admission::Overloaded,
    entropy::Lots,
    error::ChangeError,
    gateway::first_half,
    governed::{Governed, Governor, carry_out},
    node::Node,
    password::{Compared, NotLookedAt, Password, WeakPassword},
    refusals,
    registry::Registry,
    sourced::Aggregate,
    throttle::TooEarly,
};

/// What every session's secret begins with.
const SECRET_PREFIX: &str = "ses_";
/// Random characters of a secret: 43 of 62 kinds are 256 bits.
const SECRET_CHARACTERS: usize = 43;

/// One user.
pub(crate) type UserActor = Governor<User>;

impl Aggregate for User {
    type Event = UserEvent;

    fn own(event: Event) -> Option<UserEvent> {
        match event {
            Event::User(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &UserEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &UserEvent, at: Timestamp) {
        Self::evolve(self, event, at);
    }
}

impl Governed for User {
    type Id = UserId;
    type Command = Command;
    type Refusal = Refusal;

    fn stream(id: UserId) -> StreamId {
        StreamId::User(id)
    }

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<UserEvent>, Refusal> {
        user::decide(self, command, now)
    }

    fn registry(node: &Node) -> &Arc<Registry<UserActor>> {
        &node.users
    }
}

/// A session's secret: in the browser's cookie, kept as a keyed hash alone.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret(String);

impl SessionSecret {
    /// The text, for the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

/// Somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// The user's tenant.
    pub tenant: TenantId,
    /// The session's secret, this once.
    pub secret: SessionSecret,
}

/// Why somebody is not signed in, or a password not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Address and password do not belong together.
    #[error("the address and the password do not belong together")]
    InvalidCredentials,
    /// There were too many failures.
    #[error("too many failures")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// The new password is none.
    #[error("the password {0}")]
    Weak(WeakPassword),
    /// Too much is under way.
    #[error("too much is under way")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// It was not recorded.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<TooEarly> for SignInError {
    fn from(TooEarly { retry_after }: TooEarly) -> Self {
        Self::Throttled { retry_after }
    }
}

impl From<NotLookedAt> for SignInError {
    fn from(error: NotLookedAt) -> Self {
        match error {
            NotLookedAt::Overloaded => {
                Self::Overloaded { retry_after: Overloaded::retry_after(&Lots::default()) }
            }
            NotLookedAt::Internal => Self::Change(ChangeError::Internal),
        }
    }
}

impl Platform {
    /// Makes a tenant with its first user, who is signed in. An address belongs to one user of one
    /// tenant.
    pub async fn register(
        &self,
        name: &str,
        email: EmailAddress,
        password: Password,
        address: IpAddr,
    ) -> Result<SignedIn, SignInError> {
        let node = self.node();
        node.throttle.begin_unnamed(address, node.now())?;
        password.check(&[name, &email.to_string()]).map_err(SignInError::Weak)?;
        let tenant =
            self.create_tenant(By::Registration, name, email.clone(), Some(password)).await?;
        let user = node.read.policies().user_by_email(&self.account_hash(&email));
        let user = user.ok_or(ChangeError::NotYetVisible)?;
        if user.tenant != tenant {
            return Err(ChangeError::Internal.into());
        }
        self.begin_session(&user, None).await
    }

    /// Signs somebody in. A wrong password and an unknown address take as long and are answered
    /// alike. The session that the browser had before ends.
    pub async fn sign_in(
        &self,
        email: &str,
        password: Password,
        address: IpAddr,
        replaces: Option<&str>,
    ) -> Result<SignedIn, SignInError> {
        let node = self.node();
        let parsed = EmailAddress::parse(email.trim()).ok();
        let account = match &parsed {
            Some(email) => self.account_hash(email),
            // What is no address is nobody's, and is counted all the same.
            None => self.hash_of(email.trim().as_bytes()),
        };
        let user = node.read.policies().user_by_email(&account).filter(|_| parsed.is_some());
        if let Err(too_early) = node.throttle.begin(account, address, node.now()) {
            refusals::note(node, user.as_deref(), By::Visitor);
            return Err(too_early.into());
        }
        let hash = user.as_ref().and_then(|user| user.profile.password_hash.as_deref());
        let compared = node.passwords.compare(&password, hash).await?;
        let (Some(user), Compared::Same { outdated }) = (user.as_ref(), compared) else {
            refusals::note(node, user.as_deref(), By::Visitor);
            return Err(SignInError::InvalidCredentials);
        };
        node.throttle.forgive(account, address);
        if outdated {
            self.rehash(user, &password).await;
        }
        self.begin_session(user, replaces).await
    }

    /// Ends a session. One that is over already is over.
    pub async fn sign_out(&self, secret: &str) -> Result<(), ChangeError> {
        let node = self.node();
        let hash = self.session_hash(secret);
        let Some(session) = node.read.sessions().find(&hash, node.now()) else { return Ok(()) };
        match self
            .change::<User>(By::User(session.user), session.user, vec![Command::SignOut(hash)])
            .await
        {
            Err(ChangeError::User(Refusal::Unknown)) => Ok(()),
            done => done,
        }
    }

    /// The session with this secret, if it is live. That it was used is recorded once an hour.
    ///
    /// It is looked up by a keyed hash, so the time that takes says nothing of any secret.
    pub async fn session(&self, secret: &str, now: Timestamp) -> Option<Arc<SessionView>> {
        let node = self.node();
        let sessions = node.read.sessions();
        sessions.sweep(now);
        let hash = self.session_hash(secret);
        let session = sessions.find(&hash, now)?;
        if session.times.wants_extension(now) {
            let extend = vec![Command::Extend(hash)];
            // Not recorded: then it is at the next request.
            if carry_out::<User>(node, session.user, extend, By::User(session.user).into())
                .await
                .is_err()
            {
                tracing::warn!(user = %session.user, "the use of a session was not recorded");
            }
        }
        Some(session)
    }

    /// Changes the password of whoever is signed in; every other session ends.
    pub async fn change_password(
        &self,
        session: &SessionView,
        address: IpAddr,
        current: Password,
        new: Password,
    ) -> Result<(), SignInError> {
        let node = self.node();
        let user = node.read.policies().user(session.user).ok_or(ChangeError::Internal)?;
        let account = self.account_hash(&user.profile.email);
        if let Err(too_early) = node.throttle.begin(account, address, node.now()) {
            refusals::note(node, Some(&user), By::User(user.id));
            return Err(too_early.into());
        }
        let hash = user.profile.password_hash.as_deref();
        if node.passwords.compare(&current, hash).await? == Compared::Different {
            refusals::note(node, Some(&user), By::User(user.id));
            return Err(SignInError::InvalidCredentials);
        }
        node.throttle.forgive(account, address);
        new.check(&[&user.profile.email.to_string()]).map_err(SignInError::Weak)?;
        let hash = node.passwords.hash(&new).await?;
        let changed = PasswordChanged {
            tenant: user.tenant,
            number: user.password_changes.saturating_add(1),
            profile: self.sealed_user(&user, hash)?,
        };
        let command = Command::ChangePassword { changed, keep: session.hash };
        Ok(self.change::<User>(By::User(user.id), user.id, vec![command]).await?)
    }

    async fn begin_session(
        &self,
        user: &UserView,
        replaces: Option<&str>,
    ) -> Result<SignedIn, SignInError> {
        let random = characters(SECRET_CHARACTERS, BASE62).map_err(ChangeError::from)?;
        let secret = format!("{SECRET_PREFIX}{random}");
        let session = self.session_hash(&secret);
        let node = self.node();
        // A secret of somebody else's session is left alone: it is not this browser's to end.
        let replaces = replaces.map(|secret| self.session_hash(secret)).filter(|hash| {
            node.read.sessions().find(hash, node.now()).is_some_and(|own| own.user == user.id)
        });
        let (tenant, number) = (user.tenant, user.password_changes);
        let refused = node.refusals.take_untold(Some(user.id));
        let command = Command::SignIn { tenant, session, replaces, number, refused };
        let done = self.change::<User>(By::User(user.id), user.id, vec![command]).await;
        if !matches!(done, Ok(()) | Err(ChangeError::NotYetVisible)) {
            node.refusals.give_back(Some(user.id), refused);
        }
        match done {
            // The password was changed while this one was looked at.
            Err(ChangeError::User(Refusal::Outdated)) => {
                refusals::note(node, Some(user), By::Visitor);
                return Err(SignInError::InvalidCredentials);
            }
            done => done?,
        }
        Ok(SignedIn { user: user.id, tenant: user.tenant, secret: SessionSecret(secret) })
    }

    /// Keeps a password as a hash of today's cost. That it fails is no reason not to sign in.
    async fn rehash(&self, user: &UserView, password: &Password) {
        let node = self.node();
        let Ok(hash) = node.passwords.hash(password).await else { return };
        let Ok(profile) = self.sealed_user(user, hash) else { return };
        let rehashed =
            PasswordRehashed { tenant: user.tenant, number: user.password_changes, profile };
        let rehash = vec![Command::Rehash(rehashed)];
        if carry_out::<User>(node, user.id, rehash, By::User(user.id).into()).await.is_err() {
            tracing::warn!(user = %user.id, "a password's new hash was not recorded");
        }
    }

    fn sealed_user(&self, user: &UserView, hash: String) -> Result<SealedText, ChangeError> {
        let profile = UserProfile { email: user.profile.email.clone(), password_hash: Some(hash) };
        let vault = &self.node().vault;
        let sealed = vault.seal(Purpose::TenantProfile, user.id.as_bytes(), &profile.to_bytes())?;
        Ok(SealedText(sealed.to_base64().into()))
    }

    pub(crate) fn account_hash(&self, email: &EmailAddress) -> RecipientHash {
        self.hash_of(email.canonical().as_bytes())
    }

    fn hash_of(&self, account: &[u8]) -> RecipientHash {
        let hash = self.node().vault.keyed_hash(HashPurpose::Recipient, account);
        KeyedHash(first_half(hash))
    }

    fn session_hash(&self, secret: &str) -> SecretHash {
        KeyedHash(self.node().vault.keyed_hash(HashPurpose::Session, secret.as_bytes()))
    }
}
