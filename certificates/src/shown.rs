use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    files::{Files, Unusable, Versions},
    validity::Validity,
};

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
    /// The files that are shown. Held while they are read, so that of two looks the later counts.
    seen: Mutex<Versions>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.files.certificate.display())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown.load_full()
    }
}

impl Certificate {
    /// Reads the files. Blocks.
    pub fn load(files: Files) -> Result<Arc<Self>, Unusable> {
        // Before they are read: what is written in between is looked at once more.
        let versions = files.versions();
        let shown = ArcSwapOption::from_pointee(files.read()?);
        Ok(Arc::new(Self { files, shown, seen: Mutex::new(versions) }))
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
