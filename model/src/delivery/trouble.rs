//! What of ours a receiver finds wrong: for whoever has to mend it.

use psl::Psl as _;
use serde::{Deserialize, Serialize};

use super::{
    Answer, BounceClass, BounceRules, Diagnosis, EnhancedCode, Fault, Outcome, Rejection, Reply,
};

/// A thing of ours, or of a domain's, that keeps mail from being taken. Never a recipient's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// SPF, DKIM or DMARC of the sending domain (RFC 7372).
    Authentication,
    /// The PTR record of the sending address, or the name after EHLO (RFC 7372, section 3.3).
    ReverseDns,
    /// The sending address or domain is on a list, or in bad repute.
    Blocklist,
    /// TLS is demanded on one side, and could not be had.
    Tls,
    /// The relay takes no credentials of ours.
    Credentials,
    /// Something else of our set-up.
    Other,
}

impl Trouble {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Authentication,
        Self::ReverseDns,
        Self::Blocklist,
        Self::Tls,
        Self::Credentials,
        Self::Other,
    ];

    /// The name in events, answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::ReverseDns => "reverse_dns",
            Self::Blocklist => "blocklist",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Other => "other",
        }
    }

    /// Who can mend it, and how, in words.
    pub const fn to_do(self) -> &'static str {
        match self {
            Self::Authentication => {
                "Have the sending domain verified: its SPF, DKIM and DMARC records must be those \
                 that it shows, and must align."
            }
            Self::ReverseDns => {
                "Ask who runs the server: its sending address needs a PTR record whose name leads \
                 back to it and is the name after EHLO."
            }
            Self::Blocklist => {
                "Find out from the receiver's words which list it is and how to be taken off; then \
                 send only what was asked for."
            }
            Self::Tls => {
                "Find out whose side does not offer TLS as it is demanded: the receiver's \
                 certificate and policy, or what messages and settings require."
            }
            Self::Credentials => "Ask who runs the server: the relay refuses its credentials.",
            Self::Other => "See what the receiver says; it is about set-up and not about a person.",
        }
    }

    /// Whether it is of one sending domain, and not of the whole server.
    pub const fn is_of_domain(self) -> bool {
        matches!(self, Self::Authentication)
    }

    /// What an attempt shows, if it shows any.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match &outcome.answer {
            Answer::Fault(Fault::TlsRequired) => Some(Self::Tls),
            Answer::Fault(Fault::AuthRefused) => Some(Self::Credentials),
            // What else goes wrong without a reply is the receiver's set-up, or the network's.
            Answer::Fault(_) => None,
            Answer::Reply(reply) => {
                let rejection = Rejection::in_session(outcome.stage, reply.code, reply.enhanced);
                of_reply(reply, rejection)
            }
        }
    }

    /// What a report says of it, when a message came back.
    pub fn of_report(diagnosis: &Diagnosis) -> Option<Self> {
        let Diagnosis { code, enhanced, text } = diagnosis;
        let class = diagnosis.class();
        of_refusal(*enhanced, text, Some(class)).filter(|_| code.is_none_or(|code| code >= 400))
    }
}

/// Whom a mail host belongs to, as far as its name tells: what stands below the public suffix.
/// Hosts of one receiver often differ in the first label alone.
pub fn site_of(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let domain = psl::List.domain(host.as_bytes()).map(|domain| domain.as_bytes().len());
    let start = domain.and_then(|len| host.len().checked_sub(len));
    start.and_then(|start| host.get(start..)).unwrap_or(host)
}

fn of_reply(reply: &Reply, rejection: Option<Rejection>) -> Option<Trouble> {
    let class = rejection.map(|rejection| BounceRules::shipped().class(rejection, &reply.text));
    let refused = matches!(reply.code / 100, 4 | 5);
    refused.then(|| of_refusal(reply.enhanced, &reply.text, class)).flatten()
}

/// `class`: of a "no" for good.
fn of_refusal(
    enhanced: Option<EnhancedCode>,
    words: &str,
    class: Option<BounceClass>,
) -> Option<Trouble> {
    let told = enhanced.and_then(by_code).or_else(|| BounceRules::shipped().mend(words));
    match (told, class) {
        // Whatever the words say besides, it is not about us.
        (_, Some(BounceClass::Recipient | BounceClass::MailboxFull)) => None,
        (Some(told), _) => Some(told),
        (None, Some(BounceClass::Reputation)) => Some(Trouble::Blocklist),
        (None, Some(BounceClass::Infrastructure)) => Some(Trouble::Other),
        (None, _) => None,
    }
}

/// By the details of x.7: the registry "SMTP Enhanced Status Codes" and Microsoft's own, as for
/// classes.
const fn by_code(code: EnhancedCode) -> Option<Trouble> {
    match (code.subject, code.detail) {
        (7, 4 | 10 | 11 | 30) => Some(Trouble::Tls),
        (7, 8 | 9 | 12 | 13) => Some(Trouble::Credentials),
        (7, 20..=24 | 26 | 27 | 29 | 509 | 515) => Some(Trouble::Authentication),
        (7, 25) => Some(Trouble::ReverseDns),
        (7, 511 | 606..=649 | 708) => Some(Trouble::Blocklist),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Stage;

    fn trouble(stage: Stage, code: u16, enhanced: &str, text: &str) -> Option<Trouble> {
        let enhanced = EnhancedCode::parse(enhanced);
        let reply = Reply { code, enhanced, text: text.to_owned() };
        Trouble::of(&Outcome { stage, answer: Answer::Reply(reply), peer: None })
    }

    #[test]
    fn what_is_ours_to_mend_is_told_and_nothing_else() {
        use Stage::{EndOfData, Greeting, MailFrom, RcptTo};
        for (stage, code, enhanced, text, expected) in [
            (EndOfData, 550, "5.7.26", "unauthenticated", Some(Trouble::Authentication)),
            (EndOfData, 550, "", "failed SPF check", Some(Trouble::Authentication)),
            (RcptTo, 450, "4.7.25", "no PTR", Some(Trouble::ReverseDns)),
            (RcptTo, 450, "4.7.1", "cannot find your hostname", Some(Trouble::ReverseDns)),
            (Greeting, 554, "", "blocked using zen.spamhaus.org", Some(Trouble::Blocklist)),
            (MailFrom, 550, "5.7.606", "", Some(Trouble::Blocklist)),
            (MailFrom, 530, "5.7.0", "Must issue a STARTTLS first", Some(Trouble::Tls)),
            (MailFrom, 535, "5.7.8", "", Some(Trouble::Credentials)),
            (RcptTo, 554, "5.7.1", "Relay access denied", Some(Trouble::Other)),
            (RcptTo, 550, "5.1.1", "no such user, ptr record", None),
            (RcptTo, 552, "5.2.2", "full", None),
            (RcptTo, 550, "5.7.1", "not by policy", None),
            (RcptTo, 451, "4.7.1", "greylisted", None),
            (EndOfData, 250, "2.0.0", "queued; spamhaus", None),
        ] {
            assert_eq!(trouble(stage, code, enhanced, text), expected, "{code} {enhanced} {text}");
        }
    }

    #[test]
    fn faults_of_tls_and_of_the_relay_are_ours() {
        let of = |fault| Trouble::of(&Outcome::fault(Stage::StartTls, fault));
        assert_eq!(of(Fault::TlsRequired), Some(Trouble::Tls));
        assert_eq!(of(Fault::AuthRefused), Some(Trouble::Credentials));
        for fault in [Fault::NoSuchDomain, Fault::MxIsSelf, Fault::Timeout, Fault::OutcomeUnknown] {
            assert_eq!(of(fault), None, "{fault:?}");
        }
    }

    #[test]
    fn hosts_of_one_receiver_are_one_site() {
        for (host, site) in [
            ("alt1.gmail-smtp-in.l.google.com", "google.com"),
            ("google.com.", "google.com"),
            ("mx.example.co.uk", "example.co.uk"),
            ("mx.receiver.test", "receiver.test"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(site_of(host), site, "{host}");
        }
    }

    #[test]
    fn a_report_tells_it_too() {
        let told = |enhanced, text: &str| {
            let enhanced = EnhancedCode::parse(enhanced);
            Trouble::of_report(&Diagnosis { code: Some(550), enhanced, text: text.to_owned() })
        };
        assert_eq!(told("5.7.26", ""), Some(Trouble::Authentication));
        assert_eq!(told("5.1.1", "no such user"), None);
    }
}
