//! MTA-STS records and policies (RFC 8461, sections 3.1 and 3.2), read strictly.

use std::time::Duration;

/// Largest policy that is read, in octets (RFC 8461, section 3.3 names this bound).
pub const MAX_POLICY_OCTETS: usize = 64 * 1024;
/// Most `mx` lines of a policy.
const MAX_PATTERNS: usize = 128;
/// A policy is believed no longer than this (RFC 8461, section 3.2: a year).
const LONGEST: Duration = Duration::from_secs(31_557_600);
/// And no shorter: what is good for a second only would be fetched for each message.
const SHORTEST: Duration = Duration::from_mins(5);

/// The text is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an MTA-STS policy")]
pub struct InvalidPolicy;

/// What a domain says of TLS at its mail hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Mail goes to hosts that fulfil the policy, or not at all.
    Enforce,
    /// Failures are reported and forbid nothing.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How it is meant.
    pub mode: Mode,
    /// How long it may be believed after it was fetched: 5 minutes to a year.
    pub max_age: Duration,
    /// The mail hosts; empty in mode `none` only.
    pub mx: Vec<Pattern>,
    /// The text that it was read from.
    pub text: Box<str>,
}

/// A mail host's name, or `*.` and the name above those of mail hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    name: Box<str>,
    wildcard: bool,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (wildcard, name) = match lower.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, &*lower),
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let well_formed = name.len() <= 253 && name.split('.').all(is_label);
        well_formed.then(|| Self { name: name.into(), wildcard })
    }

    /// Whether the pattern names this host, in lower case and without the final dot. A wildcard
    /// stands for one whole label (RFC 8461, section 4.1).
    pub fn names(&self, host: &str) -> bool {
        if !self.wildcard {
            return *self.name == *host;
        }
        host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && *self.name == *rest)
    }
}

impl Policy {
    /// Reads a policy. Keys that are not known are passed over; of a key that comes twice the first
    /// counts, but for `mx`.
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        if text.len() > MAX_POLICY_OCTETS {
            return Err(InvalidPolicy);
        }
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once(':').ok_or(InvalidPolicy)?;
            let value = value.trim_matches([' ', '\t']);
            match key.trim_matches([' ', '\t']) {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" => mx.push(Pattern::parse(value).ok_or(InvalidPolicy)?),
                _ => {}
            }
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(InvalidPolicy),
        };
        let hosts_fit = mx.len() <= MAX_PATTERNS && (mode == Mode::None || !mx.is_empty());
        if version != Some("STSv1") || !hosts_fit {
            return Err(InvalidPolicy);
        }
        let max_age = seconds(max_age.ok_or(InvalidPolicy)?).ok_or(InvalidPolicy)?;
        Ok(Self { mode, max_age: max_age.clamp(SHORTEST, LONGEST), mx, text: text.into() })
    }

    /// Whether the policy names this mail host.
    pub fn names(&self, host: &str) -> bool {
        let lower = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| pattern.names(&lower))
    }
}

/// One to ten digits.
fn seconds(text: &str) -> Option<Duration> {
    let well_formed =
        (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok().map(Duration::from_secs)).flatten()
}

/// The id of the policy that a domain's `_mta-sts` TXT records announce; `None` when they announce
/// none, for two of them do as little as a malformed one (RFC 8461, section 3.1).
pub(super) fn announced<'r>(records: impl IntoIterator<Item = &'r str>) -> Option<Box<str>> {
    let mut of_ours = records.into_iter().filter(|record| {
        record.strip_prefix("v=STSv1").is_some_and(|rest| {
            rest.is_empty() || rest.trim_start_matches([' ', '\t']).starts_with(';')
        })
    });
    let (record, None) = (of_ours.next()?, of_ours.next()) else { return None };
    let mut id = None;
    for field in record.split(';').skip(1) {
        let field = field.trim_matches([' ', '\t']);
        if field.is_empty() {
            continue;
        }
        let (key, value) = field.split_once('=')?;
        if key.trim_end_matches([' ', '\t']) == "id" && id.is_none() {
            id = Some(value.trim_start_matches([' ', '\t']));
        }
    }
    let id = id?;
    let well_formed =
        (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    well_formed.then(|| id.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_is_read() {
        let policy = Policy::parse(GOOD).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, Duration::from_hours(168)));
        for (host, named) in [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("mx1.example.net", true),
            ("example.net", false),
            ("a.mx1.example.net", false),
            (".example.net", false),
            ("evilmail.example.com", false),
            ("mail.example.com.evil.example", false),
        ] {
            assert_eq!(policy.names(host), named, "{host}");
        }
    }

    #[test]
    fn unknown_keys_blanks_and_plain_line_feeds_are_fine() {
        let text =
            "version:STSv1\nmode :testing \n\nfuture: x\nmx: a.example\nmax_age: 5\nmode: none";
        let policy = Policy::parse(text).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Testing, SHORTEST));
        let ages = Policy::parse(&GOOD.replace("604800", "9999999999")).unwrap();
        assert_eq!(ages.max_age, LONGEST);
        let none = Policy::parse("version: STSv1\nmode: none\nmax_age: 86400\n").unwrap();
        assert!(!none.names("mail.example.com"));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in [
            "",
            "<html>not found</html>",
            &GOOD.replace("STSv1", "STSv2"),
            &GOOD.replace("version: STSv1\r\n", ""),
            &GOOD.replace("enforce", "Enforce"),
            &GOOD.replace("enforce", "strict"),
            &GOOD.replace("mode: enforce\r\n", ""),
            &GOOD.replace("max_age: 604800\r\n", ""),
            &GOOD.replace("604800", ""),
            &GOOD.replace("604800", "-1"),
            &GOOD.replace("604800", "99999999999"),
            &GOOD.replace("604800", "1 week"),
            &GOOD.replace("mail.example.com", ""),
            &GOOD.replace("mail.example.com", "mail..example.com"),
            &GOOD.replace("mail.example.com", "*"),
            &GOOD.replace("mail.example.com", "m*.example.com"),
            &GOOD.replace("mail.example.com", "mail.exämple.com"),
            &GOOD.replace("mx: mail.example.com\r\nmx: *.example.net\r\n", ""),
            &format!("{GOOD}no colon\r\n"),
            &format!("{GOOD}{}", "mx: a.example\r\n".repeat(MAX_PATTERNS)),
            &format!("{GOOD}{}", "x: y\r\n".repeat(MAX_POLICY_OCTETS)),
        ] {
            assert_eq!(Policy::parse(text), Err(InvalidPolicy), "{text:.80}");
        }
    }

    #[test]
    fn records_announce_a_policy_or_none() {
        for (records, id) in [
            (&["v=STSv1; id=20260101T000000;"][..], Some("20260101T000000")),
            (&["v=STSv1;id=a", "v=spf1 -all"], Some("a")),
            (&["v=STSv1 ; id = a ; future=x;"], Some("a")),
            (&["v=STSv1; id=a", "v=STSv1; id=b"], None),
            (&["v=STSv1"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=a-b"], None),
            (&["v=STSv1; id=a b"], None),
            (&["v=STSv1; nonsense; id=a"], None),
            (&["V=STSv1; id=a"], None),
            (&["v=STSv10; id=a"], None),
            (&[" v=STSv1; id=a"], None),
            (&["v=STSv1; id=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"], None),
            (&["id=a; v=STSv1"], None),
            (&[], None),
        ] {
            assert_eq!(announced(records.iter().copied()).as_deref(), id, "{records:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\r\n]{0,200}") {
            if let Ok(policy) = Policy::parse(&text) {
                prop_assert!((SHORTEST..=LONGEST).contains(&policy.max_age));
            }
            announced([text.as_str()]);
        }
    }
}
