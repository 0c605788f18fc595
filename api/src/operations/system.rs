//! For those who run the server.
#![expect(clippy::unused_async, reason = "poem-openapi takes async operations alone")]

use poem::{Request, web::Data};
use poem_openapi::{
    OpenApi,
    payload::{Json, PlainText},
};

use super::{SharedData, Topic};
use crate::{
    caller,
    peer::is_among,
    problem::{Code, Problem},
    wire::system::{HealthAnswer, ReadyAnswer},
};

/// To look after the server.
pub(crate) struct SystemOperations;

#[OpenApi]
impl SystemOperations {
    /// Is the server alive?
    ///
    /// It is when it answers at all: whether it takes mail is another question.
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
        let settled = shared.settled().await;
        if shared.read.health().halted.is_some() {
            return not_ready("The read models have stopped: they have to be rebuilt.");
        }
        if !settled {
            return not_ready("The read models are behind the log.");
        }
        if !shared.platform.is_open() {
            return not_ready("The server takes no mail: it is starting or stopping.");
        }
        Ok(Json(ReadyAnswer { status: "ready".into() }))
    }

    /// Metrics
    ///
    /// In the text format of Prometheus. The server may be set to tell them to some networks alone;
    /// then others are answered as where nothing is.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics", tag = "Topic::System")]
    async fn metrics(
        &self,
        request: &Request,
        Data(shared): SharedData<'_>,
    ) -> Result<PlainText<String>, Problem> {
        let networks = shared.options.metrics_from.as_deref();
        let from = caller::address(request, shared);
        let told = networks.zip(from).is_none_or(|(networks, from)| is_among(from, networks));
        if !told {
            return Err(Problem::new(Code::NotFound));
        }
        Ok(PlainText((shared.metrics)()))
    }
}
