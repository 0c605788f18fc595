//! MTA-STS against a real policy host (RFC 8461).

use std::{path::PathBuf, time::Duration};

use hickory_proto::rr::RecordType;
use mail::{
    dns::{DnsOptions, Resolver},
    policy::{Policies, PolicyOptions, Terms},
    sink::Sink,
    smtp::TlsClient,
};
use model::{
    Timestamp,
    delivery::{Answer, Fault, TlsDemand, TlsFailure, TlsRule, Verdict, Verification},
};

use crate::{
    HOME, NOW, Sender,
    authority::Authority,
    dns_options, domain, failure, mail_host,
    policy_host::{PolicyHost, ok},
    router,
    scripted::{Script, Scripted},
    test_dns::{Behaviour, TestDns},
};

const TO: &str = "receiver.example";
const MX: &str = "mx.receiver.example";
const HOST: &str = "mta-sts.receiver.example";
const RECORD: &str = "_mta-sts.receiver.example";
const OPPORTUNISTIC: TlsDemand = TlsDemand::Opportunistic;

fn policy(mode: &str, mx: &str) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 604800\r\n")
}

struct World {
    dns: TestDns,
    host: PolicyHost,
    authority: Authority,
}

impl World {
    /// A domain with a policy, announced as `one`.
    async fn new(policy: &str) -> Self {
        let authority = Authority::new();
        let host = PolicyHost::start(authority.issue(&[HOST]).server, ok(policy)).await;
        let dns = TestDns::start().await;
        dns.mx(TO, 10, MX);
        dns.host(MX, HOME);
        dns.host(HOST, HOME);
        dns.txt(RECORD, "v=STSv1; id=one;");
        // What changes in the DNS is seen at once.
        dns.set_ttl(0);
        Self { dns, host, authority }
    }

    fn options(&self) -> PolicyOptions {
        PolicyOptions {
            https_port: self.host.port,
            allow_private_networks: true,
            fetch_deadline: Duration::from_secs(20),
            ..PolicyOptions::default()
        }
    }

    fn sender(&self, port: u16) -> Sender {
        self.sender_with(port, &self.options())
    }

    fn sender_with(&self, port: u16, options: &PolicyOptions) -> Sender {
        let tls = TlsClient::new(&[self.authority.certificate()]).unwrap();
        let resolver = Resolver::new(&dns_options(self.dns.address())).unwrap();
        let policies = Policies::new(resolver, None, &tls, options);
        Sender { router: router(self.dns.address()), policies, tls, port }
    }

    fn announce(&self, record: &str) {
        self.dns.remove(RECORD);
        self.dns.txt(RECORD, record);
    }
}

impl Sender {
    async fn terms_at(&self, now: Timestamp) -> Terms {
        let to = domain(TO);
        let route = self.router.route(&to).await.unwrap();
        self.policies.terms(&to, &route, OPPORTUNISTIC, now).await.unwrap()
    }

    async fn has_policy(&self, now: Timestamp) -> bool {
        let terms = self.terms_at(now).await;
        terms.sts_failure().is_none() && terms != Terms::of_sender(OPPORTUNISTIC)
    }
}

fn port(sink: &Sink) -> u16 {
    sink.address().port()
}

#[tokio::test]
async fn a_host_that_fulfils_the_policy_gets_the_mail_and_it_is_told_why() {
    let world = World::new(&policy("enforce", "*.receiver.example")).await;
    let (sink, mut inbox) = mail_host(Some(world.authority.issue(&[MX]).server)).await;
    let outcome = world.sender(port(&sink)).send(TO, OPPORTUNISTIC).await;
    assert_eq!(outcome.verdict(), Verdict::Delivered, "{outcome:?}");
    let peer = outcome.peer.unwrap();
    let tls = peer.tls.unwrap();
    assert_eq!((tls.verified, tls.verification()), (true, Verification::MtaSts));
    assert_eq!(tls.certificate_sha256.unwrap().len(), 64);
    assert_eq!((peer.tls_rule, peer.tls_failure), (Some(TlsRule::MtaSts), None));
    assert!(inbox.recv().await.unwrap().tls);
    let asked = world.host.asked();
    assert!(asked[0].starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("host: mta-sts.receiver.example\r\n"), "{asked:?}");
}

#[tokio::test]
async fn a_wrong_certificate_under_enforce_gets_nothing_and_under_testing_it_is_told() {
    for (mode, mx) in [("enforce", MX), ("testing", MX)] {
        let world = World::new(&policy(mode, mx)).await;
        let stranger = Authority::new();
        let expired = world.authority.issue_expired(&[MX]);
        for (server, expected) in [
            (world.authority.issue(&["other.example"]).server, TlsFailure::CertificateHostMismatch),
            (stranger.issue(&[MX]).server, TlsFailure::CertificateNotTrusted),
            (expired.server, TlsFailure::CertificateExpired),
        ] {
            let (sink, mut inbox) = mail_host(Some(server)).await;
            let outcome = world.sender(port(&sink)).send(TO, OPPORTUNISTIC).await;
            assert_eq!(failure(&outcome), Some(expected), "{mode}");
            if mode == "enforce" {
                assert_eq!(outcome.answer, Answer::Fault(Fault::TlsRequired));
                assert_eq!(outcome.verdict(), Verdict::Deferred);
                assert!(inbox.try_recv().is_err(), "nothing was taken");
            } else {
                assert_eq!(outcome.verdict(), Verdict::Delivered);
                assert_eq!(outcome.peer.unwrap().tls_rule, Some(TlsRule::MtaStsTesting));
                assert!(inbox.recv().await.unwrap().tls);
            }
        }
    }
}

#[tokio::test]
async fn stripped_starttls_gets_no_message_in_clear() {
    let world = World::new(&policy("enforce", MX)).await;
    let server = Scripted::start(vec![Script::new(&["PIPELINING"])]).await;
    let outcome = world.sender(server.address.port()).send(TO, OPPORTUNISTIC).await;
    assert_eq!(failure(&outcome), Some(TlsFailure::StarttlsNotSupported));
    assert_eq!(server.heard(0), ["EHLO out.lumora.example", "QUIT"]);

    let world = World::new(&policy("testing", MX)).await;
    let outcome = world.sender(server.address.port()).send(TO, OPPORTUNISTIC).await;
    assert_eq!(outcome.verdict(), Verdict::Delivered);
    assert_eq!(failure(&outcome), Some(TlsFailure::StarttlsNotSupported));
}

#[tokio::test]
async fn a_host_that_the_policy_does_not_name_gets_nothing_and_the_next_one_does() {
    let world = World::new(&policy("enforce", "good.receiver.example")).await;
    let names = [MX, "good.receiver.example"];
    let (sink, mut inbox) = mail_host(Some(world.authority.issue(&names).server)).await;
    let outcome = world.sender(port(&sink)).send(TO, OPPORTUNISTIC).await;
    assert_eq!(failure(&outcome), Some(TlsFailure::MxNotInPolicy));
    assert!(inbox.try_recv().is_err());

    world.dns.mx(TO, 20, "good.receiver.example");
    world.dns.host("good.receiver.example", HOME);
    let other = Sender { router: router(world.dns.address()), ..world.sender(port(&sink)) };
    let outcome = other.send(TO, OPPORTUNISTIC).await;
    assert_eq!(outcome.verdict(), Verdict::Delivered, "{outcome:?}");
    assert_eq!(&*outcome.peer.unwrap().mx, "good.receiver.example");
}

#[tokio::test]
async fn what_is_no_policy_is_none_and_is_not_asked_for_again_at_once() {
    let good = policy("enforce", MX);
    let with_head = |head: &str| format!("HTTP/1.1 {head}\r\n\r\n{good}").into_bytes();
    let large = format!("{good}{}", "x: y\r\n".repeat(20_000));
    let html = String::from_utf8(ok(&good)).unwrap().replace("text/plain", "text/html");
    for (what, answer) in [
        ("another status", with_head("404 Not Found\r\ncontent-type: text/plain")),
        ("a redirect", with_head("301 Moved\r\nlocation: https://x/\r\ncontent-type: text/plain")),
        ("another type", html.into_bytes()),
        ("no type", with_head("200 OK\r\nconnection: close")),
        ("too large", ok(&large)),
        ("endless head", format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(9_000)).into_bytes()),
        ("cut off", with_head("200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9999")),
        ("no policy", ok("hello")),
        ("no text", ok("version: STSv1\u{fffd}")),
        ("no HTTP", b"220 mx.example ESMTP\r\n".to_vec()),
    ] {
        let world = World::new(&good).await;
        world.host.answer(answer);
        let sender = world.sender(25);
        assert!(!sender.has_policy(NOW).await, "{what}");
        assert!(!sender.has_policy(NOW).await, "{what}");
        assert_eq!(world.host.asked().len(), 1, "{what}");
        // What is announced as another policy is another question.
        world.announce("v=STSv1; id=two;");
        world.host.answer(ok(&good));
        assert!(sender.has_policy(NOW).await, "{what}");
    }
}

#[tokio::test]
async fn a_silent_policy_host_costs_no_more_than_the_deadline() {
    let world = World::new(&policy("enforce", MX)).await;
    world.host.answer(Vec::new());
    let options = PolicyOptions { fetch_deadline: Duration::from_millis(300), ..world.options() };
    let sender = world.sender_with(25, &options);
    assert!(!sender.has_policy(NOW).await);
    assert_eq!(world.host.asked().len(), 1);
}

#[tokio::test]
async fn the_policy_hosts_certificate_is_checked() {
    let world = World::new(&policy("enforce", MX)).await;
    let stranger = Authority::new();
    for server in [
        world.authority.issue(&[TO]).server,
        world.authority.issue_expired(&[HOST]).server,
        stranger.issue(&[HOST]).server,
    ] {
        let host = PolicyHost::start(server, ok(&policy("enforce", MX))).await;
        let options = PolicyOptions { https_port: host.port, ..world.options() };
        assert!(!world.sender_with(25, &options).has_policy(NOW).await);
        assert!(host.asked().is_empty(), "nothing was asked of it");
    }
}

#[tokio::test]
async fn a_policy_host_inside_this_network_is_not_dialled() {
    let world = World::new(&policy("enforce", MX)).await;
    for ip in ["::ffff:127.0.0.1", "::1"] {
        world.dns.host(HOST, ip.parse::<std::net::IpAddr>().unwrap());
    }
    let options = PolicyOptions { allow_private_networks: false, ..world.options() };
    assert!(!world.sender_with(25, &options).has_policy(NOW).await);
    assert!(world.host.asked().is_empty());
}

#[tokio::test]
async fn concurrent_mail_fetches_a_policy_once() {
    let world = World::new(&policy("enforce", MX)).await;
    let sender = world.sender(25);
    let asking = (0..20).map(|_| sender.has_policy(NOW));
    assert!(futures_util::future::join_all(asking).await.into_iter().all(|has| has));
    assert_eq!(world.host.asked().len(), 1);
}

#[tokio::test]
async fn why_an_announced_policy_cannot_be_had_is_told_each_time() {
    let world = World::new(&policy("enforce", MX)).await;
    let stranger = Authority::new();
    for (server, answer, why) in [
        (
            world.authority.issue(&[HOST]).server,
            b"HTTP/1.1 500 Oops\r\n\r\n".to_vec(),
            TlsFailure::StsPolicyFetchError,
        ),
        (world.authority.issue(&[HOST]).server, ok("nonsense"), TlsFailure::StsPolicyInvalid),
        (stranger.issue(&[HOST]).server, ok(""), TlsFailure::StsWebpkiInvalid),
    ] {
        let host = PolicyHost::start(server, answer).await;
        let options = PolicyOptions { https_port: host.port, ..world.options() };
        let sender = world.sender_with(25, &options);
        for _ in 0..2 {
            assert_eq!(sender.terms_at(NOW).await.sts_failure(), Some(why));
        }
    }
    assert_eq!(world.sender(25).terms_at(NOW).await.sts_failure(), None);
}

#[tokio::test]
async fn a_known_policy_outlives_its_announcement_until_its_time_is_over() {
    let world = World::new(&policy("enforce", MX)).await;
    let sender = world.sender(25);
    assert!(sender.has_policy(NOW).await);
    // An attacker makes the announcement vanish, or the DNS silent.
    world.dns.remove(RECORD);
    assert!(sender.has_policy(NOW).await);
    world.dns.behave(RECORD, Behaviour::ServFail);
    let last = NOW.plus(Duration::from_hours(168)).minus(Duration::from_millis(1));
    assert!(sender.has_policy(last).await);
    assert!(!sender.has_policy(NOW.plus(Duration::from_hours(168))).await);
    // A changed announcement whose policy cannot be had changes nothing either.
    world.announce("v=STSv1; id=two;");
    world.host.answer(b"HTTP/1.1 500 Oops\r\n\r\n".to_vec());
    assert!(sender.has_policy(NOW).await);
}

#[tokio::test]
async fn a_changed_announcement_brings_the_new_policy_and_none_ends_it() {
    let world = World::new(&policy("enforce", MX)).await;
    let sender = world.sender(25);
    let first = sender.terms_at(NOW).await;
    world.host.answer(ok(&policy("testing", MX)));
    assert_eq!(sender.terms_at(NOW).await, first, "the same id is the same policy");
    world.announce("v=STSv1; id=two;");
    let second = sender.terms_at(NOW).await;
    assert_ne!(second, first);
    world.host.answer(ok("version: STSv1\nmode: none\nmax_age: 86400\n"));
    world.announce("v=STSv1; id=three;");
    assert!(!sender.has_policy(NOW).await);
    assert_eq!(world.host.asked().len(), 3);
}

#[tokio::test]
async fn a_policy_is_fetched_again_before_its_time_is_over() {
    let world = World::new(&policy("enforce", MX)).await;
    let sender = world.sender(25);
    assert!(sender.has_policy(NOW).await);
    assert!(sender.has_policy(NOW.plus(Duration::from_hours(23))).await);
    assert_eq!(world.host.asked().len(), 1);
    let later = NOW.plus(Duration::from_hours(24));
    assert!(sender.has_policy(later).await, "the old one serves meanwhile");
    while world.host.asked().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It begins to count anew.
    let end = later.plus(Duration::from_hours(167));
    while !sender.has_policy(end).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn known_policies_survive_a_restart_and_a_damaged_file_is_begun_anew() {
    let world = World::new(&policy("enforce", MX)).await;
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("mta-sts.json");
    let options = PolicyOptions { file: Some(file.clone()), ..world.options() };
    let sender = world.sender_with(25, &options);
    let before = sender.terms_at(NOW).await;
    sender.policies.save(NOW).await;
    // After the restart an attacker is in the DNS.
    world.dns.remove(RECORD);
    assert_eq!(world.sender_with(25, &options).terms_at(NOW).await, before);
    let late = NOW.plus(Duration::from_hours(169));
    assert!(!world.sender_with(25, &options).has_policy(late).await);

    let damaged = directory.path().join("damaged.json");
    std::fs::write(&damaged, b"[{").unwrap();
    let sender = world.sender_with(25, &PolicyOptions { file: Some(damaged), ..options });
    assert!(!sender.has_policy(NOW).await);
    world.announce("v=STSv1; id=one;");
    assert!(sender.has_policy(NOW).await);
}

#[tokio::test]
async fn a_name_server_that_is_silent_about_policies_is_not_waited_for_each_time() {
    let world = World::new(&policy("enforce", MX)).await;
    world.dns.behave(RECORD, Behaviour::Silent);
    let patience = Duration::from_mins(10);
    let patient = DnsOptions {
        timeout: patience,
        deadline: patience,
        tries: 1,
        ..dns_options(world.dns.address())
    };
    let tls = TlsClient::new(&[]).unwrap();
    let resolver = Resolver::new(&patient).unwrap();
    let policies = Policies::new(resolver, None, &tls, &world.options());
    let sender = Sender { router: router(world.dns.address()), policies, tls, port: 25 };
    assert!(!sender.has_policy(NOW).await);
    let asked = world.dns.queries(RECORD, RecordType::TXT);
    assert!(!sender.has_policy(NOW).await);
    assert_eq!(world.dns.queries(RECORD, RecordType::TXT), asked);
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let world = World::new(&policy("enforce", MX)).await;
    let options = PolicyOptions { mta_sts: false, ..world.options() };
    assert!(!world.sender_with(25, &options).has_policy(NOW).await);
    assert!(world.host.asked().is_empty());
}
