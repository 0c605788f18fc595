//! The ways out: relays with credentials over TLS, the next way when one is shut, and the addresses
//! that mail leaves from.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ops::Range,
    sync::Arc,
};

use actors::PlatformOptions;
use eventlog::MemoryLog;
use mail::{
    sink::AcceptAll,
    smtp::{Credentials, Smarthost, TlsPolicy},
};
use model::{
    MessageId,
    address::DomainName,
    delivery::{Fault, Peer, Stage, Verification},
    message::{Attempt, MessageEvent, RecordedAnswer},
    pause::Who,
    routing::{Label, RouteRule, Routes, WayOut, Ways},
    source::{AssignedPool, Pool, Pools, Source},
};
use projections::Paused;
use sandbox::dns::DnsFailure;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::{
    authority::Authority,
    scripted::{Act, Script, Scripted, say},
    world::{Account, Ground, PATIENCE, World, request, until},
};

pub fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

/// A pool of 127.0.0.x, each with a name that tells it.
pub fn pool(name: &str, last: Range<u8>) -> AssignedPool {
    let source = |last: u8| Source {
        ip: IpAddr::from([127, 0, 0, last]),
        helo_name: DomainName::parse(&format!("out{last}.lumora.example")).unwrap(),
    };
    let pool = Pool::new(label(name), last.map(source).collect()).unwrap();
    AssignedPool { pool, tenants: Vec::new(), apps: Vec::new() }
}

pub fn pools(assigned: Vec<AssignedPool>, default: Option<&str>) -> Pools {
    Pools::new(assigned, default.map(label).as_ref()).unwrap()
}

fn by(way: &str) -> WayOut {
    way.parse().unwrap()
}

fn route(pattern: &str, ways: &[&str]) -> RouteRule {
    let ways = Ways::new(ways.iter().map(|way| by(way)).collect()).unwrap();
    RouteRule { patterns: vec![pattern.parse().unwrap()], ways }
}

fn routes(rules: Vec<RouteRule>) -> Routes {
    Routes::new(Ways::only(WayOut::Direct), rules).unwrap()
}

/// A relay at that port of 127.0.0.1, spoken to in clear.
fn in_clear(port: u16) -> Smarthost {
    Smarthost::new("127.0.0.1", Some(port), TlsPolicy::Never, None).unwrap()
}

/// A relay that wants TLS and credentials.
fn submission(host: &str, port: u16) -> Smarthost {
    let credentials =
        Credentials { user: "ada".into(), password: "secret".into(), in_clear: false };
    Smarthost::new(host, Some(port), TlsPolicy::Required, Some(credentials)).unwrap()
}

/// What a good relay does: STARTTLS, and AUTH inside it.
fn good_relay(authority: &Authority, host: &str) -> Script {
    let go = [say("220 go"), Act::Tls(authority.issue(&[host]).server)];
    Script::new(&["STARTTLS"]).inside_tls(&["AUTH PLAIN"]).on("STARTTLS", 1, &go)
}

fn attempts(world: &World, message: MessageId) -> Vec<Attempt> {
    let attempt = |event| match event {
        MessageEvent::Delivered(event) => Some(event.attempt),
        MessageEvent::Deferred(event) => Some(event.attempt),
        MessageEvent::Bounced(event) => Some(event.attempt),
        _ => None,
    };
    world.ground.history(message).into_iter().filter_map(attempt).collect()
}

fn peer(attempt: &Attempt) -> &Peer {
    attempt.peer.as_ref().unwrap_or_else(|| panic!("{attempt:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_relay_turns_us_away_the_next_one_gets_the_message_in_the_same_attempt() {
    let authority = Authority::new();
    let first = Script::new(&[]).on("", 1, &[say("421 4.3.2 closed"), Act::Close]);
    let first = Scripted::start(vec![first]).await;
    let second = Scripted::start(vec![good_relay(&authority, "relay2.test")]).await;
    let world = World::with(|options| PlatformOptions {
        routes: routes(vec![route("*.corp.example", &["first", "second"])]),
        relays: [
            (label("first"), submission("relay1.test", first.address.port())),
            (label("second"), submission("relay2.test", second.address.port())),
        ]
        .into(),
        extra_roots: vec![authority.certificate().to_vec()],
        ..options
    })
    .await;
    for name in ["relay1.test", "relay2.test"] {
        world.ground.dns.add_address(name, IpAddr::from([127, 0, 0, 1])).unwrap();
    }
    let message = world.send(request(&["ada@eu.corp.example", "ben@us.corp.example"])).await;
    world.until_kinds(message, &["accepted", "delivered", "delivered"]).await;
    for attempt in attempts(&world, message) {
        assert_eq!(attempt.attempt, 1);
        let peer = peer(&attempt);
        assert_eq!((&*peer.mx, peer.way.as_ref()), ("relay2.test", Some(&by("second"))));
        assert_eq!(peer.tls.as_ref().unwrap().verification(), Verification::Pkix);
    }
    let heard = second.heard(0);
    let verbs: Vec<&str> = heard.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(verbs[..7], ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "RCPT"]);
    assert_eq!(heard[3], "AUTH PLAIN AGFkYQBzZWNyZXQ=");
    assert!(first.heard(0).iter().all(|line| line == "QUIT"), "{:?}", first.heard(0));

    // While the first one is left in peace, nobody waits for it.
    world.running.hold_time();
    let message = world.send(request(&["ada@eu.corp.example"])).await;
    world.until_kinds(message, &["accepted", "delivered"]).await;
    assert_eq!(peer(&attempts(&world, message)[0]).way, Some(by("second")));
    assert_eq!(first.connections(), 1);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_of_being_shut_leads_on_and_everything_later_does_not() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shut = [
        ("greeting4", vec![("", say("451 4.3.0 not now"))]),
        ("greeting5", vec![("", say("554 5.7.1 not you"))]),
        ("silent", vec![("", Act::Close)]),
        ("ehlo4", vec![("EHLO", say("451 4.3.0 not now"))]),
    ];
    let later = [
        ("auth", vec![("AUTH", say("535 5.7.8 wrong"))]),
        ("mail", vec![("MAIL", say("451 4.3.0 not now"))]),
        ("rcpt", vec![("RCPT", say("451 4.3.0 not now"))]),
        ("closing", vec![("MAIL", say("421 4.3.2 closing"))]),
        ("data", vec![("DATA", say("451 4.3.0 not now"))]),
        ("lost", vec![(".", Act::Close)]),
    ];
    let (mut rules, mut relays, mut servers) = (Vec::new(), HashMap::new(), Vec::new());
    for (name, acts) in shut.iter().chain(&later) {
        let script = Script::new(&["AUTH PLAIN"]);
        let script = acts
            .iter()
            .fold(script, |script, (verb, act)| script.on(verb, 1, std::slice::from_ref(act)));
        // The connections after the first one find it well again.
        let well = Script::new(&["AUTH PLAIN"]);
        let server = Scripted::start(vec![script, well]).await;
        let credentials =
            Credentials { user: "ada".into(), password: "secret".into(), in_clear: true };
        let port = server.address.port();
        let relay = Smarthost { credentials: Some(credentials), ..in_clear(port) };
        relays.insert(label(name), relay);
        rules.push(route(&format!("{name}.example"), &[name, "direct"]));
        servers.push(server);
    }
    relays.insert(label("unreachable"), in_clear(closed));
    rules.push(route("unreachable.example", &["unreachable", "direct"]));
    let nowhere = Smarthost::new("nowhere.test", None, TlsPolicy::Required, None).unwrap();
    relays.insert(label("nowhere"), nowhere);
    rules.push(route("nowhere.example", &["nowhere", "direct"]));

    let routes = routes(rules);
    let world = World::with(|options| PlatformOptions { routes, relays, ..options }).await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    let shut = shut.iter().map(|(name, _)| *name).chain(["unreachable", "nowhere"]);
    for name in shut {
        let domain = format!("{name}.example");
        world.ground.mail_goes_to(&domain, 2);
        let to = format!("ada@{domain}");
        let message = world.send(request(&[&to])).await;
        world.until_kinds(message, &["accepted", "delivered"]).await;
        let delivered = &attempts(&world, message)[0];
        assert_eq!((delivered.attempt, peer(delivered).way.as_ref()), (1, Some(&WayOut::Direct)));
        assert_eq!(inbox.recv().await.unwrap().recipients, [to]);
    }
    for (name, _) in later {
        let domain = format!("{name}.example");
        world.ground.mail_goes_to(&domain, 2);
        let message = world.send(request(&[&format!("ada@{domain}")])).await;
        world.until_kinds(message, &["accepted", "deferred", "delivered"]).await;
        let attempts = attempts(&world, message);
        assert!(attempts.iter().all(|attempt| peer(attempt).way == Some(by(name))), "{attempts:?}");
        if name == "lost" {
            let unknown = RecordedAnswer::Fault(Fault::OutcomeUnknown);
            assert_eq!((attempts[0].stage, &attempts[0].answer), (Stage::EndOfData, &unknown));
        }
    }
    assert!(inbox.try_recv().is_err(), "the receivers' own host got none of those");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_way_leads_around_a_pause() {
    let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = Scripted::start(vec![Script::new(&[]); 4]).await;
    let relay =
        |host: &str, port| Smarthost::new(host, Some(port), TlsPolicy::Never, None).unwrap();
    let world = World::with(|options| PlatformOptions {
        routes: routes(vec![
            route("corp.example", &["first", "second", "direct"]),
            route("example.com", &["direct", "second"]),
            route("gone.example", &["direct", "second"]),
        ]),
        relays: [
            (label("first"), relay("relay1.test", busy.local_addr().unwrap().port())),
            (label("second"), relay("relay2.test", second.address.port())),
        ]
        .into(),
        ..options
    })
    .await;
    for name in ["relay1.test", "relay2.test"] {
        world.ground.dns.add_address(name, IpAddr::from([127, 0, 0, 1])).unwrap();
    }
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("corp.example", 2);
    world.ground.mail_goes_to("example.com", 2);
    let platform = &world.running.platform;
    let site = |name: &str| Paused::Site(DomainName::parse(name).unwrap());
    let pause = async |name: &str| {
        platform.pause(&site(name), Who::Operator, None).await.unwrap();
    };
    let at_rest = || until("it has left memory", || platform.figures().live_messages == 0);
    world.running.hold_time();

    // Paused while the first way is tried: the second one is not taken.
    let message = world.send(request(&["ada@corp.example"])).await;
    let (mut connection, _) = busy.accept().await.unwrap();
    pause("relay1.test").await;
    connection.write_all(b"421 4.3.2 closed\r\n").await.unwrap();
    drop((connection, busy));
    at_rest().await;
    // And from the beginning.
    let another = world.send(request(&["ben@corp.example"])).await;
    at_rest().await;
    assert_eq!(second.connections(), 0);

    // The first one is left in peace after that, and the second one paused: not the third one.
    pause("relay2.test").await;
    platform.resume(&site("relay1.test"), Who::Operator).await.unwrap();
    let third = world.send(request(&["cyd@corp.example"])).await;
    at_rest().await;
    assert_eq!(second.connections(), 0);
    assert!(inbox.try_recv().is_err());

    // The receiver's own host is paused, or its domain: no relay is asked instead.
    pause("mx2.receivers.example").await;
    platform.resume(&site("relay2.test"), Who::Operator).await.unwrap();
    pause("corp.example").await;
    let own = world.send(request(&["dan@example.com", "eve@corp.example"])).await;
    at_rest().await;
    for message in [message, another, third, own] {
        assert_eq!(world.ground.kinds(message), ["accepted"]);
    }
    // Nor where nobody can know whether it is one that is paused.
    world.ground.dns.fail("gone.example", DnsFailure::ServFail).unwrap();
    let message = world.send(request(&["fay@gone.example"])).await;
    world.until_kinds(message, &["accepted", "deferred"]).await;
    assert_eq!(second.connections(), 0);
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_does_not_prove_who_it_is_gets_nothing_and_no_other_way_is_taken() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let relay = Scripted::start(vec![good_relay(&stranger, "relay1.test")]).await;
    let world = World::with(|options| PlatformOptions {
        routes: routes(vec![route("*", &["first", "direct"])]),
        relays: [(label("first"), submission("relay1.test", relay.address.port()))].into(),
        extra_roots: vec![authority.certificate().to_vec()],
        ..options
    })
    .await;
    world.ground.dns.add_address("relay1.test", IpAddr::from([127, 0, 0, 1])).unwrap();
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    world.running.hold_time();
    let message = world.send(request(&["ada@example.com"])).await;
    world.until_kinds(message, &["accepted", "deferred"]).await;
    let deferred = &attempts(&world, message)[0];
    assert_eq!(deferred.answer, RecordedAnswer::Fault(Fault::TlsRequired));
    assert_eq!(peer(deferred).way, Some(by("first")));
    let said = relay.heard(0);
    assert!(!said.iter().any(|line| line.contains("AUTH") || line.contains("MAIL")), "{said:?}");
    assert!(inbox.try_recv().is_err());
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_leaves_from_its_pool_by_app_by_tenant_or_else_by_default() {
    let ground = Ground::on(Arc::new(MemoryLog::new()), TempDir::new().unwrap()).await;
    let before = ground.platform(ground.options()).await;
    let (platform, read) = (&before.platform, &before.read);
    let plain = Account::create(&ground, platform, read).await;
    let other = Account::sending_from("mail.other.example", &ground, platform, read).await;
    let third = Account::sending_from("mail.third.example", &ground, platform, read).await;
    before.stop().await;

    let (tenant, app) = (vec![other.caller.tenant], vec![third.caller.app]);
    let assigned = vec![
        pool("all", 11..12),
        AssignedPool { tenants: tenant, ..pool("tenant", 21..24) },
        AssignedPool { tenants: vec![third.caller.tenant], ..pool("unused", 41..42) },
        AssignedPool { apps: app, ..pool("app", 31..32) },
    ];
    let options = PlatformOptions { pools: pools(assigned, Some("all")), ..ground.options() };
    let running = ground.platform(options).await;
    let (_sink, mut inbox) = ground.receiver(2, Arc::new(AcceptAll)).await;
    ground.mail_goes_to("example.com", 2);
    let mut sent = HashMap::new();
    for (account, range) in [(plain, 11..12), (other, 21..24), (third, 31..32)] {
        for number in 0..12 {
            let to = format!("u{number}.from{}@example.com", range.start);
            let message =
                running.platform.send(&account.caller, request(&[&to])).await.unwrap().message;
            let its_own = pool("its", range.clone()).pool.choose(message);
            sent.insert(to, its_own.towards(IpAddr::from([127, 0, 0, 1])).unwrap().clone());
        }
    }
    let mut seen = BTreeSet::new();
    let mut connections: HashMap<u64, IpAddr> = HashMap::new();
    for _ in 0..sent.len() {
        let received = tokio::time::timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
        let its_own = &sent[&received.recipients[0]];
        assert_eq!(received.from.ip(), its_own.ip);
        assert_eq!(received.helo, its_own.helo_name.as_str());
        seen.insert(its_own.ip);
        let of_connection = connections.entry(received.connection).or_insert(its_own.ip);
        assert_eq!(*of_connection, its_own.ip);
    }
    running.stop().await;
    // The record tells the same.
    for (_, _, event) in ground.events() {
        if let model::Event::Message(MessageEvent::Delivered(delivered)) = event {
            let source = delivered.attempt.peer.as_ref().unwrap().from.unwrap();
            assert!(seen.contains(&source), "{source}");
        }
    }
}
