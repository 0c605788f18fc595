//! How much a receiver is given at once: limits, who they are for, and how they tighten.
//!
//! # Contract
//! - [`Rules::shape`] says what holds for mail to a domain through a mail host. It is a pure
//!   function of the settings, so the same mail host is always treated the same.
//! - Mail hosts that match one rule are one receiver: they share its connections and its rate,
//!   however many sites they are. A host named for each customer is still the same provider.
//! - A recipient's domain that has a rule of its own is apart from the others at its mail host.
//!
//! # Why
//! - **What is shipped only tightens**: those are limits that receivers set. What an operator
//!   configures counts as it stands, for they may have agreed on more.

mod pace;
mod shipped;

use std::{fmt, num::NonZeroU32};

pub use self::pace::{Pace, Slowed};
use crate::{
    address::DomainName,
    delivery::{Answer, Outcome, Stage},
};

/// Most rules that can be configured, and most patterns of one.
pub const MAX_RULES: usize = 1_000;

/// What a receiver is given at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Connections at once.
    pub connections: NonZeroU32,
    /// Messages over one connection.
    pub messages_per_connection: NonZeroU32,
    /// Messages in a minute; `None` for as many as the connections carry.
    pub per_minute: Option<NonZeroU32>,
}

/// The limits that a rule sets; the others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Setting {
    /// See [`Limits::connections`].
    pub connections: Option<NonZeroU32>,
    /// See [`Limits::messages_per_connection`].
    pub messages_per_connection: Option<NonZeroU32>,
    /// See [`Limits::per_minute`].
    pub per_minute: Option<NonZeroU32>,
}

impl Limits {
    /// With what is set in its place.
    const fn set(mut self, setting: &Setting) -> Self {
        if let Some(connections) = setting.connections {
            self.connections = connections;
        }
        if let Some(messages) = setting.messages_per_connection {
            self.messages_per_connection = messages;
        }
        if setting.per_minute.is_some() {
            self.per_minute = setting.per_minute;
        }
        self
    }

    /// With the lower of both.
    fn tightened(self, setting: &Setting) -> Self {
        let lower = |own: NonZeroU32, other: Option<NonZeroU32>| other.map_or(own, |o| o.min(own));
        Self {
            connections: lower(self.connections, setting.connections),
            messages_per_connection: lower(
                self.messages_per_connection,
                setting.messages_per_connection,
            ),
            per_minute: match (self.per_minute, setting.per_minute) {
                (Some(own), other) => Some(lower(own, other)),
                (None, other) => other,
            },
        }
    }
}

/// What a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Recipients of exactly this domain.
    Domain(DomainName),
    /// The mail host of exactly this name.
    Host(DomainName),
    /// Every mail host below this name.
    HostsBelow(DomainName),
}

/// The text is not a pattern of mail hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mail host's name, such as `mx.example.com`, or all below one: `*.example.com`")]
pub struct InvalidPattern;

impl Pattern {
    /// Reads `mx.example.com` or `*.example.com`, of mail hosts.
    pub fn hosts(text: &str) -> Result<Self, InvalidPattern> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = DomainName::parse(name).map_err(|_| InvalidPattern)?;
        Ok(if below { Self::HostsBelow(name) } else { Self::Host(name) })
    }

    /// How closely it fits: greater is closer, `None` does not fit. Domain before host before
    /// suffix, the longer suffix first.
    fn fit(&self, domain: Option<&DomainName>, mx: &str) -> Option<usize> {
        match self {
            Self::Domain(own) => (domain == Some(own)).then_some(usize::MAX),
            Self::Host(own) => (own.as_str() == mx).then_some(usize::MAX - 1),
            Self::HostsBelow(own) => {
                let above = mx.strip_suffix(own.as_str())?.strip_suffix('.')?;
                (!above.is_empty()).then_some(own.as_str().len())
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(name) | Self::Host(name) => f.write_str(name.as_str()),
            Self::HostsBelow(name) => write!(f, "*.{}", name.as_str()),
        }
    }
}

/// Limits for some receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is for: whoever fits one of them.
    pub patterns: Vec<Pattern>,
    /// What it sets.
    pub setting: Setting,
}

impl Rule {
    fn fit(&self, domain: Option<&DomainName>, mx: &str) -> Option<usize> {
        self.patterns.iter().filter_map(|pattern| pattern.fit(domain, mx)).max()
    }
}

/// Receivers that are one to us: those that the same rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u16);

/// What holds for mail to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// With whom the limits are shared; `None` for a site that is alone.
    pub group: Option<Group>,
    /// The limits.
    pub limits: Limits,
}

/// Every rule there is.
#[derive(Debug, Clone)]
pub struct Rules {
    defaults: Limits,
    configured: Vec<Rule>,
    shipped: Vec<Rule>,
}

/// More than [`MAX_RULES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are more than 1000 rules, or patterns in one")]
pub struct TooManyRules;

impl Rules {
    /// The rules of who runs the server over those that are shipped, for large receivers.
    pub fn new(defaults: Limits, configured: Vec<Rule>) -> Result<Self, TooManyRules> {
        let most = configured.iter().map(|rule| rule.patterns.len()).max().unwrap_or(0);
        if configured.len().max(most) > MAX_RULES {
            return Err(TooManyRules);
        }
        Ok(Self { defaults, configured, shipped: shipped::rules() })
    }

    /// What a group is called: the first of its rule's patterns. There are as many names as rules,
    /// so they can stand where names must be few.
    pub fn name(&self, group: Group) -> String {
        let mut rules = self.configured.iter().chain(&self.shipped);
        let first = rules.nth(usize::from(group.0)).and_then(|rule| rule.patterns.first());
        first.map(ToString::to_string).unwrap_or_default()
    }

    /// What holds for mail to `domain` that goes to the mail host `mx`, in lower case without the
    /// final dot. A relay that takes everything has no domain.
    pub fn shape(&self, domain: Option<&DomainName>, mx: &str) -> Shape {
        let mut limits = self.defaults;
        let mut group: Option<(usize, usize)> = None;
        let own = self.configured.len();
        for (place, rule) in (own..).zip(&self.shipped) {
            if let Some(fit) = rule.fit(domain, mx) {
                limits = limits.tightened(&rule.setting);
                group = group.max(Some((fit, place)));
            }
        }
        let mut fitting: Vec<(usize, usize, &Rule)> = (0..)
            .zip(&self.configured)
            .filter_map(|(place, rule)| rule.fit(domain, mx).map(|fit| (fit, place, rule)))
            .collect();
        // The closest has the last word; among equals the one that was written first.
        fitting.sort_unstable_by_key(|(fit, place, _)| (*fit, own - place));
        for (fit, place, rule) in fitting {
            limits = limits.set(&rule.setting);
            if group.is_none_or(|(closest, _)| fit >= closest) {
                group = Some((fit, place));
            }
        }
        let group = group.and_then(|(_, place)| u16::try_from(place).ok()).map(Group);
        Shape { group, limits }
    }
}

/// Whether a receiver says that it gets too much from us: 421, or a 4.7.x. Not a greylist, whose
/// 450 or 451 with 4.7.1 at a recipient or the data is about one message (RFC 6647, section 2).
pub fn asks_for_less(outcome: &Outcome) -> bool {
    let Answer::Reply(reply) = &outcome.answer else { return false };
    if reply.code == 421 {
        return true;
    }
    let of_one = matches!(outcome.stage, Stage::RcptTo | Stage::Data | Stage::EndOfData);
    let greylist = of_one && matches!(reply.code, 450 | 451);
    reply.code / 100 == 4
        && reply.enhanced.is_some_and(|code| {
            code.class == 4 && code.subject == 7 && !(greylist && code.detail == 1)
        })
}

#[cfg(test)]
mod tests;
