use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn source(text: &str) -> Source {
    Source { ip: ip(text), helo_name: DomainName::parse("out.example.com").unwrap() }
}

fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

fn pool(name: &str, addresses: &[&str]) -> Pool {
    Pool::new(label(name), addresses.iter().map(|text| source(text)).collect()).unwrap()
}

fn unassigned(name: &str, addresses: &[&str]) -> AssignedPool {
    AssignedPool { pool: pool(name, addresses), tenants: Vec::new(), apps: Vec::new() }
}

fn message(number: u16) -> MessageId {
    let mut bytes = [0; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(bytes)
}

fn chosen(pool: &Pool, message: MessageId, target: &str) -> Option<IpAddr> {
    pool.choose(message).towards(ip(target)).map(|source| source.ip)
}

#[test]
fn a_message_always_has_the_same_address_of_the_targets_family() {
    let all = pool("all", &["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]);
    let turned = pool("all", &["192.0.2.3", "192.0.2.2", "2001:db8::1", "192.0.2.1"]);
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for number in 0..3_000 {
        let one = chosen(&all, message(number), "198.51.100.7").unwrap();
        assert!(one.is_ipv4());
        assert_eq!(Some(one), chosen(&all, message(number), "203.0.113.9"), "at any receiver");
        assert_eq!(Some(one), chosen(&turned, message(number), "198.51.100.7"), "in any order");
        assert_eq!(chosen(&all, message(number), "2001:db8:1::7"), Some(ip("2001:db8::1")));
        *counts.entry(one).or_default() += 1;
    }
    assert!(counts.values().all(|count| (850..=1_150).contains(count)), "{counts:?}");
}

#[test]
fn an_address_that_comes_or_goes_moves_only_its_share() {
    let three = pool("p", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    let four = pool("p", &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    for number in 0..1_000 {
        let (before, after) = (
            chosen(&three, message(number), "198.51.100.7"),
            chosen(&four, message(number), "198.51.100.7"),
        );
        assert!(after == before || after == Some(ip("192.0.2.4")));
    }
}

#[test]
fn a_family_that_the_pool_lacks_cannot_be_reached() {
    let sources = pool("p", &["192.0.2.1"]).choose(message(1));
    assert!(sources.can_reach(ip("198.51.100.7")) && !sources.can_reach(ip("2001:db8::7")));
    assert!(sources.include(Some(ip("192.0.2.1"))));
    assert!(!sources.include(Some(ip("192.0.2.2"))) && !sources.include(None));
    let free = Sources::default();
    assert!(free.can_reach(ip("2001:db8::7")) && free.towards(ip("2001:db8::7")).is_none());
    assert!(free.include(None) && free.include(Some(ip("192.0.2.1"))));
}

#[test]
fn the_app_comes_before_the_tenant_and_the_tenant_before_everybody() {
    let (tenant, other) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
    let (app, another) = (AppId::from_bytes([3; 16]), AppId::from_bytes([4; 16]));
    let assigned = || {
        vec![
            unassigned("all", &["192.0.2.1"]),
            AssignedPool { tenants: vec![tenant], ..unassigned("tenant", &["192.0.2.2"]) },
            AssignedPool { apps: vec![app], ..unassigned("app", &["192.0.2.3"]) },
        ]
    };
    let named = |pools: &Pools, tenant, app| {
        pools.of_app(tenant, app).map(|number| pools.get(number).unwrap().name().to_string())
    };
    let pools = Pools::new(assigned(), Some(&label("all"))).unwrap();
    assert_eq!(named(&pools, tenant, app).unwrap(), "app");
    assert_eq!(named(&pools, tenant, another).unwrap(), "tenant");
    assert_eq!(named(&pools, other, another).unwrap(), "all");
    let pools = Pools::new(assigned(), None).unwrap();
    assert_eq!(named(&pools, other, another), None);
    let unknown = Pools::new(assigned(), Some(&label("nobody"))).unwrap_err();
    assert_eq!(unknown, InvalidPools::Unknown(label("nobody")));
}

#[test]
fn what_is_ambiguous_or_no_address_is_refused() {
    for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:192.0.2.1"] {
        let refused = Pool::new(label("p"), vec![source(text)]).unwrap_err();
        assert_eq!(refused, InvalidPools::NoSource(ip(text)));
    }
    assert_eq!(Pool::new(label("p"), Vec::new()), Err(InvalidPools::Count));
    let shared = vec![unassigned("a", &["192.0.2.1"]), unassigned("b", &["192.0.2.1"])];
    let refused = Pools::new(shared, None).unwrap_err();
    assert_eq!(refused, InvalidPools::Repeated(ip("192.0.2.1")));
    let own = vec![unassigned("a", &["192.0.2.1", "192.0.2.1"])];
    assert!(Pools::new(own, None).is_err());
    let same_name = vec![unassigned("a", &["192.0.2.1"]), unassigned("a", &["192.0.2.2"])];
    assert!(matches!(Pools::new(same_name, None), Err(InvalidPools::RepeatedName(_))));
    let tenants = vec![TenantId::from_bytes([1; 16])];
    let twice = vec![
        AssignedPool { tenants: tenants.clone(), ..unassigned("a", &["192.0.2.1"]) },
        AssignedPool { tenants, ..unassigned("b", &["192.0.2.2"]) },
    ];
    assert!(matches!(Pools::new(twice, None), Err(InvalidPools::AssignedTwice(_))));
}
