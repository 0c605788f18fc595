//! What a site is to do.

use std::sync::Arc;

use mail::dns::route::{Route, SiteId};
use model::{Timestamp, address::EmailAddress};
use tokio::sync::OwnedSemaphorePermit;

use super::Answer;
use crate::letter::Letter;

/// Who is dialled: the hosts of an MX set, or the smarthost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SiteKey {
    /// The hosts that receivers' domains name.
    Mx(SiteId),
    /// The one relay for everything.
    Smarthost,
}

/// How to get to a site.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// By the receivers' own mail hosts.
    Mx(Arc<Route>),
    /// By the relay in the settings.
    Smarthost,
}

impl Way {
    pub(crate) fn site(&self) -> SiteKey {
        match self {
            Self::Mx(route) => SiteKey::Mx(route.site.clone()),
            Self::Smarthost => SiteKey::Smarthost,
        }
    }
}

/// One transaction to be made: a message and its recipients at this site. RFC 5321, section
/// 4.5.3.1.8, lets a transaction have 100 recipients anywhere; a message never has more.
pub(crate) struct Job {
    pub(crate) letter: Arc<Letter>,
    pub(crate) way: Way,
    pub(crate) recipients: Vec<EmailAddress>,
    pub(crate) answer: Answer,
    pub(crate) queued_at: Timestamp,
    pub(crate) _place: OwnedSemaphorePermit,
}

const _: () = assert!(model::message::MAX_RECIPIENTS <= 100, "one transaction a site is enough");
