//! Reports of TLS sessions, as their receivers' domains want them (RFC 8460).

use std::{
    io::{self, Write as _},
    net::IpAddr,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use mail_builder::headers::date::Date;
use model::{
    Timestamp,
    address::{DomainName, EmailAddress},
    tls_report::{Day, DomainDay, FailureDetail, PolicySessions},
};
use serde::Serialize;

use crate::percent;

/// Most addresses of a domain that get its reports.
pub const MAX_ADDRESSES: usize = 4;
/// Longest record that is read, in octets.
const MAX_RECORD_OCTETS: usize = 2_048;
/// Characters in a line of base64 (RFC 2045, section 6.8).
const LINE: usize = 76;

/// A report: which sessions there were on one day with the mail hosts of one domain (RFC 8460,
/// section 4.4). Serialized, it is the JSON of that section.
///
/// What the policies said is not told: the record holds by which kind of policy a session was
/// judged, and not its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsReport {
    organization_name: String,
    date_range: DateRange,
    contact_info: String,
    report_id: String,
    policies: Vec<Judged>,
    #[serde(skip)]
    about: About,
}

/// From whom to whom, and about when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct About {
    submitter: DomainName,
    domain: DomainName,
    day: Day,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Judged {
    policy: Rule,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Rule {
    policy_type: &'static str,
    policy_domain: DomainName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail {
    result_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<IpAddr>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<&'static str>,
}

impl TlsReport {
    /// The report of `submitter`, the domain of who sent, to `domain`, whose sessions these are.
    pub fn new(
        submitter: &DomainName,
        domain: &DomainName,
        day: Day,
        sessions: &DomainDay,
    ) -> Self {
        Self {
            organization_name: submitter.to_string(),
            date_range: DateRange {
                start_datetime: format!("{day}T00:00:00Z"),
                end_datetime: format!("{day}T23:59:59Z"),
            },
            contact_info: format!("postmaster@{submitter}"),
            report_id: format!("{day}.{domain}@{submitter}"),
            policies: sessions.0.iter().map(|sessions| judged(domain, sessions)).collect(),
            about: About { submitter: submitter.clone(), domain: domain.clone(), day },
        }
    }

    /// The report as a message, to be signed for its submitter (RFC 8460, section 5.3). Every line
    /// is ASCII and ends CRLF.
    ///
    /// # Errors
    /// Compressing failed.
    pub fn message(&self, to: &[EmailAddress], now: Timestamp) -> io::Result<Vec<u8>> {
        let About { submitter, domain, day } = &self.about;
        let json = serde_json::to_vec(self)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&json)?;
        let text = STANDARD.encode(gzip.finish()?);
        let begin_s = day.start().as_millis() / 1_000;
        let end_s = day.after().start().as_millis() / 1_000 - 1;
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        let id = &self.report_id;
        // Base64 has no such line.
        let boundary = "=_tls-report";
        let mut message = format!(
            "From: <tls-reports@{submitter}>\r\n\
             To: {to}\r\n\
             Subject: Report Domain: {domain}\r\n Submitter: {submitter}\r\n Report-ID: <{id}>\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}>\r\n\
             TLS-Report-Domain: {domain}\r\n\
             TLS-Report-Submitter: {submitter}\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\
             Content-Transfer-Encoding: 7bit\r\n\
             \r\n\
             This is a report of the TLS sessions from {submitter}\r\n\
             with the mail hosts of {domain} on {day} (UTC).\r\n\
             --{boundary}\r\n\
             Content-Type: application/tlsrpt+gzip\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n \
             filename=\"{submitter}!{domain}!{begin_s}!{end_s}.json.gz\"\r\n\
             \r\n",
            to = to.join(",\r\n "),
            date = Date::new(i64::try_from(now.as_millis() / 1_000).unwrap_or_default()).to_rfc822(),
        )
        .into_bytes();
        for line in text.as_bytes().chunks(LINE) {
            message.extend_from_slice(line);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Ok(message)
    }
}

/// Where a domain publishes whom it wants reports sent to.
pub fn record_name(domain: &DomainName) -> String {
    format!("_smtp._tls.{domain}")
}

/// The addresses that the TXT records at [`record_name`] ask to send reports to (RFC 8460, section
/// 3); none when there are several records or the only one is malformed. Addresses that are no
/// `mailto:`, and those that need SMTPUTF8, are passed over.
pub fn addresses<'r>(records: impl IntoIterator<Item = &'r str>) -> Vec<EmailAddress> {
    let mut ours = records.into_iter().filter(|record| {
        let version = record.split(';').next().unwrap_or_default();
        version.trim_end_matches([' ', '\t']) == "v=TLSRPTv1"
    });
    let (Some(record), None) = (ours.next(), ours.next()) else { return Vec::new() };
    if record.len() > MAX_RECORD_OCTETS {
        return Vec::new();
    }
    let mut fields = record.split(';').skip(1).filter_map(|field| field.split_once('='));
    let Some((_, uris)) = fields.find(|(name, _)| name.trim() == "rua") else {
        return Vec::new();
    };
    let found = uris.split(',').filter_map(|uri| mailto(uri.trim()));
    found.filter(|address| !address.needs_smtputf8()).take(MAX_ADDRESSES).collect()
}

fn mailto(uri: &str) -> Option<EmailAddress> {
    const SCHEME: &str = "mailto:";
    let (scheme, rest) = uri.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let encoded = rest.split('?').next().unwrap_or_default();
    EmailAddress::parse(&percent::decoded(encoded)?).ok()
}

fn judged(domain: &DomainName, sessions: &PolicySessions) -> Judged {
    Judged {
        policy: Rule { policy_type: sessions.policy.as_str(), policy_domain: domain.clone() },
        summary: Summary {
            total_successful_session_count: sessions.successful,
            total_failure_session_count: sessions.failures(),
        },
        failure_details: sessions.failed.iter().map(failure).collect(),
    }
}

fn failure((detail, count): &(FailureDetail, u64)) -> Detail {
    Detail {
        result_type: detail.failure.result_type(),
        sending_mta_ip: detail.from,
        receiving_mx_hostname: detail.mx.clone(),
        receiving_ip: detail.ip,
        failed_session_count: *count,
        failure_reason_code: detail.reason_code(),
    }
}

#[cfg(test)]
mod tests {
    use model::{
        delivery::{Peer, Stage, Tls, TlsFailure, TlsRule},
        tls_report::Session,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn records_ask_for_reports_or_do_not() {
        for (records, expected) in [
            (&["v=TLSRPTv1; rua=mailto:tls@example.com"][..], &["tls@example.com"][..]),
            (
                &["v=TLSRPTv1;rua=mailto:a@b.example,https://c.example/,mailto:d@e.example;", "x"],
                &["a@b.example", "d@e.example"],
            ),
            (&["v=TLSRPTv1 ; x=y; rua = MAILTO:a%2Bb@c.example?subject=x"], &["a+b@c.example"]),
            (&["v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:c@d.example"], &[]),
            (&["v=TLSRPTv1"], &[]),
            (&["v=TLSRPTv1; rua="], &[]),
            (&["v=TLSRPTv1; rua=https://c.example/"], &[]),
            (&["v=TLSRPTv1; rua=mailto:nobody"], &[]),
            (&["v=TLSRPTv1; rua=mailto:a%@b.example"], &[]),
            (&["v=TLSRPTv1; rua=mailto:a%+1@b.example"], &[]),
            (&["v=TLSRPTv1; rua=mailto:a%0D%0ADATA@b.example"], &[]),
            (&["v=TLSRPTv1; rua=mailto:\u{fc}@b.example"], &[]),
            (&["v=TLSRPTv11; rua=mailto:a@b.example"], &[]),
            (&["rua=mailto:a@b.example; v=TLSRPTv1"], &[]),
            (&[], &[]),
        ] {
            let found: Vec<String> =
                addresses(records.iter().copied()).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{records:?}");
        }
        let many = format!("v=TLSRPTv1; rua={}", ["mailto:a@b.example"; 9].join(","));
        assert_eq!(addresses([&*many]).len(), MAX_ADDRESSES);
    }

    #[test]
    fn the_message_is_one_that_others_can_read() {
        let domain = |name| DomainName::parse(name).unwrap();
        let (from, to) = (domain("company-x.example"), domain("company-y.example"));
        let day: Day = "2016-04-01".parse().unwrap();
        let report = TlsReport::new(&from, &to, day, &DomainDay::default());
        let addresses = addresses(["v=TLSRPTv1; rua=mailto:a@b.example,mailto:c@d.example"]);
        let now = day.after().start();
        let message = report.message(&addresses, now).unwrap();
        let text = std::str::from_utf8(&message).unwrap();
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 200), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));

        let read = mail_parser::MessageParser::default().parse(&message).unwrap();
        let field = |name: &'static str| {
            let raw = read.header_raw(name).unwrap_or_default();
            raw.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let id = "2016-04-01.company-y.example@company-x.example";
        for (name, value) in [
            ("From", "<tls-reports@company-x.example>"),
            ("To", "a@b.example, c@d.example"),
            ("TLS-Report-Domain", "company-y.example"),
            ("TLS-Report-Submitter", "company-x.example"),
            ("Date", "Sat, 2 Apr 2016 00:00:00 +0000"),
        ] {
            assert_eq!(field(name), value, "{name}");
        }
        let subject = format!(
            "Report Domain: company-y.example Submitter: company-x.example Report-ID: <{id}>"
        );
        assert_eq!(field("Subject"), subject);
        assert!(field("Content-Type").starts_with("multipart/report; report-type=\"tlsrpt\";"));
        let attached = read.attachment(0).unwrap();
        let attributes = mail_parser::MimeHeaders::attachment_name(attached);
        let name = "company-x.example!company-y.example!1459468800!1459555199.json.gz";
        assert_eq!(attributes, Some(name));
        let kind = mail_parser::MimeHeaders::content_type(attached).unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("application", Some("tlsrpt+gzip")));
        let mut json = String::new();
        let mut gzip = flate2::read::GzDecoder::new(attached.contents());
        std::io::Read::read_to_string(&mut gzip, &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json, serde_json::to_value(report).unwrap());
        assert_eq!(json["report-id"], id);
    }

    /// One well, three under a policy and one without.
    fn sessions() -> DomainDay {
        let tls = Tls {
            version: "TLSv1.3".into(),
            cipher: "x".into(),
            verified: true,
            verification: None,
            certificate_sha256: None,
        };
        let peer = || Peer {
            from: Some("2001:db8:abcd:12::1".parse().unwrap()),
            tls_rule: Some(TlsRule::MtaSts),
            ..Peer::new("mx1.mail.company-y.example", Some("2001:db8::25".parse().unwrap()))
        };
        let mut sessions = DomainDay::default();
        for peer in [
            Peer { tls: Some(tls), ..peer() },
            Peer { tls_failure: Some(TlsFailure::CertificateExpired), ..peer() },
            Peer { tls_failure: Some(TlsFailure::CertificateExpired), ..peer() },
            Peer { tls_failure: Some(TlsFailure::MxNotInPolicy), from: None, ip: None, ..peer() },
            Peer { tls_rule: None, ..peer() },
        ] {
            sessions.count(Session::of(Stage::EndOfData, &peer).unwrap());
        }
        sessions
    }

    #[test]
    fn a_report_is_as_the_standard_shows_it() {
        let domain = |name| DomainName::parse(name).unwrap();
        let (from, to) = (domain("company-x.example"), domain("company-y.example"));
        let report = TlsReport::new(&from, &to, "2016-04-01".parse().unwrap(), &sessions());
        assert_eq!(
            serde_json::to_value(report).unwrap(),
            json!({
                "organization-name": "company-x.example",
                "date-range": {
                    "start-datetime": "2016-04-01T00:00:00Z",
                    "end-datetime": "2016-04-01T23:59:59Z",
                },
                "contact-info": "postmaster@company-x.example",
                "report-id": "2016-04-01.company-y.example@company-x.example",
                "policies": [
                    {
                        "policy": { "policy-type": "sts", "policy-domain": "company-y.example" },
                        "summary": {
                            "total-successful-session-count": 1,
                            "total-failure-session-count": 3,
                        },
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "sending-mta-ip": "2001:db8:abcd:12::1",
                                "receiving-mx-hostname": "mx1.mail.company-y.example",
                                "receiving-ip": "2001:db8::25",
                                "failed-session-count": 2,
                            },
                            {
                                "result-type": "validation-failure",
                                "receiving-mx-hostname": "mx1.mail.company-y.example",
                                "failed-session-count": 1,
                                "failure-reason-code": "mx-not-in-policy",
                            },
                        ],
                    },
                    {
                        "policy": {
                            "policy-type": "no-policy-found", "policy-domain": "company-y.example",
                        },
                        "summary": {
                            "total-successful-session-count": 0,
                            "total-failure-session-count": 1,
                        },
                        "failure-details": [{
                            "result-type": "starttls-not-supported",
                            "sending-mta-ip": "2001:db8:abcd:12::1",
                            "receiving-mx-hostname": "mx1.mail.company-y.example",
                            "receiving-ip": "2001:db8::25",
                            "failed-session-count": 1,
                        }],
                    },
                ],
            })
        );
    }
}
