//! The certificate that the listener shows after STARTTLS (RFC 3207), read anew when its files change.
//!
//! # Why
//! Certificates are renewed every few weeks by another program, which writes their files. Asking for
//! a restart each time would be forgotten once; what cannot be read is left, and the one before it
//! goes on.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use actors::Clock;
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::Failure;

/// How often it is looked whether the files changed.
const EVERY: Duration = Duration::from_mins(1);

/// Files in PEM: a chain, the server's own certificate first, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    fn read(&self) -> Result<CertifiedKey, Failure> {
        let failed = |path: &Path, error: &dyn fmt::Display| {
            Failure::usage(format!("inbound: {}: {error}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(&self.certificate, &error))?;
        if chain.is_empty() {
            return Err(failed(&self.certificate, &"there is no certificate in it"));
        }
        // What is wrong with a key's file says nothing of the key.
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| failed(&self.key, &error))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider);
        certified.map_err(|error| failed(&self.key, &error))
    }

    /// When either was last written.
    fn written_at(&self) -> Option<SystemTime> {
        let at =
            |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        at(&self.certificate).max(at(&self.key))
    }
}

/// What is shown at present.
pub(crate) struct Certificate {
    files: Files,
    shown: RwLock<(Arc<CertifiedKey>, Option<SystemTime>)>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.files.certificate.display())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().0))
    }
}

impl Certificate {
    /// Reads the files.
    pub(crate) fn load(files: Files) -> Result<Arc<Self>, Failure> {
        let written_at = files.written_at();
        let shown = RwLock::new((Arc::new(files.read()?), written_at));
        Ok(Arc::new(Self { files, shown }))
    }

    /// A server's side that shows it.
    pub(crate) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as _);
        Ok(Arc::new(config))
    }

    /// Reads the files again, if they were written since.
    pub(crate) fn renew(&self) {
        let written_at = self.files.written_at();
        if self.shown.read().1 == written_at {
            return;
        }
        match self.files.read() {
            Ok(read) => {
                *self.shown.write() = (Arc::new(read), written_at);
                tracing::info!("the certificate of the inbound listener was read anew");
            }
            // Between the writes of the two files they may not belong together: once more later.
            Err(error) => tracing::warn!(%error, "the certificate that was there stays"),
        }
    }
}

/// Looks after it, for as long as it is polled.
pub(crate) async fn watch(certificate: Arc<Certificate>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now().plus(EVERY)).await;
        let certificate = Arc::clone(&certificate);
        // It reads files; one that panics is looked at again.
        drop(tokio::task::spawn_blocking(move || certificate.renew()).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &Files, name: &str, at: u64) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        for path in [&files.certificate, &files.key] {
            std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        }
        made.cert.der().to_vec()
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        certificate.shown.read().0.cert[0].to_vec()
    }

    #[test]
    fn changed_files_are_read_anew_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        assert!(Certificate::load(files.clone()).is_err(), "there is nothing");
        let first = write(&files, "mx.one.test", 1_000);
        let certificate = Certificate::load(files.clone()).unwrap();
        assert_eq!(shown(&certificate), first);
        let second = write(&files, "mx.two.test", 2_000);
        certificate.renew();
        assert_eq!(shown(&certificate), second);
        std::fs::write(&files.key, "nothing").unwrap();
        certificate.renew();
        assert_eq!(shown(&certificate), second);
        std::fs::write(&files.certificate, "").unwrap();
        let error = Certificate::load(files).unwrap_err().to_string();
        assert!(error.contains("c.pem"), "{error}");
    }
}
