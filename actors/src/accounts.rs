//! Tenants, apps, keys and domains, as asked for from outside.
//!
//! Each call names who asks, which is recorded, and ends when the read models show what it did, so that what was made can be used at once.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc, time::Duration};

use eventlog::{HashPurpose, Purpose, Sealed, VaultError};
use ipnet::IpNet;
use mail::{
    dkim::{self, GeneratedKey},
    records::{self, DomainSpec, ExpectedRecord},
};
use model::{
    ApiKeyId, AppId, By, DomainId, TenantId, Timestamp, UserId,
    address::{DomainName, EmailAddress, Mailbox},
    domain::{self, CheckedRecord, DkimAlgorithm, DkimKeyAdded, Domain, DomainAdded, Selector},
    event::{KeyedHash, SealedText},
    profile::{
        AppProfile, InvalidName, KeyProfile, Profile, TenantProfile, UserProfile, check_name,
    },
    source::Pool,
    tenant::{
        self, ApiKeyCreated, ApiKeyRevoked, AppCreated, AppUpdated, Scope, Tenant, TenantCreated,
        UserAdded,
    },
};
use projections::{AppView, DomainView};

use crate::{
    Platform,
    domain::key_owner,
    entropy::{self, NoEntropy},
    error::ChangeError,
    governed::{Governed, Undone, carry_out_with},
    node::Node,
    password::{NotLookedAt, Password},
};

/// How long the read models may take to show what was done.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
/// What every API key begins with.
const SECRET_PREFIX: &str = "lum_sk_";
/// Random characters of a secret: 40 of 62 kinds are 238 bits.
const SECRET_CHARACTERS: usize = 40;
/// Characters of a secret that may be shown again.
const SHOWN_CHARACTERS: usize = 12;
/// Random characters of a domain's token and of a selector.
const TOKEN_CHARACTERS: usize = 32;
const SELECTOR_CHARACTERS: usize = 8;

/// What an operator's token begins with.
const OPERATOR_PREFIX: &str = "lum_op_";

/// An API key's secret, or an operator's token: told once, kept as a keyed hash alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new token for those who run the server.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn for_operator() -> Result<Self, NoEntropy> {
        Ok(Self(format!("{OPERATOR_PREFIX}{}", characters(SECRET_CHARACTERS, BASE62)?)))
    }

    /// The text, for telling it to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An API key that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key.
    pub id: ApiKeyId,
    /// Its secret, this once.
    pub secret: Secret,
    /// The first characters of the secret, by which people recognise it.
    pub prefix: String,
}

/// An app to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApp {
    /// What it is called.
    pub name: String,
    /// The author of messages that name none.
    pub default_sender: Option<Mailbox>,
    /// What its keys may be allowed to do.
    pub permissions: Vec<Scope>,
}

impl NewApp {
    /// One that may do everything, without a default sender.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), default_sender: None, permissions: Scope::ALL.to_vec() }
    }
}

/// What is to be another about an app; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppChange {
    /// What it is called.
    pub name: Option<String>,
    /// The author of messages that name none; `Some(None)`: there is none any more.
    pub default_sender: Option<Option<Mailbox>>,
    /// What its keys may be allowed to do.
    pub permissions: Option<Vec<Scope>>,
}

/// An API key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Requests per minute.
    pub rate_limit_per_minute: u32,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// The only domains of authors that it may send as; empty: all that are verified.
    pub allowed_domains: Vec<DomainName>,
    /// The only networks that it may be used from; empty: everywhere.
    pub allowed_addresses: Vec<IpNet>,
}

impl NewApiKey {
    /// One without bounds but its rate.
    pub fn new(name: &str, scopes: &[Scope], rate_limit_per_minute: u32) -> Self {
        Self {
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            rate_limit_per_minute,
            expires_at: None,
            allowed_domains: Vec::new(),
            allowed_addresses: Vec::new(),
        }
    }
}

impl From<InvalidName> for ChangeError {
    fn from(_: InvalidName) -> Self {
        Self::InvalidName
    }
}

impl From<NotLookedAt> for ChangeError {
    fn from(error: NotLookedAt) -> Self {
        match error {
            NotLookedAt::Overloaded => Self::Unavailable,
            NotLookedAt::Internal => Self::Internal,
        }
    }
}

impl From<NoEntropy> for ChangeError {
    fn from(_: NoEntropy) -> Self {
        Self::Internal
    }
}

impl From<VaultError> for ChangeError {
    fn from(error: VaultError) -> Self {
        tracing::error!(%error, "something could not be sealed");
        Self::Internal
    }
}

impl<R> From<Undone<R>> for ChangeError
where
    Self: From<R>,
{
    fn from(undone: Undone<R>) -> Self {
        match undone {
            Undone::Refused(refusal) => refusal.into(),
            Undone::Unavailable => Self::Unavailable,
            Undone::Internal => Self::Internal,
        }
    }
}

impl Platform {
    /// Makes a tenant with its first user.
    pub async fn create_tenant(
        &self,
        by: By,
        name: &str,
        email: EmailAddress,
        password: Option<Password>,
    ) -> Result<TenantId, ChangeError> {
        let node = self.node();
        let now = node.now();
        check_name(name)?;
        let email_hash = self.account_hash(&email);
        let taken = || node.read.policies().user_by_email(&email_hash).is_some();
        if taken() {
            return Err(tenant::Refusal::AlreadyExists.into());
        }
        let password_hash = match password {
            Some(password) => Some(node.passwords.hash(&password).await?),
            None => None,
        };
        // One at a time from here on, so that an address is not taken twice.
        let _alone = self.adding().lock().await;
        if taken() {
            return Err(tenant::Refusal::AlreadyExists.into());
        }
        let tenant = TenantId::new(now, self.node().lots.bytes()?);
        let user = UserId::new(now, self.node().lots.bytes()?);
        let profile = TenantProfile { name: name.to_owned() };
        let commands = vec![
            tenant::Command::Create(TenantCreated {
                profile: self.seal_profile(tenant.as_bytes(), &profile)?,
            }),
            tenant::Command::AddUser(UserAdded {
                user,
                email: email_hash,
                profile: self
                    .seal_profile(user.as_bytes(), &UserProfile { email, password_hash })?,
            }),
        ];
        self.change::<Tenant>(by, tenant, commands).await?;
        Ok(tenant)
    }

    /// Makes an app.
    pub async fn create_app(
        &self,
        by: By,
        tenant: TenantId,
        new: NewApp,
    ) -> Result<AppId, ChangeError> {
        let NewApp { name, default_sender, permissions } = new;
        check_name(&name)?;
        let app = AppId::new(self.node().now(), self.node().lots.bytes()?);
        let profile = AppProfile { name, default_sender };
        let profile = self.seal_profile(app.as_bytes(), &profile)?;
        let permissions = Some(permissions);
        let command = tenant::Command::CreateApp(AppCreated { app, permissions, profile });
        self.change::<Tenant>(by, tenant, vec![command]).await?;
        Ok(app)
    }

    /// Changes an app. Keys may do from now on what both they and the app may.
    pub async fn update_app(
        &self,
        by: By,
        tenant: TenantId,
        app: AppId,
        change: AppChange,
    ) -> Result<Arc<AppView>, ChangeError> {
        let policies = self.node().read.policies();
        let own = || policies.app(app).filter(|view| view.tenant == tenant);
        let unknown = ChangeError::Tenant(tenant::Refusal::Unknown);
        // Of two changes at once the second must see what the first did.
        let _alone = self.adding().lock().await;
        let view = own().ok_or(unknown)?;
        let name = change.name.unwrap_or_else(|| view.name.clone());
        check_name(&name)?;
        let default_sender = change.default_sender.unwrap_or_else(|| view.default_sender.clone());
        let permissions =
            change.permissions.unwrap_or_else(|| view.permissions.iter().copied().collect());
        let profile = self.seal_profile(app.as_bytes(), &AppProfile { name, default_sender })?;
        let updated = AppUpdated { app, permissions: Some(permissions), profile };
        self.change::<Tenant>(by, tenant, vec![tenant::Command::UpdateApp(updated)]).await?;
        own().ok_or(unknown)
    }

    /// Makes an API key. Its secret is in the answer and nowhere else.
    pub async fn create_api_key(
        &self,
        by: By,
        tenant: TenantId,
        app: AppId,
        new: NewApiKey,
    ) -> Result<NewKey, ChangeError> {
        let NewApiKey { name, scopes, rate_limit_per_minute, expires_at, .. } = new;
        check_name(&name)?;
        let key = ApiKeyId::new(self.node().now(), self.node().lots.bytes()?);
        let secret = format!("{SECRET_PREFIX}{}", characters(SECRET_CHARACTERS, BASE62)?);
        let prefix: String = secret.chars().take(SHOWN_CHARACTERS).collect();
        let hash = self.node().vault.keyed_hash(HashPurpose::ApiKey, secret.as_bytes());
        let command = tenant::Command::CreateApiKey(ApiKeyCreated {
            app,
            key,
            prefix: prefix.as_str().into(),
            secret: KeyedHash(hash),
            scopes,
            rate_limit_per_minute,
            expires_at,
            allowed_domains: new.allowed_domains,
            allowed_addresses: new.allowed_addresses,
            profile: self.seal_profile(key.as_bytes(), &KeyProfile { name })?,
        });
        self.change::<Tenant>(by, tenant, vec![command]).await?;
        Ok(NewKey { id: key, secret: Secret(secret), prefix })
    }

    /// Takes an API key back. It opens nothing from the answer on.
    pub async fn revoke_api_key(
        &self,
        by: By,
        tenant: TenantId,
        app: AppId,
        key: ApiKeyId,
    ) -> Result<(), ChangeError> {
        let command = tenant::Command::RevokeApiKey(ApiKeyRevoked { app, key });
        self.change::<Tenant>(by, tenant, vec![command]).await
    }

    /// Adds a sending domain with a new RSA key.
    pub async fn add_domain(
        &self,
        by: By,
        tenant: TenantId,
        name: DomainName,
    ) -> Result<DomainId, ChangeError> {
        let node = self.node();
        let _alone = self.adding().lock().await;
        let policies = node.read.policies();
        if policies.tenant(tenant).is_none() {
            return Err(tenant::Refusal::Unknown.into());
        }
        let known = policies.domains_of(tenant);
        if known.iter().any(|known| known.name == name) {
            return Err(domain::Refusal::AlreadyExists.into());
        }
        if known.len() >= domain::MAX_DOMAINS {
            return Err(domain::Refusal::TooMany.into());
        }
        // A key is a second of arithmetic: not for a name that is refused.
        domain::check_name(&name)?;
        let domain = DomainId::new(node.now(), node.lots.bytes()?);
        let keys = self.new_signing_keys(domain).await?;
        let ownership_token = characters(TOKEN_CHARACTERS, BASE36)?.into();
        let added = DomainAdded { tenant, name, ownership_token };
        let command = domain::Command::Add(added, keys);
        self.change::<Domain>(by, domain, vec![command]).await?;
        Ok(domain)
    }

    /// A new RSA key, and an Ed25519 key for a second signature where that is configured.
    pub(crate) async fn new_signing_keys(
        &self,
        domain: DomainId,
    ) -> Result<Vec<DkimKeyAdded>, ChangeError> {
        let mut keys = vec![self.new_signing_key(domain, DkimAlgorithm::Rsa2048).await?];
        if self.node().options.ed25519_signature {
            keys.push(self.new_signing_key(domain, DkimAlgorithm::Ed25519).await?);
        }
        Ok(keys)
    }

    async fn new_signing_key(
        &self,
        domain: DomainId,
        algorithm: DkimAlgorithm,
    ) -> Result<DkimKeyAdded, ChangeError> {
        let label = format!("lum{}", characters(SELECTOR_CHARACTERS, BASE36)?);
        let selector = Selector::parse(&label).ok_or(ChangeError::Internal)?;
        // Tens of milliseconds of arithmetic.
        let made = self.node().blocking.run(move || dkim::generate(algorithm)).await;
        let GeneratedKey { private_pkcs8, public_record } =
            made.ok_or(ChangeError::Internal)?.map_err(|error| {
                tracing::error!(%error, "a signing key could not be made");
                ChangeError::Internal
            })?;
        let owner = key_owner(domain, &selector);
        let sealed = self.node().vault.seal(Purpose::DkimPrivateKey, &owner, &private_pkcs8)?;
        Ok(DkimKeyAdded {
            selector,
            algorithm,
            public_record: public_record.into(),
            private_key: SealedText(sealed.to_base64().into()),
        })
    }

    /// The records that a domain should publish.
    pub fn expected_records(&self, domain: &DomainView) -> Vec<ExpectedRecord> {
        let keys = signing_records(domain);
        records::expected(&spec(self.node(), domain, &keys, &[]))
    }

    /// Asks the DNS for a domain's records, and records what it says.
    pub async fn verify_domain(
        &self,
        by: By,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Arc<DomainView>, ChangeError> {
        let view = self.own_domain(tenant, domain)?;
        let checked = look(self.node(), &view).await;
        let command = domain::Command::RecordCheck(checked);
        self.change::<Domain>(by, domain, vec![command]).await?;
        self.own_domain(tenant, domain)
    }

    /// Makes new keys to sign with, unless new ones wait already. The present ones sign on until
    /// the records of the new ones are seen.
    pub async fn rotate_dkim(
        &self,
        by: By,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Arc<DomainView>, ChangeError> {
        // A key is a second of arithmetic: one at a time, and none for who gets none.
        let _alone = self.adding().lock().await;
        let view = self.own_domain(tenant, domain)?;
        match self.change::<Domain>(by, domain, vec![domain::Command::Rotate(vec![])]).await {
            Err(ChangeError::Domain(domain::Refusal::NoKey)) => {}
            done => return done.map(|()| view),
        }
        let keys = self.new_signing_keys(domain).await?;
        self.change::<Domain>(by, domain, vec![domain::Command::Rotate(keys)]).await?;
        self.own_domain(tenant, domain)
    }

    /// Gives a domain up. Messages that were accepted from it are still delivered.
    pub async fn remove_domain(
        &self,
        by: By,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<(), ChangeError> {
        self.own_domain(tenant, domain)?;
        self.change::<Domain>(by, domain, vec![domain::Command::Remove]).await
    }

    /// Another tenant's domain is an unknown one.
    pub(crate) fn own_domain(
        &self,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Arc<DomainView>, ChangeError> {
        let view = self.node().read.policies().domain(domain);
        view.filter(|view| view.tenant == tenant).ok_or(domain::Refusal::Unknown.into())
    }

    fn seal_profile(
        &self,
        owner: &[u8; 16],
        profile: &impl Profile,
    ) -> Result<SealedText, ChangeError> {
        let sealed = self.node().vault.seal(Purpose::TenantProfile, owner, &profile.to_bytes())?;
        Ok(SealedText(sealed.to_base64().into()))
    }

    /// Has commands carried out and waits until it shows.
    pub(crate) async fn change<A: Governed>(
        &self,
        by: By,
        id: A::Id,
        commands: Vec<A::Command>,
    ) -> Result<(), ChangeError>
    where
        ChangeError: From<A::Refusal>,
    {
        self.change_with::<A>(by, id, commands, Vec::new()).await
    }

    /// The same, with content that lies beside the first event.
    pub(crate) async fn change_with<A: Governed>(
        &self,
        by: By,
        id: A::Id,
        commands: Vec<A::Command>,
        content: Vec<Sealed>,
    ) -> Result<(), ChangeError>
    where
        ChangeError: From<A::Refusal>,
    {
        let node = self.node();
        carry_out_with::<A>(node, id, commands, content, by.into()).await?;
        let head = *node.journal.log().head().borrow();
        if node.read.caught_up(head, VISIBLE_WITHIN).await {
            Ok(())
        } else {
            Err(ChangeError::NotYetVisible)
        }
    }
}

/// Asks the DNS for a domain's records, and notes that it was asked.
pub(crate) async fn look(node: &Node, view: &DomainView) -> Vec<CheckedRecord> {
    view.last_look.note(node.now());
    let keys = signing_records(view);
    let sources = sending_addresses(node, view.tenant);
    records::check(node.router.resolver(), &spec(node, view, &keys, &sources)).await
}

/// The addresses that a tenant's mail may leave from, as far as the settings tell.
fn sending_addresses(node: &Node, tenant: TenantId) -> Vec<IpAddr> {
    let pools = &node.options.pools;
    let apps = node.read.policies().apps_of(tenant);
    let of_apps = apps.iter().filter_map(|app| pools.of_app(tenant, app.id));
    let numbers: BTreeSet<_> = of_apps.chain(pools.of_tenant(tenant)).collect();
    let used = numbers.into_iter().filter_map(|number| pools.get(number));
    used.flat_map(Pool::sources).map(|source| source.ip).collect()
}

fn spec<'a>(
    node: &'a Node,
    view: &'a DomainView,
    keys: &'a [(Selector, String)],
    sources: &'a [IpAddr],
) -> DomainSpec<'a> {
    DomainSpec {
        domain: &view.name,
        ownership_token: &view.ownership_token,
        dkim: keys,
        mail_host: node.options.helo_name.as_str(),
        sending_addresses: sources,
    }
}

fn signing_records(domain: &DomainView) -> Vec<(Selector, String)> {
    domain.keys.iter().map(|key| (key.selector.clone(), key.public_record.to_string())).collect()
}

pub(crate) const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Random characters of an alphabet, each as likely as the others.
pub(crate) fn characters(count: usize, alphabet: &[u8]) -> Result<String, NoEntropy> {
    let mut text = String::with_capacity(count);
    // Bytes beyond the last whole multiple would favour the first characters.
    let fair = 256 - 256 % alphabet.len();
    while text.len() < count {
        for byte in entropy::bytes::<64>()? {
            let byte = usize::from(byte);
            if byte < fair
                && text.len() < count
                && let Some(character) = alphabet.get(byte % alphabet.len())
            {
                text.push(char::from(*character));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_characters_use_the_whole_alphabet() {
        let text = characters(20_000, BASE62).unwrap();
        assert_eq!(text.len(), 20_000);
        for character in BASE62 {
            let count = text.bytes().filter(|byte| byte == character).count();
            assert!((200..=450).contains(&count), "{character}: {count}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret("lum_sk_x".into())), "Secret(…)");
    }
}
