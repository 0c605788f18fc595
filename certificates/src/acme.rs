//! Certificates from an authority, by ACME (RFC 8555).
//!
//! # Why
//! - **A name is proven by TLS itself** (tls-alpn-01, RFC 8737): the authority shakes hands with the
//!   listener, which shows a certificate made for that alone. So no second port, no file below a
//!   page's root and no key to the DNS is needed.
//! - **What was got is a file like any other**: chain and key in one, written whole or not at all,
//!   shown by the same [`Certificate`]. After a restart it is there before the authority is asked.
//! - **Only the host of the directory is asked.** The directory names all other addresses; one that
//!   is elsewhere is refused, so that nobody else is asked for whoever runs the authority.

mod http;
mod state;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{pki_types::PrivateKeyDer, sign::CertifiedKey};

use self::{http::Client, state::State};
use crate::{Certificate, Files, Looked, Unusable};

/// For all of it: validation looks at the server from several places.
const DEADLINE: Duration = Duration::from_mins(5);
/// Longest wait for the authority to validate or to issue.
const POLLS: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).timeout(Duration::from_mins(2));
/// How much of an authority's words is repeated, in characters.
const MAX_WORDS: usize = 400;

/// Who issues, for whom.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The URL of its directory; https.
    pub directory: String,
    /// PEM of whom the authority's own certificate is trusted by, instead of the public roots.
    pub root_file: Option<PathBuf>,
    /// How it reaches those who run this server: `mailto:` URLs.
    pub contacts: Vec<String>,
    /// The names, in lower case and as A-labels.
    pub names: Vec<String>,
    /// Where account and certificate lie, for their owner alone.
    pub directory_of_state: PathBuf,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The settings lead nowhere.
    #[error("{0}")]
    Settings(String),
    /// A file of the state cannot be read or written.
    #[error("{}: {problem}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The authority refused, or did not answer, in its own words as far as they are harmless.
    #[error("the authority: {0}")]
    Authority(String),
    /// It took longer than all of it may take.
    #[error("the authority did not come to an end in time")]
    TooLong,
    /// A key or a request could not be made.
    #[error("no request could be made: {0}")]
    Request(rcgen::Error),
    /// What was issued cannot be shown.
    #[error("what was issued cannot be shown: {0}")]
    Unusable(#[from] Unusable),
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        Self::Authority(harmless(&error.to_string()))
    }
}

impl From<rcgen::Error> for AcmeError {
    fn from(error: rcgen::Error) -> Self {
        Self::Request(error)
    }
}

/// One line of printable characters, not too long: it may repeat what strangers answered.
fn harmless(words: &str) -> String {
    let plain = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_WORDS).collect()
}

/// Gets certificates for a listener.
pub struct Acme {
    authority: Authority,
    client: Client,
    state: State,
    certificate: Arc<Certificate>,
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acme({})", self.authority.directory)
    }
}

impl Acme {
    /// Shows what was got before, if it is there. Asks nobody yet; blocks.
    pub fn open(authority: Authority) -> Result<Self, AcmeError> {
        let client = Client::new(&authority.directory, authority.root_file.as_deref())?;
        let state = State::open(&authority.directory_of_state)?;
        let file = state.certificate_file();
        let certificate = Certificate::awaited(Files { certificate: file.clone(), key: file })?;
        Ok(Self { authority, client, state, certificate })
    }

    /// What is shown: nothing, until there is something.
    pub const fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// When a new one should be got, in seconds since 1970: when two thirds of the time of the present
    /// one are over. 0 where there is none, or it is not for all the names.
    pub fn due_s(&self) -> u64 {
        if !self.authority.names.iter().all(|name| self.certificate.proves(name)) {
            return 0;
        }
        self.certificate.validity().map_or(0, |validity| {
            let lifetime_s = validity.not_after_s.saturating_sub(validity.not_before_s);
            validity.not_after_s.saturating_sub(lifetime_s / 3)
        })
    }

    /// Gets a new one and shows it. The listener must be reached by the names, at port 443, meanwhile.
    pub async fn obtain(&self) -> Result<(), AcmeError> {
        let obtained = tokio::time::timeout(DEADLINE, self.order()).await;
        self.certificate.forget_answers();
        let (chain, key) = obtained.map_err(|_| AcmeError::TooLong)??;
        self.state.keep_certificate(&chain, &key)?;
        match self.certificate.look() {
            Looked::Renewed | Looked::Unchanged => Ok(()),
            Looked::Refused(unusable) => Err(unusable.into()),
        }
    }

    /// The chain and its key, in PEM.
    async fn order(&self) -> Result<(String, String), AcmeError> {
        let account = self.account().await?;
        let names: Vec<Identifier> =
            self.authority.names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        self.answer(&mut order).await?;
        match order.poll_ready(&POLLS).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(instant_acme::Error::Api(_)) => {
                return Err(AcmeError::Authority(refusal(&mut order).await));
            }
            Err(error) => return Err(error.into()),
        }
        let mut params = CertificateParams::new(self.authority.names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate()?;
        order.finalize_csr(params.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&POLLS).await?;
        Ok((chain, key.serialize_pem()))
    }

    /// The account of before, or a new one.
    async fn account(&self) -> Result<Account, AcmeError> {
        let directory = &self.authority.directory;
        if let Some(credentials) = self.state.credentials(directory)? {
            let builder = Account::builder_with_http(Box::new(self.client.clone()));
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contacts: Vec<&str> = self.authority.contacts.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        self.state.keep_credentials(directory, credentials)?;
        Ok(account)
    }

    /// Has the listener prove each name that is not proven yet.
    async fn answer(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
            let mut challenge = challenge.ok_or_else(|| {
                AcmeError::Authority("it does not take a proof by tls-alpn-01".to_owned())
            })?;
            let name = challenge.identifier().to_string();
            let shown = proof(&name, challenge.key_authorization().digest().as_ref())?;
            self.certificate.answer(&name, shown);
            challenge.set_ready().await?;
        }
        Ok(())
    }
}

/// What the authority wants to see when it validates (RFC 8737, section 3).
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
    if digest.len() != 32 {
        return Err(AcmeError::Authority("its challenge has no SHA-256".to_owned()));
    }
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| AcmeError::Settings(error.to_string()))?;
    // Not held against the key: the extension is critical, and unknown to who checks certificates.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// Why the authority does not believe a name, as it says itself.
async fn refusal(order: &mut Order) -> String {
    let mut words = String::from("it refused the order");
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        for problem in state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            words = format!("{words}; {problem}");
        }
    }
    harmless(&words)
}
