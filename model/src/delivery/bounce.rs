//! Why a receiver said no for good.
//!
//! # Why
//! - **The enhanced code first** (RFC 3463 and the IANA registry that RFC 5248 set up): it is the
//!   one part of a reply that is made for programs. Then the basic code with its stage, where
//!   that alone says something (551 at RCPT). Then the words, by [`TEXT_RULES`].
//! - **Words before a guess.** 550 and 554 stand for everything that a receiver may mean, and so do
//!   `x.0` details, 5.7.1, 5.4.1 and 5.5.0. Such a code is a presumption, which words correct;
//!   what they do not, stays.
//! - **A person is declared gone by the clearest signs alone.** Words cannot make a 5.7.x into a
//!   missing person, and nothing that is said before RCPT is about the recipient. Among the words
//!   those that blame us or our address are looked for first.
//! - **What was said may be forgotten, and then nothing is made up.** Without the words a class is
//!   told only where no words could change it.

mod rules;
mod shipped;

use serde::{Deserialize, Serialize};

pub use self::rules::{
    BasicRule, BounceRules, Codes, Details, EnhancedRule, InvalidRules, TextRule,
};
use super::{EnhancedCode, Stage, Trouble};

/// Why a recipient's mail host said no for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BounceClass {
    /// The address or its domain does not exist or takes no mail.
    Recipient,
    /// The mailbox is full.
    MailboxFull,
    /// Refused by a rule of the receiver.
    Policy,
    /// Refused for our address's or domain's reputation.
    Reputation,
    /// Refused for what the message holds.
    Content,
    /// Our own or the receiver's set-up is at fault: authentication, PTR, TLS, routing.
    Infrastructure,
    /// The reply does not tell.
    Unknown,
}

impl BounceClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Recipient,
        Self::MailboxFull,
        Self::Policy,
        Self::Reputation,
        Self::Content,
        Self::Infrastructure,
        Self::Unknown,
    ];

    /// Whether such a bounce says that the person is not reachable there, ever.
    pub const fn suppresses(self) -> bool {
        matches!(self, Self::Recipient)
    }

    /// The name, such as `mailbox_full`: that of events, answers and statistics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::MailboxFull => "mailbox_full",
            Self::Policy => "policy",
            Self::Reputation => "reputation",
            Self::Content => "content",
            Self::Infrastructure => "infrastructure",
            Self::Unknown => "unknown",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// How much a code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// This, whatever the words.
    Clearly(BounceClass),
    /// This, unless the words know better.
    Loosely(BounceClass),
    /// Nothing.
    Nothing,
}

impl Says {
    const fn of(means: BounceClass, clearly: bool) -> Self {
        if clearly { Self::Clearly(means) } else { Self::Loosely(means) }
    }
}

/// Where a recipient or a message was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whence {
    /// In a session of ours, at this stage.
    Session(Stage),
    /// In one of another server, which reports it. A report does not tell at which stage, so its
    /// basic code says less; and a `4.y.z` is a fault that lasted until somebody gave up: nobody is
    /// gone for that.
    Report,
}

/// A "no" for good, in codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    whence: Whence,
    code: Option<u16>,
    enhanced: Option<EnhancedCode>,
}

impl Rejection {
    /// Reads a reply to a delivery of ours; `None` when it is not a "no" for good.
    pub fn in_session(stage: Stage, code: u16, enhanced: Option<EnhancedCode>) -> Option<Self> {
        // "Too many recipients" in its permanent spelling (RFC 5321, section 4.5.3.1.10).
        let too_many = enhanced.is_some_and(|code| (code.subject, code.detail) == (5, 3));
        let settled = match stage {
            // The server refuses to talk, not this recipient: another host or day may answer.
            Stage::Dns
            | Stage::Connect
            | Stage::Greeting
            | Stage::Hello
            | Stage::StartTls
            | Stage::Auth => false,
            Stage::RcptTo => !too_many,
            Stage::MailFrom | Stage::Data | Stage::Transfer | Stage::EndOfData => true,
        };
        let permanent = code / 100 == 5;
        let whence = Whence::Session(stage);
        (settled && permanent).then_some(Self { whence, code: Some(code), enhanced })
    }

    /// What a report says that another server was told (RFC 3464).
    pub const fn reported(code: Option<u16>, enhanced: Option<EnhancedCode>) -> Self {
        Self { whence: Whence::Report, code, enhanced }
    }
}

impl BounceRules {
    /// The class of a rejection with its words.
    pub fn class(&self, rejection: Rejection, words: &str) -> BounceClass {
        self.class_by(rejection, self.class_of_words(words))
    }

    /// The class of a rejection whose words were forgotten; `None` where they could change it.
    pub fn class_without_words(&self, rejection: Rejection) -> Option<BounceClass> {
        let class = self.class_by(rejection, None);
        let mut others = self.text.iter().map(|rule| self.class_by(rejection, Some(rule.means)));
        others.all(|other| other == class).then_some(class)
    }

    /// The class, when the words on their own say this.
    fn class_by(&self, rejection: Rejection, words: Option<BounceClass>) -> BounceClass {
        let by_enhanced = self.by_enhanced(rejection.enhanced, words);
        match rejection.whence {
            Whence::Session(stage) => {
                let class = by_enhanced.unwrap_or_else(|| {
                    match rejection.code.map_or(Says::Nothing, |code| self.basic(stage, code)) {
                        Says::Clearly(class) => class,
                        Says::Loosely(presumed) => words.unwrap_or(presumed),
                        Says::Nothing => words.unwrap_or(BounceClass::Unknown),
                    }
                });
                // Only the sender was named so far: what is wrong with an address is wrong with
                // ours.
                let about_address =
                    matches!(class, BounceClass::Recipient | BounceClass::MailboxFull)
                        || rejection.enhanced.is_some_and(|code| code.subject == 1);
                let ours = stage == Stage::MailFrom && about_address;
                if ours { BounceClass::Infrastructure } else { class }
            }
            Whence::Report => {
                let class = by_enhanced.or(words).unwrap_or(BounceClass::Unknown);
                let is_temporary = match rejection.enhanced {
                    Some(known) => known.class == 4,
                    None => rejection.code.is_some_and(|code| code / 100 == 4),
                };
                let gone = class == BounceClass::Recipient;
                if is_temporary && gone { BounceClass::Unknown } else { class }
            }
        }
    }

    /// What the enhanced code tells, with the words where it is loose; `None` when it tells nothing.
    fn by_enhanced(
        &self,
        code: Option<EnhancedCode>,
        words: Option<BounceClass>,
    ) -> Option<BounceClass> {
        let code = code?;
        match self.enhanced(code) {
            Says::Clearly(class) => Some(class),
            Says::Loosely(presumed) => Some(match words {
                // 5.7.x never says that somebody is gone.
                Some(BounceClass::Recipient) if code.subject == 7 => presumed,
                said => said.unwrap_or(presumed),
            }),
            Says::Nothing => None,
        }
    }

    fn enhanced(&self, code: EnhancedCode) -> Says {
        let fits = |rule: &&EnhancedRule| rule.codes.iter().any(|codes| codes.include(code));
        let rule = self.enhanced.iter().find(fits);
        rule.map_or(Says::Nothing, |rule| Says::of(rule.means, rule.clearly))
    }

    fn basic(&self, stage: Stage, code: u16) -> Says {
        let fits = |rule: &&BasicRule| {
            let here = rule.stages.is_empty() || rule.stages.contains(&stage);
            here && rule.codes.iter().any(|codes| codes.include(code))
        };
        let rule = self.basic.iter().find(fits);
        rule.map_or(Says::Nothing, |rule| Says::of(rule.means, rule.clearly))
    }

    /// The class that the words tell.
    fn class_of_words(&self, words: &str) -> Option<BounceClass> {
        self.rule_of_words(words).map(|rule| rule.means)
    }

    /// What of ours is to be mended, as the words tell.
    pub(super) fn mend(&self, words: &str) -> Option<Trouble> {
        self.rule_of_words(words)?.mend
    }

    fn rule_of_words(&self, words: &str) -> Option<&TextRule> {
        let words = words.to_lowercase();
        let says = |rule: &&TextRule| rule.says.iter().any(|phrase| words.contains(&**phrase));
        self.text.iter().find(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(stage: Stage, line: &str) -> BounceClass {
        let (code, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let enhanced = EnhancedCode::parse(word);
        let text = if enhanced.is_some() { text } else { rest };
        BounceRules::shipped().class(rejection(stage, code, enhanced), text)
    }

    fn rejection(stage: Stage, code: &str, enhanced: Option<EnhancedCode>) -> Rejection {
        Rejection::in_session(stage, code.parse().unwrap(), enhanced).unwrap()
    }

    /// Replies as providers and servers give them, and what they mean.
    #[test]
    fn replies_from_out_there_have_their_class() {
        use BounceClass::*;
        for (line, expected) in [
            ("550 5.1.1 The email account that you tried to reach does not exist.", Recipient),
            ("550 5.2.1 The email account that you tried to reach is disabled.", Recipient),
            ("550 5.2.1 The user is receiving mail at a rate that prevents more.", Policy),
            ("550 5.1.1 <a@b.example>: User unknown in virtual mailbox table", Recipient),
            ("550 5.4.1 Recipient address rejected: Access denied.", Recipient),
            ("550 5.5.0 Requested action not taken: mailbox unavailable", Recipient),
            ("550 No such user here", Recipient),
            ("550 no thanks", Recipient),
            ("551 user not local", Recipient),
            ("556 Domain does not accept mail", Recipient),
            ("550 5.7.17 mailbox owner has changed", Recipient),
            ("554 delivery error: dd This user doesn't have an account", Recipient),
            ("550 relay not permitted", Infrastructure),
            ("554 5.7.1 <a@b.example>: Relay access denied", Infrastructure),
            ("550 5.7.25 the client has no PTR record", Infrastructure),
            ("554 5.7.1 Client host rejected: cannot find your reverse hostname", Infrastructure),
            ("550 5.7.515 Access denied, sending domain does not meet the level", Infrastructure),
            ("550 5.7.26 this mail is unauthenticated", Infrastructure),
            ("554 5.4.14 Hop count exceeded - possible mail loop", Infrastructure),
            ("550 5.7.606 Access denied, banned sending IP [192.0.2.1]", Reputation),
            ("554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org", Reputation),
            ("550 192.0.2.1 is listed at a DNSBL", Reputation),
            ("550 5.7.1 the very low reputation of the sending domain", Reputation),
            ("550 message rejected as spam by content filter", Content),
            ("552 5.7.0 blocked because its content presents a potential issue", Content),
            ("550 5.7.1 this user does not exist, says a policy", Policy),
            ("554 5.7.1 no", Policy),
            ("550 mailbox is full", MailboxFull),
            ("550 5.0.0 quota exceeded", MailboxFull),
            ("599 what", Unknown),
        ] {
            assert_eq!(class(Stage::RcptTo, line), expected, "{line}");
        }
    }

    #[test]
    fn after_the_message_a_bare_code_is_about_the_message() {
        assert_eq!(class(Stage::EndOfData, "550 no"), BounceClass::Content);
        assert_eq!(class(Stage::EndOfData, "554 5.7.1 no"), BounceClass::Policy);
        assert_eq!(class(Stage::EndOfData, "550 5.1.1 no such user"), BounceClass::Recipient);
    }

    #[test]
    fn before_rcpt_nothing_is_about_the_recipient() {
        for line in ["550 5.1.1 no such user", "550 5.1.0 sender denied", "552 5.2.2 full"] {
            assert_eq!(class(Stage::MailFrom, line), BounceClass::Infrastructure, "{line}");
        }
    }

    /// Whatever a 5.7.x says besides, it is no reason to take somebody off the lists.
    #[test]
    fn words_never_make_a_policy_a_missing_person() {
        let rules = BounceRules::shipped().text.iter();
        for rule in rules.filter(|rule| rule.means == BounceClass::Recipient) {
            for phrase in rule.says.iter() {
                for detail in (0..=16).chain(19..=30).chain([100, 133, 509, 515, 606]) {
                    let line = format!("550 5.7.{detail} {phrase}");
                    let class = class(Stage::RcptTo, &line);
                    assert!(!class.suppresses(), "{line}: {class:?}");
                }
            }
        }
    }

    #[test]
    fn phrases_are_lower_case_and_found_by_their_own_rule() {
        let rules = BounceRules::shipped();
        for rule in rules.text.iter() {
            assert!(!rule.source.is_empty());
            for phrase in rule.says.iter() {
                assert_eq!(*phrase, phrase.to_lowercase());
                let text = format!("Sorry, <a@b.example>: {}.", phrase.to_uppercase());
                assert_eq!(rules.class_of_words(&text), Some(rule.means), "{phrase}");
            }
        }
        assert_eq!(rules.class_of_words(""), None);
        assert_eq!(rules.class_of_words("no"), None);
    }

    #[test]
    fn without_the_words_only_what_no_words_could_change_is_told() {
        let without = |stage, code, enhanced| {
            let rejection = rejection(stage, code, EnhancedCode::parse(enhanced));
            BounceRules::shipped().class_without_words(rejection)
        };
        assert_eq!(without(Stage::RcptTo, "550", "5.1.1"), Some(BounceClass::Recipient));
        assert_eq!(without(Stage::RcptTo, "551", ""), Some(BounceClass::Recipient));
        assert_eq!(without(Stage::MailFrom, "550", "5.1.0"), Some(BounceClass::Infrastructure));
        for (stage, enhanced) in
            [(Stage::RcptTo, ""), (Stage::RcptTo, "5.7.1"), (Stage::EndOfData, "5.2.1")]
        {
            assert_eq!(without(stage, "550", enhanced), None, "{stage:?} {enhanced}");
        }
    }

    #[test]
    fn names_read_back() {
        for class in BounceClass::ALL {
            assert_eq!(BounceClass::parse(class.as_str()), Some(class));
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(json, format!("\"{}\"", class.as_str()));
        }
    }
}
