//! What a site is to do.

use std::sync::Arc;

use mail::{
    dns::route::{Route, SiteId},
    policy::Terms,
};
use model::{
    TenantId, Timestamp,
    address::EmailAddress,
    delivery::{Outcome, TlsDemand},
    routing::{Label, WayOut},
    shaping::Shape,
    source::{PoolNumber, Sources},
};

use super::{Answer, places::Place};
use crate::letter::Letter;

/// Whose mail shares a lane: the hosts, what the rules say of them, and the pool that it leaves
/// from. A domain that has a rule of its own is apart from the others at its hosts, and so is mail
/// from other addresses: receivers think of each by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SiteKey {
    pub(crate) hosts: Hosts,
    pub(crate) shape: Shape,
    pub(crate) pool: Option<PoolNumber>,
}

/// Who is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Hosts {
    /// The hosts that receivers' domains name.
    Mx(SiteId),
    /// The relay of this name.
    Relay(Label),
}

/// How to get to a site.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// By the receivers' own mail hosts, on these terms.
    Mx(Arc<Route>, Terms),
    /// By the relay of this name in the settings.
    Relay(Label, TlsDemand),
}

impl Way {
    pub(crate) fn hosts(&self) -> Hosts {
        match self {
            Self::Mx(route, _) => Hosts::Mx(route.site.clone()),
            Self::Relay(name, _) => Hosts::Relay(name.clone()),
        }
    }

    /// What it is called in records.
    pub(crate) fn out(&self) -> WayOut {
        match self {
            Self::Mx(..) => WayOut::Direct,
            Self::Relay(name, _) => WayOut::Relay(name.clone()),
        }
    }

    /// Adds to an outcome what only the way knows.
    pub(crate) fn complete(&self, outcome: &mut Outcome) {
        if let (Some(peer), Self::Mx(_, terms)) = (&mut outcome.peer, self) {
            peer.tls_failure = peer.tls_failure.or(terms.sts_failure());
        }
    }

    /// Whether recipients on both ways, to one site, can share a transaction.
    pub(crate) fn is_one_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mx(route, terms), Self::Mx(other_route, other_terms)) => {
                route.site == other_route.site && terms == other_terms
            }
            (Self::Relay(name, demand), Self::Relay(other_name, other)) => {
                name == other_name && demand == other
            }
            (Self::Mx(..) | Self::Relay(..), _) => false,
        }
    }
}

/// One transaction to be made: a message and its recipients at this site. RFC 5321, section
/// 4.5.3.1.8, lets a transaction have 100 recipients anywhere; a message never has more.
pub(crate) struct Job {
    pub(crate) tenant: TenantId,
    pub(crate) letter: Arc<Letter>,
    pub(crate) way: Way,
    pub(crate) sources: Sources,
    pub(crate) recipients: Vec<EmailAddress>,
    pub(crate) answer: Answer,
    pub(crate) queued_at: Timestamp,
    pub(crate) _place: Place,
}

const _: () = assert!(model::message::MAX_RECIPIENTS <= 100, "one transaction a site is enough");
