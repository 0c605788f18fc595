//! `[[delivery.shaping]]`: what some receivers are given.

use std::num::NonZeroU32;

use model::{
    address::DomainName,
    shaping::{Pattern, Rule, Setting},
};
use serde::Deserialize;

use super::{ConfigError, OneOrMany};

const KEY: &str = "delivery.shaping";
/// Most connections, and most messages over one.
const MOST: u32 = 10_000;
/// Most messages in a minute.
const MOST_PER_MINUTE: u32 = 1_000_000;

/// Limits for recipients' domains, or for mail hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShapingRule {
    /// Recipients' domains: `example.com`.
    pub domain: OneOrMany<String>,
    /// Mail hosts: `mx.example.com`, or `*.example.com` for all below.
    pub mx: OneOrMany<String>,
    /// Connections at once, 1 to 10 000.
    pub connections: Option<u32>,
    /// Messages over one connection, 1 to 10 000.
    pub messages_per_connection: Option<u32>,
    /// Messages in a minute, 1 to 1 000 000.
    pub per_minute: Option<u32>,
}

impl ShapingRule {
    /// The same as a rule.
    pub fn rule(&self) -> Result<Rule, ConfigError> {
        let invalid = |problem: String| ConfigError::Invalid { key: KEY, problem };
        let domains = self.domain.0.iter().map(|text| {
            DomainName::parse(text)
                .map(Pattern::Domain)
                .map_err(|error| invalid(format!("domain: `{text}`: {error}")))
        });
        let hosts = self.mx.0.iter().map(|text| {
            Pattern::hosts(text).map_err(|error| invalid(format!("mx: `{text}`: {error}")))
        });
        let patterns = domains.chain(hosts).collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            return Err(invalid("names neither `domain` nor `mx`".to_owned()));
        }
        let bounded = |name: &str, value: Option<u32>, most: u32| {
            let within = |value| NonZeroU32::new(value).filter(|value| value.get() <= most);
            let problem = || invalid(format!("{name} must be 1 to {most}"));
            value.map(|value| within(value).ok_or_else(problem)).transpose()
        };
        let setting = Setting {
            connections: bounded("connections", self.connections, MOST)?,
            messages_per_connection: bounded(
                "messages_per_connection",
                self.messages_per_connection,
                MOST,
            )?,
            per_minute: bounded("per_minute", self.per_minute, MOST_PER_MINUTE)?,
        };
        if setting == Setting::default() {
            let limits = "connections, messages_per_connection, per_minute";
            return Err(invalid(format!("sets none of {limits}")));
        }
        Ok(Rule { patterns, setting })
    }
}
