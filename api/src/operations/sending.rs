//! Emails go out, and some are taken back.

use std::sync::Arc;

use actors::{BatchError, CancelError, RenderFailure, SendError, SendRefusal, SendRequest};
use model::{MessageId, message};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};

use super::{SharedData, Topic, messages::read_message, overloaded, read, unavailable};
use crate::{
    body::JsonBody,
    caller::{Allowed, Sending},
    params::{IdempotencyHeader, InPath},
    parts::Shared,
    problem::{Code, Problem},
    send,
    wire::{
        message::MessageAnswer,
        send::{BatchAccepted, BatchAnswer, SendAccepted, SendAnswer, SendEmail},
    },
};

/// To send and to take back.
pub(crate) struct SendingOperations;

#[OpenApi]
impl SendingOperations {
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
        Ok(SendAnswer::Accepted(Json(sent.into())))
    }

    /// Send up to 100 emails
    ///
    /// All of them, or none: with one that is refused nothing is sent, and every one that is
    /// refused is named, as in `[3].to[0]`. The answers stand in the order of the emails.
    ///
    /// An `Idempotency-Key` covers the batch as a whole.
    #[oai(
        path = "/v1/email/batch",
        method = "post",
        operation_id = "sendBatch",
        tag = "Topic::Sending"
    )]
    async fn batch(
        &self,
        allowed: Allowed<Sending>,
        /// Any text of your own, 1 to 256 printable ASCII characters, within your app. The same
        /// key with the same batch answers as the first time, with `idempotentReplay: true`.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: IdempotencyHeader,
        body: JsonBody<Vec<SendEmail>>,
        Data(shared): SharedData<'_>,
    ) -> Result<BatchAnswer, Problem> {
        let now = shared.clock.now();
        let emails = read(shared, body.bytes, move |bytes| send::read_batch(bytes, now)).await?;
        let key = idempotency_key.0.as_ref();
        let sent = shared.platform.send_all(&allowed.caller, emails, key).await;
        let sent = sent.map_err(batch_problem)?;
        let data = sent.into_iter().map(SendAccepted::from).collect();
        Ok(BatchAnswer::Accepted(Json(BatchAccepted { data })))
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
}

async fn read_send(
    shared: &Arc<Shared>,
    JsonBody { bytes, .. }: JsonBody<SendEmail>,
    IdempotencyHeader(idempotency_key): IdempotencyHeader,
) -> Result<SendRequest, Problem> {
    let now = shared.clock.now();
    let email = read(shared, bytes, move |bytes| send::read(bytes, now)).await?;
    Ok(SendRequest { idempotency_key, ..email })
}

pub(super) fn send_problem(error: SendError) -> Problem {
    match error {
        SendError::Refused(refusal) => refusal_problem(&refusal),
        SendError::Overloaded { retry_after } => overloaded(retry_after),
        SendError::Unavailable => unavailable(),
        SendError::Unknown => Problem::internal("a send has no certain end", &error).saying(
            "It is not known whether the message was taken over. With an Idempotency-Key the same \
             request can be repeated without sending twice.",
        ),
        SendError::Internal => Problem::internal("a send failed", &error),
    }
}

/// One code stands for all, the first's; each is told of its own field.
fn batch_problem(error: BatchError) -> Problem {
    match error {
        BatchError::Whole(error) => send_problem(error),
        BatchError::Refused(refused) => {
            let problems = refused.iter().map(|(place, refusal)| {
                let field = match refusal {
                    SendRefusal::NoDefaultSender
                    | SendRefusal::SenderDomainNotAllowed
                    | SendRefusal::Message(message::Refusal::SenderDomainNotVerified) => "from",
                    _ => "",
                };
                refusal_problem(refusal).within(&format!("[{place}]"), field)
            });
            let together = problems.reduce(Problem::and);
            together.unwrap_or_else(|| Problem::internal("a batch failed", &"nobody was refused"))
        }
    }
}

fn refusal_problem(refusal: &SendRefusal) -> Problem {
    use message::Refusal;
    match refusal {
        SendRefusal::NoDefaultSender => Problem::new(Code::NoDefaultSender),
        SendRefusal::SenderDomainNotAllowed => Problem::new(Code::SenderDomainNotAllowed),
        SendRefusal::NoSubject => {
            Problem::field("subject", "is required, as the template has none")
        }
        SendRefusal::TemplateNotFound => {
            let words = "is no template of the app, or not in this version";
            Problem::new(Code::TemplateNotFound).blaming("template", words)
        }
        SendRefusal::TemplateRender(failure) => render_problem(failure, "template."),
        SendRefusal::Message(refusal) => match refusal {
            Refusal::SenderDomainNotVerified => Problem::new(Code::SenderDomainNotVerified),
            Refusal::IdempotencyConflict => Problem::new(Code::IdempotencyConflict),
            Refusal::NoRecipient => Problem::field("to", "must have at least one recipient"),
            Refusal::TooManyRecipients => {
                Problem::field("to", "has, with cc and bcc, more than 50 recipients")
            }
            Refusal::BulkToSeveral => Problem::field("bulk", "needs exactly one recipient"),
            Refusal::TooManyTags => Problem::field("tags", "has more than 20 entries"),
            Refusal::ScheduledTooFarAhead => {
                Problem::field("scheduledAt", "must be at most 30 days ahead")
            }
            // Answers to other commands than this one.
            Refusal::AlreadyAccepted | Refusal::Unknown | Refusal::NotCancelable => {
                Problem::internal("a send was refused for no reason of a send", refusal)
            }
        },
    }
}

/// A template that became nothing: told of the variable that is missing, else of the place in the
/// template. The request has its variables under `prefix`.
pub(super) fn render_problem(failure: &RenderFailure, prefix: &str) -> Problem {
    let RenderFailure { field, line, variable, message } = failure;
    let problem = Problem::new(Code::TemplateRenderFailed);
    match variable {
        Some(variable) => problem.blaming(&format!("{prefix}variables.{variable}"), "is not given"),
        None => problem.blaming_at(&format!("{prefix}{field}"), *line, message.as_str()),
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
