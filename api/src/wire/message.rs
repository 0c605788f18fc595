//! A message as it is read back.

use std::collections::BTreeMap;

use model::{Timestamp, content::RecipientKind, message::RecipientStatus};
use poem_openapi::{
    Enum, Object,
    types::{Example, MaybeUndefined},
};

use super::{
    Time,
    pauses::PauseWire,
    send::{Sender, Status},
    suppressions::Reason,
    time::EXAMPLE_TIME,
};

/// A message in examples.
pub(crate) const EXAMPLE_ID: &str = "msg_01kb05yt7qe5tvnr4w8jhjkz2m";
const EXAMPLE_EVENT_ID: &str = "evt_01kb05yvrne3gskwr0m6qzdw5a";

/// A message with its recipients and all that happened to it.
#[derive(Object)]
#[oai(rename = "MessageDetails", example)]
pub(crate) struct MessageAnswer {
    /// The message.
    pub message: MessageWire,
    /// Its recipients: `to`, then `cc`, then `bcc`.
    pub recipients: Vec<RecipientWire>,
    /// What happened to it, the oldest first.
    pub events: Vec<EventWire>,
}

/// A message. `subject`, `from` and `metadata` are `null` once its content was forgotten.
#[derive(Object)]
#[oai(rename = "Message", rename_all = "camelCase", example)]
pub(crate) struct MessageWire {
    /// Its id.
    pub id: String,
    /// How it stands.
    pub status: Status,
    /// The subject line.
    #[oai(nullable)]
    pub subject: Option<String>,
    /// The author.
    #[oai(nullable)]
    pub from: Option<Sender>,
    /// When it was accepted.
    pub created_at: Time,
    /// The time that you named for sending.
    #[oai(skip_serializing_if_is_none)]
    pub scheduled_at: Option<Time>,
    /// When a receiver's mail server first took it.
    #[oai(skip_serializing_if_is_none)]
    pub sent_at: Option<Time>,
    /// Your labels.
    pub tags: Vec<String>,
    /// Your own values.
    #[oai(nullable)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// The template that it was made from.
    #[oai(skip_serializing_if_is_none)]
    pub template: Option<TemplateUsed>,
    /// The size of its content, in bytes.
    pub size_bytes: u64,
    /// The pause that holds back all recipients who wait; absent when none does.
    #[oai(skip_serializing_if_is_none)]
    pub paused: Option<PauseWire>,
}

/// A template as it was used.
#[derive(Object)]
#[oai(rename = "TemplateUsed", example)]
pub(crate) struct TemplateUsed {
    /// The template.
    pub id: String,
    /// The version that was used.
    pub version: u32,
}

/// A recipient of a message.
#[derive(Object)]
#[oai(rename = "Recipient", rename_all = "camelCase", example)]
pub(crate) struct RecipientWire {
    /// The address; `null` once the content was forgotten.
    #[oai(nullable)]
    pub email: Option<String>,
    /// How it is addressed.
    pub kind: Kind,
    /// How it stands.
    pub status: RecipientStanding,
    /// Attempts so far.
    pub attempts: u16,
    /// When it is tried next; absent once it has ended.
    #[oai(skip_serializing_if_is_none)]
    pub next_attempt_at: Option<Time>,
    /// What the last attempt told.
    #[oai(skip_serializing_if_is_none)]
    pub last_response: Option<ResponseWire>,
}

/// What an attempt told.
#[derive(Object, Clone)]
#[oai(rename = "LastResponse", rename_all = "camelCase", example)]
pub(crate) struct ResponseWire {
    /// The SMTP reply code; absent when there was no reply.
    #[oai(skip_serializing_if_is_none)]
    pub code: Option<u16>,
    /// The enhanced status code (RFC 3463).
    #[oai(skip_serializing_if_is_none)]
    pub enhanced_code: Option<String>,
    /// The server's words, or ours when there was no reply; `null` once the content was forgotten.
    #[oai(nullable)]
    pub message: Option<String>,
    /// The mail server; absent when none was reached.
    #[oai(skip_serializing_if_is_none)]
    pub mx: Option<String>,
}

/// What the mail server said, and how it was spoken to.
#[derive(Object, Clone)]
#[oai(rename = "Smtp", rename_all = "camelCase", example)]
pub(crate) struct SmtpWire {
    /// The SMTP reply code; absent when there was no reply.
    #[oai(skip_serializing_if_is_none)]
    pub code: Option<u16>,
    /// The enhanced status code (RFC 3463).
    #[oai(skip_serializing_if_is_none)]
    pub enhanced_code: Option<String>,
    /// The server's words, or ours when there was no reply; `null` once the content was forgotten.
    #[oai(nullable)]
    pub message: Option<String>,
    /// The mail server; absent when none was reached.
    #[oai(skip_serializing_if_is_none)]
    pub mx: Option<String>,
    /// The address that was dialled.
    #[oai(skip_serializing_if_is_none)]
    pub ip: Option<String>,
    /// How the connection was encrypted; absent when it was not.
    #[oai(skip_serializing_if_is_none)]
    pub tls: Option<TlsWire>,
    /// The rule that TLS stood under: `required` by you or the server's configuration, `mta_sts`,
    /// `mta_sts_testing` or `dane` by the receiver. Absent when there was none.
    #[oai(skip_serializing_if_is_none)]
    pub tls_rule: Option<TlsRuleWire>,
    /// What was wrong with TLS, in the words of RFC 8460, section 4.3; where no rule forbade it,
    /// the mail went all the same.
    #[oai(skip_serializing_if_is_none)]
    pub tls_failure: Option<String>,
    /// By which way: `direct` to the receiver's own mail server, or the name that the server's
    /// configuration gives to a relay. Absent when none was reached, and in old records.
    #[oai(skip_serializing_if_is_none)]
    pub way: Option<String>,
    /// The address of this server that it was sent from. Absent when nothing was sent, and in old
    /// records.
    #[oai(skip_serializing_if_is_none)]
    pub source_ip: Option<String>,
}

/// The rule that TLS stood under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "TlsRule", rename_all = "snake_case")]
pub(crate) enum TlsRuleWire {
    Required,
    MtaSts,
    MtaStsTesting,
    Dane,
}

/// How a connection was encrypted.
#[derive(Object, Clone)]
#[oai(rename = "Tls", rename_all = "camelCase", example)]
pub(crate) struct TlsWire {
    /// The protocol version.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// Whether the mail server proved to be the one that was meant.
    pub verified: bool,
    /// By what: a certificate for its name (`pkix`), the same with its domain's MTA-STS policy
    /// (`mta_sts`), signed DNS (`dane`), or nothing (`none`).
    pub verification: VerificationWire,
    /// SHA-256 of the certificate that it showed, in hexadecimal; absent in old records.
    #[oai(rename = "certificateSha256", skip_serializing_if_is_none)]
    pub certificate_sha256: Option<String>,
}

/// By what a mail server proved to be the one that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "TlsVerification", rename_all = "snake_case")]
pub(crate) enum VerificationWire {
    None,
    Pkix,
    MtaSts,
    Dane,
}

/// Something that happened to a message.
#[derive(Object, Clone)]
#[oai(rename = "Event", rename_all = "camelCase", example)]
pub(crate) struct EventWire {
    /// Its id.
    pub id: String,
    /// What happened.
    #[oai(rename = "type")]
    pub kind: EventKind,
    /// When it was recorded.
    pub occurred_at: Time,
    /// The recipient that it is about; absent when it is about all, `null` once the content was
    /// forgotten.
    #[oai(nullable)]
    pub recipient: MaybeUndefined<String>,
    /// The place of that recipient in `recipients`, from 0.
    #[oai(skip_serializing_if_is_none)]
    pub recipient_index: Option<u8>,
    /// Which attempt at that recipient it was, from 1.
    #[oai(skip_serializing_if_is_none)]
    pub attempt: Option<u16>,
    /// The next attempt, with `deferred`; or the time that you named, with `scheduled`.
    #[oai(skip_serializing_if_is_none)]
    pub next_attempt_at: Option<Time>,
    /// Why, with `bounced` (`recipient`, `mailbox_full`, `policy`, `reputation`, `content`,
    /// `infrastructure`, `unknown`), `failed` (`expired`, `content_gone`, `content_invalid`) and
    /// `suppressed` (`recipient_suppressed`).
    #[oai(skip_serializing_if_is_none)]
    pub reason: Option<String>,
    /// With `suppressed`: why the address was on the suppression list.
    #[oai(skip_serializing_if_is_none)]
    pub suppression_reason: Option<Reason>,
    /// What the mail server said.
    #[oai(skip_serializing_if_is_none)]
    pub smtp: Option<SmtpWire>,
}

/// How a recipient is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "RecipientKind", rename_all = "snake_case")]
pub(crate) enum Kind {
    To,
    Cc,
    Bcc,
}

/// How a recipient stands: `queued` was not tried yet, `deferred` is tried again. The others are
/// final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "RecipientStatus", rename_all = "snake_case")]
pub(crate) enum RecipientStanding {
    Queued,
    Deferred,
    Delivered,
    Bounced,
    Failed,
    Suppressed,
    Canceled,
}

/// What happened: `accepted` and `scheduled` are about the message, the others about one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "EventType", rename_all = "snake_case")]
pub(crate) enum EventKind {
    Accepted,
    Scheduled,
    Deferred,
    Delivered,
    Bounced,
    Failed,
    Suppressed,
    Canceled,
    Complained,
}

impl From<RecipientKind> for Kind {
    fn from(kind: RecipientKind) -> Self {
        match kind {
            RecipientKind::To => Self::To,
            RecipientKind::Cc => Self::Cc,
            RecipientKind::Bcc => Self::Bcc,
        }
    }
}

impl From<RecipientStatus> for RecipientStanding {
    fn from(status: RecipientStatus) -> Self {
        match status {
            RecipientStatus::Queued => Self::Queued,
            RecipientStatus::Deferred => Self::Deferred,
            RecipientStatus::Delivered => Self::Delivered,
            RecipientStatus::Bounced => Self::Bounced,
            RecipientStatus::Failed => Self::Failed,
            RecipientStatus::Suppressed => Self::Suppressed,
            RecipientStatus::Canceled => Self::Canceled,
        }
    }
}

impl Example for MessageAnswer {
    fn example() -> Self {
        let accepted = EventWire {
            id: "evt_01kb05yt7te0ysn0qfxm1w2p9c".into(),
            kind: EventKind::Accepted,
            occurred_at: Time(EXAMPLE_TIME),
            recipient: MaybeUndefined::Undefined,
            recipient_index: None,
            attempt: None,
            next_attempt_at: None,
            reason: None,
            suppression_reason: None,
            smtp: None,
        };
        Self {
            message: MessageWire::example(),
            recipients: vec![RecipientWire::example()],
            events: vec![accepted, EventWire::example()],
        }
    }
}

impl Example for MessageWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_ID.into(),
            status: Status::Delivered,
            subject: Some("Your invoice 1042".into()),
            from: Some(Sender::example()),
            created_at: Time(EXAMPLE_TIME),
            scheduled_at: None,
            sent_at: Some(Time(Timestamp::from_millis(EXAMPLE_TIME.as_millis() + 412))),
            tags: vec!["invoice".into()],
            metadata: Some([("orderId".to_owned(), "1042".to_owned())].into()),
            template: Some(TemplateUsed::example()),
            size_bytes: 1_482,
            paused: None,
        }
    }
}

impl Example for TemplateUsed {
    fn example() -> Self {
        Self { id: super::templates::EXAMPLE_TEMPLATE.into(), version: 1 }
    }
}

impl Example for RecipientWire {
    fn example() -> Self {
        Self {
            email: Some("ada@example.com".into()),
            kind: Kind::To,
            status: RecipientStanding::Delivered,
            attempts: 1,
            next_attempt_at: None,
            last_response: Some(ResponseWire::example()),
        }
    }
}

impl Example for ResponseWire {
    fn example() -> Self {
        Self {
            code: Some(250),
            enhanced_code: Some("2.0.0".into()),
            message: Some("Ok: queued as 4B2C1D9F".into()),
            mx: Some("mx1.example.com".into()),
        }
    }
}

impl Example for SmtpWire {
    fn example() -> Self {
        let ResponseWire { code, enhanced_code, message, mx } = ResponseWire::example();
        let ip = Some("192.0.2.25".into());
        Self {
            code,
            enhanced_code,
            message,
            mx,
            ip,
            // Mail that a policy in testing lets pass, although the host proved nothing.
            tls: Some(TlsWire {
                verified: false,
                verification: VerificationWire::None,
                ..TlsWire::example()
            }),
            tls_rule: Some(TlsRuleWire::MtaStsTesting),
            tls_failure: Some("certificate-expired".into()),
            way: Some("direct".into()),
            source_ip: Some("198.51.100.2".into()),
        }
    }
}

impl Example for TlsWire {
    fn example() -> Self {
        Self {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            verified: true,
            verification: VerificationWire::MtaSts,
            certificate_sha256: Some(
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            ),
        }
    }
}

impl Example for EventWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_EVENT_ID.into(),
            kind: EventKind::Delivered,
            occurred_at: Time(Timestamp::from_millis(EXAMPLE_TIME.as_millis() + 412)),
            recipient: MaybeUndefined::Value("ada@example.com".into()),
            recipient_index: Some(0),
            attempt: Some(1),
            next_attempt_at: None,
            reason: None,
            suppression_reason: None,
            smtp: Some(SmtpWire::example()),
        }
    }
}
