//! `lumora doctor`, on a machine that is well and on one that is not.

use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;
use tokio::net::UdpSocket;

use crate::support::{
    process::{ended, run},
    world::{OWN_HOST, World},
};

/// Tells everybody the same time: now, moved by some seconds.
async fn time_server(moved_s: i64) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut packet = [0_u8; 48];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            assert_eq!((length, packet[0]), (48, 0x23));
            let now = std::process::Command::new("date").arg("+%s").output().unwrap().stdout;
            let unix_s: i64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
            let ntp_s = u32::try_from(unix_s + moved_s + 2_208_988_800).unwrap();
            let mut answer = [0_u8; 48];
            (answer[0], answer[1]) = (0x24, 2);
            answer[40..44].copy_from_slice(&ntp_s.to_be_bytes());
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

/// An address that the resolver asks about: of loopback it knows all by itself (RFC 6761).
fn stands_at_its_address(world: &World) {
    world.dns.remove(OWN_HOST).unwrap();
    world.dns.add_address(OWN_HOST, Ipv4Addr::new(192, 0, 2, 7).into()).unwrap();
}

/// The exit status and what was found: check to state, in order.
async fn doctor(config: &Path, arguments: &[&str]) -> (i32, Vec<(String, String)>, Value) {
    let arguments: Vec<String> = [&["doctor", "--json", "--probe", "reader.test"], arguments]
        .concat()
        .iter()
        .map(|a| (*a).to_owned())
        .collect();
    let config = config.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &config)
    });
    let (status, output, errors) = ended(&output.await.unwrap());
    let report: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{errors}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let states = findings.map(|finding| (text(&finding["check"]), text(&finding["state"])));
    (status, states.collect(), report)
}

fn state<'a>(states: &'a [(String, String)], check: &str) -> &'a str {
    let found = states.iter().find(|(name, _)| name == check);
    found.map_or("absent", |(_, state)| state.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_well_is_said_to_be() {
    let world = World::new().await;
    world.receives("reader.test");
    stands_at_its_address(&world);
    world.dns.add_pointer("7.2.0.192.in-addr.arpa", OWN_HOST).unwrap();
    std::fs::create_dir(world.data_dir()).unwrap();
    let config = world.config_file("1s");
    let time = time_server(0).await;
    let arguments = ["--time-server", &time, "--blocklist", "list.test"];
    let (status, states, report) = doctor(&config, &arguments).await;
    assert_eq!(status, 0, "{report:#}");
    for check in ["data directory", "DNS", "clock", "HELO name", "PTR", "port out", "blocklist"] {
        assert_eq!(state(&states, check), "well", "{check}: {report:#}");
    }
    assert_eq!(report["holds"], true);
    // Nothing was sent, and nothing left in the directory.
    assert_eq!(std::fs::read_dir(world.data_dir()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_what_to_do() {
    let world = World::new().await;
    world.dns.add_mx("reader.test", 10, "dead.test").unwrap();
    world.dns.add_address("dead.test", World::address(99)).unwrap();
    stands_at_its_address(&world);
    // The address claims a name that is somebody else's.
    world.dns.add_pointer("7.2.0.192.in-addr.arpa", "dead.test").unwrap();
    world.dns.add_address("7.2.0.192.list.test", Ipv4Addr::new(127, 0, 0, 2).into()).unwrap();
    std::fs::create_dir(world.data_dir()).unwrap();
    let key = world.data_dir().join("master.key");
    std::fs::write(&key, b"k").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = world.config_file("1s");
    let time = time_server(-3_600).await;
    let arguments = ["--time-server", &time, "--blocklist", "list.test"];
    let (status, states, report) = doctor(&config, &arguments).await;
    assert_eq!(status, 1, "{report:#}");
    for check in ["master key", "clock", "PTR", "port out", "blocklist"] {
        assert_eq!(state(&states, check), "failed", "{check}: {report:#}");
    }
    assert_eq!((state(&states, "DNS"), state(&states, "HELO name")), ("well", "well"));
    assert_eq!(report["holds"], false);
    let failed = report["findings"].as_array().unwrap().iter().filter(|f| f["state"] == "failed");
    assert!(failed.clone().all(|finding| finding["advice"].is_string()), "{report:#}");
    assert!(failed.count() >= 5);

    world.dns.remove(OWN_HOST).unwrap();
    let (_, states, report) = doctor(&config, &["--time-server", &time]).await;
    assert_eq!(state(&states, "HELO name"), "failed", "{report:#}");
    assert_eq!(state(&states, "blocklist"), "absent", "only when asked to");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_address_answers_for_its_own_name_and_each_way_is_tried_from_it() {
    let world = World::new().await;
    world.receives("reader.test");
    stands_at_its_address(&world);
    std::fs::create_dir(world.data_dir()).unwrap();
    let config = world.config_file("1s");
    let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = relay.local_addr().unwrap().port();
    let ways = format!(
        "[delivery.pools.one]\n\
         addresses = [{{ ip = \"192.0.2.7\", helo_name = \"out.platform.test\" }}]\n\
         [delivery.smarthosts.relay]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"implicit\"\n\
         [[delivery.routes]]\ndomain = \"corp.test\"\nways = [\"relay\", \"direct\"]\n",
    );
    let text = std::fs::read_to_string(&config).unwrap() + &ways;
    std::fs::write(&config, text).unwrap();
    let time = time_server(0).await;
    let found = |report: &Value, check: &str| -> Vec<(String, String)> {
        let findings = report["findings"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let own = findings.filter(|finding| finding["check"] == check);
        own.map(|finding| (text(&finding["state"]), text(&finding["found"]))).collect()
    };

    // The name is nobody's yet, and the address has none.
    let (status, _, report) = doctor(&config, &["--time-server", &time]).await;
    assert_eq!(status, 1, "{report:#}");
    let names = found(&report, "HELO name");
    assert_eq!(names.len(), 2, "{report:#}");
    assert!(names[1].0 == "failed" && names[1].1.contains("out.platform.test"), "{names:?}");
    assert_eq!(found(&report, "PTR")[0].0, "failed");
    assert_eq!(found(&report, "SPF")[0].0, "well", "delivery.helo_name has that address");
    // No address of this machine (RFC 5737), so nothing can be reached from it, by either way.
    let out = found(&report, "port out");
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(out.iter().all(|(state, text)| state == "failed" && text.contains("from 192.0.2.7")));

    world.dns.add_address("out.platform.test", Ipv4Addr::new(192, 0, 2, 7).into()).unwrap();
    world.dns.add_pointer("7.2.0.192.in-addr.arpa", "out.platform.test").unwrap();
    world.dns.remove(OWN_HOST).unwrap();
    world.dns.add_address(OWN_HOST, Ipv4Addr::new(192, 0, 2, 8).into()).unwrap();
    let (_, _, report) = doctor(&config, &["--time-server", &time]).await;
    assert!(found(&report, "HELO name").iter().all(|(state, _)| state == "well"), "{report:#}");
    assert_eq!(
        found(&report, "PTR"),
        [(
            "well".to_owned(),
            "192.0.2.7 is out.platform.test, and out.platform.test is 192.0.2.7".to_owned(),
        )]
    );
    assert_eq!(found(&report, "SPF")[0].0, "doubtful");
}
