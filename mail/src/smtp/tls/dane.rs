//! Certificates that the receiver's signed DNS names (RFC 6698, RFC 7671, RFC 7672).

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// A TLSA record that mail can use: its usage is 2 or 3, and selector and matching are known.
/// Usages 0 and 1 speak of public authorities, which mail hosts need not have (RFC 7672,
/// section 3.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    usage: Usage,
    selector: Selector,
    association: Association,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    /// DANE-TA: an authority that the certificate leads to.
    TrustAnchor,
    /// DANE-EE: the certificate itself. Neither its names nor its times count (RFC 7672, section
    /// 3.1.1): the DNS says who it is and how long.
    EndEntity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selector {
    Certificate,
    PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Association {
    Exact(Box<[u8]>),
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Tlsa {
    /// Reads a record's fields; `None` when it is not usable.
    pub fn new(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Option<Self> {
        let usage = match usage {
            2 => Usage::TrustAnchor,
            3 => Usage::EndEntity,
            _ => return None,
        };
        let selector = match selector {
            0 => Selector::Certificate,
            1 => Selector::PublicKey,
            _ => return None,
        };
        let association = match matching {
            0 if !data.is_empty() => Association::Exact(data.into()),
            1 => Association::Sha256(data.try_into().ok()?),
            2 => Association::Sha512(data.try_into().ok()?),
            _ => return None,
        };
        Some(Self { usage, selector, association })
    }

    fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        let key;
        let selected: &[u8] = match self.selector {
            Selector::Certificate => certificate,
            Selector::PublicKey => {
                let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
                key = parsed.subject_public_key_info();
                &key
            }
        };
        match &self.association {
            Association::Exact(data) => **data == *selected,
            Association::Sha256(hash) => digest::digest(&digest::SHA256, selected).as_ref() == hash,
            Association::Sha512(hash) => digest::digest(&digest::SHA512, selected).as_ref() == hash,
        }
    }
}

/// What a mail host must prove, by TLSA records that DNSSEC vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dane {
    /// The name that the records stand under (the TLSA base domain): the one that is asked for in
    /// the handshake, and that certificates under a trust anchor must bear.
    pub base: Box<str>,
    /// The usable records; any of them will do.
    pub records: Vec<Tlsa>,
}

/// Accepts what one of the records names.
#[derive(Debug)]
pub(super) struct DaneVerifier {
    pub(super) dane: Arc<Dane>,
    pub(super) signatures: Arc<WebPkiServerVerifier>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl DaneVerifier {
    /// Whether the chain leads to this certificate, which a record names.
    fn leads_to(
        &self,
        anchor: &CertificateDer<'_>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        let name = ServerName::try_from(&*self.dane.base)
            .map_err(|_| Error::InvalidCertificate(CertificateError::NotValidForName))?;
        verifier.verify_server_cert(end_entity, intermediates, &name, &[], now)
    }
}

impl ServerCertVerifier for DaneVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let of = |usage| self.dane.records.iter().filter(move |record| record.usage == usage);
        if of(Usage::EndEntity).any(|record| record.fits(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        let mut refused =
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        for record in of(Usage::TrustAnchor) {
            for anchor in intermediates.iter().filter(|anchor| record.fits(anchor)) {
                match self.leads_to(anchor, end_entity, intermediates, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => refused = error,
                }
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_mail_can_use_is_a_record() {
        let (short, long) = ([7; 32], [7; 64]);
        for (usage, selector, matching, data) in
            [(3, 1, 1, &short[..]), (3, 0, 2, &long), (2, 0, 1, &short), (2, 1, 0, b"any")]
        {
            assert!(
                Tlsa::new(usage, selector, matching, data).is_some(),
                "{usage}{selector}{matching}"
            );
        }
        for (usage, selector, matching, data) in [
            (0, 1, 1, &short[..]),
            (1, 1, 1, &short),
            (4, 1, 1, &short),
            (255, 1, 1, &short),
            (3, 2, 1, &short),
            (3, 1, 3, &short),
            (3, 1, 1, &long),
            (3, 1, 2, &short),
            (3, 1, 1, b""),
            (3, 1, 0, b""),
        ] {
            assert_eq!(
                Tlsa::new(usage, selector, matching, data),
                None,
                "{usage}{selector}{matching}"
            );
        }
    }
}
