//! What goes wrong, as the caller sees it.

use std::borrow::Cow;

use poem::{
    Body, IntoResponse, Response,
    error::ResponseError,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{ApiResponse, Object, registry::MetaResponses, registry::Registry};
use serde_json::json;

/// Most details of one answer: enough to mend a request, too few to be worth asking for.
const MAX_DETAILS: usize = 100;
/// Longest field name that is shown back, in characters.
const MAX_FIELD_CHARS: usize = 100;

/// The stable name of a refusal or failure. Callers compare it; its spelling never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    BadRequest,
    TlsRequired,
    InvalidJson,
    InvalidIdempotencyKey,
    Unauthorized,
    InsufficientScope,
    SenderDomainNotVerified,
    SenderDomainNotAllowed,
    NoSession,
    InvalidCredentials,
    CrossSiteRequest,
    RegistrationClosed,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    IdempotencyConflict,
    NotCancelable,
    AlreadyExists,
    TemplateChanged,
    EventsPruned,
    LimitReached,
    PausedByOperator,
    KeyNotPublished,
    PayloadTooLarge,
    UnsupportedMediaType,
    UriTooLong,
    HeadTooLarge,
    ValidationFailed,
    NoDefaultSender,
    TemplateNotFound,
    TemplateRenderFailed,
    RateLimited,
    TooManyAttempts,
    InternalError,
    Overloaded,
    Unavailable,
    NotReady,
}

impl Code {
    /// As it stands in `error`.
    pub(crate) const fn as_str(self) -> &'static str {
        self.parts().1
    }

    /// The status that it comes with.
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// What it means, for people.
    pub(crate) const fn words(self) -> &'static str {
        self.parts().2
    }

    #[expect(clippy::too_many_lines, reason = "a table, a line or two for each code")]
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => (S::BAD_REQUEST, "bad_request", "The request cannot be read."),
            Self::TlsRequired => (
                S::BAD_REQUEST,
                "tls_required",
                "This port speaks TLS: use https. What was sent without could be read on its way.",
            ),
            Self::InvalidJson => (S::BAD_REQUEST, "invalid_json", "The body is not JSON."),
            Self::InvalidIdempotencyKey => (
                S::BAD_REQUEST,
                "invalid_idempotency_key",
                "Idempotency-Key must be given once and have 1 to 256 printable ASCII characters.",
            ),
            Self::Unauthorized => (
                S::UNAUTHORIZED,
                "unauthorized",
                "The API key is missing, malformed, unknown, revoked or expired.",
            ),
            Self::InsufficientScope => (
                S::FORBIDDEN,
                "insufficient_scope",
                "The API key does not have the scope that this call needs.",
            ),
            Self::SenderDomainNotVerified => (
                S::FORBIDDEN,
                "sender_domain_not_verified",
                "The domain of the from address is not verified for your account.",
            ),
            Self::SenderDomainNotAllowed => (
                S::FORBIDDEN,
                "sender_domain_not_allowed",
                "The API key may not send from the domain of the from address.",
            ),
            Self::NoSession => (
                S::UNAUTHORIZED,
                "unauthorized",
                "Sign in first: the session is missing, unknown or over.",
            ),
            Self::InvalidCredentials => (
                S::UNAUTHORIZED,
                "invalid_credentials",
                "The address and the password do not belong together.",
            ),
            Self::CrossSiteRequest => (
                S::FORBIDDEN,
                "cross_site_request",
                "The request was made by a page of another site.",
            ),
            Self::RegistrationClosed => (
                S::FORBIDDEN,
                "registration_closed",
                "This server does not let strangers register: ask those who run it.",
            ),
            Self::NotFound => (S::NOT_FOUND, "not_found", "There is no such thing."),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This address does not answer to that method.",
            ),
            Self::RequestTimeout => {
                (S::REQUEST_TIMEOUT, "request_timeout", "The body did not arrive in time.")
            }
            Self::IdempotencyConflict => (
                S::CONFLICT,
                "idempotency_conflict",
                "The Idempotency-Key was used before for another request.",
            ),
            Self::NotCancelable => {
                (S::CONFLICT, "not_cancelable", "The message has ended or is being sent.")
            }
            Self::AlreadyExists => {
                (S::CONFLICT, "already_exists", "There is such a thing already.")
            }
            Self::TemplateChanged => (
                S::CONFLICT,
                "template_changed",
                "Somebody else wrote a version in the meantime: read it, and try again.",
            ),
            Self::EventsPruned => {
                (S::GONE, "events_pruned", "The events after this number were pruned.")
            }
            Self::KeyNotPublished => (
                S::CONFLICT,
                "key_not_published",
                "The present key was never seen in the DNS: publish its record first.",
            ),
            Self::LimitReached => (
                S::CONFLICT,
                "limit_reached",
                "There are as many of these as there may be: remove one first.",
            ),
            Self::PausedByOperator => (
                S::CONFLICT,
                "paused_by_operator",
                "Those who run the server paused this: only they resume it.",
            ),
            Self::PayloadTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "The body is larger than this server accepts.",
            ),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be application/json, in UTF-8, not compressed.",
            ),
            Self::UriTooLong => {
                (S::URI_TOO_LONG, "uri_too_long", "The address is longer than this server accepts.")
            }
            Self::HeadTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "request_header_fields_too_large",
                "The headers are more or longer than this server accepts.",
            ),
            Self::ValidationFailed => (
                S::UNPROCESSABLE_ENTITY,
                "validation_failed",
                "Some fields are missing or not as they should be: see details.",
            ),
            Self::NoDefaultSender => (
                S::UNPROCESSABLE_ENTITY,
                "no_default_sender",
                "There is no from, and the app has no default sender.",
            ),
            Self::TemplateNotFound => (
                S::UNPROCESSABLE_ENTITY,
                "template_not_found",
                "The app has no such template, or no such version of it.",
            ),
            Self::TemplateRenderFailed => (
                S::UNPROCESSABLE_ENTITY,
                "template_render_failed",
                "The template cannot be rendered with these variables: see details.",
            ),
            Self::RateLimited => (
                S::TOO_MANY_REQUESTS,
                "rate_limited",
                "The API key has used up its requests for now.",
            ),
            Self::TooManyAttempts => (
                S::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many attempts: wait as many seconds as retry-after says.",
            ),
            Self::InternalError => (
                S::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Something went wrong on our side. Tell us the requestId.",
            ),
            Self::Overloaded => (
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too much is under way. Nothing was done: try again later.",
            ),
            Self::Unavailable => (
                S::SERVICE_UNAVAILABLE,
                "unavailable",
                "The server cannot write at the moment. Nothing was done: try again later.",
            ),
            Self::NotReady => {
                (S::SERVICE_UNAVAILABLE, "not_ready", "The server is starting, stopping or unwell.")
            }
        }
    }
}

/// One field that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "ErrorDetail")]
pub(crate) struct Detail {
    /// Where: `to[0]`, `attachments[2].content`, or the name of a query parameter.
    pub field: String,
    /// What is wrong with it, for people.
    pub message: String,
    /// In which line, when the field is the text of a template.
    #[oai(skip_serializing_if_is_none)]
    pub line: Option<usize>,
}

/// Every answer that is not a success.
#[derive(Object)]
#[oai(rename = "Error", rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ErrorBody {
    /// What it is, for programs: a stable name that never changes.
    pub error: String,
    /// What it is, for people. The wording may change.
    pub message: Option<String>,
    /// Every field that is not as it should be.
    pub details: Option<Vec<Detail>>,
    /// Only with `internal_error`: the request, as our log knows it.
    pub request_id: Option<String>,
}

/// A refusal or failure on its way to the caller.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", code.as_str())]
pub(crate) struct Problem {
    code: Code,
    message: Option<Cow<'static, str>>,
    details: Vec<Detail>,
    retry_after_s: Option<u64>,
    allow: Option<String>,
}

impl Problem {
    /// With its usual words.
    pub(crate) const fn new(code: Code) -> Self {
        Self { code, message: None, details: Vec::new(), retry_after_s: None, allow: None }
    }

    /// With other words.
    pub(crate) fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Worth another try after so many seconds, at least one.
    pub(crate) fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// A method that is not allowed, with those that are.
    pub(crate) fn method_not_allowed(allow: String) -> Self {
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed) }
    }

    /// A single field that is not as it should be.
    pub(crate) fn field(field: &str, message: &str) -> Self {
        let mut findings = Findings::default();
        findings.add(field, message);
        findings.into_problem()
    }

    /// The same, told of this field.
    pub(crate) fn blaming(self, field: &str, message: impl Into<String>) -> Self {
        self.blaming_at(field, None, message)
    }

    /// The same, told of this line of a field.
    pub(crate) fn blaming_at(
        self,
        field: &str,
        line: Option<usize>,
        message: impl Into<String>,
    ) -> Self {
        let mut findings = Findings { details: self.details, left_out: 0 };
        findings.add_at(field, line, message);
        Self { details: findings.details, ..self }
    }

    /// The same, of a part of the request: fields are told as they stand there. Without any it is
    /// told of `field`.
    pub(crate) fn within(self, part: &str, field: &str) -> Self {
        if self.details.is_empty() {
            let dot = if field.is_empty() { "" } else { "." };
            let words = self.code.words();
            return self.blaming(&format!("{part}{dot}{field}"), words);
        }
        let details = self.details.into_iter();
        let details = details.map(|detail| {
            let field = format!("{part}.{}", detail.field);
            Detail { field, ..detail }
        });
        Self { details: details.collect(), ..self }
    }

    /// This one, told of the other's fields as well.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.details.extend(other.details);
        self.details.truncate(MAX_DETAILS);
        self
    }

    /// A fault of ours: `what` goes to the log, nothing of it to the caller.
    pub(crate) fn internal(what: &'static str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, %error, "the request failed");
        Self::new(Code::InternalError)
    }

    /// Its name, for tests.
    #[cfg(test)]
    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    /// The answer to the request of this id.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let message = self.message.as_deref().unwrap_or_else(|| self.code.words());
        let mut body = json!({ "error": self.code.as_str(), "message": message });
        if let Some(object) = body.as_object_mut() {
            if !self.details.is_empty() {
                let details = self.details.iter();
                let details = details.map(|Detail { field, message, line }| match line {
                    Some(line) => json!({ "field": field, "message": message, "line": line }),
                    None => json!({ "field": field, "message": message }),
                });
                object.insert("details".into(), details.collect());
            }
            if self.code == Code::InternalError {
                object.insert("requestId".into(), request_id.into());
            }
        }
        let mut response = Response::builder()
            .status(self.code.status())
            .content_type("application/json")
            .body(Body::from_string(body.to_string()));
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        let scheme = match self.code {
            Code::Unauthorized => Some("Bearer realm=\"lumora\""),
            // Not a registered scheme: browsers ask nobody for a password because of it.
            Code::NoSession | Code::InvalidCredentials => Some("Cookie realm=\"lumora\""),
            _ => None,
        };
        if let Some(scheme) = scheme {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        if let Some(Ok(allow)) = self.allow.as_deref().map(HeaderValue::from_str) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.code.status()
    }

    fn as_response(&self) -> Response {
        self.render("").into_response()
    }
}

// Which operation answers with which problems stands in the document's own table: the same status
// has several codes, each with its example, and this trait knows one answer per status.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(_registry: &mut Registry) {}
}

/// What is found wrong with a request, all of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    details: Vec<Detail>,
    left_out: usize,
}

impl Findings {
    /// Notes a field. The words hold nothing of the caller's.
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add_at(field, None, message);
    }

    /// Notes a line of a field.
    pub(crate) fn add_at(
        &mut self,
        field: impl Into<String>,
        line: Option<usize>,
        message: impl Into<String>,
    ) {
        if self.details.len() == MAX_DETAILS {
            self.left_out += 1;
            return;
        }
        let field: String = field.into();
        let field = match field.char_indices().nth(MAX_FIELD_CHARS) {
            Some((end, _)) => format!("{}…", field.get(..end).unwrap_or_default()),
            None => field,
        };
        self.details.push(Detail { field, message: message.into(), line });
    }

    /// Whether nothing was found.
    pub(crate) const fn is_empty(&self) -> bool {
        self.details.is_empty()
    }

    /// The refusal that names it all.
    pub(crate) fn into_problem(self) -> Problem {
        let problem = Problem { details: self.details, ..Problem::new(Code::ValidationFailed) };
        match self.left_out {
            0 => problem,
            more => problem.saying(format!(
                "Some fields are missing or not as they should be: see details, of which {more} \
                 more are left out."
            )),
        }
    }
}
