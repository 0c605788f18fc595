//! TLS towards mail hosts: what is accepted, and what was really verified.
//!
//! # Why
//! Opportunistic TLS takes any certificate, for the choice is between that and clear text
//! (RFC 7435). The handshake's signature is checked all the same, and afterwards the chain and
//! the name, so that [`Tls::verified`] is a fact and not a hope. Each way has a configuration of
//! its own: a session that one resumes was never accepted by another.

mod dane;

use std::sync::Arc;

use aws_lc_rs::digest;
use model::delivery::{Tls, TlsFailure, Verification};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use self::dane::DaneVerifier;
pub use self::dane::{Dane, Tlsa};
use super::TlsPolicy;
use crate::stream::Socket;

/// A root certificate could not be read, or there is none.
#[derive(Debug, thiserror::Error)]
#[error("a trusted root certificate cannot be used: {0}")]
pub struct InvalidRoot(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The TLS side of every connection; made once, cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    strict: Arc<ClientConfig>,
    lenient: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

/// A finished handshake.
pub(super) struct Secured {
    pub(super) stream: TlsStream<Socket>,
    pub(super) tls: Tls,
    /// What a check of the certificate found, where nothing hung on it.
    pub(super) unverified: Option<TlsFailure>,
}

impl TlsClient {
    /// Trusts Mozilla's roots and `extra`: an internal authority, or a test's.
    pub fn new(extra: &[CertificateDer<'_>]) -> Result<Self, InvalidRoot> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in extra {
            roots
                .add(certificate.clone().into_owned())
                .map_err(|error| InvalidRoot(Box::new(error)))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| InvalidRoot(Box::new(error)))?;
        let made = |verifier: Arc<dyn ServerCertVerifier>| {
            config(&provider, verifier).map_err(|error| InvalidRoot(Box::new(error)))
        };
        Ok(Self {
            strict: made(Arc::clone(&verifier) as _)?,
            lenient: made(Arc::new(AnyCertificate(Arc::clone(&verifier))))?,
            verifier,
            provider,
        })
    }

    /// A configuration for HTTP/1.1 with a server that must prove its name.
    pub(crate) fn https(&self) -> Arc<ClientConfig> {
        let mut config = (*self.strict).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Shakes hands with the host `mx`, which must prove what the policy says.
    pub(super) async fn handshake(
        &self,
        stream: Socket,
        mx: &str,
        policy: &TlsPolicy,
    ) -> Result<Secured, TlsFailure> {
        let (config, asked) = match policy {
            TlsPolicy::Required | TlsPolicy::MtaSts | TlsPolicy::Implicit => {
                (Arc::clone(&self.strict), mx)
            }
            TlsPolicy::Dane(dane) => (self.dane(dane)?, &*dane.base),
            TlsPolicy::Never
            | TlsPolicy::Opportunistic
            | TlsPolicy::Testing { .. }
            | TlsPolicy::Encrypted => (Arc::clone(&self.lenient), mx),
        };
        let name = ServerName::try_from(asked.strip_suffix('.').unwrap_or(asked).to_owned())
            .map_err(|_| TlsFailure::ValidationFailure)?;
        let stream = TlsConnector::from(config)
            .connect(name.clone(), stream)
            .await
            .map_err(|error| failure_of(error.get_ref().and_then(|inner| inner.downcast_ref())))?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::split_first);
        let checked = match policy {
            TlsPolicy::Required | TlsPolicy::Implicit => Ok(Verification::Pkix),
            TlsPolicy::MtaSts => Ok(Verification::MtaSts),
            TlsPolicy::Dane(_) => Ok(Verification::Dane),
            TlsPolicy::Never
            | TlsPolicy::Opportunistic
            | TlsPolicy::Testing { .. }
            | TlsPolicy::Encrypted => shown
                .ok_or(TlsFailure::ValidationFailure)
                .and_then(|(leaf, chain)| self.check(leaf, chain, &name)),
        };
        let tls = Tls {
            version: version_name(session.protocol_version()).into(),
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown")
                // The library marks the suites of TLS 1.3 in their names; IANA does not.
                .replacen("TLS13_", "TLS_", 1)
                .into(),
            verified: checked.is_ok(),
            verification: Some(checked.unwrap_or(Verification::None)),
            certificate_sha256: shown.map(|(leaf, _)| fingerprint(leaf)),
        };
        Ok(Secured { stream, tls, unverified: checked.err() })
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<Verification, TlsFailure> {
        let checked = self.verifier.verify_server_cert(leaf, chain, name, &[], UnixTime::now());
        checked.map(|_| Verification::Pkix).map_err(|error| failure_of(Some(&error)))
    }

    /// One for each connection: nothing is resumed that other records had accepted.
    fn dane(&self, dane: &Arc<Dane>) -> Result<Arc<ClientConfig>, TlsFailure> {
        let verifier = DaneVerifier {
            dane: Arc::clone(dane),
            signatures: Arc::clone(&self.verifier),
            provider: Arc::clone(&self.provider),
        };
        config(&self.provider, Arc::new(verifier)).map_err(|error| failure_of(Some(&error)))
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// What RFC 8460 calls it.
fn failure_of(error: Option<&Error>) -> TlsFailure {
    use CertificateError as Certificate;
    let Some(Error::InvalidCertificate(error)) = error else {
        return TlsFailure::ValidationFailure;
    };
    match error {
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => TlsFailure::CertificateExpired,
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            TlsFailure::CertificateHostMismatch
        }
        Certificate::ApplicationVerificationFailure => TlsFailure::TlsaInvalid,
        _ => TlsFailure::CertificateNotTrusted,
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Box<str> {
    let hash = digest::digest(&digest::SHA256, certificate);
    let mut text = String::with_capacity(64);
    for octet in hash.as_ref() {
        for digit in [octet >> 4, octet & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text.into()
}

const fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    }
}

/// Accepts every certificate whose key the peer can prove to hold.
#[derive(Debug)]
struct AnyCertificate(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
