//! What receivers say in words.

use super::BounceClass;

/// Words by which a class is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRule {
    /// The class.
    pub means: BounceClass,
    /// Lower-case phrases; one of them is enough.
    pub says: &'static [&'static str],
    /// Who says so, and where that is written.
    pub source: &'static str,
}

/// The rules, in the order in which they are asked: what blames us first, who is gone last, so that
/// in doubt nobody is suppressed.
pub const TEXT_RULES: &[TextRule] = &[
    TextRule {
        means: BounceClass::Infrastructure,
        says: &[
            "relay access denied",
            "relaying denied",
            "relay not permitted",
            "unable to relay",
            "not permitted to relay",
            "allowed rcpthosts",
        ],
        source: "Postfix smtpd_relay_restrictions; sendmail; Exim, chapter 'SMTP processing'; \
                 Exchange 5.7.64; qmail rcpthosts",
    },
    TextRule {
        means: BounceClass::Infrastructure,
        says: &[
            "spf check",
            "spf fail",
            "failed spf",
            "dmarc",
            "dkim fail",
            "unauthenticated",
            "not authenticated",
            "authentication required",
            "authentication information",
            "does not meet the required authentication level",
        ],
        source: "RFC 7372; 'Email sender guidelines' of Google; Microsoft 5.7.515, 5.7.509",
    },
    TextRule {
        means: BounceClass::Infrastructure,
        says: &[
            "reverse hostname",
            "reverse dns",
            "reverse lookup",
            "ptr record",
            "cannot find your hostname",
            "helo command rejected",
            "invalid helo",
            "sender verify failed",
            "sender address rejected: domain not found",
        ],
        source: "RFC 7372, section 3.3; Postfix reject_unknown_client_hostname and \
                 reject_invalid_helo_hostname; Exim verify = sender",
    },
    TextRule {
        means: BounceClass::Infrastructure,
        says: &[
            "hop count exceeded",
            "too many hops",
            "mail loop",
            "loops back to myself",
            "must issue a starttls",
            "tls required",
            "encryption required",
        ],
        source: "RFC 5321, section 6.3; Postfix hopcount_limit and smtpd_tls_security_level; \
                 Microsoft 5.4.14",
    },
    TextRule {
        means: BounceClass::Reputation,
        says: &[
            "blocked using",
            "listed at",
            "listed by",
            "listed in",
            "blacklist",
            "blocklist",
            "block list",
            "dnsbl",
            "spamhaus",
            "spamcop",
            "barracudacentral",
            "reputation",
            "banned sending ip",
            "unusual rate of unsolicited",
            "on our block",
            "not be accepted from",
            "bad sender ip",
        ],
        source: "Postfix reject_rbl_client; RFC 5782; Google 'SMTP error reference' 5.7.1; \
                 Microsoft S3150 and 5.7.606; Yahoo 'SMTP error codes' 553 [BLxx]",
    },
    TextRule {
        means: BounceClass::Policy,
        says: &[
            "at a rate that prevents",
            "rate limit",
            "too many messages",
            "too many connections",
            "only accepts mail from",
            "not authorized to send to",
            "restricted to members",
            "address rejected by policy",
        ],
        source: "Google 'SMTP error reference' 5.2.1; Microsoft 5.7.133",
    },
    TextRule {
        means: BounceClass::Content,
        says: &[
            "likely unsolicited",
            "spam",
            "virus",
            "malware",
            "phishing",
            "its content presents",
            "content rejected",
            "message content",
            "content filter",
            "attachment",
            "message too large",
            "message size exceeds",
            "exceeds size limit",
            "maximum message size",
        ],
        source: "Google 'SMTP error reference' 5.7.0 and 5.7.1; amavisd-new; RFC 1870, section 6",
    },
    TextRule {
        means: BounceClass::MailboxFull,
        says: &[
            "mailbox full",
            "mailbox is full",
            "mail box full",
            "over quota",
            "overquota",
            "quota exceeded",
            "exceeded quota",
            "exceeded storage",
            "exceeded its quota",
            "exceeded the quota",
            "out of storage space",
            "insufficient storage",
            "mailbox size limit",
        ],
        source: "RFC 3463, section 3.3 (x.2.2); Dovecot quota_exceeded_message; Google 5.2.2",
    },
    TextRule {
        means: BounceClass::Recipient,
        says: &[
            "user unknown",
            "unknown user",
            "no such user",
            "unknown recipient",
            "recipient unknown",
            "recipient not found",
            "recipientnotfound",
            "no such recipient",
            "no such mailbox",
            "mailbox not found",
            "mailbox unavailable",
            "mailbox does not exist",
            "unknown mailbox",
            "no mailbox here",
            "user not found",
            "user does not exist",
            "doesn't have an account",
            "does not have an account",
            "account does not exist",
            "account that you tried to reach does not exist",
            "account has been disabled",
            "account is disabled",
            "account is inactive",
            "mailbox is disabled",
            "mailbox disabled",
            "unrouteable address",
            "invalid recipient",
            "invalid mailbox",
            "no such address",
            "no longer here",
            "recipient address rejected: access denied",
            "address does not exist",
        ],
        source: "Postfix, Exim, sendmail and qmail for local addresses; Microsoft 5.1.10, 5.4.1 \
                 and outlook.com 5.5.0; Yahoo 554 'delivery error: dd'; Google 5.1.1 and 5.2.1",
    },
];

/// The class that the words tell.
pub(super) fn class_of(text: &str) -> Option<BounceClass> {
    let text = text.to_lowercase();
    let rule = TEXT_RULES.iter().find(|rule| rule.says.iter().any(|phrase| text.contains(phrase)));
    rule.map(|rule| rule.means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_lower_case_and_found_by_their_own_rule() {
        for rule in TEXT_RULES {
            assert!(!rule.source.is_empty());
            for phrase in rule.says {
                assert_eq!(*phrase, phrase.to_lowercase());
                let text = format!("Sorry, <a@b.example>: {}.", phrase.to_uppercase());
                assert_eq!(class_of(&text), Some(rule.means), "{phrase}");
            }
        }
        assert_eq!(class_of(""), None);
        assert_eq!(class_of("no"), None);
    }
}
