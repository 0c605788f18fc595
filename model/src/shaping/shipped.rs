//! What large receivers are known to bear. Limits change without notice: each has its source, and
//! [`super::Pace`] finds out what the table does not know.
//!
//! Where a receiver publishes a limit, that is the source. The others are the starting values of
//! KumoMTA's published shaping data (github.com/KumoCorp/kumomta: `assets/policy-extras/shaping.toml`
//! and `assets/community/shaping.toml`), which large senders maintain together.

use std::num::NonZeroU32;

use super::{Pattern, Rule, Setting};

/// Mail hosts, connections at once, messages over one connection.
type Known = (&'static [&'static str], Option<u32>, Option<u32>);

const KNOWN: &[Known] = &[
    // support.google.com/mail/answer/81126 asks for few connections and gives no number; the
    // numbers are KumoMTA's. Gmail and Workspace answer at the same addresses.
    (&["*.google.com", "*.googlemail.com"], Some(5), Some(50)),
    // Yahoo and AOL: senders.yahooinc.com/best-practices, 20 messages a connection.
    (&["*.yahoodns.net"], None, Some(20)),
    // Outlook.com, Hotmail, Live. sendersupport.olc.protection.outlook.com/pm/policies allows 500
    // connections by arrangement; 451 4.7.652 comes at far fewer. The numbers are KumoMTA's.
    (&["*.olc.protection.outlook.com"], Some(5), Some(50)),
    // Microsoft 365: a host name for each customer, one set of servers behind all of them.
    (&["*.mail.protection.outlook.com"], Some(5), Some(50)),
    // The same with DANE.
    (&["*.mx.microsoft"], Some(5), Some(50)),
    // iCloud: support.apple.com/102322; the numbers are KumoMTA's.
    (&["*.icloud.com"], Some(10), Some(5)),
    // Comcast: postmaster.comcast.net, 25 connections from one address; 1000 messages by KumoMTA.
    (&["*.comcast.net"], Some(25), Some(1_000)),
    // Orange: messagerie.orange.fr/postmaster.html.
    (&["*.orange.fr"], Some(3), None),
    // GMX and WEB.DE have the same servers; KumoMTA's community table.
    (&["*.gmx.net", "*.web.de"], Some(4), Some(20)),
    // The rest: KumoMTA's community table.
    (&["*.barracudanetworks.com"], Some(10), Some(15)),
    (&["*.kpnmail.nl"], Some(10), Some(10)),
    (&["*.netvigator.com"], Some(5), Some(10)),
    (&["*.qq.com"], Some(4), Some(8)),
    (&["*.netease.com"], Some(4), Some(7)),
];

/// The table as rules.
pub(super) fn rules() -> Vec<Rule> {
    let rule = |(hosts, connections, messages): &Known| Rule {
        patterns: hosts.iter().filter_map(|host| Pattern::hosts(host).ok()).collect(),
        setting: Setting {
            connections: connections.and_then(NonZeroU32::new),
            messages_per_connection: messages.and_then(NonZeroU32::new),
            per_minute: None,
        },
    };
    KNOWN.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_rule() {
        for ((hosts, connections, messages), rule) in KNOWN.iter().zip(rules()) {
            assert_eq!(rule.patterns.len(), hosts.len(), "{hosts:?}");
            assert_eq!(rule.setting.connections.map(NonZeroU32::get), *connections, "{hosts:?}");
            let messages = *messages;
            assert_eq!(rule.setting.messages_per_connection.map(NonZeroU32::get), messages);
        }
    }
}
