//! DANE with a signed DNS (RFC 7672).

use aws_lc_rs::digest;
use hickory_proto::rr::RecordType;
use mail::{
    dns::{
        Resolver,
        secure::{SecureResolver, TrustAnchor},
    },
    policy::{Policies, PolicyOptions},
    sink::Sink,
    smtp::TlsClient,
};
use model::delivery::{
    Answer, Fault, Outcome, Stage, Tls, TlsDemand, TlsFailure, TlsRule, Verdict, Verification,
};

use crate::{
    HOME, Sender,
    authority::Authority,
    dns_options, failure, mail_host, router,
    scripted::{Script, Scripted},
    signed::{RunningSignedDns, SignedDns, Tampering, address, alias, mx, tlsa},
};

const MX: &str = "mx.test";

fn sha256(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, octets).as_ref().to_vec()
}

fn tlsa_name(port: u16) -> String {
    format!("_{port}._tcp.{MX}")
}

/// `signed.test` with one mail host.
fn world() -> SignedDns {
    SignedDns::new().add("signed.test", mx(MX)).add(MX, address(HOME))
}

fn sender(dns: &RunningSignedDns, port: u16, trusted: &[&Authority]) -> Sender {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dns.trust_anchor).unwrap();
    let anchor = TrustAnchor::File(file.path().to_owned());
    let options = dns_options(dns.address);
    let secure = SecureResolver::new(&options, &anchor).unwrap();
    let roots: Vec<_> = trusted.iter().map(|authority| authority.certificate()).collect();
    let tls = TlsClient::new(&roots).unwrap();
    let policy = PolicyOptions { smtp_port: port, mta_sts: false, ..PolicyOptions::default() };
    let resolver = Resolver::new(&options).unwrap();
    let policies = Policies::new(resolver, Some(secure), &tls, &policy);
    Sender { router: router(dns.address), policies, tls, port }
}

fn port(sink: &Sink) -> u16 {
    sink.address().port()
}

fn verified(outcome: &Outcome) -> (Option<Verification>, Option<TlsRule>) {
    let peer = outcome.peer.as_ref().unwrap();
    (peer.tls.as_ref().map(Tls::verification), peer.tls_rule)
}

#[tokio::test]
async fn a_certificate_that_signed_dns_names_is_enough_whoever_issued_it() {
    let authority = Authority::new();
    // For another name, and its time is over: with usage 3 the DNS says who it is.
    let expired = authority.issue_expired(&["other.test"]);
    let named = authority.issue(&[MX]);
    let root = authority.certificate();
    for (issued, usage, selector, data) in [
        (&expired, 3, 0, &expired.certificate[..]),
        (&expired, 3, 1, &expired.public_key[..]),
        (&named, 2, 0, &root[..]),
    ] {
        let (sink, mut inbox) = mail_host(Some(issued.server.clone())).await;
        for (matching, data) in [
            (0, data.to_vec()),
            (1, sha256(data)),
            (2, digest::digest(&digest::SHA512, data).as_ref().to_vec()),
        ] {
            let record = tlsa(usage, selector, matching, &data);
            let dns = world().add(&tlsa_name(port(&sink)), record).start().await;
            let sender = sender(&dns, port(&sink), &[]);
            let outcome = sender.send("signed.test", TlsDemand::Opportunistic).await;
            let case = format!("{usage} {selector} {matching}");
            assert_eq!(outcome.verdict(), Verdict::Delivered, "{case}: {outcome:?}");
            let expected = (Some(Verification::Dane), Some(TlsRule::Dane));
            assert_eq!(verified(&outcome), expected, "{case}");
            assert!(inbox.recv().await.unwrap().tls);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_no_record_names_gets_nothing_even_from_a_trusted_authority() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (named, misnamed) = (authority.issue(&[MX]), authority.issue(&["other.test"]));
    let expired = authority.issue_expired(&[MX]);
    let root = sha256(&authority.certificate());
    let (tlsa_invalid, mismatch) = (TlsFailure::TlsaInvalid, TlsFailure::CertificateHostMismatch);
    for (issued, usage, data, expected) in [
        (&named, 3, sha256(b"another key"), tlsa_invalid),
        (&named, 2, sha256(&stranger.certificate()), tlsa_invalid),
        (&misnamed, 2, root.clone(), mismatch),
        (&expired, 2, root, TlsFailure::CertificateExpired),
    ] {
        let (sink, mut inbox) = mail_host(Some(issued.server.clone())).await;
        let selector = u8::from(usage == 3);
        let record = tlsa(usage, selector, 1, &data);
        let dns = world().add(&tlsa_name(port(&sink)), record).start().await;
        let sender = sender(&dns, port(&sink), &[&authority]);
        let outcome = sender.send("signed.test", TlsDemand::Opportunistic).await;
        assert_eq!(outcome.answer, Answer::Fault(Fault::TlsRequired));
        assert_eq!(outcome.verdict(), Verdict::Deferred);
        assert_eq!(failure(&outcome), Some(expected));
        assert!(inbox.try_recv().is_err(), "nothing was taken");
    }
}

#[tokio::test]
async fn stripped_starttls_gets_no_message_in_clear() {
    let server = Scripted::start(vec![Script::new(&["PIPELINING"])]).await;
    let port = server.address.port();
    let dns = world().add(&tlsa_name(port), tlsa(3, 1, 1, &[7; 32])).start().await;
    let outcome = sender(&dns, port, &[]).send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(outcome.answer, Answer::Fault(Fault::TlsRequired));
    assert_eq!(failure(&outcome), Some(TlsFailure::StarttlsNotSupported));
    assert_eq!(server.heard(0), ["EHLO out.lumora.example", "QUIT"]);
}

#[tokio::test]
async fn records_that_mail_cannot_use_ask_for_encryption_alone() {
    let authority = Authority::new();
    let (sink, mut inbox) = mail_host(Some(authority.issue(&["any.test"]).server)).await;
    let name = tlsa_name(port(&sink));
    let unusable = || world().add(&name, tlsa(1, 1, 1, &[7; 32])).add(&name, tlsa(3, 1, 9, b"x"));
    let dns = unusable().start().await;
    let sent = sender(&dns, port(&sink), &[]).send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(sent.verdict(), Verdict::Delivered, "{sent:?}");
    assert_eq!(verified(&sent), (Some(Verification::None), Some(TlsRule::Dane)));
    assert!(inbox.recv().await.unwrap().tls);
    // Who demands more gets no less.
    let required = sender(&dns, port(&sink), &[]).send("signed.test", TlsDemand::Required).await;
    assert_eq!(failure(&required), Some(TlsFailure::CertificateNotTrusted));

    let server = Scripted::start(vec![Script::new(&[])]).await;
    let port = server.address.port();
    let dns = world().add(&tlsa_name(port), tlsa(0, 0, 1, &[7; 32])).start().await;
    let outcome = sender(&dns, port, &[]).send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(failure(&outcome), Some(TlsFailure::StarttlsNotSupported));
}

#[tokio::test]
async fn an_answer_that_dnssec_does_not_prove_holds_the_mail_back() {
    let (sink, mut inbox) = mail_host(None).await;
    let name = tlsa_name(port(&sink));
    let dane = || world().add(&name, tlsa(3, 1, 1, &[7; 32]));
    for how in [Tampering::Denied, Tampering::ServFail, Tampering::Silent] {
        // The TLSA records, the mail host's address, the mail hosts' names.
        for (owner, record_type) in
            [(&*name, RecordType::TLSA), (MX, RecordType::A), ("signed.test", RecordType::MX)]
        {
            // Silence takes its time, and is the same failure as the others.
            if how == Tampering::Silent && record_type != RecordType::TLSA {
                continue;
            }
            let dns = dane().tamper(owner, record_type, how).start().await;
            let sender = sender(&dns, port(&sink), &[]);
            // The unsigned route is what an attacker leaves standing: he wants the mail.
            let honest = dane().start().await;
            let sender = Sender { router: router(honest.address), ..sender };
            let outcome = sender.send("signed.test", TlsDemand::Opportunistic).await;
            assert_eq!(outcome.verdict(), Verdict::Deferred, "{how:?} {record_type}");
            assert!(outcome.stage != Stage::EndOfData, "{how:?} {record_type}: {outcome:?}");
            assert!(inbox.try_recv().is_err(), "{how:?} {record_type}: nothing was taken");
        }
    }
    let forged = world().forge(&name, tlsa(3, 1, 1, &[7; 32]));
    let dns = forged.start().await;
    let outcome =
        sender(&dns, port(&sink), &[]).send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(failure(&outcome), Some(TlsFailure::DnssecInvalid), "{outcome:?}");
}

#[tokio::test]
async fn a_mail_host_that_signed_dns_does_not_name_gets_nothing() {
    let (sink, mut inbox) = mail_host(None).await;
    let dns = world().start().await;
    let spoofed =
        SignedDns::new().add("signed.test", mx("evil.test")).add("evil.test", address(HOME));
    let spoofed = spoofed.start().await;
    let sender = Sender { router: router(spoofed.address), ..sender(&dns, port(&sink), &[]) };
    let outcome = sender.send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(failure(&outcome), Some(TlsFailure::DnssecInvalid));
    assert!(inbox.try_recv().is_err());
}

#[tokio::test]
async fn where_nobody_signs_or_publishes_mail_goes_as_ever() {
    let (sink, mut inbox) = mail_host(None).await;
    let name = format!("_{}._tcp.mx.plain.test", port(&sink));
    let dns = world()
        // Signed, without TLSA records.
        .add("bare.test", mx("bare-mx.test"))
        .add("bare-mx.test", address(HOME))
        // A domain that is its own mail host.
        .add("own.test", address(HOME))
        // Signed, with a mail host in a zone that is not.
        .add("mixed.test", mx("mx.plain.test"))
        // Not signed: its records prove nothing.
        .add_unsigned("plain.test", mx("mx.plain.test"))
        .add_unsigned("mx.plain.test", address(HOME))
        .add_unsigned(&name, tlsa(3, 1, 1, &[7; 32]))
        .start()
        .await;
    let sender = sender(&dns, port(&sink), &[]);
    for to in ["bare.test", "own.test", "mixed.test", "plain.test"] {
        let outcome = sender.send(to, TlsDemand::Opportunistic).await;
        assert_eq!(outcome.verdict(), Verdict::Delivered, "{to}: {outcome:?}");
        assert_eq!(verified(&outcome), (None, None), "{to}");
        assert!(inbox.recv().await.is_some());
    }
}

#[tokio::test]
async fn records_stand_under_the_name_behind_an_alias() {
    let authority = Authority::new();
    let issued = authority.issue(&["real.test"]);
    let (sink, mut inbox) = mail_host(Some(issued.server.clone())).await;
    let dns = SignedDns::new()
        .add("signed.test", mx("alias.test"))
        .add("alias.test", alias("real.test"))
        .add("real.test", address(HOME))
        .add(
            &format!("_{}._tcp.real.test", port(&sink)),
            tlsa(2, 0, 1, &sha256(&authority.certificate())),
        )
        .start()
        .await;
    let outcome =
        sender(&dns, port(&sink), &[]).send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(outcome.verdict(), Verdict::Delivered, "{outcome:?}");
    assert_eq!(verified(&outcome).0, Some(Verification::Dane));
    assert!(inbox.recv().await.unwrap().tls);
}

#[tokio::test]
async fn name_servers_without_dnssec_leave_dane_out() {
    let (sink, mut inbox) = mail_host(None).await;
    let signed = world().start().await;
    // Its anchor is not that of this root.
    let mut dns = world().start().await;
    dns.trust_anchor = signed.trust_anchor.clone();
    let outcome =
        sender(&dns, port(&sink), &[]).send("signed.test", TlsDemand::Opportunistic).await;
    assert_eq!(outcome.verdict(), Verdict::Delivered, "{outcome:?}");
    assert!(inbox.recv().await.is_some());
}
