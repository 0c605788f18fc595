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

mod words;

use serde::{Deserialize, Serialize};

pub use self::words::{TEXT_RULES, TextRule};
use super::{Diagnosis, EnhancedCode, Reply, Stage};

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

/// The class of a reply that refuses for good at this stage.
pub(super) fn classify(stage: Stage, reply: &Reply) -> BounceClass {
    let class = by_enhanced(reply.enhanced, &reply.text).unwrap_or_else(|| {
        let said = words::class_of(&reply.text);
        match basic(stage, reply.code) {
            Says::Clearly(class) => class,
            Says::Loosely(presumed) => said.unwrap_or(presumed),
            Says::Nothing => said.unwrap_or(BounceClass::Unknown),
        }
    });
    // Only the sender was named so far: what is wrong with an address is wrong with ours.
    let about_address = matches!(class, BounceClass::Recipient | BounceClass::MailboxFull)
        || reply.enhanced.is_some_and(|code| code.subject == 1);
    if stage == Stage::MailFrom && about_address { BounceClass::Infrastructure } else { class }
}

/// The class of a report that a message was not delivered.
///
/// A report does not tell at which stage a server refused, so its basic code says less than in a
/// session; and a `4.y.z` is a fault that lasted until somebody gave up: nobody is gone for that.
pub(super) fn classify_report(diagnosis: &Diagnosis) -> BounceClass {
    let Diagnosis { code, enhanced: known, text } = diagnosis;
    let class =
        by_enhanced(*known, text).or_else(|| words::class_of(text)).unwrap_or(BounceClass::Unknown);
    let is_temporary = match known {
        Some(known) => known.class == 4,
        None => code.is_some_and(|code| code / 100 == 4),
    };
    if is_temporary && class == BounceClass::Recipient { BounceClass::Unknown } else { class }
}

/// What the enhanced code tells, with the words where it is loose; `None` when it tells nothing.
fn by_enhanced(code: Option<EnhancedCode>, text: &str) -> Option<BounceClass> {
    let code = code?;
    match enhanced(code) {
        Says::Clearly(class) => Some(class),
        Says::Loosely(presumed) => Some(match words::class_of(text) {
            // 5.7.x never says that somebody is gone.
            Some(BounceClass::Recipient) if code.subject == 7 => presumed,
            said => said.unwrap_or(presumed),
        }),
        Says::Nothing => None,
    }
}

/// By the subject and detail alone: RFC 3463 and the registry "SMTP Enhanced Status Codes", whose
/// entries from 7.17 on are of RFC 7293, 7372, 8616 and 8689; the three-digit details of 5.7 are
/// Microsoft's ("Email non-delivery reports in Exchange Online", Microsoft Learn).
const fn enhanced(code: EnhancedCode) -> Says {
    use BounceClass::{Content, Infrastructure, MailboxFull, Policy, Recipient, Reputation};
    match (code.subject, code.detail) {
        // The mailbox or domain is not there, has moved or takes no mail; or it is another
        // person's by now.
        (1, 1..=4 | 6 | 10) | (7, 17 | 18) => Says::Clearly(Recipient),
        // 5.2.1 is also said of somebody who gets too much mail.
        (2, 0 | 1) => Says::Loosely(Recipient),
        (2, 2) => Says::Clearly(MailboxFull),
        (2, 3) | (3, 4) => Says::Clearly(Content),
        // A flood, or an address that a provider has banned.
        (7, 28 | 511 | 606..=649 | 708) => Says::Clearly(Reputation),
        // The sender's address; addresses in other scripts; authentication, cryptography, SPF,
        // DKIM, PTR, TLS: ours to mend.
        (1, 7..=9) | (6, 7..=10) | (7, 4..=13 | 19..=27 | 29 | 30) => Says::Clearly(Infrastructure),
        (2, 4) | (3..=5, _) | (7, 31..) => Says::Loosely(Infrastructure),
        (6, _) => Says::Loosely(Content),
        (7, _) => Says::Loosely(Policy),
        _ => Says::Nothing,
    }
}

/// By the basic code and its stage: RFC 5321, section 4.2.3, and RFC 7504.
const fn basic(stage: Stage, code: u16) -> Says {
    use BounceClass::{Content, Infrastructure, MailboxFull, Policy, Recipient};
    match (stage, code) {
        (Stage::RcptTo, 551 | 556) => Says::Clearly(Recipient),
        (Stage::RcptTo, 550 | 553) => Says::Loosely(Recipient),
        (Stage::RcptTo | Stage::EndOfData, 552) => Says::Loosely(MailboxFull),
        (_, 500..=504 | 530 | 534 | 535 | 538) => Says::Loosely(Infrastructure),
        (Stage::Data | Stage::Transfer | Stage::EndOfData, _) => Says::Loosely(Content),
        (_, 554 | 521 | 541 | 571) => Says::Loosely(Policy),
        _ => Says::Nothing,
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
        classify(stage, &Reply { code: code.parse().unwrap(), enhanced, text: text.to_owned() })
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
        for rule in TEXT_RULES.iter().filter(|rule| rule.means == BounceClass::Recipient) {
            for phrase in rule.says {
                for detail in (0..=16).chain(19..=30).chain([100, 133, 509, 515, 606]) {
                    let line = format!("550 5.7.{detail} {phrase}");
                    let class = class(Stage::RcptTo, &line);
                    assert!(!class.suppresses(), "{line}: {class:?}");
                }
            }
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
