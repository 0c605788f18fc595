//! The outermost layer: everything that holds for every answer, whatever went on inside.
//!
//! Ids, errors, panics, headers, figures and the access log are one layer and not six, because
//! their order matters: an error must be rendered before headers are set on it, and a panic must
//! end as an error.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures_util::FutureExt as _;
use poem::{
    Endpoint, Error, Request, Response,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};
use poem_openapi::{OpenApi as _, OperationId};

use crate::{
    caller::{Rate, count},
    operations::Operations,
    parts::Shared,
    problem::{Code, Problem},
    protection,
};

/// Longest request id that is taken over from a caller, in characters.
const MAX_REQUEST_ID: usize = 128;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps the routes.
pub(crate) struct Edge<E> {
    routes: E,
    shared: Arc<Shared>,
    paths: Vec<KnownPath>,
}

/// A path of the document, for telling which methods it has.
struct KnownPath {
    template: String,
    methods: Vec<Method>,
}

impl<E> Edge<E> {
    pub(crate) fn new(routes: E, shared: Arc<Shared>) -> Self {
        let known = Operations::meta().into_iter().flat_map(|api| api.paths);
        let paths = known
            .map(|path| KnownPath {
                template: path.path,
                methods: path.operations.into_iter().map(|operation| operation.method).collect(),
            })
            .collect();
        Self { routes, shared, paths }
    }

    /// Whether some operation answers to this.
    fn is_known(&self, method: &Method, path: &str) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let known = self.paths.iter().find(|known| matches(&known.template, path));
        known.is_some_and(|known| known.methods.contains(method))
    }

    /// The methods that a path answers to, as `Allow` has them.
    fn allowed(&self, path: &str) -> String {
        let known = self.paths.iter().find(|known| matches(&known.template, path));
        let mut allowed = vec!["GET", "HEAD"];
        if let Some(known) = known {
            allowed.retain(|_| known.methods.contains(&Method::GET));
            let others = known.methods.iter().filter(|method| **method != Method::GET);
            allowed.extend(others.map(Method::as_str));
        }
        allowed.join(", ")
    }

    /// The answer to an error, whoever raised it.
    fn answer_to(&self, error: Error, path: &str, id: &str) -> Response {
        if let Some(problem) = error.downcast_ref::<Problem>() {
            return problem.render(id);
        }
        if error.is_from_response() {
            return error.into_response();
        }
        let problem = match error.status() {
            StatusCode::NOT_FOUND => Problem::new(Code::NotFound),
            StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(self.allowed(path)),
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::PayloadTooLarge),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(Code::UnsupportedMediaType),
            status if status.is_client_error() => Problem::new(Code::BadRequest),
            _ => Problem::internal("an error of the framework", &error),
        };
        problem.render(id)
    }
}

/// Whether `path` is one that `template` stands for: as many segments, each equal or named.
fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(known), Some(given)) if known == given || known.starts_with('{') => {}
            _ => return false,
        }
    }
}

impl<E: Endpoint<Output = Response>> Edge<E> {
    /// Answers; what no operation would answer to counts for a key's rate as well, so that its
    /// answer tells the rate like any other.
    async fn answer(&self, request: Request, path: &str) -> poem::Result<Response> {
        if path.starts_with("/v1/") && !self.is_known(request.method(), path) {
            count(&request, &self.shared)?;
        }
        self.routes.call(request).await
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let id = request_id(request.headers());
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let rate = Rate::default();
        request.set_data(rate.clone());
        request.set_data(Arc::clone(&self.shared));

        let answer = AssertUnwindSafe(self.answer(request, &path)).catch_unwind().await;
        let mut operation = None;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                operation = error.data::<OperationId>().copied();
                self.answer_to(error, &path, &id)
            }
            // The words of a panic can hold what a caller sent: the panic hook's place is enough.
            Err(_panic) => Problem::internal("a request panicked", &id).render(&id),
        };
        let operation = operation.or_else(|| response.data::<OperationId>().copied());
        finish(response.headers_mut(), &id, &rate);
        protection::protect(response.headers_mut(), &self.shared.options.public_url);
        // Neither the path nor the query of an unknown operation is noted: both can hold anything.
        let operation = operation.map_or("unmatched", |OperationId(name)| name);
        note(operation, &method, response.status(), &id, started);
        Ok(response)
    }
}

fn note(operation: &'static str, method: &Method, status: StatusCode, id: &str, started: Instant) {
    let elapsed = started.elapsed();
    let method = match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let status = status.as_u16();
    let labels = [
        ("operation", operation.to_owned()),
        ("method", method.into()),
        ("status", status.to_string()),
    ];
    metrics::counter!("lumora_http_requests_total", &labels).increment(1);
    metrics::histogram!("lumora_http_request_duration_seconds", "operation" => operation)
        .record(elapsed);
    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    // What went well is counted; a line for each would be the most frequent one by far, and cost as
    // much as reading the request.
    if status < 400 {
        tracing::debug!(target: "api::access", request_id = id, operation, method, status, elapsed_us);
    } else {
        tracing::info!(target: "api::access", request_id = id, operation, method, status, elapsed_us);
    }
}

/// The headers that tell of the request.
fn finish(headers: &mut HeaderMap, id: &str, rate: &Rate) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(decision) = rate.0.get() {
        headers.insert("ratelimit-limit", decision.limit.into());
        headers.insert("ratelimit-remaining", decision.remaining.into());
        headers.insert("ratelimit-reset", decision.reset_s.into());
    }
    // poem lets a stream be kept until it is asked for again; ours holds content.
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == "text/event-stream") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // The charset says nothing about JSON (RFC 8259, section 11).
    let json = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if json.is_some_and(|kind| kind.starts_with("application/json;")) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// The caller's own id, when it is one that can stand in a log; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    let given = headers
        .get(X_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(plain));
    given.map_or_else(new_request_id, ToOwned::to_owned)
}

pub(crate) fn new_request_id() -> String {
    /// Tells requests apart should the system ever have no random bytes.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0_u8; 16];
    let number = match getrandom::fill(&mut random) {
        Ok(()) => u128::from_be_bytes(random),
        Err(_) => COUNT.fetch_add(1, Ordering::Relaxed).into(),
    };
    format!("req_{number:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_id(id: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        request_id(&headers)
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        for good in ["a", "4bf92f3577b34da6a3ce929d0e0e4736", "Root=1-67:x/y+z_.", &"x".repeat(128)]
        {
            assert_eq!(with_id(good), good);
        }
        for bad in ["", " ", "a b", "a\"b", "<script>", "é", &"x".repeat(129)] {
            let new = with_id(bad);
            assert!(new.starts_with("req_") && new.len() == 36, "{bad} became {new}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn templates_stand_for_paths() {
        assert!(matches("/v1/messages/{messageId}", "/v1/messages/msg_1"));
        assert!(!matches("/v1/messages/{messageId}", "/v1/messages"));
        assert!(!matches("/v1/messages/{messageId}", "/v1/messages/a/cancel"));
        assert!(matches("/healthz", "/healthz"));
    }
}
