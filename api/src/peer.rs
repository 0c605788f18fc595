//! From where a request comes: the other end of the connection, or whom a proxy of ours names.
//!
//! # Why
//! Behind a proxy everybody would be one address: whoever guesses passwords would have everybody
//! wait, and a key bound to networks would be bound to the proxy. What a header says is believed
//! from proxies that the configuration names, and from nobody else: anybody can write it.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use poem::{Addr, Request, http::HeaderMap};

/// What each proxy puts whom it speaks for at the end of.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A network, or a single address; without what lies below its mask. IPv4 that is written as IPv6
/// is IPv4, as which callers are known (RFC 4291, section 2.5.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// The text is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an IP address or a network such as 192.0.2.0/24")]
pub struct InvalidNetwork;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = text.parse::<IpNet>().ok();
        let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let network = network.ok_or(InvalidNetwork)?;
        let mapped = match network {
            IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
            IpNet::V4(_) => None,
        };
        let mapped = mapped.and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
        Ok(Self(mapped.unwrap_or(network).trunc()))
    }
}

/// From where somebody asks. `None`: not over a network.
pub(crate) fn address(request: &Request, proxies: &[Network]) -> Option<IpAddr> {
    match request.remote_addr().0 {
        Addr::SocketAddr(peer) => {
            Some(client(peer.ip().to_canonical(), request.headers(), proxies))
        }
        _ => None,
    }
}

/// The first address, seen from here, that is no proxy of ours. Each proxy writes down who spoke to
/// it, behind what it was told; so all that stands before the word of the first stranger may be
/// made up. A word that is no address ends the search, too: it is the proxy that is known, then.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let mut client = peer;
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        let words = line.to_str().unwrap_or_default().rsplit(',');
        for word in words {
            if !is_among(client, proxies) {
                return client;
            }
            let Some(before) = read(word.trim()) else { return client };
            client = before;
        }
    }
    client
}

/// Whether an address lies in one of these networks: whether it is a proxy of ours, say.
pub(crate) fn is_among(address: IpAddr, networks: &[Network]) -> bool {
    networks.iter().any(|Network(network)| network.contains(&address))
}

/// An address, as proxies write it: with or without a port, in brackets or not.
fn read(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    let address = bare.parse::<IpAddr>().ok();
    let address =
        address.or_else(|| word.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, lines: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let proxies: Vec<Network> =
            proxies.iter().map(|network| network.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn networks_are_those_that_callers_come_from() {
        let network = |text: &str| text.parse::<Network>().map(|Network(net)| net.to_string()).ok();
        for (written, read) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(written).as_deref(), Some(read));
        }
        for bad in ["", "192.0.2.7/33", "192.0.2", "2001:db8::/129", "acme.test", "192.0.2.7/-1"] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_header_of_a_stranger_is_not_believed() {
        assert_eq!(found("198.51.100.9", &["192.0.2.1"], &[]), "198.51.100.9");
        assert_eq!(found("198.51.100.9", &["192.0.2.1"], &["10.0.0.0/8"]), "198.51.100.9");
    }

    #[test]
    fn a_proxy_of_ours_tells_who_spoke_to_it_and_what_stands_before_is_made_up() {
        let ours = ["10.0.0.0/8", "fd00::/8"];
        for (lines, from) in [
            (&["198.51.100.9"][..], "198.51.100.9"),
            (&["192.0.2.1, 198.51.100.9"], "198.51.100.9"),
            (&["192.0.2.1", "198.51.100.9"], "198.51.100.9"),
            (&["192.0.2.1, 198.51.100.9", "10.0.0.2"], "198.51.100.9"),
            (&["198.51.100.9,10.0.0.2 ,fd00::1"], "198.51.100.9"),
            (&["198.51.100.9:4711"], "198.51.100.9"),
            (&["[2001:db8::9]:4711"], "2001:db8::9"),
            (&["[2001:db8::9]"], "2001:db8::9"),
            (&["::ffff:198.51.100.9"], "198.51.100.9"),
            // All of them are ours: the farthest.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // No address: who said so is all that is known.
            (&["192.0.2.1, unknown"], "10.0.0.1"),
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.1,"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(found("10.0.0.1", lines, &ours), from, "{lines:?}");
        }
    }
}
