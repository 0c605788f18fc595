//! How connections to mail hosts are secured, by which rule, and what was wrong with them.

use serde::{Deserialize, Serialize};

/// What a sender demands of the way to the receiver.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TlsDemand {
    /// TLS whenever it is offered; in clear only where no rule of the receiver forbids it
    /// (RFC 7435).
    #[default]
    Opportunistic,
    /// TLS with a mail host that proves to be the one that was meant, or no delivery.
    Required,
}

impl TlsDemand {
    /// Whether it is what nobody needs to say.
    pub const fn is_opportunistic(&self) -> bool {
        matches!(self, Self::Opportunistic)
    }
}

/// By what a mail host proved to be the one that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// By nothing: the session was encrypted, for whomever it was.
    None,
    /// By a certificate for the mail host's name from a trusted authority. The name itself came
    /// from the DNS.
    Pkix,
    /// The same, and the receiver's MTA-STS policy names the mail host (RFC 8461).
    MtaSts,
    /// By a certificate or key that the receiver's signed DNS names (RFC 7672).
    Dane,
}

/// The rule that a connection stood under, where there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsRule {
    /// The sender's own: [`TlsDemand::Required`].
    Required,
    /// The receiver's MTA-STS policy, in mode `enforce`.
    MtaSts,
    /// The same in mode `testing`: failures are told and forbid nothing.
    MtaStsTesting,
    /// The receiver's TLSA records.
    Dane,
}

/// What was wrong with TLS at a mail host, or with the rule for it. These are the result types of
/// RFC 8460, section 4.3, and one of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsFailure {
    /// STARTTLS was not offered, or the offer was taken back.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate's time is over, or has not begun.
    CertificateExpired,
    /// The certificate comes from nobody who is trusted.
    CertificateNotTrusted,
    /// The handshake failed in another way.
    ValidationFailure,
    /// No TLSA record fits the certificate.
    TlsaInvalid,
    /// DNSSEC gave no answer that can be believed, or none at all.
    DnssecInvalid,
    /// The MTA-STS policy could not be fetched.
    StsPolicyFetchError,
    /// What was fetched is no MTA-STS policy.
    StsPolicyInvalid,
    /// The policy host's certificate does not check out.
    StsWebpkiInvalid,
    /// The MTA-STS policy does not name the mail host. To RFC 8460 a `validation-failure`.
    MxNotInPolicy,
}

impl TlsFailure {
    /// The `result-type` of RFC 8460, section 4.3.
    pub const fn result_type(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure | Self::MxNotInPolicy => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// How a connection was secured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tls {
    /// The protocol version, such as `TLSv1.3`.
    pub version: Box<str>,
    /// The cipher suite's IANA name.
    pub cipher: Box<str>,
    /// Whether the peer proved to be the one that was meant.
    pub verified: bool,
    /// By what. Absent in records from before it was told: then `verified` means
    /// [`Verification::Pkix`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// SHA-256 of the certificate that the peer showed, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_sha256: Option<Box<str>>,
}

impl Tls {
    /// By what the peer proved to be the one that was meant, also in old records.
    pub fn verification(&self) -> Verification {
        let told_by_flag = if self.verified { Verification::Pkix } else { Verification::None };
        self.verification.unwrap_or(told_by_flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_from_before_the_way_of_verification_was_told_still_say_it() {
        let read = |text| serde_json::from_str::<Tls>(text).unwrap();
        let old =
            read(r#"{"version":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256","verified":true}"#);
        assert_eq!((old.verification(), old.verification), (Verification::Pkix, None));
        let old = read(r#"{"version":"TLSv1.3","cipher":"x","verified":false}"#);
        assert_eq!(old.verification(), Verification::None);
        let new = read(
            r#"{"version":"TLSv1.3","cipher":"x","verified":true,"verification":"mta_sts",
                "certificate_sha256":"00"}"#,
        );
        assert_eq!(new.verification(), Verification::MtaSts);
    }
}
