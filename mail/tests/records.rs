//! A domain's records, looked up from a real DNS server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "support/dns.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod test_dns;

use std::{net::IpAddr, time::Duration};

use mail::{
    dns::{DnsOptions, Resolver},
    records::{DomainSpec, check, expected},
};
use model::{
    address::DomainName,
    domain::{CheckedRecord, RecordPurpose, RecordStatus, Selector},
};
use test_dns::{Behaviour, TestDns};

const HOST: &str = "mx.lumora.example";
const KEY: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A";

struct Setting {
    dns: TestDns,
    resolver: Resolver,
    domain: DomainName,
    keys: Vec<(Selector, String)>,
    addresses: Vec<IpAddr>,
}

impl Setting {
    async fn new(domain: &str) -> Self {
        let dns = TestDns::start().await;
        let options = DnsOptions {
            servers: Some(vec![dns.address()]),
            timeout: Duration::from_millis(300),
            tries: 1,
            ..DnsOptions::default()
        };
        Self {
            resolver: Resolver::new(&options).unwrap(),
            dns,
            domain: DomainName::parse(domain).unwrap(),
            keys: vec![(Selector::parse("lum1").unwrap(), KEY.to_owned())],
            addresses: vec!["192.0.2.10".parse().unwrap()],
        }
    }

    fn spec(&self) -> DomainSpec<'_> {
        DomainSpec {
            domain: &self.domain,
            ownership_token: "tok3n",
            dkim: &self.keys,
            mail_host: HOST,
            sending_addresses: &self.addresses,
        }
    }

    /// Publishes what is expected, except some.
    fn publish_but(&self, left_out: &[RecordPurpose]) {
        for record in expected(&self.spec()) {
            match record.purpose {
                purpose if left_out.contains(&purpose) => {}
                RecordPurpose::ReturnPath => self.dns.mx(&record.name, 10, HOST),
                _ => self.dns.txt(&record.name, &record.value),
            }
        }
        self.dns.host(HOST, "192.0.2.10".parse::<IpAddr>().unwrap());
    }

    async fn check(&self) -> Vec<CheckedRecord> {
        check(&self.resolver, &self.spec()).await
    }

    async fn one(&self, purpose: RecordPurpose) -> (RecordStatus, String) {
        let record = self.check().await.into_iter().find(|r| r.purpose == purpose).unwrap();
        (record.status, record.problem.map(String::from).unwrap_or_default())
    }
}

#[tokio::test]
async fn what_is_published_as_told_is_verified() {
    let setting = Setting::new("mail.acme.example").await;
    setting.publish_but(&[]);
    let checked = setting.check().await;
    assert_eq!(checked.len(), 5);
    for (record, expected) in checked.iter().zip(expected(&setting.spec())) {
        assert_eq!(record.status, RecordStatus::Verified, "{record:?}");
        assert_eq!((record.problem.as_ref(), &*record.name), (None, expected.name.as_str()));
        assert_eq!(record.required, expected.required);
        assert_eq!(record.found.len(), 1);
    }
}

#[tokio::test]
async fn nothing_published_is_missing_and_a_silent_dns_is_neither() {
    let setting = Setting::new("mail.acme.example").await;
    for record in setting.check().await {
        assert_eq!(record.status, RecordStatus::Missing, "{record:?}");
        assert!(record.problem.unwrap().len() > 20);
    }
    for record in expected(&setting.spec()) {
        setting.dns.behave(&record.name, Behaviour::ServFail);
    }
    for record in setting.check().await {
        assert_eq!(record.status, RecordStatus::TemporaryFailure, "{record:?}");
    }
    // What was just published is seen at once, whatever was remembered.
    for record in expected(&setting.spec()) {
        setting.dns.remove(&record.name);
    }
    setting.publish_but(&[]);
    for record in setting.check().await {
        assert_eq!(record.status, RecordStatus::Verified, "{record:?}");
    }
}

#[tokio::test]
async fn the_usual_mistakes_are_explained() {
    let setting = Setting::new("acme.example").await;
    let ownership = "_lumora.acme.example";
    setting.dns.txt("_lumora.acme.example.acme.example", "lumora-verify=tok3n");
    let (status, problem) = setting.one(RecordPurpose::Ownership).await;
    assert_eq!(status, RecordStatus::Missing);
    assert!(problem.contains("enter just _lumora as the name"), "{problem}");

    for (text, word) in [
        ("lumora-verify=other", "another token"),
        ("\"lumora-verify=tok3n\"", "quotation marks"),
        ("google-site-verification=x", "beside"),
    ] {
        setting.dns.remove(ownership);
        setting.dns.txt(ownership, text);
        let (status, problem) = setting.one(RecordPurpose::Ownership).await;
        assert_eq!(status, RecordStatus::Mismatch);
        assert!(problem.contains(word), "{text}: {problem}");
    }
    setting.dns.txt(ownership, "lumora-verify=tok3n");
    assert_eq!(setting.one(RecordPurpose::Ownership).await.0, RecordStatus::Verified);
}

#[tokio::test]
async fn a_claim_proves_nothing_for_names_around_it() {
    let setting = Setting::new("mail.acme.example").await;
    setting.dns.txt("_lumora.acme.example", "lumora-verify=tok3n");
    setting.dns.txt("mail.acme.example", "lumora-verify=tok3n");
    setting.dns.txt("_lumora.sub.mail.acme.example", "lumora-verify=tok3n");
    assert_eq!(setting.one(RecordPurpose::Ownership).await.0, RecordStatus::Missing);
}

#[tokio::test]
async fn keys_may_be_long_and_behind_an_alias() {
    let mut setting = Setting::new("acme.example").await;
    let key = mail::dkim::generate(mail::dkim::DkimAlgorithm::Rsa2048).unwrap().public_record;
    setting.keys = vec![(Selector::parse("lum1").unwrap(), key.clone())];
    setting.dns.alias("lum1._domainkey.acme.example", "acme.keys.example");
    setting.dns.txt("acme.keys.example", &key);
    assert_eq!(setting.one(RecordPurpose::Dkim).await.0, RecordStatus::Verified);
    setting.dns.remove("acme.keys.example");
    setting.dns.txt("acme.keys.example", &key[..250]);
    let (status, problem) = setting.one(RecordPurpose::Dkim).await;
    assert_eq!(status, RecordStatus::Mismatch);
    assert!(problem.contains("damaged") || problem.contains("another key"), "{problem}");
}

#[tokio::test]
async fn one_of_several_keys_is_enough() {
    use RecordStatus::{Missing, Verified};
    let mut setting = Setting::new("acme.example").await;
    setting.keys.push((Selector::parse("lum2").unwrap(), "v=DKIM1; k=rsa; p=BBBB".to_owned()));
    let keys = async |setting: &Setting| -> Vec<(RecordStatus, bool)> {
        let checked = setting.check().await;
        let keys = checked.iter().filter(|record| record.purpose == RecordPurpose::Dkim);
        keys.map(|record| (record.status, record.required)).collect()
    };
    assert_eq!(keys(&setting).await, [(Missing, true), (Missing, false)]);
    setting.dns.txt("lum2._domainkey.acme.example", "v=DKIM1; k=rsa; p=BBBB");
    assert_eq!(keys(&setting).await, [(Missing, false), (Verified, true)]);
    setting.dns.txt("lum1._domainkey.acme.example", KEY);
    assert_eq!(keys(&setting).await, [(Verified, true), (Verified, false)]);
}

/// The status of SPF with this record at the return path and these elsewhere.
async fn spf(record: &str, others: &[(&str, &str)]) -> (RecordStatus, String) {
    let setting = Setting::new("acme.example").await;
    setting.dns.host(HOST, "192.0.2.10".parse::<IpAddr>().unwrap());
    setting.dns.host("v6.example", "2001:db8::10".parse::<IpAddr>().unwrap());
    setting.dns.mx("mxs.example", 10, HOST);
    setting.dns.txt("bounces.acme.example", record);
    for (name, text) in others {
        setting.dns.txt(name, text);
    }
    setting.one(RecordPurpose::Spf).await
}

#[tokio::test]
async fn spf_that_lets_this_server_send_is_verified() {
    for (record, others) in [
        ("v=spf1 a:mx.lumora.example ~all", &[][..]),
        ("v=spf1 ip4:192.0.2.0/24 -all", &[]),
        ("v=spf1 mx:mxs.example -all", &[]),
        ("v=spf1 a:mx.lumora.example/28 -all", &[]),
        ("v=spf1 exists:mx.lumora.example -all", &[]),
        ("v=spf1 include:a.example -all", &[("a.example", "v=spf1 ip4:192.0.2.10 -all")]),
        ("v=spf1 redirect=a.example", &[("a.example", "v=spf1 ip4:192.0.2.10 -all")]),
        (
            "v=spf1 include:a.example include:b.example ?all",
            &[
                ("a.example", "v=spf1 -all"),
                ("b.example", "v=spf1 redirect=c.example"),
                ("c.example", "v=spf1 +all"),
            ],
        ),
    ] {
        let (status, problem) = spf(record, others).await;
        assert_eq!((status, problem.as_str()), (RecordStatus::Verified, ""), "{record}");
    }
}

#[tokio::test]
async fn spf_that_does_not_is_explained() {
    let chain: Vec<(String, String)> = (0..12)
        .map(|n| (format!("s{n}.example"), format!("v=spf1 include:s{}.example -all", n + 1)))
        .collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    for (record, others, word) in [
        ("v=spf1 -all", &[][..], "does not let this server"),
        ("v=spf1 ip4:198.51.100.0/24 ~all", &[], "does not let this server"),
        ("v=spf1", &[], "does not let this server"),
        ("v=spf1 -a:mx.lumora.example +all", &[], "does not let this server"),
        ("v=spf1 exists:%{i}.example.com -all", &[], "macros"),
        ("v=spf1 ipv4:192.0.2.10 -all", &[], "not a mechanism"),
        ("v=spf1 include:nowhere.example -all", &[], "no SPF record"),
        ("v=spf1 redirect=nowhere.example", &[], "no SPF record"),
        ("v=spf1 include:s0.example -all", &chain, "more than 10 DNS look-ups"),
        (
            "v=spf1 include:s0.example -all",
            &[("s0.example", "v=spf1 include:s0.example")],
            "more than 10",
        ),
        ("v=spf1 a:x.example a:y.example a:z.example -all", &[], "do not exist"),
        // These have addresses, of the other family alone.
        ("v=spf1 a:v6.example a:v6.example a:v6.example -all", &[], "do not exist"),
        ("v=spf1 exists:v6.example -all", &[], "does not let this server"),
        (
            "v=spf1 a:mx.lumora.example -all",
            &[("bounces.acme.example", "v=spf1 -all")],
            "two SPF records",
        ),
        ("some text", &[], "none is an SPF record"),
    ] {
        let (status, problem) = spf(record, others).await;
        assert_eq!(status, RecordStatus::Mismatch, "{record}: {problem}");
        assert!(problem.contains(word), "{record}: {problem}");
    }
}

#[tokio::test]
async fn without_addresses_those_of_the_mail_host_count() {
    let mut setting = Setting::new("acme.example").await;
    setting.addresses.clear();
    setting.dns.txt("bounces.acme.example", "v=spf1 ip4:192.0.2.10 -all");
    // The mail host has no address: only the words can be compared.
    assert_eq!(setting.one(RecordPurpose::Spf).await.0, RecordStatus::Mismatch);
    setting.dns.host(HOST, "192.0.2.10".parse::<IpAddr>().unwrap());
    assert_eq!(setting.one(RecordPurpose::Spf).await.0, RecordStatus::Verified);
    setting.dns.host(HOST, "2001:db8::10".parse::<IpAddr>().unwrap());
    let (status, problem) = setting.one(RecordPurpose::Spf).await;
    assert_eq!(status, RecordStatus::Mismatch);
    assert!(problem.contains("2001:db8::10"), "{problem}");
}

#[tokio::test]
async fn a_policy_above_the_domain_counts() {
    let setting = Setting::new("mail.acme.example").await;
    let dmarc = async |setting: &Setting| setting.one(RecordPurpose::Dmarc).await;
    assert_eq!(dmarc(&setting).await.0, RecordStatus::Missing);
    setting.dns.txt("_dmarc.acme.example", "v=DMARC1; p=reject; aspf=s");
    let (status, problem) = dmarc(&setting).await;
    assert_eq!(status, RecordStatus::Verified);
    assert!(problem.contains("aspf=s"), "{problem}");
    setting.dns.txt("_dmarc.mail.acme.example", "v=DMARC1; p=quarantine");
    assert_eq!(dmarc(&setting).await, (RecordStatus::Verified, String::new()));
    setting.dns.txt("_dmarc.mail.acme.example", "v=DMARC1; p=none");
    let (status, problem) = dmarc(&setting).await;
    assert_eq!(status, RecordStatus::Mismatch);
    assert!(problem.contains("more than one"), "{problem}");

    setting.dns.remove("_dmarc.mail.acme.example");
    setting.dns.remove("_dmarc.acme.example");
    setting.dns.txt("_dmarc.acme.example", "v=DMARC1; p=reject; psd=y");
    assert_eq!(dmarc(&setting).await.0, RecordStatus::Missing);
    setting.dns.txt("_dmarc.mail.acme.example", "v=DMARC1; p=noone");
    assert_eq!(dmarc(&setting).await.0, RecordStatus::Mismatch);
}

#[tokio::test]
async fn bounces_must_come_to_this_server() {
    let setting = Setting::new("acme.example").await;
    setting.dns.mx("bounces.acme.example", 10, "mail.other.example");
    let (status, problem) = setting.one(RecordPurpose::ReturnPath).await;
    assert_eq!(status, RecordStatus::Mismatch);
    assert!(problem.contains(HOST), "{problem}");
    setting.dns.mx("bounces.acme.example", 20, "MX.Lumora.Example");
    assert_eq!(setting.one(RecordPurpose::ReturnPath).await.0, RecordStatus::Verified);
}

#[tokio::test]
async fn hostile_records_are_shown_harmless_and_few() {
    let setting = Setting::new("acme.example").await;
    for n in 0..30 {
        let text = format!("{n} \u{1b}[2J\r\n<script>{}", "x".repeat(900));
        setting.dns.txt("_lumora.acme.example", &text);
    }
    let checked = setting.check().await;
    assert!((1..=8).contains(&checked[0].found.len()));
    for found in &checked[0].found {
        assert!(found.chars().count() <= 512);
        assert!(!found.chars().any(char::is_control));
    }
}
