//! Asking the DNS with DNSSEC, validated here (RFC 4035), for DANE.
//!
//! # Why
//! A name server's word that it validated (the AD bit) is only as good as the path to it, so the
//! signatures are checked here, from the root's key down. It is a resolver of its own: one that
//! validates gives no answer at all for a domain whose signatures are broken, and mail that has
//! nothing to do with DANE should not hang on that.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    lookup::Lookup,
    net::{DnsError, NetError},
    proto::{
        dnssec::{Proof, TrustAnchors},
        rr::{Name, RData, Record, RecordType, rdata::TLSA},
    },
};
use tokio::time::timeout;

use super::{DnsOptions, DnsSetupError, MAX_RECORDS, builder, host};

/// How long the first question may take.
const PROBE: Duration = Duration::from_secs(5);
/// How soon name servers that passed no DNSSEC on are tried again.
const PROBE_AGAIN: Duration = Duration::from_mins(10);

/// Whom DNSSEC begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TrustAnchor {
    /// The keys of the Internet's root, compiled in.
    #[default]
    Root,
    /// The DNSKEY records of a file: for name spaces of one's own.
    File(PathBuf),
}

/// What DNSSEC says of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secured<T> {
    /// The answer is signed, and so is all above it.
    Secure(T),
    /// It is proven that nobody signs there, or that there is no such record.
    Insecure,
}

/// The answer is forged or broken, or there was none: nothing may be concluded from it, least of
/// all that there is no protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("DNSSEC gave no answer that can be believed")]
pub struct Unproven;

/// Asks with validation. Cheap to clone; clones share their caches.
#[derive(Clone)]
pub struct SecureResolver {
    resolver: TokioResolver,
    deadline: Duration,
    able: Arc<AtomicBool>,
    probed: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for SecureResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureResolver").field("able", &self.able).finish_non_exhaustive()
    }
}

impl SecureResolver {
    /// A validating resolver at the same servers; must be called inside a tokio runtime.
    pub fn new(options: &DnsOptions, anchor: &TrustAnchor) -> Result<Self, DnsSetupError> {
        let anchors = match anchor {
            TrustAnchor::Root => TrustAnchors::default(),
            TrustAnchor::File(path) => TrustAnchors::from_file(path).map_err(|error| {
                DnsSetupError(Box::new(NetError::from(format!("{}: {error}", path.display()))))
            })?,
        };
        let builder = builder(options, options.cache_entries)?.with_trust_anchor(Arc::new(anchors));
        let resolver = builder.build().map_err(|error| DnsSetupError(Box::new(error)))?;
        Ok(Self {
            resolver,
            deadline: options.deadline,
            able: Arc::default(),
            probed: Arc::default(),
        })
    }

    /// Whether the name servers pass signatures on at all, seen from the root's. Once they have,
    /// the answer stays yes: a path that loses them later is broken or attacked.
    pub async fn is_able(&self) -> bool {
        if self.able.load(Ordering::Relaxed) {
            return true;
        }
        // Held while asking: what is sent meanwhile waits for the answer.
        let mut probed = self.probed.lock().await;
        if self.able.load(Ordering::Relaxed) {
            return true;
        }
        if probed.is_some_and(|at| at.elapsed() < PROBE_AGAIN) {
            return false;
        }
        let asked = timeout(PROBE, self.ask(Name::root(), RecordType::NS)).await;
        *probed = Some(Instant::now());
        let able = matches!(asked, Ok(Ok(Secured::Secure(_))));
        if able {
            self.able.store(true, Ordering::Relaxed);
        } else {
            tracing::warn!("the name servers pass no DNSSEC on: DANE is not used");
        }
        able
    }

    /// The names of a domain's mail hosts. An empty answer to MX is `Insecure`, too: it leads to
    /// the domain itself.
    pub async fn mx(&self, domain: &str) -> Result<Secured<Vec<Box<str>>>, Unproven> {
        self.collect(named(domain)?, RecordType::MX, |record| match &record.data {
            RData::MX(mx) => Some(host(&mx.exchange)),
            _ => None,
        })
        .await
    }

    /// The name that a mail host's addresses stand under, behind all aliases, where they are
    /// signed.
    pub async fn canonical(&self, host_name: &str) -> Result<Secured<Box<str>>, Unproven> {
        let v4 = self.owner(host_name, RecordType::A).await?;
        if v4 != Secured::Insecure {
            return Ok(v4);
        }
        self.owner(host_name, RecordType::AAAA).await
    }

    async fn owner(
        &self,
        host_name: &str,
        family: RecordType,
    ) -> Result<Secured<Box<str>>, Unproven> {
        let found = self
            .collect(named(host_name)?, family, |record| {
                (record.record_type() == family).then(|| host(&record.name))
            })
            .await?;
        Ok(match found {
            Secured::Secure(owners) => match owners.into_iter().next() {
                Some(owner) => Secured::Secure(owner),
                None => Secured::Insecure,
            },
            Secured::Insecure => Secured::Insecure,
        })
    }

    /// The TLSA records of a port at a host (RFC 6698).
    pub(crate) async fn tlsa(
        &self,
        host_name: &str,
        port: u16,
    ) -> Result<Secured<Vec<TLSA>>, Unproven> {
        let name = named(&format!("_{port}._tcp.{host_name}"))?;
        self.collect(name, RecordType::TLSA, |record| match &record.data {
            RData::TLSA(tlsa) => Some(tlsa.clone()),
            _ => None,
        })
        .await
    }

    async fn collect<T>(
        &self,
        name: Name,
        record_type: RecordType,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Result<Secured<Vec<T>>, Unproven> {
        Ok(match self.ask(name, record_type).await? {
            Secured::Secure(lookup) => {
                let found = lookup.answers().iter().filter_map(read);
                Secured::Secure(found.take(MAX_RECORDS).collect())
            }
            Secured::Insecure => Secured::Insecure,
        })
    }

    async fn ask(&self, name: Name, record_type: RecordType) -> Result<Secured<Lookup>, Unproven> {
        let looked_up = timeout(self.deadline, self.resolver.lookup(name, record_type)).await;
        match looked_up.map_err(|_| Unproven)? {
            Ok(lookup) => secured(lookup),
            // Validated denials, and those from where nobody signs, arrive as what they deny.
            Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
                Ok(Secured::Insecure)
            }
            Err(NetError::Dns(DnsError::Nsec { proof: Proof::Insecure, .. })) => {
                Ok(Secured::Insecure)
            }
            Err(error) => {
                tracing::debug!(%record_type, %error, "no answer that DNSSEC proves");
                Err(Unproven)
            }
        }
    }
}

/// An answer is as secure as the least of its records: an alias on the way counts.
fn secured(lookup: Lookup) -> Result<Secured<Lookup>, Unproven> {
    let mut proofs = lookup.answers().iter().map(|record| record.proof);
    if proofs.clone().all(|proof| proof == Proof::Secure) {
        return Ok(Secured::Secure(lookup));
    }
    let believable = proofs.all(|proof| matches!(proof, Proof::Secure | Proof::Insecure));
    if believable { Ok(Secured::Insecure) } else { Err(Unproven) }
}

fn named(text: &str) -> Result<Name, Unproven> {
    let mut name = Name::from_ascii(text).map_err(|_| Unproven)?;
    name.set_fqdn(true);
    Ok(name)
}
