//! Sending: what is asked and what is answered.

use std::collections::BTreeMap;

use actors::Sent;
use model::message::MessageStatus;
use poem_openapi::{
    ApiResponse, Enum, Object,
    payload::Json,
    types::{Any, Example},
};
use serde_json::{Value, json};

use super::Time;

/// An email to send. Unknown fields are refused, `null` counts as absent.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct SendEmail {
    /// The author. Without it, the app's default sender. Its domain must be verified.
    pub from: Option<Sender>,
    /// The recipients shown in `To`: `user@host` or `Name <user@host>`. Hosts without a dot and
    /// address literals are refused. `to`, `cc` and `bcc` together are at most 50; an address that
    /// appears again gets the message once.
    #[oai(validator(min_items = 1, max_items = 50))]
    pub to: Vec<String>,
    /// The recipients shown in `Cc`.
    #[oai(validator(max_items = 50))]
    pub cc: Option<Vec<String>>,
    /// The recipients shown nowhere.
    #[oai(validator(max_items = 50))]
    pub bcc: Option<Vec<String>>,
    /// Where answers go, when not to the author.
    #[oai(validator(max_items = 10))]
    pub reply_to: Option<Vec<String>>,
    /// The subject line. No control characters. Required unless a template has one; beside a
    /// template that has one, this one counts.
    #[oai(validator(min_length = 1, max_length = 998))]
    pub subject: Option<String>,
    /// The message as HTML. At least one of `html` and `text` is needed, or a template; with both,
    /// the receiver's program chooses.
    pub html: Option<String>,
    /// The message as plain text.
    pub text: Option<String>,
    /// A template, in the place of `html` and `text`.
    pub template: Option<TemplateUseBody>,
    /// Files and inline images.
    #[oai(validator(max_items = 100))]
    pub attachments: Option<Vec<FileToSend>>,
    /// Extra header fields, name to value. Refused are those that the server owns: From, To, Cc,
    /// Bcc, Reply-To, Sender, Date, Subject, Message-ID, MIME-Version, Content-*, Resent-*, ARC-*,
    /// DKIM-Signature, Return-Path, Received and Authentication-Results.
    #[oai(validator(max_properties = 50))]
    pub headers: Option<BTreeMap<String, String>>,
    /// Labels for logs and statistics, 1 to 64 octets each. They are kept for ever: name kinds of
    /// mail, not people.
    #[oai(validator(max_items = 20))]
    pub tags: Option<Vec<String>>,
    /// Your own values, shown again with the message and never sent: names of 1 to 64 and values
    /// of at most 1000 characters.
    #[oai(validator(max_properties = 50))]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether mail servers must be spoken to with TLS and prove who they are: `required`, or the
    /// mail waits and at last fails. `opportunistic`, the default, demands that only where the
    /// receiver's own policy does.
    pub tls: Option<TlsDemandWire>,
    /// Whether it is bulk mail, such as a newsletter: it gets `List-Unsubscribe` with one click (RFC
    /// 8058), and nobody gets it who unsubscribed. It has exactly one recipient. Other mail goes on
    /// to those who unsubscribed.
    pub bulk: Option<bool>,
    /// Not before this time (RFC 3339), at most 30 days ahead. A time that has passed means now.
    pub scheduled_at: Option<Time>,
    /// How long the message is worth sending, from now or from `scheduledAt`: a number and `s`,
    /// `m`, `h` or `d`, such as `10m`, from 1 minute to 7 days. Who has not got it by then fails as
    /// expired, and nothing is tried any more. Without it the server's `delivery.expire_after`
    /// holds, which this may exceed.
    #[oai(validator(pattern = "^[0-9]{1,9}[smhd]$"))]
    pub expires_after: Option<String>,
}

/// What is demanded of the way to the receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "TlsDemand", rename_all = "snake_case")]
pub(crate) enum TlsDemandWire {
    Opportunistic,
    Required,
}

/// A template and what is put into it. It is named by `id` or by `slug`.
#[derive(Object)]
#[oai(rename = "TemplateUse", skip_serializing_if_is_none, example)]
pub(crate) struct TemplateUseBody {
    /// The template's id.
    pub id: Option<String>,
    /// The template's slug.
    pub slug: Option<String>,
    /// Which version; the newest if absent. The one that was used is noted in the message.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    pub version: Option<u32>,
    /// What is put into it, by name: strings, numbers, booleans, lists and objects, with at most
    /// 256 KiB of text.
    pub variables: Option<BTreeMap<String, Any<Value>>>,
}

/// The author of a message.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(crate) struct Sender {
    /// The address.
    pub email: String,
    /// The name shown beside it. No control characters.
    #[oai(validator(max_length = 512))]
    pub name: Option<String>,
}

/// A file in a message.
#[derive(Object)]
#[oai(rename = "Attachment", rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct FileToSend {
    /// The name that the receiver sees. No control characters.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub filename: String,
    /// The bytes, in base64.
    pub content: String,
    /// The media type; `application/octet-stream` if absent. `multipart/*` and `message/*` are
    /// refused.
    pub content_type: Option<String>,
    /// For an inline image: the id by which the HTML names it, as in `<img src="cid:logo">`.
    #[oai(validator(min_length = 1, max_length = 128))]
    pub content_id: Option<String>,
}

/// A message that is ours to deliver.
#[derive(Object)]
#[oai(rename_all = "camelCase", example)]
pub(crate) struct SendAccepted {
    /// The message: read how it fares at `GET /v1/messages/{messageId}`.
    pub message_id: String,
    /// How it stands.
    pub status: Status,
    /// Whether this `Idempotency-Key` had been used for the same request before: then this is the
    /// answer from that time and nothing was sent anew.
    pub idempotent_replay: bool,
}

/// Messages that are ours to deliver.
#[derive(Object)]
#[oai(example)]
pub(crate) struct BatchAccepted {
    /// One for each email, in their order.
    pub data: Vec<SendAccepted>,
}

/// The answer to a batch.
#[derive(ApiResponse)]
pub(crate) enum BatchAnswer {
    /// All of them are written to disk, and ours to deliver.
    #[oai(status = 202)]
    Accepted(Json<BatchAccepted>),
}

/// The answer to a send.
#[derive(ApiResponse)]
pub(crate) enum SendAnswer {
    /// Written to disk, and ours to deliver: it survives a crash, and ends as delivered, bounced,
    /// failed or canceled.
    #[oai(status = 202)]
    Accepted(Json<SendAccepted>),
}

/// How a message stands: `queued` waits for its first attempt, `scheduled` for the time you named,
/// `sending` was tried and has recipients that have not ended. The others are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "MessageStatus", rename_all = "snake_case")]
pub(crate) enum Status {
    Queued,
    Scheduled,
    Sending,
    Delivered,
    PartiallyDelivered,
    Bounced,
    Failed,
    Canceled,
}

impl From<MessageStatus> for Status {
    fn from(status: MessageStatus) -> Self {
        match status {
            MessageStatus::Queued => Self::Queued,
            MessageStatus::Scheduled => Self::Scheduled,
            MessageStatus::Sending => Self::Sending,
            MessageStatus::Delivered => Self::Delivered,
            MessageStatus::PartiallyDelivered => Self::PartiallyDelivered,
            MessageStatus::Bounced => Self::Bounced,
            MessageStatus::Failed => Self::Failed,
            MessageStatus::Canceled => Self::Canceled,
        }
    }
}

impl Example for SendEmail {
    fn example() -> Self {
        let one = |text: &str| Some(vec![text.to_owned()]);
        let pair = |key: &str, value: &str| Some([(key.to_owned(), value.to_owned())].into());
        // Without `from`: as it is, it can be sent by every app that has a default sender.
        Self {
            from: None,
            to: vec!["Ada Lovelace <ada@example.com>".into()],
            cc: one("charles@example.com"),
            bcc: one("archive@example.com"),
            reply_to: one("support@acme.com"),
            subject: Some("Your invoice 1042".into()),
            html: Some("<p>Thank you, Ada.</p>".into()),
            text: Some("Thank you, Ada.".into()),
            template: None,
            attachments: Some(vec![FileToSend::example()]),
            headers: pair("X-Campaign", "autumn"),
            tags: one("invoice"),
            metadata: pair("orderId", "1042"),
            tls: None,
            bulk: Some(false),
            scheduled_at: None,
            expires_after: Some("24h".into()),
        }
    }
}

impl Example for TemplateUseBody {
    fn example() -> Self {
        let variables = [("user".to_owned(), Any(json!({ "name": "Ada" })))];
        let slug = Some("welcome".into());
        Self { id: None, slug, version: Some(1), variables: Some(variables.into()) }
    }
}

impl Example for Sender {
    fn example() -> Self {
        Self { email: "billing@mail.acme.com".into(), name: Some("Acme Billing".into()) }
    }
}

impl Example for FileToSend {
    fn example() -> Self {
        Self {
            filename: "invoice-1042.txt".into(),
            content: "SW52b2ljZSAxMDQyCg==".into(),
            content_type: Some("text/plain".into()),
            content_id: None,
        }
    }
}

impl Example for BatchAccepted {
    fn example() -> Self {
        Self { data: vec![SendAccepted::example()] }
    }
}

impl From<Sent> for SendAccepted {
    fn from(sent: Sent) -> Self {
        Self {
            message_id: sent.message.to_string(),
            status: sent.status.into(),
            idempotent_replay: sent.idempotent_replay,
        }
    }
}

impl Example for SendAccepted {
    fn example() -> Self {
        Self {
            message_id: super::message::EXAMPLE_ID.into(),
            status: Status::Queued,
            idempotent_replay: false,
        }
    }
}
