//! The certificate of an erasure: that all content about a person was overwritten, without saying
//! who it was, signed by the instance.

use std::{collections::BTreeMap, str::FromStr};

use eventlog::{EventLog, Notary, TreeHash, VerifierKey, Version, sign_note, verify_note};
use model::{
    ErasureId, Event, StreamId, TenantId, Timestamp,
    erasure::{ErasureEvent, PersonErased},
    pause::Who,
};

use crate::gather::GatherError;

/// What the first line ends with, after the name of the key.
const KIND: &str = "/erasure";
/// Events of an erasure that are read at once.
const PAGE: usize = 1_000;

/// What a certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Of this erasure,
    pub erasure: ErasureId,
    /// in this tenant's data,
    pub tenant: TenantId,
    /// the content of so many messages,
    pub messages: u64,
    /// in so many sealed records with all others, was overwritten
    pub records: u64,
    /// by this time, as RFC 3339, by the clock of the server that signed.
    pub erased_at: String,
}

/// The text is not a certificate that the key signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificate {
    /// Changed, or signed by another.
    #[error("it was not signed by {0}")]
    NotSigned(String),
    /// Signed, and yet something else.
    #[error("it is no certificate of an erasure")]
    Another,
}

/// The certificate of an erasure; `None` when there is none of this id, or it is not done. The same
/// text whenever it is asked for. Blocks on the disk.
pub fn certify(
    log: &dyn EventLog,
    notary: &Notary,
    erasure: ErasureId,
) -> Result<Option<String>, GatherError> {
    let mut after = Version::NONE;
    let mut requested = None;
    loop {
        let page = log.read_stream(StreamId::Erasure(erasure), after, PAGE)?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.version;
        for recorded in &page {
            match Event::decode(recorded.stream, &recorded.data) {
                Ok(Event::Erasure(ErasureEvent::PersonErasureRequested(_))) => {
                    requested = Some((recorded.at, recorded.position));
                }
                Ok(Event::Erasure(ErasureEvent::PersonErased(erased))) => {
                    let requested = requested.unwrap_or((recorded.at, recorded.position));
                    let leaf = TreeHash::of_leaf(&recorded.to_bytes());
                    let text = lines(
                        notary.key().verifier(),
                        (erasure, &erased),
                        [requested, (recorded.at, recorded.position)],
                        &leaf,
                    );
                    return Ok(Some(sign_note(notary.key(), &text)));
                }
                _ => {}
            }
        }
    }
}

fn lines(
    key: &VerifierKey,
    (erasure, erased): (ErasureId, &PersonErased),
    [requested, done]: [(Timestamp, eventlog::Position); 2],
    leaf: &TreeHash,
) -> String {
    let PersonErased { tenant, person, messages, letters, suppressions, records, .. } = erased;
    let by = match erased.by {
        Who::Operator => "operator".to_owned(),
        Who::User(user) => user.to_string(),
    };
    let (name, (asked, asked_at), (at, position)) = (key.name(), requested, done);
    format!(
        "{name}{KIND}\nerasure {erasure}\ntenant {tenant}\nperson {person}\nby {by}\n\
         requested {asked}\nrequested-position {asked_at}\nerased {at}\nerased-position {position}\n\
         messages {messages}\nletters {letters}\nsuppressions {suppressions}\nrecords {records}\n\
         leaf {leaf}\n"
    )
}

/// Whether a text is meant as a certificate, to be told from a bundle.
pub fn is_certificate(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.ends_with(KIND.as_bytes())
}

/// Checks a certificate against the instance's public key.
pub fn verify_certificate(text: &[u8], key: &VerifierKey) -> Result<Certified, NoCertificate> {
    let not_signed = || NoCertificate::NotSigned(key.name().to_owned());
    let text = std::str::from_utf8(text).map_err(|_| not_signed())?;
    let signed = verify_note(text, key).ok_or_else(not_signed)?;
    let (first, rest) = signed.split_once('\n').ok_or(NoCertificate::Another)?;
    if first.strip_suffix(KIND) != Some(key.name()) {
        return Err(NoCertificate::Another);
    }
    let fields: BTreeMap<&str, &str> =
        rest.lines().filter_map(|line| line.split_once(' ')).collect();
    Ok(Certified {
        erasure: field(&fields, "erasure")?,
        tenant: field(&fields, "tenant")?,
        messages: field(&fields, "messages")?,
        records: field(&fields, "records")?,
        erased_at: field(&fields, "erased")?,
    })
}

fn field<T: FromStr>(fields: &BTreeMap<&str, &str>, name: &str) -> Result<T, NoCertificate> {
    let text = fields.get(name).and_then(|text| text.parse().ok());
    text.ok_or(NoCertificate::Another)
}
