//! How a message fares.

use std::sync::Arc;

use actors::Caller;
use model::{MessageId, Timestamp};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::MessageView;

use super::{SharedData, Topic, query_problem};
use crate::{
    caller::{Allowed, Reading},
    params::{InPath, Query},
    parts::Shared,
    past,
    problem::{Code, Problem},
    reading::Reader,
    wire::{message::MessageAnswer, pauses::PauseWire},
};

/// To read a message.
pub(crate) struct MessageOperations;

#[OpenApi]
impl MessageOperations {
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
        /// As it was at this time, instead of now: with what had been recorded by then. 404 when
        /// it had not been accepted yet. `paused` is then absent.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<MessageAnswer>, Problem> {
        match past::asked(at, shared.clock.now())? {
            None => read_message(shared, allowed.caller, message.0).await.map(Json),
            Some(at) => read_past(shared, allowed.caller, message.0, at).await.map(Json),
        }
    }
}

/// A message of the caller's, as it stood at a time.
async fn read_past(
    shared: &Arc<Shared>,
    caller: Caller,
    id: MessageId,
    at: Timestamp,
) -> Result<MessageAnswer, Problem> {
    shared.settled().await;
    let message = shared.reading(move |shared| {
        let view = shared.read.messages().get_at(id, at).map_err(query_problem)?;
        let view = view.filter(|view: &MessageView| view.app == caller.app);
        let view = view.ok_or_else(|| Problem::new(Code::NotFound))?;
        Ok(Reader::new(shared).message(&view, at, None))
    });
    message.await
}

/// A message of the caller's, as it stands.
pub(super) async fn read_message(
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
        let paused = shared.platform.pause_of(&view);
        let paused = paused.map(|(what, pause)| PauseWire::of(&what, &pause));
        Ok(Reader::new(shared).message(&view, shared.clock.now(), paused))
    });
    message.await
}
