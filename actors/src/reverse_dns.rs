//! Whether the addresses that mail leaves from lead to a name and back.

use std::{net::IpAddr, time::Duration};

use mail::dns::{LookupError, Pointer, may_be_dialled, pointer};
use model::{domain::compliance::ReverseDns, routing::WayOut};

use crate::Platform;

/// Addresses that are looked up.
const MAX_ADDRESSES: usize = 8;
/// For all of them.
const PATIENCE: Duration = Duration::from_secs(10);

impl Platform {
    /// What the DNS says of the addresses that mail leaves from: those in the settings, or else those
    /// of the server's own name. Bounded in time.
    pub async fn reverse_dns(&self) -> ReverseDns {
        let looking = tokio::time::timeout(PATIENCE, self.look_back());
        looking.await.unwrap_or(ReverseDns::Unanswered)
    }

    async fn look_back(&self) -> ReverseDns {
        let node = self.node();
        if !node.options.routes.all_ways().any(|way| *way == WayOut::Direct) {
            return ReverseDns::Relayed;
        }
        let resolver = node.router.resolver();
        let sources = node.options.pools.sources();
        let mut addresses: Vec<IpAddr> = sources.map(|source| source.ip).collect();
        if addresses.is_empty() {
            addresses = match resolver.addresses(node.options.helo_name.as_str()).await {
                Ok(addresses) => addresses,
                Err(LookupError::Unavailable) => return ReverseDns::Unanswered,
                Err(LookupError::NoSuchDomain | LookupError::NoRecords) => Vec::new(),
            };
        }
        addresses.truncate(MAX_ADDRESSES);
        let private = |ip: &IpAddr| !may_be_dialled(*ip) && !node.options.allow_private_networks;
        if addresses.is_empty() || addresses.iter().any(private) {
            return ReverseDns::Unknown;
        }
        let mut unanswered = false;
        for ip in &addresses {
            match pointer(resolver, *ip).await {
                Pointer::Confirmed(_) => {}
                Pointer::OneWay(names) => return ReverseDns::Unconfirmed(*ip, names),
                Pointer::Missing(_) => return ReverseDns::Unconfirmed(*ip, Vec::new()),
                Pointer::Unanswered => unanswered = true,
            }
        }
        if unanswered { ReverseDns::Unanswered } else { ReverseDns::Confirmed(addresses) }
    }
}
