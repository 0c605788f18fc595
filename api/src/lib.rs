//! The REST API, authenticated by key, and the document that describes it.
//!
//! # Contract
//! - No rule of the product stands here: parse, ask, map.
//! - Every answer carries `x-request-id`; every answer to a known key its rate limit; every error
//!   has one form, whoever raised it: a route, a parser, the framework, a panic.
//! - A bad request is told everything that is wrong with it, before anything is stored.
//! - What belongs to another tenant or app answers exactly as what does not exist.
//! - Everything a stranger can send is bounded in size, depth, number and time.
//! - [`document`] is a pure function: the same on every machine.
//!
//! # Why
//! - **poem-openapi derives routes, schemas and document from one place**; where it stops (all
//!   errors of a body, parameters by name, errors by status, examples of fields) own extractors and
//!   [`document`] go on. See the rooms `json`, `params` and `document`.
//! - **hyper serves directly**, since poem's server has no deadline for the head of a request. See
//!   `serve`.
//! - **Swagger UI comes as files of its own** under a policy that runs no inline script. See `docs`.
//! - **`null` counts as absent** in a send: many programs write it for an empty value, and no field
//!   means anything else by it.
//! - **Content is opened for each answer and forgotten with it**: a cache would outlive erasure.

mod body;
mod caller;
mod docs;
mod document;
mod edge;
mod epochs;
mod fields;
mod following;
mod json;
mod operations;
mod operator;
mod params;
mod parts;
mod past;
mod peer;
mod portal;
mod problem;
mod protection;
mod reading;
mod send;
mod serve;
mod unsubscribe;
mod variables;
mod wire;

use std::{collections::HashMap, sync::Arc};

use poem::{Endpoint, Response, Route, RouteMethod};
use poem_openapi::OpenApi as _;

pub use self::{
    document::document,
    operator::{OperatorToken, erasure_answer},
    parts::{ApiOptions, ApiParts, RenderMetrics},
    peer::{InvalidNetwork, Network},
    serve::serve,
};

/// The whole API as one endpoint.
pub fn app(parts: ApiParts) -> impl Endpoint<Output = Response> {
    wired(parts::Shared::new(parts))
}

fn wired(shared: Arc<parts::Shared>) -> impl Endpoint<Output = Response> {
    let mut routes = HashMap::new();
    operations::operations().add_routes(&mut routes);
    let routes = routes.into_iter().fold(Route::new(), |route, (path, methods)| {
        let methods =
            methods.into_iter().fold(RouteMethod::new(), |methods, (method, operation)| {
                methods.method(method, operation)
            });
        route.at(path, methods)
    });
    let routes = operator::routes(unsubscribe::routes(docs::routes(routes)));
    edge::Edge::new(routes, shared)
}
