use super::*;
use crate::delivery::Reply;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn ways(names: &[&str]) -> Ways {
    Ways::new(names.iter().map(|name| name.parse().unwrap()).collect()).unwrap()
}

fn rule(patterns: &[&str], names: &[&str]) -> RouteRule {
    let patterns = patterns.iter().map(|text| text.parse().unwrap()).collect();
    RouteRule { patterns, ways: ways(names) }
}

fn taken(routes: &Routes, domain: &str) -> Vec<String> {
    routes.ways(&name(domain)).as_slice().iter().map(ToString::to_string).collect()
}

#[test]
fn without_routes_everything_goes_direct() {
    assert_eq!(taken(&Routes::default(), "example.com"), ["direct"]);
}

#[test]
fn the_closest_route_decides_alone() {
    let routes = Routes::new(
        ways(&["direct"]),
        vec![
            rule(&["*.com", "corp.example"], &["one"]),
            rule(&["*.example.com"], &["two", "direct"]),
            rule(&["mail.example.com"], &["direct", "three"]),
        ],
    )
    .unwrap();
    for (domain, expected) in [
        ("mail.example.com", &["direct", "three"][..]),
        ("deep.mail.example.com", &["two", "direct"]),
        ("other.example.com", &["two", "direct"]),
        // A pattern of what is below does not speak of the name itself.
        ("example.com", &["one"]),
        ("notexample.com", &["one"]),
        ("corp.example", &["one"]),
        ("a.corp.example", &["direct"]),
        ("example.org", &["direct"]),
    ] {
        assert_eq!(taken(&routes, domain), expected, "{domain}");
    }
}

#[test]
fn a_route_for_all_others_takes_the_place_of_the_default() {
    let rules = vec![rule(&["*"], &["one", "direct"]), rule(&["example.com"], &["direct"])];
    let routes = Routes::new(ways(&["smarthost"]), rules).unwrap();
    assert_eq!(taken(&routes, "example.org"), ["one", "direct"]);
    assert_eq!(taken(&routes, "example.com"), ["direct"]);
    let all: Vec<String> = routes.all_ways().map(ToString::to_string).collect();
    assert!(!all.contains(&"smarthost".to_owned()), "{all:?}");
}

#[test]
fn patterns_and_ways_are_read_or_refused() {
    for text in ["example.com", "*.example.com", "*"] {
        assert_eq!(text.parse::<DomainPattern>().unwrap().to_string(), text);
    }
    assert_eq!(
        "MÜNCHEN.example".parse::<DomainPattern>().unwrap().to_string(),
        "xn--mnchen-3ya.example"
    );
    for text in ["", "*.", "**", "*example.com", "a.*.example", "*.*.example", "no domain"] {
        assert!(text.parse::<DomainPattern>().is_err(), "{text}");
    }
    for text in ["", "Upper", "with space", "a.b", "ü", &"a".repeat(33)] {
        assert!(text.parse::<WayOut>().is_err(), "{text}");
    }
    assert_eq!("direct".parse(), Ok(WayOut::Direct));
    assert!(Label::parse("direct").is_err());
}

#[test]
fn what_is_ambiguous_is_refused() {
    let twice = vec![rule(&["example.com"], &["one"]), rule(&["example.com"], &["direct"])];
    let refused = Routes::new(ways(&["direct"]), twice).unwrap_err();
    assert_eq!(refused, InvalidRoutes::Repeated("example.com".parse().unwrap()));
    let two_defaults = vec![rule(&["*"], &["one"]), rule(&["*"], &["one"])];
    assert!(Routes::new(ways(&["direct"]), two_defaults).is_err());
    let many = vec![rule(&[], &["direct"]); MAX_ROUTES + 1];
    assert_eq!(Routes::new(ways(&["direct"]), many).unwrap_err(), InvalidRoutes::TooMany);
    let (direct, one) = (WayOut::Direct, || WayOut::Relay(Label::parse("one").unwrap()));
    assert_eq!(Ways::new(Vec::new()), Err(InvalidWays));
    assert_eq!(Ways::new(vec![one(), direct, one()]), Err(InvalidWays));
}

fn fault(stage: Stage, fault: Fault) -> bool {
    next_way_may_be_taken(&Outcome::fault(stage, fault))
}

fn reply(stage: Stage, code: u16) -> bool {
    let reply = Reply { code, enhanced: None, text: String::new() };
    next_way_may_be_taken(&Outcome { stage, answer: Answer::Reply(reply), peer: None })
}

#[test]
fn the_next_way_is_taken_only_before_anybody_has_heard_of_the_message() {
    const ALL: [Stage; 11] = [
        Stage::Dns,
        Stage::Connect,
        Stage::Greeting,
        Stage::Hello,
        Stage::StartTls,
        Stage::Auth,
        Stage::MailFrom,
        Stage::RcptTo,
        Stage::Data,
        Stage::Transfer,
        Stage::EndOfData,
    ];
    for stage in ALL {
        let before = matches!(stage, Stage::Connect | Stage::Greeting | Stage::Hello);
        for code in [421, 451, 554] {
            assert_eq!(reply(stage, code), before, "{stage:?} {code}");
        }
        assert!(!reply(stage, 250), "{stage:?}");
        for silent in [Fault::Unreachable, Fault::Timeout, Fault::Disconnected, Fault::Protocol] {
            assert_eq!(fault(stage, silent), before, "{stage:?} {silent:?}");
        }
        for final_or_ours in [
            Fault::OutcomeUnknown,
            Fault::TlsRequired,
            Fault::AuthRefused,
            Fault::ContentGone,
            Fault::NoSuchDomain,
            Fault::NullMx,
            Fault::MxIsSelf,
            Fault::PrivateAddress,
        ] {
            assert!(!fault(stage, final_or_ours), "{stage:?} {final_or_ours:?}");
        }
    }
    assert!(fault(Stage::Dns, Fault::DnsUnavailable));
}
