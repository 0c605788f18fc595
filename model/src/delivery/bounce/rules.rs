//! The tables that a bounce gets its class by.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{BounceClass, shipped::SHIPPED};
use crate::delivery::{EnhancedCode, Stage, Trouble};

/// Most rules of one table, and most codes or phrases of one rule.
const MAX_ROWS: usize = 1_000;
/// Longest phrase and longest source, in octets.
const MAX_PHRASE_OCTETS: usize = 500;

/// Rules as data: others than the shipped ones can be written down and tried on the past. In each
/// table the first rule that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BounceRules {
    /// Which rules these are. Events record it beside the class.
    pub version: u32,
    /// By the enhanced code, whatever its first digit.
    pub enhanced: Cow<'static, [EnhancedRule]>,
    /// By the basic code and the stage, where the enhanced code tells nothing.
    pub basic: Cow<'static, [BasicRule]>,
    /// By the words, where the codes leave room for them.
    pub text: Cow<'static, [TextRule]>,
}

/// What an enhanced code says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnhancedRule {
    /// One of them is enough.
    pub codes: Cow<'static, [Details]>,
    /// The class.
    pub means: BounceClass,
    /// Whether words cannot correct it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clearly: bool,
}

/// What a basic code says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicRule {
    /// Where it says so; none: everywhere.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub stages: Cow<'static, [Stage]>,
    /// One of them is enough.
    pub codes: Cow<'static, [Codes]>,
    /// The class.
    pub means: BounceClass,
    /// Whether words cannot correct it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clearly: bool,
}

/// Words by which a class is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRule {
    /// The class.
    pub means: BounceClass,
    /// What of ours is to be mended, where the words tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<Trouble>,
    /// Lower-case phrases; one of them is enough.
    pub says: Cow<'static, [Cow<'static, str>]>,
    /// Who says so, and where that is written.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub source: Cow<'static, str>,
}

/// Enhanced codes of one subject. Written `x.7` (all of them), `x.7.1` or `x.7.1-3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    subject: u16,
    from: u16,
    to: u16,
}

/// Basic codes of permanent refusals. Written `550` or `500-504`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    from: u16,
    to: u16,
}

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// A table, a list of codes or one of phrases.
    #[error("{0} has more than {MAX_ROWS} entries")]
    TooMany(&'static str),
    /// A rule that fits nothing or everything.
    #[error("a rule of {0} names nothing that it is for")]
    Empty(&'static str),
    /// It is compared with lower-case text.
    #[error("the phrase `{0}` must be 1 to {MAX_PHRASE_OCTETS} octets in lower case")]
    Phrase(String),
}

impl BounceRules {
    /// Those that this program goes by.
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    /// Whether rules from outside can be used.
    pub fn check(&self) -> Result<(), InvalidRules> {
        let bounded = |table, counts: &[usize]| {
            if counts.iter().any(|count| *count > MAX_ROWS) {
                return Err(InvalidRules::TooMany(table));
            }
            // The first is that of the table, which may be empty.
            let rules = counts.get(1..).unwrap_or_default();
            if rules.contains(&0) { Err(InvalidRules::Empty(table)) } else { Ok(()) }
        };
        let counts = |rows: usize, each: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            std::iter::once(rows).chain(each).collect()
        };
        let codes = &mut self.enhanced.iter().map(|rule| rule.codes.len());
        bounded("enhanced", &counts(self.enhanced.len(), codes))?;
        let codes = &mut self.basic.iter().map(|rule| rule.codes.len());
        bounded("basic", &counts(self.basic.len(), codes))?;
        let phrases = &mut self.text.iter().map(|rule| rule.says.len());
        bounded("text", &counts(self.text.len(), phrases))?;
        let wrong = |phrase: &&Cow<'_, str>| {
            phrase.is_empty()
                || phrase.len() > MAX_PHRASE_OCTETS
                || phrase.to_lowercase() != ***phrase
        };
        match self.text.iter().flat_map(|rule| rule.says.iter()).find(wrong) {
            Some(phrase) => {
                let cut = phrase.chars().take(80).collect();
                Err(InvalidRules::Phrase(cut))
            }
            None => Ok(()),
        }
    }
}

impl Details {
    /// Of `subject`, the details from `from` up to and with `to`.
    pub(super) const fn new(subject: u16, from: u16, to: u16) -> Self {
        Self { subject, from, to }
    }

    /// Whether the code is one of these.
    pub(super) const fn include(self, code: EnhancedCode) -> bool {
        code.subject == self.subject && self.from <= code.detail && code.detail <= self.to
    }

    fn parse(text: &str) -> Option<Self> {
        let (subject, details) = match text.strip_prefix("x.")?.split_once('.') {
            Some((subject, details)) => (subject, range(details)?),
            None => (text.strip_prefix("x.")?, (0, 999)),
        };
        Some(Self::new(number(subject)?, details.0, details.1))
    }
}

impl Codes {
    pub(super) const fn one(code: u16) -> Self {
        Self::from_to(code, code)
    }

    pub(super) const fn from_to(from: u16, to: u16) -> Self {
        Self { from, to }
    }

    /// Whether the code is one of these.
    pub(super) const fn include(self, code: u16) -> bool {
        self.from <= code && code <= self.to
    }

    fn parse(text: &str) -> Option<Self> {
        let (from, to) = range(text)?;
        (500 <= from && to <= 599).then_some(Self { from, to })
    }
}

fn number(text: &str) -> Option<u16> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `7` or `7-9`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (number(from)?, number(to)?);
    (from <= to).then_some((from, to))
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (0, 999) => write!(f, "x.{}", self.subject),
            (from, to) if from == to => write!(f, "x.{}.{from}", self.subject),
            (from, to) => write!(f, "x.{}.{from}-{to}", self.subject),
        }
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Codes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not of the form x.7, x.7.1 or x.7.1-3"))
    }
}

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// People write 550 without quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u16),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(code) => code.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a code from 500 to 599, or a range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_strictly_and_written_back() {
        for text in ["x.7", "x.7.1", "x.7.1-3", "x.1.10"] {
            assert_eq!(Details::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "x", "x.", "5.7.1", "x.7.", "x.7.3-1", "x.7.1000", "x.7.+1", "x.7.1.1"] {
            assert_eq!(Details::parse(text), None, "{text}");
        }
        let codes = |json| serde_json::from_str::<Codes>(json).ok().map(|codes| codes.to_string());
        assert_eq!(codes("550").as_deref(), Some("550"));
        assert_eq!(codes("\"500-504\"").as_deref(), Some("500-504"));
        for json in ["450", "\"504-500\"", "\"5yz\"", "600", "null"] {
            assert_eq!(codes(json), None, "{json}");
        }
    }

    #[test]
    fn rules_from_outside_are_bounded() {
        let shipped = BounceRules::shipped();
        assert_eq!(shipped.check(), Ok(()));
        let with = |says: &[&str]| {
            let says = says.iter().map(|phrase| Cow::Owned((*phrase).to_owned())).collect();
            let rule = TextRule { means: BounceClass::Policy, mend: None, says, source: "".into() };
            BounceRules { text: vec![rule].into(), ..shipped.clone() }.check()
        };
        assert_eq!(with(&["no"]), Ok(()));
        assert_eq!(with(&["No"]), Err(InvalidRules::Phrase("No".to_owned())));
        assert_eq!(with(&[""]), Err(InvalidRules::Phrase(String::new())));
        assert_eq!(with(&[]), Err(InvalidRules::Empty("text")));
        assert_eq!(with(&["no"; MAX_ROWS + 1]), Err(InvalidRules::TooMany("text")));
        assert!(with(&["x".repeat(MAX_PHRASE_OCTETS + 1).as_str()]).is_err());
    }
}
