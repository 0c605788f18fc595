//! DKIM signatures (RFC 6376, RFC 8301, RFC 8463).

pub use model::domain::{DkimAlgorithm, Selector};
use model::{Timestamp, address::DomainName};
use zeroize::Zeroizing;

/// A key made for one domain and selector.
pub struct GeneratedKey {
    /// The private key in PKCS#8 DER; wiped when dropped.
    pub private_pkcs8: Zeroizing<Vec<u8>>,
    /// The TXT record to publish: `v=DKIM1; k=rsa; p=…`.
    pub public_record: String,
}

/// Why a key or a signature cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// The bytes are not a private key of this algorithm.
    #[error("not a private key of this algorithm")]
    InvalidKey,
    /// The message has no header, no end of the header, or lines that do not end CRLF.
    #[error("not a message with CRLF line ends")]
    InvalidMessage,
    /// The cryptographic library failed.
    #[error("the cryptographic operation failed")]
    Crypto,
}

/// Makes a key. RSA takes tens of milliseconds: call it off the async runtime.
pub fn generate(_algorithm: DkimAlgorithm) -> Result<GeneratedKey, DkimError> {
    todo!()
}

/// Signs for one domain with one key, parsed once. Cheap to clone.
#[derive(Clone)]
pub struct Signer(());

impl Signer {
    /// A signer with a private key in PKCS#8 DER.
    pub fn new(
        _domain: &DomainName,
        _selector: &Selector,
        _algorithm: DkimAlgorithm,
        _private_pkcs8: &[u8],
    ) -> Result<Self, DkimError> {
        todo!()
    }

    /// The whole `DKIM-Signature` header with its CRLF, to be put in front of `message`.
    pub fn sign(&self, _message: &[u8], _now: Timestamp) -> Result<String, DkimError> {
        todo!()
    }
}

/// The headers of several signers, hashing the body once.
pub fn sign_all(_: &[Signer], _message: &[u8], _now: Timestamp) -> Result<String, DkimError> {
    todo!()
}
