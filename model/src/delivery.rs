//! What a delivery attempt told us, and what follows from it.
//!
//! The mail wire reports facts ([`Outcome`]); [`Outcome::verdict`] is the rule. The wire never
//! decides whether a person is gone, and the rule never guesses what the wire saw.

mod bounce;
mod tls;
mod trouble;

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

pub use self::bounce::{
    BasicRule, BounceClass, BounceRules, Codes, Details, EnhancedRule, InvalidRules, Rejection,
    TextRule,
};
pub use self::tls::{Tls, TlsDemand, TlsFailure, TlsRule, Verification};
pub use self::trouble::{Trouble, site_of};
use crate::routing::WayOut;

/// Longest reply text that is kept, in octets. RFC 5321 limits a line to 512; replies of several
/// lines are joined and cut here.
pub const MAX_REPLY_OCTETS: usize = 1_000;

/// Where in the SMTP dialogue an answer came (RFC 5321, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Looking up the receiver's mail hosts.
    Dns,
    /// Opening the connection.
    Connect,
    /// Waiting for the server's greeting.
    Greeting,
    /// `EHLO` or `HELO`.
    Hello,
    /// `STARTTLS` and the handshake.
    StartTls,
    /// `AUTH`, towards a smarthost.
    Auth,
    /// `MAIL FROM`.
    MailFrom,
    /// `RCPT TO`.
    RcptTo,
    /// `DATA`.
    Data,
    /// The message itself, up to the final dot.
    Transfer,
    /// The reply to the final dot.
    EndOfData,
}

impl Stage {
    /// Its name in records and figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::StartTls => "start_tls",
            Self::Auth => "auth",
            Self::MailFrom => "mail_from",
            Self::RcptTo => "rcpt_to",
            Self::Data => "data",
            Self::Transfer => "transfer",
            Self::EndOfData => "end_of_data",
        }
    }
}

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What it is about: 1 address, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content,
    /// 7 policy.
    pub subject: u16,
    /// Which of the subject's cases.
    pub detail: u16,
}

impl EnhancedCode {
    /// Reads `5.1.1`; classes other than 2, 4 and 5 and numbers above 999 are not codes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = |longest: usize| {
            let part = parts.next()?;
            let well_formed = !part.is_empty()
                && part.len() <= longest
                && part.bytes().all(|byte| byte.is_ascii_digit());
            if well_formed { part.parse::<u16>().ok() } else { None }
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Self { class, subject, detail })
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EnhancedCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EnhancedCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an enhanced status code"))
    }
}

/// A server's reply in its own words. The text can echo an address: it is personal data and never
/// stands in an event in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code.
    pub code: u16,
    /// The enhanced status code, when the server gave one.
    pub enhanced: Option<EnhancedCode>,
    /// The text without codes, lines joined by a space, at most [`MAX_REPLY_OCTETS`].
    pub text: String,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} {:?})", self.code, self.enhanced)
    }
}

impl Reply {
    /// Whether the code is 2yz.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether the code is 5yz.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }
}

/// What went wrong without a reply to blame, or before there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The DNS says that the domain does not exist (NXDOMAIN).
    NoSuchDomain,
    /// The domain exists and has neither MX nor address records.
    NoMailHost,
    /// The domain accepts no mail (RFC 7505).
    NullMx,
    /// The DNS gave no usable answer: SERVFAIL, timeout, refused.
    DnsUnavailable,
    /// The best MX is this server itself: a loop (RFC 5321, section 5.1).
    MxIsSelf,
    /// The mail hosts resolve only to addresses that must not be dialled.
    PrivateAddress,
    /// No mail host could be reached.
    Unreachable,
    /// The peer was silent or too slow.
    Timeout,
    /// The peer closed the connection.
    Disconnected,
    /// The peer did not speak SMTP.
    Protocol,
    /// TLS is required and could not be had.
    TlsRequired,
    /// Credentials for the smarthost were refused.
    AuthRefused,
    /// The message is larger than the peer's SIZE limit (RFC 1870).
    TooLarge,
    /// The address needs SMTPUTF8 and the peer does not offer it (RFC 6531).
    Smtputf8Unsupported,
    /// Everything was sent and no reply came: the peer may have taken the message (RFC 1047).
    OutcomeUnknown,
    /// The content is gone: its retention ended or it was erased.
    ContentGone,
    /// The content could not be turned into a message.
    ContentInvalid,
}

impl Fault {
    /// The enhanced status code that says the same (RFC 3463, RFC 7504, RFC 7505).
    pub const fn enhanced(self) -> EnhancedCode {
        let (class, subject, detail) = match self {
            Self::NoSuchDomain => (5, 1, 2),
            Self::NullMx => (5, 1, 10),
            Self::NoMailHost | Self::PrivateAddress => (5, 4, 4),
            Self::MxIsSelf => (5, 4, 6),
            Self::TooLarge => (5, 3, 4),
            Self::Smtputf8Unsupported => (5, 6, 7),
            Self::ContentGone | Self::ContentInvalid => (5, 6, 0),
            Self::DnsUnavailable => (4, 4, 3),
            Self::Unreachable | Self::Timeout => (4, 4, 1),
            Self::Disconnected | Self::OutcomeUnknown => (4, 4, 2),
            Self::Protocol => (4, 5, 0),
            Self::TlsRequired | Self::AuthRefused => (4, 7, 0),
        };
        EnhancedCode { class, subject, detail }
    }

    /// The same in words, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoSuchDomain => "the recipient's domain does not exist",
            Self::NoMailHost => "the recipient's domain has no mail host",
            Self::NullMx => "the recipient's domain accepts no mail (null MX)",
            Self::DnsUnavailable => "the recipient's domain could not be looked up",
            Self::MxIsSelf => "the mail host of the recipient's domain is this server",
            Self::PrivateAddress => {
                "the mail host has only private addresses, which are not dialled"
            }
            Self::Unreachable => "no mail host could be reached",
            Self::Timeout => "the mail host did not answer in time",
            Self::Disconnected => "the mail host closed the connection",
            Self::Protocol => "the mail host did not speak SMTP",
            Self::TlsRequired => "TLS is required and could not be had",
            Self::AuthRefused => "the relay refused the credentials",
            Self::TooLarge => "the message is larger than the mail host accepts",
            Self::Smtputf8Unsupported => "the mail host does not accept international addresses",
            Self::OutcomeUnknown => "the connection was lost after the message was sent",
            Self::ContentGone => "the content was removed before delivery",
            Self::ContentInvalid => "the content could not be turned into a message",
        }
    }
}

/// The host that was spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The mail host's name.
    pub mx: Box<str>,
    /// The address that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The address of ours that it was dialled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Whether the connection had been opened for an earlier message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// Whether the host is a relay in the settings, and not one of the receiver's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relay: bool,
    /// TLS, when the session was encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The rule that the connection stood under, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_rule: Option<TlsRule>,
    /// What was wrong with TLS, whether or not the rule forbade to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_failure: Option<TlsFailure>,
    /// The way that it stands on, see [`Peer::on`]. Absent in records from before there was more
    /// than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<WayOut>,
}

impl Peer {
    /// A host of which nothing is known but its name and address.
    pub fn new(mx: &str, ip: Option<IpAddr>) -> Self {
        Self {
            mx: mx.into(),
            ip,
            from: None,
            reused: false,
            relay: false,
            tls: None,
            tls_rule: None,
            tls_failure: None,
            way: None,
        }
    }

    /// The same on this way, from which it follows whether it is a relay.
    #[must_use]
    pub fn on(self, way: Option<WayOut>) -> Self {
        Self { relay: matches!(way, Some(WayOut::Relay(_))), way, ..self }
    }
}

/// A reply, or what went wrong without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server answered.
    Reply(Reply),
    /// It did not, or never got asked.
    Fault(Fault),
}

/// What one attempt told of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How far it got.
    pub stage: Stage,
    /// What was answered there.
    pub answer: Answer,
    /// Who answered, once somebody was dialled.
    pub peer: Option<Peer>,
}

/// Why a message came back, as a report tells (RFC 3464). The text can echo an address.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Diagnosis {
    /// The reply code of the server that refused it.
    pub code: Option<u16>,
    /// The enhanced status code.
    pub enhanced: Option<EnhancedCode>,
    /// The words, in one line of at most [`MAX_REPLY_OCTETS`].
    pub text: String,
}

impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Diagnosis({:?} {:?})", self.code, self.enhanced)
    }
}

impl Diagnosis {
    /// The class of a bounce that came as a report.
    pub fn class(&self) -> BounceClass {
        let Self { code, enhanced, text } = self;
        BounceRules::shipped().class(Rejection::reported(*code, *enhanced), text)
    }
}

/// What follows from an [`Outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver took responsibility.
    Delivered,
    /// Try again later.
    Deferred,
    /// Refused for good.
    Bounced(BounceClass),
    /// Sent, but nobody knows whether it was taken: later, with the same Message-ID, never at once
    /// on another host (RFC 1047).
    OutcomeUnknown,
    /// We cannot go on, and no receiver is to blame.
    Failed,
}

impl Outcome {
    /// A fault at a stage, with nobody dialled.
    pub const fn fault(stage: Stage, fault: Fault) -> Self {
        Self { stage, answer: Answer::Fault(fault), peer: None }
    }

    /// The rule (RFC 5321, sections 4.2.1 and 4.5.4; RFC 1047; RFC 7505).
    pub fn verdict(&self) -> Verdict {
        match &self.answer {
            Answer::Fault(fault) => fault_verdict(*fault),
            Answer::Reply(reply) => reply_verdict(self.stage, reply),
        }
    }
}

const fn fault_verdict(fault: Fault) -> Verdict {
    match fault {
        Fault::NoSuchDomain | Fault::NoMailHost | Fault::NullMx => {
            Verdict::Bounced(BounceClass::Recipient)
        }
        Fault::MxIsSelf | Fault::PrivateAddress | Fault::Smtputf8Unsupported => {
            Verdict::Bounced(BounceClass::Infrastructure)
        }
        Fault::TooLarge => Verdict::Bounced(BounceClass::Content),
        Fault::OutcomeUnknown => Verdict::OutcomeUnknown,
        Fault::ContentGone | Fault::ContentInvalid => Verdict::Failed,
        Fault::DnsUnavailable
        | Fault::Unreachable
        | Fault::Timeout
        | Fault::Disconnected
        | Fault::Protocol
        | Fault::TlsRequired
        | Fault::AuthRefused => Verdict::Deferred,
    }
}

fn reply_verdict(stage: Stage, reply: &Reply) -> Verdict {
    match reply.code / 100 {
        2 if stage == Stage::EndOfData => Verdict::Delivered,
        5 => permanent_verdict(stage, reply),
        // 4yz, and 2yz or 3yz where it settles nothing, and anything unheard of.
        _ => Verdict::Deferred,
    }
}

fn permanent_verdict(stage: Stage, reply: &Reply) -> Verdict {
    let Some(rejection) = Rejection::in_session(stage, reply.code, reply.enhanced) else {
        return Verdict::Deferred;
    };
    match BounceRules::shipped().class(rejection, &reply.text) {
        // A full mailbox is emptied some day, whatever the first digit says.
        BounceClass::MailboxFull => Verdict::Deferred,
        class => Verdict::Bounced(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(stage: Stage, code: u16, enhanced: &str) -> Verdict {
        let enhanced = EnhancedCode::parse(enhanced);
        let reply = Reply { code, enhanced, text: String::new() };
        Outcome { stage, answer: Answer::Reply(reply), peer: None }.verdict()
    }

    #[test]
    fn only_a_positive_reply_to_the_final_dot_is_a_delivery() {
        assert_eq!(reply(Stage::EndOfData, 250, "2.0.0"), Verdict::Delivered);
        assert_eq!(reply(Stage::RcptTo, 250, "2.1.5"), Verdict::Deferred);
        assert_eq!(reply(Stage::EndOfData, 354, ""), Verdict::Deferred);
        assert_eq!(reply(Stage::EndOfData, 199, ""), Verdict::Deferred);
    }

    #[test]
    fn a_missing_person_bounces_and_suppresses() {
        for verdict in [
            reply(Stage::RcptTo, 550, "5.1.1"),
            reply(Stage::RcptTo, 550, ""),
            reply(Stage::RcptTo, 550, "5.2.1"),
        ] {
            assert_eq!(verdict, Verdict::Bounced(BounceClass::Recipient));
        }
        assert!(BounceClass::Recipient.suppresses());
    }

    #[test]
    fn our_own_faults_never_suppress_a_person() {
        for (code, enhanced) in [
            (550, "5.7.26"),
            (550, "5.7.25"),
            (550, "5.7.1"),
            (554, "5.7.515"),
            (553, "5.1.8"),
            (550, "5.7.509"),
        ] {
            let Verdict::Bounced(class) = reply(Stage::RcptTo, code, enhanced) else {
                panic!("{code} {enhanced} is a bounce")
            };
            assert!(!class.suppresses(), "{code} {enhanced} gave {class:?}");
        }
    }

    #[test]
    fn a_full_mailbox_and_too_many_recipients_are_tried_again() {
        assert_eq!(reply(Stage::RcptTo, 552, "5.2.2"), Verdict::Deferred);
        assert_eq!(reply(Stage::RcptTo, 552, ""), Verdict::Deferred);
        assert_eq!(reply(Stage::RcptTo, 552, "5.5.3"), Verdict::Deferred);
        assert_eq!(reply(Stage::RcptTo, 452, "4.5.3"), Verdict::Deferred);
    }

    #[test]
    fn a_server_that_refuses_to_talk_is_not_the_recipients_no() {
        for stage in [Stage::Greeting, Stage::Hello, Stage::StartTls, Stage::Auth] {
            assert_eq!(reply(stage, 554, "5.7.1"), Verdict::Deferred, "{stage:?}");
        }
    }

    #[test]
    fn what_was_sent_without_an_answer_is_unknown() {
        let outcome = Outcome::fault(Stage::EndOfData, Fault::OutcomeUnknown);
        assert_eq!(outcome.verdict(), Verdict::OutcomeUnknown);
    }

    #[test]
    fn dns_says_no_for_good_or_not_yet() {
        let verdict = |fault| Outcome::fault(Stage::Dns, fault).verdict();
        assert_eq!(verdict(Fault::NoSuchDomain), Verdict::Bounced(BounceClass::Recipient));
        assert_eq!(verdict(Fault::NullMx), Verdict::Bounced(BounceClass::Recipient));
        assert_eq!(verdict(Fault::DnsUnavailable), Verdict::Deferred);
        assert_eq!(Fault::NullMx.enhanced().to_string(), "5.1.10");
        assert_eq!(Fault::NoSuchDomain.enhanced().to_string(), "5.1.2");
    }

    #[test]
    fn enhanced_codes_are_read_strictly() {
        assert_eq!(EnhancedCode::parse("5.7.515").unwrap().to_string(), "5.7.515");
        for text in ["", "5.1", "5.1.1.1", "3.1.1", "5.1.1000", "5..1", "5.1.x", "55.1.1", "+5.1.1"]
        {
            assert_eq!(EnhancedCode::parse(text), None, "{text}");
        }
    }
}
