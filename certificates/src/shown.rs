use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    ServerConfig,
    client::verify_server_name,
    pki_types::ServerName,
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    files::{Files, Unusable, Versions},
    validity::Validity,
};

/// The protocol by which an authority asks for proof of a name (RFC 8737, section 4).
pub const VALIDATION: &[u8] = b"acme-tls/1";

/// What a look at the files came to.
#[derive(Debug)]
pub enum Looked {
    /// They are those of before.
    Unchanged,
    /// Others, which are shown from now on.
    Renewed,
    /// Others, which cannot be shown: those of before still are.
    Refused(Unusable),
}

/// A certificate with its key, as its files have it.
pub struct Certificate {
    files: Files,
    shown: ArcSwapOption<CertifiedKey>,
    /// What is shown to authorities that want proof of a name, by name.
    answers: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    /// The files that are shown. Held while they are read, so that of two looks the later counts.
    seen: Mutex<Versions>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.files.certificate.display())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who validates says this alone (RFC 8737, section 3), and gets nothing else.
        if hello.alpn().is_some_and(|mut offered| offered.any(|name| name == VALIDATION)) {
            return self.answers.load().get(hello.server_name()?).cloned();
        }
        self.shown.load_full()
    }
}

impl Certificate {
    /// Reads the files. Blocks.
    pub fn load(files: Files) -> Result<Arc<Self>, Unusable> {
        // Before they are read: what is written in between is looked at once more.
        let versions = files.versions();
        let read = files.read()?;
        Ok(Arc::new(Self::new(files, Some(read), versions)))
    }

    /// Reads the files, if they are there; until they are, nobody is shown anything. Blocks.
    pub fn awaited(files: Files) -> Result<Arc<Self>, Unusable> {
        let versions = files.versions();
        match files.read() {
            Ok(read) => Ok(Arc::new(Self::new(files, Some(read), versions))),
            Err(error) if error.is_missing() => Ok(Arc::new(Self::new(files, None, versions))),
            Err(error) => Err(error),
        }
    }

    fn new(files: Files, shown: Option<CertifiedKey>, versions: Versions) -> Self {
        let (shown, answers) = (ArcSwapOption::from(shown.map(Arc::new)), ArcSwap::default());
        Self { files, shown, answers, seen: Mutex::new(versions) }
    }

    /// Shows `proof` to whoever validates `name`, until answers are forgotten.
    pub(crate) fn answer(&self, name: &str, proof: CertifiedKey) {
        let proof = Arc::new(proof);
        self.answers.rcu(|answers| {
            let mut answers = HashMap::clone(answers);
            answers.insert(name.to_ascii_lowercase(), Arc::clone(&proof));
            answers
        });
    }

    /// Nobody is to be proven anything any more.
    pub(crate) fn forget_answers(&self) {
        self.answers.store(Arc::default());
    }

    /// Whether what is shown is for this name.
    pub(crate) fn proves(&self, name: &str) -> bool {
        let shown = self.shown.load();
        let parsed = shown.as_ref().and_then(|shown| shown.end_entity_cert().ok());
        let parsed = parsed.and_then(|shown| ParsedCertificate::try_from(shown).ok());
        let name = ServerName::try_from(name.to_owned()).ok();
        parsed.zip(name).is_some_and(|(shown, name)| verify_server_name(&shown, &name).is_ok())
    }

    /// A server's side that shows it, and speaks one of `protocols` (RFC 7301).
    pub fn server(
        self: &Arc<Self>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Reads the files again, if they are others than those that are shown. Blocks.
    pub fn look(&self) -> Looked {
        // It is written whole, whatever panicked.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = self.files.versions();
        if *seen == versions {
            return Looked::Unchanged;
        }
        match self.files.read() {
            Ok(read) => {
                self.shown.store(Some(Arc::new(read)));
                *seen = versions;
                Looked::Renewed
            }
            // Between the writes of the two they may not belong together: the next look sees.
            Err(unusable) => Looked::Refused(unusable),
        }
    }

    /// How long what is shown holds.
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(self.shown.load().as_ref()?.end_entity_cert().ok()?)
    }
}
