//! Emails go out, and some are taken back.

use std::sync::Arc;

use actors::{CancelError, SendError, SendRefusal, SendRequest};
use model::{MessageId, message};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};

use super::{SharedData, Topic, messages::read_message, overloaded, unavailable};
use crate::{
    body::JsonBody,
    caller::{Allowed, Sending},
    params::{IdempotencyHeader, InPath},
    parts::Shared,
    problem::{Code, Problem},
    send,
    wire::{
        message::MessageAnswer,
        send::{SendAccepted, SendAnswer, SendEmail},
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

fn send_problem(error: SendError) -> Problem {
    use message::Refusal;
    match error {
        SendError::Refused(SendRefusal::NoDefaultSender) => Problem::new(Code::NoDefaultSender),
        SendError::Refused(SendRefusal::NoSubject) => {
            Problem::field("subject", "is required when the template has none")
        }
        SendError::Refused(SendRefusal::TemplateNotFound) => Problem::new(Code::TemplateNotFound),
        SendError::Refused(SendRefusal::TemplateRender(failure)) => Problem::rendering(&failure),
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
