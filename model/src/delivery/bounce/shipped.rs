//! The rules that this program goes by.
//!
//! Whoever changes one, or how [`super::BounceRules`] are applied, raises [`VERSION`] and adds a
//! file to `tests/rules`: what was classified says by which version, for ever.

use std::borrow::Cow;

use super::{BasicRule, BounceClass, BounceRules, Codes, EnhancedRule, TextRule, rules::Details};
use crate::delivery::{Stage, Trouble};

/// Of these rules, as events record it.
const VERSION: u32 = 1;

/// What this program goes by.
pub(super) static SHIPPED: BounceRules = BounceRules {
    version: VERSION,
    enhanced: Cow::Borrowed(ENHANCED),
    basic: Cow::Borrowed(BASIC),
    text: Cow::Borrowed(TEXT),
};

/// A table of phrases.
macro_rules! words {
    ($($phrase:literal),+ $(,)?) => { Cow::Borrowed(&[$(Cow::Borrowed($phrase)),+]) };
}

/// Any detail of a subject.
const fn all_of(subject: u16) -> Details {
    Details::new(subject, 0, 999)
}

const fn one(subject: u16, detail: u16) -> Details {
    Details::new(subject, detail, detail)
}

const fn from_to(subject: u16, from: u16, to: u16) -> Details {
    Details::new(subject, from, to)
}

const fn enhanced(codes: &'static [Details], means: BounceClass, clearly: bool) -> EnhancedRule {
    EnhancedRule { codes: Cow::Borrowed(codes), means, clearly }
}

const fn basic(
    stages: &'static [Stage],
    codes: &'static [Codes],
    means: BounceClass,
    clearly: bool,
) -> BasicRule {
    BasicRule { stages: Cow::Borrowed(stages), codes: Cow::Borrowed(codes), means, clearly }
}

/// By the subject and detail alone: RFC 3463 and the registry "SMTP Enhanced Status Codes", whose
/// entries from 7.17 on are of RFC 7293, 7372, 8616 and 8689; the three-digit details of 5.7 are
/// Microsoft's ("Email non-delivery reports in Exchange Online", Microsoft Learn).
const ENHANCED: &[EnhancedRule] = &[
    // The mailbox or domain is not there, has moved or takes no mail; or it is another
    // person's by now.
    enhanced(
        &[from_to(1, 1, 4), one(1, 6), one(1, 10), from_to(7, 17, 18)],
        BounceClass::Recipient,
        true,
    ),
    // 5.2.1 is also said of somebody who gets too much mail.
    enhanced(&[from_to(2, 0, 1)], BounceClass::Recipient, false),
    enhanced(&[one(2, 2)], BounceClass::MailboxFull, true),
    enhanced(&[one(2, 3), one(3, 4)], BounceClass::Content, true),
    // A flood, or an address that a provider has banned.
    enhanced(
        &[one(7, 28), one(7, 511), from_to(7, 606, 649), one(7, 708)],
        BounceClass::Reputation,
        true,
    ),
    // The sender's address; addresses in other scripts; authentication, cryptography, SPF,
    // DKIM, PTR, TLS: ours to mend.
    enhanced(
        &[
            from_to(1, 7, 9),
            from_to(6, 7, 10),
            from_to(7, 4, 13),
            from_to(7, 19, 27),
            from_to(7, 29, 30),
        ],
        BounceClass::Infrastructure,
        true,
    ),
    enhanced(
        &[one(2, 4), all_of(3), all_of(4), all_of(5), from_to(7, 31, 999)],
        BounceClass::Infrastructure,
        false,
    ),
    enhanced(&[all_of(6)], BounceClass::Content, false),
    enhanced(&[all_of(7)], BounceClass::Policy, false),
];

const RCPT: &[Stage] = &[Stage::RcptTo];

/// By the basic code and its stage: RFC 5321, section 4.2.3, and RFC 7504.
const BASIC: &[BasicRule] = &[
    basic(RCPT, &[Codes::one(551), Codes::one(556)], BounceClass::Recipient, true),
    basic(RCPT, &[Codes::one(550), Codes::one(553)], BounceClass::Recipient, false),
    basic(&[Stage::RcptTo, Stage::EndOfData], &[Codes::one(552)], BounceClass::MailboxFull, false),
    basic(
        &[],
        &[Codes::from_to(500, 504), Codes::one(530), Codes::from_to(534, 535), Codes::one(538)],
        BounceClass::Infrastructure,
        false,
    ),
    basic(
        &[Stage::Data, Stage::Transfer, Stage::EndOfData],
        &[Codes::from_to(500, 599)],
        BounceClass::Content,
        false,
    ),
    basic(
        &[],
        &[Codes::one(554), Codes::one(521), Codes::one(541), Codes::one(571)],
        BounceClass::Policy,
        false,
    ),
];

/// In the order in which they are asked: what blames us first, who is gone last, so that in doubt
/// nobody is suppressed.
const TEXT: &[TextRule] = &[
    TextRule {
        means: BounceClass::Infrastructure,
        mend: None,
        says: words![
            "relay access denied",
            "relaying denied",
            "relay not permitted",
            "unable to relay",
            "not permitted to relay",
            "allowed rcpthosts",
        ],
        source: Cow::Borrowed(
            "Postfix smtpd_relay_restrictions; sendmail; Exim, chapter 'SMTP processing'; \
                 Exchange 5.7.64; qmail rcpthosts",
        ),
    },
    TextRule {
        means: BounceClass::Infrastructure,
        mend: Some(Trouble::Authentication),
        says: words![
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
        source: Cow::Borrowed(
            "RFC 7372; 'Email sender guidelines' of Google; Microsoft 5.7.515, 5.7.509",
        ),
    },
    TextRule {
        means: BounceClass::Infrastructure,
        mend: Some(Trouble::ReverseDns),
        says: words![
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
        source: Cow::Borrowed(
            "RFC 7372, section 3.3; Postfix reject_unknown_client_hostname and \
                 reject_invalid_helo_hostname; Exim verify = sender",
        ),
    },
    TextRule {
        means: BounceClass::Infrastructure,
        mend: None,
        says: words!["hop count exceeded", "too many hops", "mail loop", "loops back to myself"],
        source: Cow::Borrowed("RFC 5321, section 6.3; Postfix hopcount_limit; Microsoft 5.4.14"),
    },
    TextRule {
        means: BounceClass::Infrastructure,
        mend: Some(Trouble::Tls),
        says: words!["must issue a starttls", "tls required", "encryption required"],
        source: Cow::Borrowed("RFC 3207, section 4; Postfix smtpd_tls_security_level"),
    },
    TextRule {
        means: BounceClass::Reputation,
        mend: Some(Trouble::Blocklist),
        says: words![
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
        source: Cow::Borrowed(
            "Postfix reject_rbl_client; RFC 5782; Google 'SMTP error reference' 5.7.1; \
                 Microsoft S3150 and 5.7.606; Yahoo 'SMTP error codes' 553 [BLxx]",
        ),
    },
    TextRule {
        means: BounceClass::Policy,
        mend: None,
        says: words![
            "at a rate that prevents",
            "rate limit",
            "too many messages",
            "too many connections",
            "only accepts mail from",
            "not authorized to send to",
            "restricted to members",
            "address rejected by policy",
        ],
        source: Cow::Borrowed("Google 'SMTP error reference' 5.2.1; Microsoft 5.7.133"),
    },
    TextRule {
        means: BounceClass::Content,
        mend: None,
        says: words![
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
        source: Cow::Borrowed(
            "Google 'SMTP error reference' 5.7.0 and 5.7.1; amavisd-new; RFC 1870, section 6",
        ),
    },
    TextRule {
        means: BounceClass::MailboxFull,
        mend: None,
        says: words![
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
        source: Cow::Borrowed(
            "RFC 3463, section 3.3 (x.2.2); Dovecot quota_exceeded_message; Google 5.2.2",
        ),
    },
    TextRule {
        means: BounceClass::Recipient,
        mend: None,
        says: words![
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
        source: Cow::Borrowed(
            "Postfix, Exim, sendmail and qmail for local addresses; Microsoft 5.1.10, 5.4.1 \
                 and outlook.com 5.5.0; Yahoo 554 'delivery error: dd'; Google 5.1.1 and 5.2.1",
        ),
    },
];
