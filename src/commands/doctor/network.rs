//! The DNS, the names of this server, the way to others' mail servers, and blocklists.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mail::{
    dns::{
        LookupError, Pointer, may_be_dialled, pointer,
        route::{Candidate, RouteOptions, Router},
    },
    smtp::TlsPolicy,
};
use model::{address::DomainName, routing::WayOut, source::Source};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    Setup,
    finding::{Finding, State},
};

/// For a connection, and for the greeting.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest greeting that is read.
const MAX_GREETING_OCTETS: usize = 512;
/// Addresses that are tried from one source.
const MAX_TRIED: usize = 3;

/// Whether mail hosts can be looked up at all.
pub(super) async fn dns(setup: &Setup<'_>) -> Finding {
    let probe = setup.arguments.probe.as_str();
    match setup.resolver.mx(probe).await {
        Ok(records) => Finding::well("DNS", format!("{probe} has {} mail hosts", records.len())),
        Err(LookupError::Unavailable) => {
            let found = format!("no usable answer about {probe}");
            let advice = "set dns.servers to a resolver that answers, best on this machine";
            Finding::not_well("DNS", State::Failed, found, advice)
        }
        Err(error) => {
            let advice = "name a domain that receives mail with --probe";
            Finding::not_well("DNS", State::Unknown, format!("{probe}: {error}"), advice)
        }
    }
}

/// The names after EHLO, and that the addresses which mail leaves from lead to a name and back.
pub(super) async fn names(setup: &Setup<'_>) -> Vec<Finding> {
    let helo = setup.helo_name.as_str();
    let addresses = setup.resolver.addresses(helo).await;
    let mut findings = vec![match &addresses {
        Ok(ips) => {
            let texts: Vec<String> = ips.iter().map(ToString::to_string).collect();
            Finding::well("HELO name", format!("{helo} is {}", texts.join(", ")))
        }
        Err(error) => {
            let advice = "set delivery.helo_name to a name of this server that is in the DNS";
            Finding::not_well("HELO name", State::Failed, format!("{helo}: {error}"), advice)
        }
    }];
    // A relay shows its own address to the receivers.
    if !setup.ways().contains(&WayOut::Direct) {
        return findings;
    }
    let own = addresses.unwrap_or_default();
    for source in setup.sources() {
        if source.helo_name != setup.helo_name {
            findings.push(source_name(setup, source).await);
        }
        findings.push(named_by_spf(setup, source.ip, &own));
        findings.push(address(setup, source.ip, &source.helo_name).await);
    }
    if setup.sources().is_empty() {
        for ip in own {
            findings.push(address(setup, ip, &setup.helo_name).await);
        }
    }
    findings
}

/// Whether the name that an address gives in EHLO leads to that address.
async fn source_name(setup: &Setup<'_>, source: &Source) -> Finding {
    let Source { ip, helo_name } = source;
    let advice = "publish the address at that name, or give the address its own helo_name";
    match setup.resolver.addresses(helo_name.as_str()).await {
        Ok(ips) if ips.contains(ip) => Finding::well("HELO name", format!("{helo_name} is {ip}")),
        Ok(_) => {
            let found = format!("{helo_name} is not {ip}, which gives this name");
            Finding::not_well("HELO name", State::Failed, found, advice)
        }
        Err(error) => {
            let found = format!("{helo_name} of {ip}: {error}");
            Finding::not_well("HELO name", State::Failed, found, advice)
        }
    }
}

/// The SPF record that domains are told to publish lets `delivery.helo_name` send.
fn named_by_spf(setup: &Setup<'_>, ip: IpAddr, own: &[IpAddr]) -> Finding {
    let helo = &setup.helo_name;
    if own.contains(&ip) {
        return Finding::well("SPF", format!("a:{helo} lets {ip} send"));
    }
    let advice = "publish the address at delivery.helo_name too, which domains' SPF records name";
    Finding::not_well("SPF", State::Doubtful, format!("a:{helo} does not let {ip} send"), advice)
}

/// Whether an address leads to a name and back, and whether that is the name after EHLO.
async fn address(setup: &Setup<'_>, ip: IpAddr, helo: &DomainName) -> Finding {
    if !may_be_dialled(ip) && !setup.config.delivery.allow_private_networks {
        let advice = "check the public address that it becomes on its way out";
        let found = format!("{ip} is no public address");
        return Finding::not_well("PTR", State::Unknown, found, advice);
    }
    let advice = "ask who gave you the address to point it to its HELO name";
    match pointer(&setup.resolver, ip).await {
        Pointer::Confirmed(name) => {
            let found = format!("{ip} is {name}, and {name} is {ip}");
            if name == helo.as_str() {
                return Finding::well("PTR", found);
            }
            let advice = "set its HELO name to that name: some receivers want the same";
            Finding::not_well("PTR", State::Doubtful, found, advice)
        }
        Pointer::OneWay(names) => {
            let found = format!("{ip} is {}, which is not {ip}", names.join(", "));
            Finding::not_well("PTR", State::Failed, found, advice)
        }
        Pointer::Missing(error) => {
            Finding::not_well("PTR", State::Failed, format!("{ip}: {error}"), advice)
        }
        Pointer::Unanswered => {
            let found = format!("{ip}: {}", LookupError::Unavailable);
            Finding::not_well("PTR", State::Unknown, found, advice)
        }
    }
}

/// A mail server at the end of a way.
struct Target {
    hosts: Vec<Candidate>,
    port: u16,
    /// Whether it speaks before it is spoken to: not where TLS comes first.
    greets: bool,
}

/// Whether a mail server can be reached by each way from each of the source addresses.
pub(super) async fn ways_out(setup: &Setup<'_>) -> Vec<Finding> {
    let sources: Vec<Option<IpAddr>> = match &*setup.sources() {
        [] => vec![None],
        sources => sources.iter().map(|source| Some(source.ip)).collect(),
    };
    let mut findings = Vec::new();
    for way in setup.ways() {
        match target(setup, way).await {
            Ok(target) => {
                for source in &sources {
                    findings.push(way_out(*source, &target).await);
                }
            }
            Err(found) => {
                let advice = match way {
                    WayOut::Direct => "name a domain that receives mail with --probe",
                    WayOut::Relay(_) => "set the relay's host to a name that is in the DNS",
                };
                findings.push(Finding::not_well("port out", State::Unknown, found, advice));
            }
        }
    }
    findings
}

/// What to try: the probe's mail hosts, or the relay.
async fn target(setup: &Setup<'_>, way: &WayOut) -> Result<Target, String> {
    let relay = match way {
        WayOut::Direct => None,
        WayOut::Relay(name) => setup.relays.get(name),
    };
    if let Some(relay) = relay {
        let found = match relay.host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![ip]),
            Err(_) => setup.resolver.addresses(&relay.host).await,
        };
        let ips = found.map_err(|error| format!("{}: {error}", relay.host))?;
        let candidate = |ip| Candidate { mx: relay.host.clone(), ip };
        let hosts = ips.into_iter().map(candidate).collect();
        let greets = relay.tls != TlsPolicy::Implicit;
        return Ok(Target { hosts, port: relay.port, greets });
    }
    let delivery = &setup.config.delivery;
    let router = Router::new(
        setup.resolver.clone(),
        RouteOptions {
            allow_private_networks: delivery.allow_private_networks,
            ..RouteOptions::default()
        },
    );
    let probe: &DomainName = &setup.arguments.probe;
    let words = |fault: model::delivery::Fault| format!("{probe}: {}", fault.words());
    let route = router.route(probe).await.map_err(words)?;
    let hosts = router.candidates(&route, 0).await.map_err(words)?;
    Ok(Target { hosts, port: delivery.smtp_port, greets: true })
}

async fn way_out(source: Option<IpAddr>, target: &Target) -> Finding {
    let Target { hosts, port, greets } = target;
    let from = source.map_or_else(String::new, |ip| format!(" from {ip}"));
    let same_family = |host: &&Candidate| source.is_none_or(|ip| ip.is_ipv4() == host.ip.is_ipv4());
    let mut problems = Vec::new();
    for Candidate { mx, ip } in hosts.iter().filter(same_family).take(MAX_TRIED) {
        let to = SocketAddr::new(*ip, *port);
        if !greets {
            match timeout(PATIENCE, connect(source, to)).await {
                Ok(Ok(_)) => {
                    let found = format!("{mx} ({ip}) can be reached at port {port}{from}");
                    return Finding::well("port out", found);
                }
                Ok(Err(error)) => {
                    problems.push(format!("{mx} ({ip}) cannot be reached: {error}"));
                }
                Err(_) => problems.push(format!("{mx} ({ip}) does not answer in time")),
            }
            continue;
        }
        match greeting(source, to).await {
            Ok(greeting) if greeting.starts_with("220") => {
                let found = format!("{mx} ({ip}) greets at port {port}{from}");
                return Finding::well("port out", found);
            }
            Ok(greeting) => problems.push(format!("{mx} ({ip}) says {}", greeting.trim())),
            Err(problem) => problems.push(format!("{mx} ({ip}) {problem}")),
        }
    }
    if problems.is_empty() {
        problems.push("no mail host has an address of that family".to_owned());
    }
    let advice = "many networks close port 25: ask for it to be opened, or set delivery.smarthost";
    let found = format!("port {port}{from}: {}", problems.join("; "));
    Finding::not_well("port out", State::Failed, found, advice)
}

async fn greeting(source: Option<IpAddr>, to: SocketAddr) -> Result<String, String> {
    let silent = |_| "does not answer in time".to_owned();
    let failed = |error: std::io::Error| format!("cannot be reached: {error}");
    let mut stream =
        timeout(PATIENCE, connect(source, to)).await.map_err(silent)?.map_err(failed)?;
    let mut greeting = Vec::new();
    let mut octets = [0_u8; MAX_GREETING_OCTETS];
    let whole = async {
        while !greeting.contains(&b'\n') && greeting.len() < MAX_GREETING_OCTETS {
            let read = stream.read(&mut octets).await?;
            if read == 0 {
                break;
            }
            greeting.extend_from_slice(octets.get(..read).unwrap_or_default());
        }
        std::io::Result::Ok(())
    };
    timeout(PATIENCE, whole).await.map_err(silent)?.map_err(failed)?;
    // Whether it hears our leave changes nothing.
    drop(timeout(PATIENCE, stream.write_all(b"QUIT\r\n")).await);
    Ok(String::from_utf8_lossy(&greeting).into_owned())
}

async fn connect(source: Option<IpAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}

/// What the named blocklists say of the addresses that mail leaves from (RFC 5782).
pub(super) async fn blocklists(setup: &Setup<'_>) -> Vec<Finding> {
    if setup.arguments.blocklists.is_empty() {
        return Vec::new();
    }
    let mut sources: Vec<IpAddr> = setup.sources().iter().map(|source| source.ip).collect();
    if sources.is_empty() {
        let own = setup.resolver.addresses(setup.helo_name.as_str()).await;
        sources = own.unwrap_or_default();
    }
    let mut findings = Vec::new();
    for list in &setup.arguments.blocklists {
        for ip in &sources {
            findings.push(listed(setup, list.as_str(), *ip).await);
        }
    }
    findings
}

async fn listed(setup: &Setup<'_>, list: &str, ip: IpAddr) -> Finding {
    let check = "blocklist";
    match setup.resolver.addresses(&format!("{}.{list}", reversed(ip))).await {
        Err(LookupError::NoSuchDomain | LookupError::NoRecords) => {
            Finding::well(check, format!("{ip} is not on {list}"))
        }
        Err(LookupError::Unavailable) => {
            let advice = "ask again later, or another list";
            Finding::not_well(check, State::Unknown, format!("{list} does not answer"), advice)
        }
        Ok(answers) if answers.iter().any(is_entry) => {
            let advice = "its web page says why and how to be taken off";
            Finding::not_well(check, State::Failed, format!("{ip} is on {list}"), advice)
        }
        Ok(_) => {
            let advice = "it answers no public resolvers: use one of your own";
            Finding::not_well(check, State::Unknown, format!("{list} refuses to say"), advice)
        }
    }
}

/// Entries lie in 127/8 (RFC 5782, section 2.1); 127.255.255/24 is how lists say that they were
/// asked wrongly.
fn is_entry(answer: &IpAddr) -> bool {
    match answer {
        IpAddr::V4(v4) => matches!(v4.octets(), [127, b, c, _] if (b, c) != (255, 255)),
        IpAddr::V6(_) => false,
    }
}

/// An address in the order in which lists are asked: octets or nibbles, the last one first.
fn reversed(ip: IpAddr) -> String {
    let parts: Vec<String> = match ip {
        IpAddr::V4(v4) => v4.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_asked_with_the_last_part_first() {
        assert_eq!(reversed("192.0.2.99".parse().unwrap()), "99.2.0.192");
        let v6 = reversed("2001:db8::567:89ab".parse().unwrap());
        assert_eq!(v6, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2");
    }

    #[test]
    fn an_answer_that_is_no_entry_is_not_taken_for_one() {
        for (answer, entry) in
            [("127.0.0.2", true), ("127.255.255.254", false), ("10.0.0.1", false)]
        {
            assert_eq!(is_entry(&answer.parse().unwrap()), entry, "{answer}");
        }
    }
}
