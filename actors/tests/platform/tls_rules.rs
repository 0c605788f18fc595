//! What receivers demand of the way to them, MTA-STS (RFC 8461) and DANE (RFC 7672), from the
//! request to the record: what does not fulfil it is deferred and never leaves in clear.

use std::{net::IpAddr, sync::Arc};

use actors::PlatformOptions;
use eventlog::MemoryLog;
use mail::{
    dns::{
        DnsOptions,
        secure::{SecureResolver, TrustAnchor},
    },
    policy::PolicyOptions,
    sink::{AcceptAll, SinkOptions},
};
use model::{
    MessageId,
    delivery::{Fault, Peer, Stage, TlsFailure, TlsRule, Verification},
    message::{MessageEvent, RecordedAnswer},
    routing::WayOut,
};
use tempfile::TempDir;

use crate::{
    authority::Authority,
    policy_host::{PolicyHost, ok},
    signed::{RunningSignedDns, SignedDns, address, mx, tlsa},
    world::{Account, Ground, World, host_name, request},
};

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn policy(mx: &str) -> Vec<u8> {
    ok(&format!("version: STSv1\r\nmode: enforce\r\nmx: {mx}\r\nmax_age: 604800\r\n"))
}

/// The mail host of the only attempt, which was put off for want of TLS.
fn put_off(world: &World, message: MessageId) -> Peer {
    let history = world.ground.history(message);
    let [_, MessageEvent::Deferred(deferred)] = &history[..] else { panic!("{history:?}") };
    let attempt = &deferred.attempt;
    assert_eq!(attempt.stage, Stage::StartTls, "{attempt:?}");
    assert_eq!(attempt.answer, RecordedAnswer::Fault(Fault::TlsRequired));
    attempt.peer.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enforced_mta_sts_policy_that_is_not_fulfilled_defers_and_sends_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let names = [2, 3, 4, 5].map(|host| format!("mta-sts.d{host}.example"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let host =
        PolicyHost::start(authority.issue(&names).server, policy("*.receivers.example")).await;
    let world = World::with(|options| PlatformOptions {
        policies: PolicyOptions { https_port: host.port, ..PolicyOptions::default() },
        extra_roots: vec![authority.certificate().to_vec()],
        ..options
    })
    .await;
    world.running.hold_time();
    for (last, tls, expected) in [
        (2, None, TlsFailure::StarttlsNotSupported),
        (3, Some(stranger.issue(&[&host_name(3)]).server), TlsFailure::CertificateNotTrusted),
        (
            4,
            Some(authority.issue(&["mx.elsewhere.example"]).server),
            TlsFailure::CertificateHostMismatch,
        ),
    ] {
        let options = SinkOptions { tls, ..SinkOptions::default() };
        let (_sink, mut inbox) =
            world.ground.receiver_with(last, options, Arc::new(AcceptAll)).await;
        let domain = format!("d{last}.example");
        announce(&world, &domain, last);
        let message = world.send(request(&[&format!("ada@{domain}")])).await;
        world.until_kinds(message, &["accepted", "deferred"]).await;
        let peer = put_off(&world, message);
        assert_eq!((peer.tls_rule, peer.tls_failure), (Some(TlsRule::MtaSts), Some(expected)));
        assert_eq!((peer.tls.as_ref(), peer.way), (None, Some(WayOut::Direct)));
        assert!(inbox.try_recv().is_err(), "{expected:?}");
    }
    // And a host that is what the policy says gets the mail, over TLS.
    let tls = Some(authority.issue(&[&host_name(5)]).server);
    let options = SinkOptions { tls, ..SinkOptions::default() };
    let (_sink, mut inbox) = world.ground.receiver_with(5, options, Arc::new(AcceptAll)).await;
    announce(&world, "d5.example", 5);
    let message = world.send(request(&["ada@d5.example"])).await;
    world.until_kinds(message, &["accepted", "delivered"]).await;
    assert!(inbox.recv().await.unwrap().tls);
    world.running.stop().await;
}

/// Mail of `domain` goes to the receiver at 127.0.0.`host`, and a policy says of it how.
fn announce(world: &World, domain: &str, host: u8) {
    let dns = &world.ground.dns;
    world.ground.mail_goes_to(domain, host);
    dns.add_txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=one;").unwrap();
    dns.add_address(&format!("mta-sts.{domain}"), HOME).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_not_name_the_mail_host_keeps_the_mail_back() {
    let authority = Authority::new();
    let server = authority.issue(&["mta-sts.d2.example"]).server;
    let host = PolicyHost::start(server, policy("mx.elsewhere.example")).await;
    let world = World::with(|options| PlatformOptions {
        policies: PolicyOptions { https_port: host.port, ..PolicyOptions::default() },
        extra_roots: vec![authority.certificate().to_vec()],
        ..options
    })
    .await;
    world.running.hold_time();
    let tls = Some(authority.issue(&[&host_name(2)]).server);
    let options = SinkOptions { tls, ..SinkOptions::default() };
    let (_sink, mut inbox) = world.ground.receiver_with(2, options, Arc::new(AcceptAll)).await;
    announce(&world, "d2.example", 2);
    let message = world.send(request(&["ada@d2.example"])).await;
    world.until_kinds(message, &["accepted", "deferred"]).await;
    let peer = put_off(&world, message);
    let failure = Some(TlsFailure::MxNotInPolicy);
    assert_eq!((peer.tls_rule, peer.tls_failure), (Some(TlsRule::MtaSts), failure));
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

/// A world in which signed DNS names this key for the receiver at 127.0.0.2.
async fn signed_world(key: &[u8]) -> (World, RunningSignedDns) {
    let memory = Arc::new(MemoryLog::new());
    let ground = Ground::on(memory.clone(), TempDir::new().unwrap()).await;
    let owner = format!("_{}._tcp.{}", ground.port, host_name(2));
    let dns = SignedDns::new()
        .add("signed.example", mx(&host_name(2)))
        .add(&host_name(2), address(IpAddr::from([127, 0, 0, 2])))
        .add(&owner, tlsa(3, 1, 0, key))
        .start()
        .await;
    let options = PlatformOptions { secure_resolver: Some(secure(&dns)), ..ground.options() };
    let running = ground.platform(options).await;
    let account = Account::create(&ground, &running.platform, &running.read).await;
    (World { ground, memory, running, account }, dns)
}

fn secure(dns: &RunningSignedDns) -> SecureResolver {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dns.trust_anchor).unwrap();
    let options = DnsOptions { servers: Some(vec![dns.address]), ..DnsOptions::default() };
    SecureResolver::new(&options, &TrustAnchor::File(file.path().to_owned())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_host_that_signed_dns_does_not_vouch_for_gets_nothing() {
    let authority = Authority::new();
    let issued = authority.issue(&[&host_name(2)]);
    for (tls, key, expected) in [
        (Some(issued.server.clone()), vec![7; 91], Some(TlsFailure::TlsaInvalid)),
        (None, issued.public_key.clone(), Some(TlsFailure::StarttlsNotSupported)),
        (Some(issued.server.clone()), issued.public_key.clone(), None),
    ] {
        let (world, _dns) = signed_world(&key).await;
        world.running.hold_time();
        let options = SinkOptions { tls, ..SinkOptions::default() };
        let (_sink, mut inbox) = world.ground.receiver_with(2, options, Arc::new(AcceptAll)).await;
        world.ground.mail_goes_to("signed.example", 2);
        let message = world.send(request(&["ada@signed.example"])).await;
        if let Some(expected) = expected {
            world.until_kinds(message, &["accepted", "deferred"]).await;
            let peer = put_off(&world, message);
            assert_eq!((peer.tls_rule, peer.tls_failure), (Some(TlsRule::Dane), Some(expected)));
            assert!(inbox.try_recv().is_err(), "{expected:?}");
        } else {
            world.until_kinds(message, &["accepted", "delivered"]).await;
            let history = world.ground.history(message);
            let MessageEvent::Delivered(delivered) = &history[1] else { panic!("{history:?}") };
            let peer = delivered.attempt.peer.as_ref().unwrap();
            assert_eq!(peer.tls.as_ref().unwrap().verification(), Verification::Dane);
            assert!(inbox.recv().await.unwrap().tls);
        }
        world.running.stop().await;
    }
}
