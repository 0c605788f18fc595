//! The DNS records that a sending domain publishes, and whether it does.
//!
//! # Why
//! - **Required are ownership and one DKIM key.** They prove that the domain is the tenant's and
//!   that messages can be signed for it; DKIM alone gives an aligned DMARC pass. SPF, DMARC and the
//!   return path make delivery better, so they are shown with a status of their own and hold
//!   nobody up: a domain may be verified while its SPF still says something else.
//! - **Ownership is a token of its own**, not the DKIM record: a CNAME left behind by an earlier
//!   tenant must not prove anything for the next one.
//! - **SPF stands on `bounces.<domain>`**, the domain of the envelope sender, so that the tenant's
//!   own SPF record is left alone and its ten look-ups are not shared. It aligns with the author's
//!   domain under DMARC's relaxed mode.
//! - **Looked up past every cache**: whoever has just published a record wants to know about now.

mod dkim_key;
mod dmarc;
mod spf;
mod tags;

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use model::{
    address::DomainName,
    domain::{CheckedRecord, RecordPurpose, RecordStatus, Selector},
};

use crate::dns::{LookupError, Resolver};

/// How long the check of one record may take, with all its look-ups.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);
/// Most records of a name that are shown.
const MAX_FOUND: usize = 8;
/// Longest text of a record that is shown, in characters; a DKIM key of 2048 bits fits.
const MAX_FOUND_CHARACTERS: usize = 512;
/// Most octets of a name's records that are shown, as they are written in JSON: what is found of
/// all records of a domain goes into one event, whatever a stranger's name server answers.
const MAX_FOUND_OCTETS: usize = 2_400;

/// What a domain should publish.
#[derive(Debug, Clone, Copy)]
pub struct DomainSpec<'a> {
    /// The sending domain.
    pub domain: &'a DomainName,
    /// What proves that it is the tenant's.
    pub ownership_token: &'a str,
    /// Its DKIM keys, oldest first: the selector and the TXT record made with the key.
    pub dkim: &'a [(Selector, String)],
    /// This server's own name: receives bounces, and is what SPF lets send.
    pub mail_host: &'a str,
    /// The addresses this server sends from; those of `mail_host` when empty.
    pub sending_addresses: &'a [IpAddr],
}

impl DomainSpec<'_> {
    /// The domain of the envelope sender.
    fn return_path(&self) -> String {
        return_path_domain(self.domain)
    }
}

/// The domain that bounces go to and whose SPF receivers check.
pub fn return_path_domain(domain: &DomainName) -> String {
    format!("bounces.{domain}")
}

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRecord {
    /// What it is for.
    pub purpose: RecordPurpose,
    /// `TXT` or `MX`.
    pub record_type: &'static str,
    /// Its name, without the final dot.
    pub name: String,
    /// Its value, as typed into a DNS provider's form.
    pub value: String,
    /// Whether the domain is not verified without it. Of several DKIM keys one is enough: the
    /// oldest counts as required here, and [`check`] lets any other take its place.
    pub required: bool,
}

/// The records that the domain should publish.
pub fn expected(spec: &DomainSpec<'_>) -> Vec<ExpectedRecord> {
    let domain = spec.domain;
    let record = |purpose, record_type, name, value, required| ExpectedRecord {
        purpose,
        record_type,
        name,
        value,
        required,
    };
    let mut records = vec![record(
        RecordPurpose::Ownership,
        "TXT",
        format!("_lumora.{domain}"),
        format!("lumora-verify={}", spec.ownership_token),
        true,
    )];
    for (index, (selector, value)) in spec.dkim.iter().enumerate() {
        let name = format!("{}._domainkey.{domain}", selector.as_str());
        records.push(record(RecordPurpose::Dkim, "TXT", name, value.clone(), index == 0));
    }
    let return_path = spec.return_path();
    let host = spec.mail_host;
    let spf = format!("v=spf1 a:{host} ~all");
    records.push(record(RecordPurpose::Spf, "TXT", return_path.clone(), spf, false));
    let dmarc = "v=DMARC1; p=none".to_owned();
    records.push(record(RecordPurpose::Dmarc, "TXT", format!("_dmarc.{domain}"), dmarc, false));
    records.push(record(RecordPurpose::ReturnPath, "MX", return_path, format!("10 {host}"), false));
    records
}

/// Looks all records of [`expected`] up, past every cache, and says in words what is wrong. The
/// order is the same.
pub async fn check(resolver: &Resolver, spec: &DomainSpec<'_>) -> Vec<CheckedRecord> {
    let resolver = resolver.fresh();
    let expected = expected(spec);
    let checks = expected.iter().map(|record| {
        let resolver = &resolver;
        async move {
            let looked = tokio::time::timeout(CHECK_DEADLINE, look(resolver, spec, record)).await;
            let seen = looked.unwrap_or_else(|_| Seen::unavailable());
            CheckedRecord {
                purpose: record.purpose,
                name: record.name.as_str().into(),
                status: seen.status,
                required: record.required,
                found: shown(&seen.found),
                problem: seen.problem.map(String::into_boxed_str),
            }
        }
    });
    let mut checked = join_all(checks).await;
    require_one_key(&mut checked);
    checked
}

/// Looks up, past every cache, whether the TXT record of a DKIM key is published at `name` as
/// `expected` has it, and says in words what is wrong.
pub async fn check_key(resolver: &Resolver, name: &str, expected: &str) -> CheckedRecord {
    let resolver = resolver.fresh();
    let look = async {
        match resolver.txt(name).await {
            Ok(found) => dkim_key::compare(expected, found),
            Err(LookupError::Unavailable) => Seen::unavailable(),
            Err(_) => Seen::missing(format!("There is no TXT record at {name}.")),
        }
    };
    let looked = tokio::time::timeout(CHECK_DEADLINE, look).await;
    let seen = looked.unwrap_or_else(|_| Seen::unavailable());
    CheckedRecord {
        purpose: RecordPurpose::Dkim,
        name: name.into(),
        status: seen.status,
        required: true,
        found: shown(&seen.found),
        problem: seen.problem.map(String::into_boxed_str),
    }
}

/// One published DKIM key is enough: while a new key is not seen yet the old one carries the
/// domain, and the other way round.
fn require_one_key(records: &mut [CheckedRecord]) {
    let keys = || records.iter().enumerate().filter(|(_, r)| r.purpose == RecordPurpose::Dkim);
    let Some(verified) =
        keys().find(|(_, record)| record.status == RecordStatus::Verified).map(|(index, _)| index)
    else {
        return;
    };
    for (index, record) in records.iter_mut().enumerate() {
        if record.purpose == RecordPurpose::Dkim {
            record.required = index == verified;
        }
    }
}

/// What was seen of a record.
struct Seen {
    status: RecordStatus,
    found: Vec<String>,
    problem: Option<String>,
}

impl Seen {
    fn verified(found: Vec<String>) -> Self {
        Self { status: RecordStatus::Verified, found, problem: None }
    }

    fn mismatch(found: Vec<String>, problem: impl Into<String>) -> Self {
        Self { status: RecordStatus::Mismatch, found, problem: Some(problem.into()) }
    }

    fn missing(problem: impl Into<String>) -> Self {
        Self { status: RecordStatus::Missing, found: vec![], problem: Some(problem.into()) }
    }

    fn unavailable() -> Self {
        Self {
            status: RecordStatus::TemporaryFailure,
            found: vec![],
            problem: Some(
                "The name servers of the domain gave no answer just now. Nothing is wrong with \
                 the record as far as can be told; try again in a few minutes."
                    .into(),
            ),
        }
    }
}

async fn look(resolver: &Resolver, spec: &DomainSpec<'_>, record: &ExpectedRecord) -> Seen {
    match record.purpose {
        RecordPurpose::Ownership | RecordPurpose::Dkim => {
            let found = match resolver.txt(&record.name).await {
                Ok(found) => found,
                Err(LookupError::Unavailable) => return Seen::unavailable(),
                Err(_) => return missing_text(resolver, spec, record).await,
            };
            if record.purpose == RecordPurpose::Dkim {
                dkim_key::compare(&record.value, found)
            } else {
                compare_token(&record.value, found)
            }
        }
        RecordPurpose::Spf => spf::look(resolver, spec, record).await,
        RecordPurpose::Dmarc => dmarc::look(resolver, spec, record).await,
        RecordPurpose::ReturnPath => look_at_return_path(resolver, spec, record).await,
    }
}

/// There is no TXT record at the name. The most common reason is a provider that appends the
/// domain to what was typed, so the doubled name is looked at too.
async fn missing_text(resolver: &Resolver, spec: &DomainSpec<'_>, record: &ExpectedRecord) -> Seen {
    let doubled = format!("{}.{}", record.name, spec.domain);
    if resolver.txt(&doubled).await.is_ok() {
        let typed = record.name.strip_suffix(&format!(".{}", spec.domain)).unwrap_or_default();
        return Seen::missing(format!(
            "The record stands at {doubled} instead of {}. Your DNS provider adds the domain by \
             itself: enter just {typed} as the name.",
            record.name
        ));
    }
    Seen::missing(format!(
        "There is no TXT record at {} yet. After you add it, it can take some minutes, with some \
         providers hours, until it is seen.",
        record.name
    ))
}

fn compare_token(expected: &str, found: Vec<String>) -> Seen {
    if found.iter().any(|text| text.trim() == expected) {
        return Seen::verified(found);
    }
    let has_quotes = found.iter().any(|text| text.trim().trim_matches('"') == expected);
    let has_token = found.iter().any(|text| text.trim().starts_with("lumora-verify="));
    let problem = if has_quotes {
        "The value has quotation marks in it. Enter it without them."
    } else if has_token {
        "There is a verification record with another token. Replace it by the value shown here; \
         a token of another account does not count."
    } else {
        "There are other TXT records at this name, and none is the value shown here. Add it \
         beside them."
    };
    Seen::mismatch(found, problem)
}

async fn look_at_return_path(
    resolver: &Resolver,
    spec: &DomainSpec<'_>,
    record: &ExpectedRecord,
) -> Seen {
    match resolver.mx(&record.name).await {
        Ok(records) => {
            let is_ours = records.iter().any(|mx| mx.host.eq_ignore_ascii_case(spec.mail_host));
            let found = records.iter().map(|mx| format!("{} {}", mx.preference, mx.host)).collect();
            if is_ours {
                Seen::verified(found)
            } else {
                Seen::mismatch(
                    found,
                    format!(
                        "Bounces go to another server. Add an MX record that names {}.",
                        spec.mail_host
                    ),
                )
            }
        }
        Err(LookupError::Unavailable) => Seen::unavailable(),
        Err(_) => Seen::missing(format!(
            "There is no MX record at {} yet. Without it receivers cannot send bounces back, and \
             some refuse mail from a sender that takes none.",
            record.name
        )),
    }
}

/// The texts of records as they may be shown: each one line, printable, cut; together within
/// [`MAX_FOUND_OCTETS`].
fn shown(found: &[String]) -> Vec<Box<str>> {
    let mut left = MAX_FOUND_OCTETS;
    let mut show = |text: &String| {
        let mut shown = String::new();
        for character in text.chars().take(MAX_FOUND_CHARACTERS) {
            let printable = if character.is_control() { '\u{fffd}' } else { character };
            let escaped = matches!(printable, '"' | '\\');
            let octets = printable.len_utf8() + usize::from(escaped);
            let Some(rest) = left.checked_sub(octets) else { break };
            left = rest;
            shown.push(printable);
        }
        shown.into_boxed_str()
    };
    let texts: Vec<Box<str>> = found.iter().take(MAX_FOUND).map(&mut show).collect();
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_publish_is_spelled_out() {
        let domain = DomainName::parse("mail.acme.com").unwrap();
        let selector = |name| Selector::parse(name).unwrap();
        let dkim = [
            (selector("lum1"), "v=DKIM1; k=rsa; p=AA".to_owned()),
            (selector("lum2"), "v=DKIM1; k=rsa; p=BB".to_owned()),
        ];
        let records = expected(&DomainSpec {
            domain: &domain,
            ownership_token: "abc",
            dkim: &dkim,
            mail_host: "mx.lumora.example",
            sending_addresses: &[],
        });
        let lines: Vec<String> = records
            .iter()
            .map(|r| format!("{} {} {} {}", r.record_type, r.name, r.value, r.required))
            .collect();
        assert_eq!(
            lines,
            [
                "TXT _lumora.mail.acme.com lumora-verify=abc true",
                "TXT lum1._domainkey.mail.acme.com v=DKIM1; k=rsa; p=AA true",
                "TXT lum2._domainkey.mail.acme.com v=DKIM1; k=rsa; p=BB false",
                "TXT bounces.mail.acme.com v=spf1 a:mx.lumora.example ~all false",
                "TXT _dmarc.mail.acme.com v=DMARC1; p=none false",
                "MX bounces.mail.acme.com 10 mx.lumora.example false",
            ]
        );
    }

    #[test]
    fn found_text_is_cut_and_printable() {
        let text = format!("a\u{1b}[31m\r\n{}", "x".repeat(2_000));
        let shown = shown(&[text]);
        assert_eq!(shown[0].chars().count(), MAX_FOUND_CHARACTERS);
        assert!(!shown[0].chars().any(char::is_control));
    }

    #[test]
    fn all_that_is_found_fits_into_an_event() {
        for text in ["\u{1f600}", "\"", "\\", "\u{7f}", "\n", "x"] {
            let found = vec![text.repeat(4_000); 60];
            let shown = shown(&found);
            assert!(!shown.is_empty() && shown.len() <= MAX_FOUND);
            let written = shown.concat().replace('\\', "\\\\").replace('"', "\\\"");
            assert!(written.len() <= MAX_FOUND_OCTETS, "{text:?}: {}", written.len());
        }
    }
}
