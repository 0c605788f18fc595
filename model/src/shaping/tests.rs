use super::*;
use crate::delivery::{EnhancedCode, Fault, Reply};

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn defaults(connections: u32) -> Limits {
    Limits {
        connections: count(connections),
        messages_per_connection: count(100),
        per_minute: None,
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn rule(pattern: Pattern, connections: Option<u32>, per_minute: Option<u32>) -> Rule {
    let setting = Setting {
        connections: connections.map(count),
        per_minute: per_minute.map(count),
        ..Setting::default()
    };
    Rule { patterns: vec![pattern], setting }
}

fn limits(shape: &Shape) -> (u32, u32, Option<u32>) {
    let Limits { connections, messages_per_connection, per_minute } = shape.limits;
    (connections.get(), messages_per_connection.get(), per_minute.map(NonZeroU32::get))
}

#[test]
fn a_host_that_nobody_knows_is_alone_with_the_defaults() {
    let rules = Rules::new(defaults(10), Vec::new()).unwrap();
    let shape = rules.shape(Some(&name("example.com")), "mx.example.com");
    assert_eq!((shape.group, limits(&shape)), (None, (10, 100, None)));
}

#[test]
fn large_receivers_are_known_by_their_mail_hosts() {
    let rules = Rules::new(defaults(10), Vec::new()).unwrap();
    let gmail = rules.shape(Some(&name("gmail.com")), "gmail-smtp-in.l.google.com");
    let hosted = rules.shape(Some(&name("example.com")), "aspmx.l.google.com");
    assert_eq!(limits(&gmail), (5, 50, None));
    assert!(gmail.group.is_some());
    assert_eq!(gmail, hosted, "one receiver, whatever the domain");
    assert_eq!(rules.name(gmail.group.unwrap()), "*.google.com");
    let yahoo = rules.shape(Some(&name("yahoo.com")), "mta5.am0.yahoodns.net");
    assert_eq!(limits(&yahoo), (10, 20, None));
    assert_ne!(yahoo.group, gmail.group);
    // Names that only look alike.
    for mx in ["google.com", "mx.notgoogle.com", ".google.com", "mx.google.com.example"] {
        assert_eq!(rules.shape(None, mx).group, None, "{mx}");
    }
}

#[test]
fn what_is_shipped_tightens_and_never_widens() {
    let rules = Rules::new(defaults(3), Vec::new()).unwrap();
    assert_eq!(limits(&rules.shape(None, "mx1.comcast.net")), (3, 100, None));
    assert_eq!(limits(&rules.shape(None, "aspmx.l.google.com")), (3, 50, None));
}

#[test]
fn the_closest_rule_has_the_last_word_and_leaves_the_rest_as_it_was() {
    let configured = vec![
        rule(Pattern::Domain(name("example.com")), None, Some(60)),
        rule(Pattern::hosts("*.google.com").unwrap(), Some(20), None),
        rule(Pattern::hosts("*.l.google.com").unwrap(), None, Some(900)),
        rule(Pattern::hosts("alt1.l.google.com").unwrap(), Some(7), None),
    ];
    let rules = Rules::new(defaults(10), configured).unwrap();
    let shape = |domain: &str, mx: &str| rules.shape(Some(&name(domain)), mx);
    // The operator may have agreed on more than what is shipped.
    assert_eq!(limits(&shape("a.example", "mx.google.com")), (20, 50, None));
    assert_eq!(limits(&shape("a.example", "x.l.google.com")), (20, 50, Some(900)));
    assert_eq!(limits(&shape("a.example", "alt1.l.google.com")), (7, 50, Some(900)));
    assert_eq!(limits(&shape("example.com", "x.l.google.com")), (20, 50, Some(60)));
    let groups = [
        shape("a.example", "mx.google.com").group,
        shape("a.example", "x.l.google.com").group,
        shape("a.example", "alt1.l.google.com").group,
        shape("example.com", "x.l.google.com").group,
    ];
    for (place, group) in groups.iter().enumerate() {
        assert!(group.is_some() && !groups[..place].contains(group), "{groups:?}");
    }
    assert_eq!(shape("b.example", "y.l.google.com"), shape("a.example", "x.l.google.com"));
    let names = groups.map(|group| rules.name(group.unwrap()));
    assert_eq!(names, ["*.google.com", "*.l.google.com", "alt1.l.google.com", "example.com"]);
}

#[test]
fn of_two_rules_for_the_same_the_first_counts() {
    let pattern = || Pattern::hosts("mx.example.com").unwrap();
    let configured = vec![rule(pattern(), Some(1), None), rule(pattern(), Some(2), None)];
    let rules = Rules::new(defaults(10), configured).unwrap();
    assert_eq!(limits(&rules.shape(None, "mx.example.com")), (1, 100, None));
}

#[test]
fn patterns_are_names_or_all_names_below_one() {
    assert_eq!(Pattern::hosts("*.EXAMPLE.com"), Ok(Pattern::HostsBelow(name("example.com"))));
    assert_eq!(Pattern::hosts("mx.example.com"), Ok(Pattern::Host(name("mx.example.com"))));
    for text in ["", "*", "*.", "mx*.example.com", "*.*.example.com", "10.0.0.1", "a b.example"] {
        assert_eq!(Pattern::hosts(text), Err(InvalidPattern), "{text}");
    }
    let many = vec![rule(Pattern::Host(name("mx.example.com")), None, None); MAX_RULES + 1];
    assert_eq!(Rules::new(defaults(1), many).unwrap_err(), TooManyRules);
}

#[test]
fn a_receiver_that_asks_for_less_is_told_from_a_greylist() {
    let said = |stage, code, enhanced: &str| {
        let enhanced = EnhancedCode::parse(enhanced);
        let reply = Reply { code, enhanced, text: String::new() };
        asks_for_less(&Outcome { stage, answer: Answer::Reply(reply), peer: None })
    };
    for (stage, code, enhanced) in [
        (Stage::Greeting, 421, "4.7.0"),
        (Stage::EndOfData, 421, "4.7.28"),
        (Stage::MailFrom, 421, ""),
        (Stage::RcptTo, 451, "4.7.652"),
        (Stage::EndOfData, 450, "4.7.28"),
        (Stage::MailFrom, 450, "4.7.1"),
        (Stage::Greeting, 451, "4.7.1"),
    ] {
        assert!(said(stage, code, enhanced), "{stage:?} {code} {enhanced}");
    }
    for (stage, code, enhanced) in [
        (Stage::RcptTo, 450, "4.7.1"),
        (Stage::EndOfData, 451, "4.7.1"),
        (Stage::RcptTo, 450, "4.2.1"),
        (Stage::RcptTo, 451, ""),
        (Stage::RcptTo, 550, "5.7.1"),
        (Stage::EndOfData, 250, "2.0.0"),
    ] {
        assert!(!said(stage, code, enhanced), "{stage:?} {code} {enhanced}");
    }
    assert!(!asks_for_less(&Outcome::fault(Stage::Connect, Fault::Unreachable)));
}
