//! How a message fares.

use std::sync::Arc;

use actors::Caller;
use model::MessageId;
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::MessageView;

use super::{SharedData, Topic, query_problem};
use crate::{
    caller::{Allowed, Reading},
    params::InPath,
    parts::Shared,
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
        Data(shared): SharedData<'_>,
    ) -> Result<Json<MessageAnswer>, Problem> {
        read_message(shared, allowed.caller, message.0).await.map(Json)
    }
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
