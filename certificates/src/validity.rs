use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// From when until when a certificate holds, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When it begins to hold.
    pub not_before_s: u64,
    /// When it has held.
    pub not_after_s: u64,
}

impl Validity {
    /// As the certificate itself says; `None` where that cannot be read.
    ///
    /// The verifier tells it while it refuses the certificate at the beginning and at the end of all
    /// time, so no second reader of certificates is needed.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone().into_owned()).ok()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().ok()?;
        let name = ServerName::try_from("nobody.invalid").ok()?;
        let refused = |at_s: u64| {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at_s));
            match verifier.verify_server_cert(certificate, &[], &name, &[], at).err()? {
                Error::InvalidCertificate(refusal) => Some(refusal),
                _ => None,
            }
        };
        let Some(CertificateError::NotValidYetContext { not_before, .. }) = refused(0) else {
            return None;
        };
        // The last second of the year 9999, which is later than any certificate can say.
        let CertificateError::ExpiredContext { not_after, .. } = refused(253_402_300_800)? else {
            return None;
        };
        Some(Self { not_before_s: not_before.as_secs(), not_after_s: not_after.as_secs() })
    }
}
