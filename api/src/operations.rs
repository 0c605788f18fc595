//! The operations: parse, ask, map. No rule of the product stands here.
#![expect(clippy::unused_async, reason = "poem-openapi takes async operations alone")]

use std::{sync::Arc, time::Duration};

use actors::{Caller, CancelError, SendError, SendRefusal, SendRequest};
use eventlog::HashPurpose;
use model::{MessageId, Timestamp, address::EmailAddress, event::KeyedHash, message};
use poem::web::Data;
use poem_openapi::{
    OpenApi, Tags,
    payload::{Json, PlainText},
};
use projections::{LogCursor, LogKind, LogQuery, MessageView, QueryError, StatsQuery};

use crate::{
    body::JsonBody,
    caller::{Allowed, Reading, Sending},
    params::{Cursor, IdempotencyHeader, InPath, PageSize, Query},
    parts::Shared,
    problem::{Code, Findings, Problem},
    reading::Reader,
    send,
    wire::{
        logs::{LogWire, LogsAnswer},
        message::{EventKind, MessageAnswer},
        send::{SendAccepted, SendAnswer, SendEmail},
        stats::{GroupName, IntervalName, StatsAnswer},
        system::{HealthAnswer, ReadyAnswer},
    },
};

/// What `from` is when it is not given: so long before `to`.
const DEFAULT_SPAN: Duration = Duration::from_hours(30 * 24);
const HOUR_MS: u64 = 3_600_000;

/// All operations.
pub(crate) struct Operations;

/// The parts of the document, in reading order.
#[derive(Tags)]
pub(crate) enum Topic {
    /// Send emails, and take back those that wait.
    Sending,
    /// Read how messages fare.
    Messages,
    /// Read every event of your app, and its sums.
    Insight,
    /// For those who run the server.
    System,
}

type SharedData<'a> = Data<&'a Arc<Shared>>;

#[OpenApi]
impl Operations {
    /// Send an email
    ///
    /// Takes an email over for delivery. A 202 means that it is written to disk: it survives a
    /// crash, and ends as delivered, bounced, failed or canceled.
    ///
    /// Give an `Idempotency-Key` and repeat the request as often as you like: it is sent once. A
    /// refused request does not use the key up.
    #[oai(
        path = "/v1/email/send",
        method = "post",
        operation_id = "sendEmail",
        tag = "Topic::Sending"
    )]
    async fn send(
        &self,
        allowed: Allowed<Sending>,
        /// Any text of your own, 1 to 256 printable ASCII characters, within your app. The same
        /// key with the same body answers as the first time, with `idempotentReplay: true`, for as
        /// long as the message is kept; with another body, 409.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: IdempotencyHeader,
        body: JsonBody<SendEmail>,
        Data(shared): SharedData<'_>,
    ) -> Result<SendAnswer, Problem> {
        let request = read_send(shared, body, idempotency_key).await?;
        let sent = shared.platform.send(&allowed.caller, request).await.map_err(send_problem)?;
        Ok(SendAnswer::Accepted(Json(SendAccepted {
            message_id: sent.message.to_string(),
            status: sent.status.into(),
            idempotent_replay: sent.idempotent_replay,
        })))
    }

    /// Take a message back
    ///
    /// Ends the recipients that wait for their time or for another attempt. Those that have ended
    /// stay as they are. A message that is being sent, or has ended, is not taken back.
    #[oai(
        path = "/v1/messages/:messageId/cancel",
        method = "post",
        operation_id = "cancelMessage",
        tag = "Topic::Sending"
    )]
    async fn cancel(
        &self,
        allowed: Allowed<Sending>,
        /// The message.
        #[oai(name = "messageId")]
        message: InPath<MessageId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<MessageAnswer>, Problem> {
        let canceled = shared.platform.cancel(&allowed.caller, message.0).await;
        canceled.map_err(cancel_problem)?;
        read_message(shared, allowed.caller, message.0).await.map(Json)
    }

    /// Read a message
    ///
    /// The message with its recipients and all that happened to it. `subject`, `from`, `metadata`,
    /// addresses and the servers' words are `null` once the content was forgotten.
    #[oai(
        path = "/v1/messages/:messageId",
        method = "get",
        operation_id = "getMessage",
        tag = "Topic::Messages"
    )]
    async fn message(
        &self,
        allowed: Allowed<Reading>,
        /// The message.
        #[oai(name = "messageId")]
        message: InPath<MessageId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<MessageAnswer>, Problem> {
        read_message(shared, allowed.caller, message.0).await.map(Json)
    }

    /// Read the log
    ///
    /// Every event of your app, the newest first. Pages stay as they are while new events come.
    /// With filters that fit rarely a page can be short, even empty, and still have a next one.
    #[oai(
        path = "/v1/emails/logs",
        method = "get",
        operation_id = "listLogs",
        tag = "Topic::Insight"
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query string")]
    async fn logs(
        &self,
        allowed: Allowed<Reading>,
        /// Most events wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        /// Only events of this message.
        #[oai(name = "messageId")]
        message_id: Query<MessageId>,
        /// Only events about this recipient.
        recipient: Query<EmailAddress>,
        /// Only events of this type.
        #[oai(name = "type")]
        kind: Query<EventKind>,
        /// Only events of messages with this tag.
        tag: Query<message::Tag>,
        /// Only events at or after this time.
        from: Query<Timestamp>,
        /// Only events before this time.
        to: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<LogsAnswer>, Problem> {
        let app = allowed.caller.app;
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let cursor = cursor.take(&mut findings).and_then(|Cursor(text)| {
            let cursor = LogCursor::parse(app, &text);
            if cursor.is_none() {
                findings.add("cursor", "must be the nextCursor of an answer");
            }
            cursor
        });
        let recipient = recipient.take(&mut findings).map(|address| {
            let canonical = address.canonical();
            let hash = shared.vault.keyed_hash(HashPurpose::Recipient, canonical.as_bytes());
            first_half(hash)
        });
        let message = message_id.take(&mut findings);
        let kind = kind.take(&mut findings).map(log_kind);
        let tag = tag.take(&mut findings);
        let (from, to) = (from.take(&mut findings), to.take(&mut findings));
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        // Complaints are not heard of yet: nobody has one.
        let Ok(kind) = kind.transpose() else { return Ok(Json(LogsAnswer::empty())) };
        let query = LogQuery { limit, cursor, message, recipient, kind, tag, from, to };
        shared.settled().await;
        let page = shared.reading(move |shared| {
            let page = shared.read.logs().page(app, &query).map_err(query_problem)?;
            let mut reader = Reader::new(shared);
            let rows = page.rows.iter().map(|row| {
                let message = (row.message, &row.head);
                let (event, subject) = reader.event(message, row.id, row.at, &row.event);
                LogWire { event, message_id: row.message.to_string(), subject }
            });
            Ok(LogsAnswer {
                data: rows.collect(),
                has_more: page.next.is_some(),
                next_cursor: page.next.map(|cursor| cursor.to_string()),
            })
        });
        page.await.map(Json)
    }

    /// Read statistics
    ///
    /// What became of the recipients of the messages that your app sent in a time, in full hours.
    /// A message counts in the hour in which it was accepted, so that
    /// `accepted = delivered + bounced + failed + suppressed + canceled + inFlight` always holds.
    #[oai(
        path = "/v1/emails/stats",
        method = "get",
        operation_id = "getStats",
        tag = "Topic::Insight"
    )]
    async fn stats(
        &self,
        allowed: Allowed<Reading>,
        /// Where the time begins; 30 days before `to` if absent.
        from: Query<Timestamp>,
        /// Where the time ends; the end of this hour if absent.
        to: Query<Timestamp>,
        /// The width of a bucket in `series`; `day` if absent.
        interval: Query<IntervalName>,
        /// What `groups` are made by; `none` if absent.
        #[oai(name = "groupBy")]
        group_by: Query<GroupName>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<StatsAnswer>, Problem> {
        let app = allowed.caller.app;
        let mut findings = Findings::default();
        // The hour that has begun counts.
        let now = || shared.clock.now().floor_to(HOUR_MS).plus(Duration::from_hours(1));
        let to = to.take(&mut findings).unwrap_or_else(now);
        let from = from.take(&mut findings).unwrap_or_else(|| to.minus(DEFAULT_SPAN));
        let interval = interval.take(&mut findings).unwrap_or(IntervalName::Day);
        let group_by = group_by.take(&mut findings).unwrap_or(GroupName::None);
        if findings.is_empty() && from > to {
            findings.add("from", "must not be after to");
        }
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let (interval, group_by) = (interval.into(), group_by.into());
        let query = StatsQuery { from, to, interval, group_by };
        shared.settled().await;
        let stats = shared.reading(move |shared| {
            let stats = shared.read.stats().query(app, &query).map_err(query_problem)?;
            Ok(StatsAnswer::from(stats))
        });
        stats.await.map(Json)
    }

    /// Is the server alive?
    #[oai(path = "/healthz", method = "get", operation_id = "healthz", tag = "Topic::System")]
    async fn healthz(&self) -> Json<HealthAnswer> {
        Json(HealthAnswer { status: "ok".into() })
    }

    /// Does the server take mail?
    ///
    /// It does when its log can be written, its read models follow the log, and it is not stopping.
    #[oai(path = "/readyz", method = "get", operation_id = "readyz", tag = "Topic::System")]
    async fn readyz(&self, Data(shared): SharedData<'_>) -> Result<Json<ReadyAnswer>, Problem> {
        let not_ready = |words: &'static str| Err(Problem::new(Code::NotReady).saying(words));
        if !shared.log.health().writable {
            return not_ready("The log does not take writes.");
        }
        if !shared.settled().await {
            return not_ready("The read models are behind the log.");
        }
        if !shared.platform.is_open() {
            return not_ready("The server takes no mail: it is starting or stopping.");
        }
        Ok(Json(ReadyAnswer { status: "ready".into() }))
    }

    /// Metrics
    ///
    /// In the text format of Prometheus.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics", tag = "Topic::System")]
    async fn metrics(&self, Data(shared): SharedData<'_>) -> PlainText<String> {
        PlainText((shared.metrics)())
    }
}

/// Parses a large body where that may take its time.
async fn read_send(
    shared: &Arc<Shared>,
    JsonBody { bytes, .. }: JsonBody<SendEmail>,
    IdempotencyHeader(idempotency_key): IdempotencyHeader,
) -> Result<SendRequest, Problem> {
    /// Larger bodies are parsed off the threads that answer everybody else.
    const LARGE_BYTES: usize = 64 * 1024;
    let now = shared.clock.now();
    let email = if bytes.len() < LARGE_BYTES {
        send::read(&bytes, now)?
    } else {
        shared.reading(move |_| send::read(&bytes, now)).await?
    };
    Ok(SendRequest { idempotency_key, ..email })
}

async fn read_message(
    shared: &Arc<Shared>,
    caller: Caller,
    id: MessageId,
) -> Result<MessageAnswer, Problem> {
    shared.settled().await;
    let message = shared.reading(move |shared| {
        let view = shared.read.messages().get(id).map_err(query_problem)?;
        // Somebody else's message is answered as one that is not there.
        let view = view.filter(|view: &MessageView| view.app == caller.app);
        let view = view.ok_or_else(|| Problem::new(Code::NotFound))?;
        Ok(Reader::new(shared).message(&view, shared.clock.now()))
    });
    message.await
}

fn first_half(hash: [u8; 32]) -> KeyedHash<16> {
    let [first, ..] = hash.as_chunks::<16>().0 else { return KeyedHash([0; 16]) };
    KeyedHash(*first)
}

/// The read model's kind; `Err` for the one that it never has.
const fn log_kind(kind: EventKind) -> Result<LogKind, NeverRecorded> {
    Ok(match kind {
        EventKind::Accepted => LogKind::Accepted,
        EventKind::Scheduled => LogKind::Scheduled,
        EventKind::Deferred => LogKind::Deferred,
        EventKind::Delivered => LogKind::Delivered,
        EventKind::Bounced => LogKind::Bounced,
        EventKind::Failed => LogKind::Failed,
        EventKind::Suppressed => LogKind::Suppressed,
        EventKind::Canceled => LogKind::Canceled,
        EventKind::Complained => return Err(NeverRecorded),
    })
}

struct NeverRecorded;

fn query_problem(error: QueryError) -> Problem {
    match error {
        QueryError::TooWide => {
            Problem::field("from", "covers too much: ask for a shorter time or a longer interval")
        }
        error => Problem::internal("a read model failed", &error),
    }
}

fn send_problem(error: SendError) -> Problem {
    use message::Refusal;
    match error {
        SendError::Refused(SendRefusal::NoDefaultSender) => Problem::new(Code::NoDefaultSender),
        SendError::Refused(SendRefusal::Message(refusal)) => match refusal {
            Refusal::SenderDomainNotVerified => Problem::new(Code::SenderDomainNotVerified),
            Refusal::IdempotencyConflict => Problem::new(Code::IdempotencyConflict),
            Refusal::NoRecipient => Problem::field("to", "must have at least one recipient"),
            Refusal::TooManyRecipients => {
                Problem::field("to", "has, with cc and bcc, more than 50 recipients")
            }
            Refusal::TooManyTags => Problem::field("tags", "has more than 20 entries"),
            Refusal::ScheduledTooFarAhead => {
                Problem::field("scheduledAt", "must be at most 30 days ahead")
            }
            // Answers to other commands than this one.
            Refusal::AlreadyAccepted | Refusal::Unknown | Refusal::NotCancelable => {
                Problem::internal("a send was refused for no reason of a send", &refusal)
            }
        },
        SendError::Overloaded { retry_after } => overloaded(retry_after),
        SendError::Unavailable => unavailable(),
        SendError::Unknown => Problem::internal("a send has no certain end", &error).saying(
            "It is not known whether the message was taken over. With an Idempotency-Key the same \
             request can be repeated without sending twice.",
        ),
        SendError::Internal => Problem::internal("a send failed", &error),
    }
}

fn cancel_problem(error: CancelError) -> Problem {
    match error {
        CancelError::Unknown => Problem::new(Code::NotFound),
        CancelError::NotCancelable => Problem::new(Code::NotCancelable),
        CancelError::Overloaded { retry_after } => overloaded(retry_after),
        CancelError::Unavailable => unavailable(),
        CancelError::Internal => Problem::internal("a cancel failed", &error),
    }
}

/// Whole seconds, rounded up: who comes back early is refused again.
fn overloaded(retry_after: Duration) -> Problem {
    let seconds = u64::try_from(retry_after.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
    Problem::new(Code::Overloaded).retry_after_s(seconds)
}

fn unavailable() -> Problem {
    /// A disk that is full or gone is not mended in a second.
    const RETRY_AFTER_S: u64 = 10;
    Problem::new(Code::Unavailable).retry_after_s(RETRY_AFTER_S)
}
