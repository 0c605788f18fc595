//! By which ways mail leaves: to the receivers' own mail hosts or to a relay, in which order for
//! which recipients' domains, and when the next way is taken.
//!
//! # Contract
//! - [`Routes::ways`] is a pure function of the settings: the closest route decides, alone.
//! - [`next_way_may_be_taken`] is true only where no mail host has heard of the message: nothing is
//!   ever sent twice because of a second way.
//!
//! # Why
//! - **A rule about TLS, or credentials that are refused, take no other way.** The first is what a
//!   sender or receiver wants, the second a fault in the settings that somebody should see.

use std::{collections::HashMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    address::DomainName,
    delivery::{Answer, Fault, Outcome, Stage},
};

/// Most routes that can be configured, and most patterns of one.
pub const MAX_ROUTES: usize = 1_000;
/// Most ways of one route.
pub const MAX_WAYS: usize = 8;

/// Longest name that is given to a thing in the settings, in octets.
const MAX_LABEL_OCTETS: usize = 32;
/// What the way to the receivers' own mail hosts is called.
const DIRECT: &str = "direct";

/// The text is not a name such as the settings give to relays and pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name: 1 to 32 of a-z, 0-9, - and _, and not `direct`")]
pub struct InvalidLabel;

/// A name that the settings give to a relay or a pool. It stands in events and in metrics.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// Reads a name: 1 to 32 of `a-z`, `0-9`, `-` and `_`. `direct` is taken.
    pub fn parse(text: &str) -> Result<Self, InvalidLabel> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let well_formed = (1..=MAX_LABEL_OCTETS).contains(&text.len())
            && text.bytes().all(|byte| known(byte) || matches!(byte, b'-' | b'_'))
            && text != DIRECT;
        well_formed.then(|| Self(text.into())).ok_or(InvalidLabel)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One way out. Written as `direct` or as the relay's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WayOut {
    /// To the mail hosts that the recipient's domain names.
    Direct,
    /// To a relay, which takes it from there.
    Relay(Label),
}

impl fmt::Display for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => DIRECT,
            Self::Relay(name) => name.as_str(),
        })
    }
}

impl FromStr for WayOut {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        if text == DIRECT { Ok(Self::Direct) } else { Label::parse(text).map(Self::Relay) }
    }
}

impl Serialize for WayOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WayOut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The ways of a route, in the order in which they are tried: at least one, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways(Vec<WayOut>);

/// The ways of a route cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a route has 1 to 8 ways, none of them twice")]
pub struct InvalidWays;

impl Ways {
    /// These ways, in this order.
    pub fn new(ways: Vec<WayOut>) -> Result<Self, InvalidWays> {
        let repeated = ways
            .iter()
            .enumerate()
            .any(|(place, way)| ways.iter().take(place).any(|earlier| earlier == way));
        let usable = (1..=MAX_WAYS).contains(&ways.len()) && !repeated;
        usable.then_some(Self(ways)).ok_or(InvalidWays)
    }

    /// One way alone.
    pub fn only(way: WayOut) -> Self {
        Self(vec![way])
    }

    /// The ways, the first one first; never empty.
    pub fn as_slice(&self) -> &[WayOut] {
        &self.0
    }
}

/// What a domain ends with: one label, such as `com`, or more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainSuffix(Box<str>);

/// Which recipients' domains a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    /// Exactly this one.
    Exactly(DomainName),
    /// Every domain below this one, and not itself.
    Below(DomainSuffix),
    /// All that no other route is for.
    Others,
}

/// The text is not a pattern of domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a domain, such as `example.com`, nor all below one, `*.example.com`, nor all others, `*`"
)]
pub struct InvalidDomainPattern;

impl FromStr for DomainPattern {
    type Err = InvalidDomainPattern;

    fn from_str(text: &str) -> Result<Self, InvalidDomainPattern> {
        if text == "*" {
            return Ok(Self::Others);
        }
        let Some(suffix) = text.strip_prefix("*.") else {
            let name = DomainName::parse(text).map_err(|_| InvalidDomainPattern)?;
            return Ok(Self::Exactly(name));
        };
        // Whatever may stand behind a label: a domain has two at the least.
        let below = DomainName::parse(&format!("x.{suffix}")).map_err(|_| InvalidDomainPattern)?;
        let suffix = below.as_str().strip_prefix("x.").ok_or(InvalidDomainPattern)?;
        Ok(Self::Below(DomainSuffix(suffix.into())))
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name.as_str()),
            Self::Below(DomainSuffix(suffix)) => write!(f, "*.{suffix}"),
            Self::Others => f.write_str("*"),
        }
    }
}

/// A route: for whom, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// The domains that it is for.
    pub patterns: Vec<DomainPattern>,
    /// The ways of their mail.
    pub ways: Ways,
}

/// Why routes cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoutes {
    /// More than [`MAX_ROUTES`].
    #[error("there are more than 1000 routes, or patterns in one")]
    TooMany,
    /// A pattern stands in two routes, or twice in one.
    #[error("`{0}` has more than one route")]
    Repeated(DomainPattern),
}

/// Every route there is.
#[derive(Debug, Clone)]
pub struct Routes {
    exact: HashMap<Box<str>, Ways>,
    below: HashMap<Box<str>, Ways>,
    others: Ways,
}

impl Default for Routes {
    /// Everything goes to the receivers' own mail hosts.
    fn default() -> Self {
        Self::all_by(Ways::only(WayOut::Direct))
    }
}

impl Routes {
    /// Everything goes by these ways.
    pub fn all_by(ways: Ways) -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), others: ways }
    }

    /// These routes; what none of them is for goes by `others`.
    pub fn new(others: Ways, rules: Vec<RouteRule>) -> Result<Self, InvalidRoutes> {
        let most = rules.iter().map(|rule| rule.patterns.len()).max().unwrap_or(0);
        if rules.len().max(most) > MAX_ROUTES {
            return Err(InvalidRoutes::TooMany);
        }
        let mut routes = Self::all_by(others);
        let mut others = None;
        for RouteRule { patterns, ways } in rules {
            for pattern in patterns {
                let ways = ways.clone();
                let before = match &pattern {
                    DomainPattern::Exactly(name) => routes.exact.insert(name.as_str().into(), ways),
                    DomainPattern::Below(DomainSuffix(suffix)) => {
                        routes.below.insert(suffix.clone(), ways)
                    }
                    DomainPattern::Others => others.replace(ways),
                };
                if before.is_some() {
                    return Err(InvalidRoutes::Repeated(pattern));
                }
            }
        }
        routes.others = others.unwrap_or(routes.others);
        Ok(routes)
    }

    /// The ways of mail to `domain`: of its own route, else of the longest suffix that has one,
    /// else of all others.
    pub fn ways(&self, domain: &DomainName) -> &Ways {
        if let Some(ways) = self.exact.get(domain.as_str()) {
            return ways;
        }
        let mut rest = domain.as_str();
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(ways) = self.below.get(above) {
                return ways;
            }
            rest = above;
        }
        &self.others
    }

    /// Every way that some route takes.
    pub fn all_ways(&self) -> impl Iterator<Item = &WayOut> {
        let ruled = self.exact.values().chain(self.below.values());
        ruled.chain([&self.others]).flat_map(Ways::as_slice)
    }
}

/// Whether a message may go by the next way at once after this outcome of the way before.
///
/// Only where nobody has heard of the message: the mail hosts or the relay could not be looked up
/// or reached, or refused to talk (4yz or 5yz, silence, or something else than SMTP) before they
/// had taken EHLO. From MAIL on, the outcome stands; a loss after the final dot above all, since
/// the message may have been taken (RFC 1047).
pub fn next_way_may_be_taken(outcome: &Outcome) -> bool {
    match (outcome.stage, &outcome.answer) {
        (Stage::Dns, Answer::Fault(fault)) => *fault == Fault::DnsUnavailable,
        (Stage::Connect | Stage::Greeting | Stage::Hello, Answer::Fault(fault)) => matches!(
            fault,
            Fault::Unreachable | Fault::Timeout | Fault::Disconnected | Fault::Protocol
        ),
        (Stage::Connect | Stage::Greeting | Stage::Hello, Answer::Reply(reply)) => {
            !reply.is_positive()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
