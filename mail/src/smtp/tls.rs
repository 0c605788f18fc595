//! TLS towards mail hosts: what is accepted, and what was really verified.
//!
//! # Why
//! Opportunistic TLS takes any certificate, for the choice is between that and clear text
//! (RFC 7435). The handshake's signature is checked all the same, and afterwards the chain and
//! the name, so that [`model::delivery::Tls::verified`] is a fact and not a hope. The two ways
//! have configurations of their own: a session that one resumes was never accepted by the other.

use std::sync::Arc;

use model::delivery::Tls;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

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
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
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
        let config = |verifier: Arc<dyn ServerCertVerifier>| {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map(|builder| {
                    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
                    Arc::new(builder.with_no_client_auth())
                })
                .map_err(|error| InvalidRoot(Box::new(error)))
        };
        Ok(Self {
            strict: config(Arc::clone(&verifier) as _)?,
            lenient: config(Arc::new(AnyCertificate(Arc::clone(&verifier))))?,
            verifier,
        })
    }

    /// Shakes hands with the host `mx`; `strict` refuses a certificate that does not check out.
    pub(super) async fn handshake(
        &self,
        stream: Socket,
        mx: &str,
        strict: bool,
    ) -> std::io::Result<(TlsStream<Socket>, Tls)> {
        let name = ServerName::try_from(mx.strip_suffix('.').unwrap_or(mx).to_owned())
            .map_err(std::io::Error::other)?;
        let config = if strict { &self.strict } else { &self.lenient };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
        let (_, session) = stream.get_ref();
        let verified = strict
            || session.peer_certificates().and_then(<[_]>::split_first).is_some_and(
                |(leaf, chain)| {
                    self.verifier
                        .verify_server_cert(leaf, chain, &name, &[], UnixTime::now())
                        .is_ok()
                },
            );
        let tls = Tls {
            version: version_name(session.protocol_version()).into(),
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown")
                // The library marks the suites of TLS 1.3 in their names; IANA does not.
                .replacen("TLS13_", "TLS_", 1)
                .into(),
            verified,
        };
        Ok((stream, tls))
    }
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
