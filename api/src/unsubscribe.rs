//! One click and no more bulk mail (RFC 8058), for mail programs and for people.
//!
//! Not in the document: the link is in messages, and nobody makes it up.
//!
//! # Why
//! GET shows a button and changes nothing: scanners of mail follow every link (RFC 8058, section
//! 1). Mail programs POST, and that is carried out before the answer. What their body says is not
//! looked at; the token says who and what.

use actors::UNSUBSCRIBE_PATH;
use poem::{
    Endpoint, IntoResponse, Request, Response, Route, get,
    http::{StatusCode, header},
};

use crate::{operations::change_problem, parts::Shared};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

const ASK: &str = include_str!("unsubscribe/ask.html");
const DONE: &str = include_str!("unsubscribe/done.html");
const UNKNOWN: &str = include_str!("unsubscribe/unknown.html");

/// Adds the path.
pub(crate) fn routes(route: Route) -> Route {
    route.at(format!("{UNSUBSCRIBE_PATH}/:token"), get(Ask).post(Click))
}

fn page(status: StatusCode, text: &'static str) -> Response {
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::REFERRER_POLICY, "no-referrer")
        .body(text)
        .into_response()
}

/// Shows the button.
struct Ask;

impl Endpoint for Ask {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let shared = Shared::of(&request)?;
        let token = request.raw_path_param("token").unwrap_or_default();
        Ok(match shared.platform.unsubscribe_token(token) {
            Some(_) => page(StatusCode::OK, ASK),
            None => page(StatusCode::NOT_FOUND, UNKNOWN),
        })
    }
}

/// Does it.
struct Click;

impl Endpoint for Click {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let shared = Shared::of(&request)?;
        let token = request.raw_path_param("token").unwrap_or_default();
        let Some(token) = shared.platform.unsubscribe_token(token) else {
            return Ok(page(StatusCode::NOT_FOUND, UNKNOWN));
        };
        shared.platform.unsubscribe(token).await.map_err(change_problem)?;
        Ok(page(StatusCode::OK, DONE))
    }
}
