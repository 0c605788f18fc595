//! The resolver and the router against a real DNS server on loopback.
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

use hickory_proto::rr::RecordType;
use mail::dns::{
    DnsOptions, LookupError, Resolver,
    route::{MAX_CANDIDATE_HOSTS, MAX_CANDIDATES, RouteOptions, Router},
};
use model::{address::DomainName, delivery::Fault};
use test_dns::{Behaviour, TestDns};

fn options(dns: &TestDns) -> DnsOptions {
    DnsOptions {
        servers: Some(vec![dns.address()]),
        timeout: Duration::from_millis(300),
        tries: 2,
        deadline: Duration::from_secs(5),
        ..DnsOptions::default()
    }
}

fn resolver(dns: &TestDns) -> Resolver {
    Resolver::new(&options(dns)).unwrap()
}

fn router(dns: &TestDns) -> Router {
    let open = RouteOptions { allow_private_networks: true, ..RouteOptions::default() };
    Router::new(resolver(dns), open)
}

fn domain(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn each_way_of_having_no_answer_is_named() {
    let dns = TestDns::start().await;
    dns.exists("nodata.example");
    dns.host("below.empty.example", ip("192.0.2.1"));
    dns.behave("servfail.example", Behaviour::ServFail);
    dns.behave("refused.example", Behaviour::Refused);
    dns.behave("silent.example", Behaviour::Silent);
    let resolver = resolver(&dns);
    for (name, error) in [
        ("nowhere.example", LookupError::NoSuchDomain),
        ("nodata.example", LookupError::NoRecords),
        ("empty.example", LookupError::NoRecords),
        ("servfail.example", LookupError::Unavailable),
        ("refused.example", LookupError::Unavailable),
        ("silent.example", LookupError::Unavailable),
        ("not a name at all\u{7f}.example", LookupError::NoSuchDomain),
        ("", LookupError::NoSuchDomain),
    ] {
        assert_eq!(resolver.txt(name).await, Err(error), "TXT {name}");
        assert_eq!(resolver.mx(name).await.map(|_| ()), Err(error), "MX {name}");
        assert_eq!(resolver.addresses(name).await, Err(error), "addresses {name}");
    }
}

#[tokio::test]
async fn txt_strings_are_joined_and_large_answers_come_over_tcp() {
    let dns = TestDns::start().await;
    let long = "k".repeat(3_000);
    dns.txt("long.example", &long);
    dns.txt("cut.example", "over tcp");
    dns.behave("cut.example", Behaviour::Truncated);
    let resolver = resolver(&dns);
    assert_eq!(resolver.txt("long.example").await, Ok(vec![long]));
    assert_eq!(resolver.txt("cut.example").await, Ok(vec!["over tcp".to_owned()]));
    assert!(dns.queries("cut.example", RecordType::TXT) >= 2);
}

#[tokio::test]
async fn names_are_absolute_and_the_hosts_file_is_not_read() {
    let dns = TestDns::start().await;
    let resolver = resolver(&dns);
    // Every machine's hosts file has its own name.
    let own = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let own = own.trim();
    if !own.is_empty() && own != "localhost" {
        assert!(resolver.addresses(own).await.is_err());
        assert_eq!(dns.queries(own, RecordType::A), 1, "{own} as it stands, nothing appended");
    }
}

#[tokio::test]
async fn answers_and_negative_answers_are_remembered_and_fresh_looks_past_them() {
    let dns = TestDns::start().await;
    dns.txt("a.example", "one");
    let resolver = resolver(&dns);
    for _ in 0..3 {
        assert!(resolver.txt("a.example").await.is_ok());
        assert_eq!(resolver.txt("b.example").await, Err(LookupError::NoSuchDomain));
    }
    assert_eq!(dns.queries("a.example", RecordType::TXT), 1);
    assert_eq!(dns.queries("b.example", RecordType::TXT), 1);

    dns.txt("b.example", "published");
    assert_eq!(resolver.txt("b.example").await, Err(LookupError::NoSuchDomain));
    assert_eq!(resolver.fresh().txt("b.example").await, Ok(vec!["published".to_owned()]));
}

#[tokio::test]
async fn a_failing_name_is_left_alone_for_a_while() {
    let dns = TestDns::start().await;
    dns.behave("down.example", Behaviour::ServFail);
    let holding = resolver(&dns);
    assert_eq!(holding.mx("down.example").await, Err(LookupError::Unavailable));
    let asked = dns.queries("down.example", RecordType::MX);
    for _ in 0..20 {
        assert_eq!(holding.mx("DOWN.example").await, Err(LookupError::Unavailable));
    }
    assert_eq!(dns.queries("down.example", RecordType::MX), asked);
    // Another type of the same name is another question.
    assert_eq!(holding.txt("down.example").await, Err(LookupError::Unavailable));
    assert!(dns.queries("down.example", RecordType::TXT) > 0);

    let asking = DnsOptions { failure_ttl: Duration::ZERO, ..options(&dns) };
    let asking = Resolver::new(&asking).unwrap();
    assert_eq!(asking.mx("down.example").await, Err(LookupError::Unavailable));
    dns.remove("down.example");
    dns.mx("down.example", 1, "mx.example");
    assert!(asking.mx("down.example").await.is_ok());
    assert!(holding.fresh().mx("down.example").await.is_ok());
}

#[tokio::test]
async fn concurrent_questions_are_asked_once() {
    let dns = TestDns::start().await;
    dns.mx("busy.example", 1, "mx.example");
    let resolver = resolver(&dns);
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.mx("busy.example").await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(dns.queries("busy.example", RecordType::MX), 1);
}

#[tokio::test]
async fn one_family_without_an_answer_does_not_hide_the_other() {
    let dns = TestDns::start().await;
    dns.host("half.example", ip("2001:db8::1"));
    dns.behave_for("half.example", RecordType::A, Behaviour::ServFail);
    dns.host("both.example", ip("2001:db8::2"));
    dns.host("both.example", ip("192.0.2.2"));
    dns.ptr(ip("192.0.2.2"), "Both.Example");
    let resolver = resolver(&dns);
    assert_eq!(resolver.addresses("half.example").await, Ok(vec![ip("2001:db8::1")]));
    let both = vec![ip("192.0.2.2"), ip("2001:db8::2")];
    assert_eq!(resolver.addresses("both.example").await, Ok(both));
    assert_eq!(resolver.ptr(ip("192.0.2.2")).await, Ok(vec!["both.example".to_owned()]));
}

#[tokio::test]
async fn routes_follow_the_rules() {
    let dns = TestDns::start().await;
    dns.mx("two.example", 20, "B.mx.example");
    dns.mx("two.example", 10, "a.mx.example");
    dns.mx("null.example", 0, "");
    dns.mx("odd.example", 0, "");
    dns.mx("odd.example", 10, "a.mx.example");
    dns.mx("literal.example", 0, "192.0.2.1");
    dns.host("implicit.example", ip("192.0.2.9"));
    dns.exists("nothing.example");
    dns.behave("down.example", Behaviour::ServFail);
    dns.behave("silent.example", Behaviour::Silent);
    dns.alias("alias.example", "two.example");
    let router = router(&dns);

    let two = router.route(&domain("two.example")).await.unwrap();
    let hosts: Vec<_> = two.hosts.iter().map(|host| (&*host.name, host.preference)).collect();
    assert_eq!(hosts, [("a.mx.example", 10), ("b.mx.example", 20)]);
    let odd = router.route(&domain("odd.example")).await.unwrap();
    assert_eq!(odd.hosts.len(), 1);
    let implicit = router.route(&domain("implicit.example")).await.unwrap();
    assert_eq!(implicit.site.to_string(), "implicit.example");
    assert_eq!(router.route(&domain("alias.example")).await.unwrap(), two);

    for (name, fault) in [
        ("null.example", Fault::NullMx),
        ("nowhere.example", Fault::NoSuchDomain),
        ("nothing.example", Fault::NoMailHost),
        ("literal.example", Fault::NoMailHost),
        ("down.example", Fault::DnsUnavailable),
        ("silent.example", Fault::DnsUnavailable),
    ] {
        assert_eq!(router.route(&domain(name)).await, Err(fault), "{name}");
    }
}

#[tokio::test]
async fn domains_with_the_same_hosts_are_one_site() {
    let dns = TestDns::start().await;
    for (name, hosts) in [
        ("one.example", ["mx1.host.example", "mx2.host.example"]),
        ("two.example", ["MX2.host.example", "mx1.host.example"]),
        ("other.example", ["mx1.host.example", "mx3.host.example"]),
    ] {
        for host in hosts {
            dns.mx(name, 10, host);
        }
    }
    let router = router(&dns);
    let site = async |name| router.route(&domain(name)).await.unwrap().site.clone();
    assert_eq!(site("one.example").await, site("two.example").await);
    assert_ne!(site("one.example").await, site("other.example").await);
}

#[tokio::test]
async fn mail_never_moves_to_a_host_that_is_not_better_than_this_one() {
    let dns = TestDns::start().await;
    dns.mx("backup.example", 10, "main.example");
    dns.mx("backup.example", 20, "us.example");
    dns.mx("backup.example", 30, "worse.example");
    dns.mx("loop.example", 10, "us.example");
    dns.mx("byip.example", 5, "elsewhere.example");
    dns.mx("byip.example", 7, "main.example");
    dns.host("elsewhere.example", ip("192.0.2.50"));
    dns.host("main.example", ip("192.0.2.51"));
    dns.host("us.example", ip("192.0.2.50"));
    let options = RouteOptions {
        allow_private_networks: true,
        own_names: vec!["us.example".into()],
        own_addresses: vec![ip("192.0.2.50")],
    };
    let router = Router::new(resolver(&dns), options);
    let backup = router.route(&domain("backup.example")).await.unwrap();
    assert_eq!(backup.hosts.len(), 1);
    assert_eq!(&*backup.hosts[0].name, "main.example");
    assert_eq!(router.route(&domain("loop.example")).await, Err(Fault::MxIsSelf));
    assert_eq!(router.route(&domain("us.example")).await, Err(Fault::MxIsSelf));
    let by_ip = router.route(&domain("byip.example")).await.unwrap();
    assert_eq!(router.candidates(&by_ip, 1).await, Err(Fault::MxIsSelf));
}

#[tokio::test]
async fn candidates_are_ordered_mixed_and_capped() {
    let dns = TestDns::start().await;
    for host in 0..8 {
        let name = format!("mx{host}.example");
        dns.mx("many.example", if host == 7 { 1 } else { 10 }, &name);
        for address in 0..3 {
            dns.host(&name, ip(&format!("198.51.{host}.{address}")));
            dns.host(&name, ip(&format!("2001:db8:{host}::{address}")));
        }
    }
    let router = router(&dns);
    let route = router.route(&domain("many.example")).await.unwrap();
    let mut orders = std::collections::HashSet::new();
    for seed in 0..16 {
        let candidates = router.candidates(&route, seed).await.unwrap();
        assert_eq!(candidates, router.candidates(&route, seed).await.unwrap());
        assert_eq!(candidates.len(), MAX_CANDIDATES);
        let order: Vec<String> = candidates.iter().map(|c| c.mx.to_string()).collect();
        assert!(order[..6].iter().all(|mx| mx == "mx7.example"), "the best host comes first");
        for (index, candidate) in candidates[..6].iter().enumerate() {
            assert_eq!(candidate.ip.is_ipv4(), index % 2 == 0, "the families take turns");
        }
        orders.insert(order);
    }
    assert!(orders.len() > 2, "equals come in random order");

    // Hosts without an address do not use up the places of addresses, only those of hosts.
    let asked = (0..8).filter(|h| dns.queries(&format!("mx{h}.example"), RecordType::A) > 0);
    assert!(asked.count() >= MAX_CANDIDATE_HOSTS);
}

#[tokio::test]
async fn addresses_that_only_this_server_can_reach_are_not_dialled() {
    let dns = TestDns::start().await;
    dns.mx("ssrf.example", 10, "inside.example");
    dns.host("inside.example", ip("127.0.0.1"));
    dns.host("inside.example", ip("169.254.169.254"));
    dns.host("inside.example", ip("::ffff:10.0.0.1"));
    dns.mx("mixed.example", 10, "inside.example");
    dns.mx("mixed.example", 20, "outside.example");
    dns.host("outside.example", ip("8.8.8.8"));
    dns.mx("empty.example", 10, "gone.example");
    dns.mx("down.example", 10, "inside.example");
    dns.mx("down.example", 20, "failing.example");
    dns.behave("failing.example", Behaviour::ServFail);
    let strict = Router::new(resolver(&dns), RouteOptions::default());
    let candidates = async |router: &Router, name| {
        let route = router.route(&domain(name)).await.unwrap();
        router.candidates(&route, 7).await
    };
    assert_eq!(candidates(&strict, "ssrf.example").await, Err(Fault::PrivateAddress));
    assert_eq!(candidates(&strict, "empty.example").await, Err(Fault::NoMailHost));
    assert_eq!(candidates(&strict, "down.example").await, Err(Fault::DnsUnavailable));
    let mixed = candidates(&strict, "mixed.example").await.unwrap();
    assert_eq!(mixed.len(), 1);
    assert_eq!(mixed[0].ip, ip("8.8.8.8"));
    assert_eq!(candidates(&router(&dns), "ssrf.example").await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_mail_host_may_be_an_alias() {
    let dns = TestDns::start().await;
    dns.mx("a.example", 10, "mx.example");
    dns.alias("mx.example", "real.example");
    dns.host("real.example", ip("192.0.2.77"));
    dns.alias("circle.example", "circle2.example");
    dns.alias("circle2.example", "circle.example");
    dns.mx("b.example", 10, "circle.example");
    let router = router(&dns);
    let route = router.route(&domain("a.example")).await.unwrap();
    let candidates = router.candidates(&route, 0).await.unwrap();
    assert_eq!((&*candidates[0].mx, candidates[0].ip), ("mx.example", ip("192.0.2.77")));
    let circle = router.route(&domain("b.example")).await.unwrap();
    assert!(router.candidates(&circle, 0).await.is_err());
}

#[tokio::test]
async fn a_route_is_asked_for_again_when_its_time_is_over() {
    let dns = TestDns::start().await;
    dns.set_ttl(0);
    dns.mx("moving.example", 10, "old.example");
    let router = router(&dns);
    let before = router.route(&domain("moving.example")).await.unwrap();
    dns.remove("moving.example");
    dns.mx("moving.example", 10, "new.example");
    let after = router.route(&domain("moving.example")).await.unwrap();
    assert_ne!(before.site, after.site);
}
