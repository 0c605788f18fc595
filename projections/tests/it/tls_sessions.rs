//! TLS sessions by day and receiver's domain.

use std::{path::Path, time::Duration};

use model::{
    Timestamp,
    address::DomainName,
    delivery::{Outcome, Peer, Stage, TlsFailure, TlsRule},
    tls_report::{Day, DomainDay, FailureDetail, PolicySessions, PolicyType},
};
use projections::ReadModels;

use crate::support::{Draft, START, World, assert_same, delivered, follow, reply};

fn domain(name: &str) -> DomainName {
    DomainName::parse(name).unwrap()
}

/// Failed by policy, at a host of this name.
fn refused(mx: &str) -> Outcome {
    let peer = Peer {
        from: Some("198.51.100.7".parse().unwrap()),
        tls_rule: Some(TlsRule::MtaSts),
        tls_failure: Some(TlsFailure::CertificateExpired),
        ..Peer::new(mx, Some("192.0.2.9".parse().unwrap()))
    };
    Outcome {
        peer: Some(peer),
        ..Outcome::fault(Stage::StartTls, model::delivery::Fault::TlsRequired)
    }
}

/// All sessions of a day, over all domains.
fn all(read: &ReadModels, day: Day) -> Vec<(DomainName, DomainDay)> {
    read.tls_sessions().domains(day, None, 100).unwrap()
}

fn count(read: &ReadModels, day: Day) -> (u64, u64) {
    let days = all(read, day);
    let sessions = || days.iter().flat_map(|(_, day)| &day.0);
    (
        sessions().map(|sessions| sessions.successful).sum(),
        sessions().map(PolicySessions::failures).sum(),
    )
}

fn opened(world: &World, dir: &Path) -> ReadModels {
    let read = world.open(dir);
    read.start();
    follow(&read, world.head());
    read
}

#[test]
fn recipients_of_one_transaction_share_a_session_and_attempts_do_not() {
    let mut world = World::with_app(31);
    let today = Day::of(Timestamp::from_millis(START));
    let message = world.send(&Draft { recipients: 20, ..Draft::default() });
    let everybody = |outcome: &Outcome| (0..20).map(|to| (to, outcome.clone())).collect::<Vec<_>>();
    world.attempt(message, &everybody(&refused("mx.one.example")));
    let dir = tempfile::tempdir().unwrap();
    let read = opened(&world, dir.path());
    // All four domains have their mail at that host.
    let domains = all(&read, today);
    assert_eq!(domains.len(), 4);
    let detail = FailureDetail {
        failure: TlsFailure::CertificateExpired,
        from: Some("198.51.100.7".parse().unwrap()),
        mx: Some("mx.one.example".into()),
        ip: Some("192.0.2.9".parse().unwrap()),
    };
    let failed = vec![(detail, 1)];
    let expected =
        DomainDay(vec![PolicySessions { policy: PolicyType::Sts, successful: 0, failed }]);
    for (name, day) in &domains {
        assert_eq!(*day, expected, "{name}");
        assert_eq!(read.tls_sessions().of_domain(today, name).unwrap(), Some(expected.clone()));
    }
    let second = read.tls_sessions().domains(today, Some(&domains[0].0), 1).unwrap();
    assert_eq!(second, domains[1..2]);

    // The next day, it is well again; and a connection that is kept counts no more.
    world.pass(Duration::from_hours(2));
    world.attempt(message, &everybody(&delivered()));
    let kept =
        Outcome { peer: delivered().peer.map(|peer| Peer { reused: true, ..peer }), ..delivered() };
    let another = world.send(&Draft { recipients: 20, ..Draft::default() });
    world.attempt(another, &everybody(&kept));
    follow(&read, world.head());
    assert_eq!((count(&read, today), count(&read, today.after())), ((0, 4), (4, 0)));
    assert_eq!(count(&read, today.before()), (0, 0));
    let nobody = domain("nobody.example");
    assert_eq!(read.tls_sessions().of_domain(today, &nobody).unwrap(), None);
}

#[test]
fn counts_do_not_hang_on_where_a_round_or_a_run_ends() {
    let mut world = World::with_app(32);
    let dir = tempfile::tempdir().unwrap();
    let mut live = opened(&world, dir.path());
    for round in 0..40_u64 {
        let message = world.send(&Draft { recipients: 30, ..Draft::default() });
        let outcomes: Vec<_> = (0..30)
            .map(|to| {
                let outcome = match (round + u64::from(to)) % 3 {
                    0 => refused("mx.one.example"),
                    1 => reply(Stage::RcptTo, 451, "4.7.1"),
                    _ => delivered(),
                };
                (to, outcome)
            })
            .collect();
        world.attempt(message, &outcomes);
        follow(&live, world.head());
        if round % 7 == 3 {
            live.stop();
            drop(live);
            live = opened(&world, dir.path());
        }
    }
    let today = Day::of(Timestamp::from_millis(START));
    // Per message and domain: one that failed, and one that came to stand.
    let (successful, failed) = count(&live, today);
    assert!(
        (130..=160).contains(&successful) && (130..=160).contains(&failed),
        "{successful} {failed}"
    );
    let fresh = tempfile::tempdir().unwrap();
    assert_same(&world, &live, &world.open(fresh.path()), "rounds");
}
