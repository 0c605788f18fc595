//! Tenants, apps, keys and domains, as asked for from outside.
//!
//! Each call ends when the read models show what it did, so that what was made can be used at once.

use std::{fmt, sync::Arc, time::Duration};

use eventlog::{HashPurpose, Purpose, VaultError};
use mail::{
    dkim::{self, GeneratedKey},
    records::{self, DomainSpec, ExpectedRecord},
};
use model::{
    ApiKeyId, AppId, DomainId, TenantId, Timestamp, UserId,
    address::{DomainName, EmailAddress, Mailbox},
    domain::{self, CheckedRecord, DkimAlgorithm, DkimKeyAdded, Domain, DomainAdded, Selector},
    event::{KeyedHash, SealedText},
    profile::{AppProfile, KeyProfile, Profile, TenantProfile, UserProfile},
    tenant::{
        self, ApiKeyCreated, ApiKeyRevoked, AppCreated, Scope, Tenant, TenantCreated, UserAdded,
    },
};
use projections::DomainView;

use crate::{
    Platform,
    domain::key_owner,
    entropy::{self, NoEntropy},
    error::ChangeError,
    governed::{Governed, Undone, carry_out},
    node::Node,
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

/// An API key's secret: told once, kept as a keyed hash alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
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
        name: &str,
        email: EmailAddress,
        password_hash: Option<String>,
    ) -> Result<TenantId, ChangeError> {
        let now = self.node().now();
        let tenant = TenantId::new(now, entropy::bytes()?);
        let user = UserId::new(now, entropy::bytes()?);
        let profile = TenantProfile { name: name.to_owned() };
        let canonical = email.canonical();
        let hash = self.node().vault.keyed_hash(HashPurpose::Recipient, canonical.as_bytes());
        let commands = vec![
            tenant::Command::Create(TenantCreated {
                profile: self.seal_profile(tenant.as_bytes(), &profile)?,
            }),
            tenant::Command::AddUser(UserAdded {
                user,
                email: KeyedHash(hash.first_chunk::<16>().copied().unwrap_or_default()),
                profile: self
                    .seal_profile(user.as_bytes(), &UserProfile { email, password_hash })?,
            }),
        ];
        self.change::<Tenant>(tenant, commands).await?;
        Ok(tenant)
    }

    /// Makes an app.
    pub async fn create_app(
        &self,
        tenant: TenantId,
        name: &str,
        default_sender: Option<Mailbox>,
    ) -> Result<AppId, ChangeError> {
        let app = AppId::new(self.node().now(), entropy::bytes()?);
        let profile = AppProfile { name: name.to_owned(), default_sender };
        let profile = self.seal_profile(app.as_bytes(), &profile)?;
        let command = tenant::Command::CreateApp(AppCreated { app, permissions: None, profile });
        self.change::<Tenant>(tenant, vec![command]).await?;
        Ok(app)
    }

    /// Makes an API key. Its secret is in the answer and nowhere else.
    pub async fn create_api_key(
        &self,
        tenant: TenantId,
        app: AppId,
        name: &str,
        scopes: &[Scope],
        rate_limit_per_minute: u32,
        expires_at: Option<Timestamp>,
    ) -> Result<NewKey, ChangeError> {
        let key = ApiKeyId::new(self.node().now(), entropy::bytes()?);
        let secret = format!("{SECRET_PREFIX}{}", characters(SECRET_CHARACTERS, BASE62)?);
        let prefix: String = secret.chars().take(SHOWN_CHARACTERS).collect();
        let hash = self.node().vault.keyed_hash(HashPurpose::ApiKey, secret.as_bytes());
        let command = tenant::Command::CreateApiKey(ApiKeyCreated {
            app,
            key,
            prefix: prefix.as_str().into(),
            secret: KeyedHash(hash),
            scopes: scopes.to_vec(),
            rate_limit_per_minute,
            expires_at,
            allowed_domains: Vec::new(),
            allowed_addresses: Vec::new(),
            profile: self.seal_profile(key.as_bytes(), &KeyProfile { name: name.to_owned() })?,
        });
        self.change::<Tenant>(tenant, vec![command]).await?;
        Ok(NewKey { id: key, secret: Secret(secret), prefix })
    }

    /// Takes an API key back. It opens nothing from the answer on.
    pub async fn revoke_api_key(
        &self,
        tenant: TenantId,
        app: AppId,
        key: ApiKeyId,
    ) -> Result<(), ChangeError> {
        let command = tenant::Command::RevokeApiKey(ApiKeyRevoked { app, key });
        self.change::<Tenant>(tenant, vec![command]).await
    }

    /// Adds a sending domain with a new RSA key.
    pub async fn add_domain(
        &self,
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
        let domain = DomainId::new(node.now(), entropy::bytes()?);
        let keys = self.new_signing_keys(domain).await?;
        let ownership_token = characters(TOKEN_CHARACTERS, BASE36)?.into();
        let added = DomainAdded { tenant, name, ownership_token };
        let command = domain::Command::Add(added, keys);
        self.change::<Domain>(domain, vec![command]).await?;
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
        let made = tokio::task::spawn_blocking(move || dkim::generate(algorithm)).await;
        let GeneratedKey { private_pkcs8, public_record } =
            made.map_err(|_| ChangeError::Internal)?.map_err(|error| {
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
        records::expected(&spec(self.node(), domain, &keys))
    }

    /// Asks the DNS for a domain's records, and records what it says.
    pub async fn verify_domain(
        &self,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Arc<DomainView>, ChangeError> {
        let view = self.own_domain(tenant, domain)?;
        let checked = look(self.node(), &view).await;
        let command = domain::Command::RecordCheck(checked);
        self.change::<Domain>(domain, vec![command]).await?;
        self.own_domain(tenant, domain)
    }

    /// Makes new keys to sign with, unless new ones wait already. The present ones sign on until
    /// the records of the new ones are seen.
    pub async fn rotate_dkim(
        &self,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Arc<DomainView>, ChangeError> {
        self.own_domain(tenant, domain)?;
        let keys = self.new_signing_keys(domain).await?;
        self.change::<Domain>(domain, vec![domain::Command::Rotate(keys)]).await?;
        self.own_domain(tenant, domain)
    }

    /// Gives a domain up. Messages that were accepted from it are still delivered.
    pub async fn remove_domain(
        &self,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<(), ChangeError> {
        self.own_domain(tenant, domain)?;
        self.change::<Domain>(domain, vec![domain::Command::Remove]).await
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
        id: A::Id,
        commands: Vec<A::Command>,
    ) -> Result<(), ChangeError>
    where
        ChangeError: From<A::Refusal>,
    {
        let node = self.node();
        carry_out::<A>(node, id, commands).await?;
        let head = *node.journal.log().head().borrow();
        if node.read.caught_up(head, VISIBLE_WITHIN).await {
            Ok(())
        } else {
            Err(ChangeError::NotYetVisible)
        }
    }
}

/// Asks the DNS for a domain's records.
pub(crate) async fn look(node: &Node, view: &DomainView) -> Vec<CheckedRecord> {
    let keys = signing_records(view);
    records::check(node.router.resolver(), &spec(node, view, &keys)).await
}

fn spec<'a>(
    node: &'a Node,
    view: &'a DomainView,
    keys: &'a [(Selector, String)],
) -> DomainSpec<'a> {
    DomainSpec {
        domain: &view.name,
        ownership_token: &view.ownership_token,
        dkim: keys,
        mail_host: node.options.helo_name.as_str(),
        sending_addresses: &node.options.bind_addresses,
    }
}

fn signing_records(domain: &DomainView) -> Vec<(Selector, String)> {
    domain.keys.iter().map(|key| (key.selector.clone(), key.public_record.to_string())).collect()
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Random characters of an alphabet, each as likely as the others.
fn characters(count: usize, alphabet: &[u8]) -> Result<String, NoEntropy> {
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
