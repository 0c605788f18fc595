//! What proves how a message fared.

use std::time::Duration;

use ::evidence::{Bundle, GatherError};
use model::MessageId;
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::MessageView;

use super::{SharedData, Topic, query_problem, unavailable};
use crate::{
    caller::{Allowed, Reading},
    params::InPath,
    parts::Shared,
    problem::{Code, Problem},
    wire::evidence::EvidenceAnswer,
};

/// How often it is looked whether the newest event has come into the tree, and how long it is
/// waited in between: it takes 250 ms.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// To prove how a message fared.
pub(crate) struct EvidenceOperations;

#[OpenApi]
impl EvidenceOperations {
    /// Get the evidence of a message
    ///
    /// Every event of the message as it was recorded, each with the proof that it stands in the log
    /// that this server signed: attempts with mail host, address and TLS, the receivers' replies, the
    /// hash of what was sent and the keys that signed it. Anyone who has the server's public key can
    /// check it without the server, `lumora evidence verify` does. Replies are absent once the
    /// content was forgotten.
    #[oai(
        path = "/v1/messages/:messageId/evidence",
        method = "get",
        operation_id = "getMessageEvidence",
        tag = "Topic::Messages"
    )]
    async fn evidence(
        &self,
        allowed: Allowed<Reading>,
        /// The message.
        #[oai(name = "messageId")]
        message: InPath<MessageId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<EvidenceAnswer>, Problem> {
        let (app, id) = (allowed.caller.app, message.0);
        shared.settled().await;
        for _ in 0..TRIES {
            let gathered = shared.reading(move |shared| {
                let view = shared.read.messages().get(id).map_err(query_problem)?;
                // Somebody else's message is answered as one that is not there.
                let view = view.filter(|view: &MessageView| view.app == app);
                view.ok_or_else(|| Problem::new(Code::NotFound))?;
                gather(shared, id)
            });
            if let Some(bundle) = gathered.await? {
                return Ok(Json(bundle.into()));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        // Sealing waits for space on the disk.
        Err(unavailable())
    }
}

/// The bundle; `None` when its newest event is not yet in the tree.
fn gather(shared: &Shared, id: MessageId) -> Result<Option<Bundle>, Problem> {
    let log = shared.log.as_ref();
    match ::evidence::gather(log, &shared.vault, &shared.notary, id, shared.clock.now()) {
        Ok(Some(bundle)) => Ok(Some(bundle)),
        Ok(None) => Err(Problem::new(Code::NotFound)),
        Err(GatherError::NotYet) => Ok(None),
        Err(error) => Err(Problem::internal("evidence could not be gathered", &error)),
    }
}
