//! Which operation answers with which errors, and what it needs.

mod portal;

use model::tenant::Scope;
use serde_json::{Map, Value, json};

use super::headers;
use crate::problem::Code;

/// What poem-openapi does not know of an operation.
pub(crate) struct Operation {
    /// Its id.
    pub id: &'static str,
    /// What the key must be allowed; `None`: needs no key.
    pub scope: Option<Scope>,
    /// Every error that it can answer with.
    pub errors: &'static [Code],
}

/// Every operation.
pub(crate) const OPERATIONS: [Operation; 52] = [
    Operation { id: "sendEmail", scope: Some(Scope::EmailSend), errors: SEND_ERRORS },
    Operation { id: "sendBatch", scope: Some(Scope::EmailSend), errors: SEND_ERRORS },
    Operation {
        id: "cancelMessage",
        scope: Some(Scope::EmailSend),
        errors: &[
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::NotFound,
            Code::NotCancelable,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation {
        id: "getMessage",
        scope: Some(Scope::EmailRead),
        errors: &[
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::NotFound,
            Code::ValidationFailed,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
        ],
    },
    Operation {
        id: "getMessageEvidence",
        scope: Some(Scope::EmailRead),
        errors: &[
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::NotFound,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation { id: "listLogs", scope: Some(Scope::EmailRead), errors: QUERY_ERRORS },
    Operation { id: "getStats", scope: Some(Scope::EmailRead), errors: QUERY_ERRORS },
    Operation { id: "listEvents", scope: Some(Scope::EmailRead), errors: FEED_ERRORS },
    Operation { id: "streamEvents", scope: Some(Scope::EmailRead), errors: FEED_ERRORS },
    Operation {
        id: "createTemplate",
        scope: Some(Scope::TemplateWrite),
        errors: &[
            Code::BadRequest,
            Code::InvalidJson,
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::RequestTimeout,
            Code::AlreadyExists,
            Code::LimitReached,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::ValidationFailed,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation { id: "listTemplates", scope: Some(Scope::TemplateRead), errors: QUERY_ERRORS },
    Operation {
        id: "getTemplate",
        scope: Some(Scope::TemplateRead),
        errors: &[
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::NotFound,
            Code::ValidationFailed,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation {
        id: "updateTemplate",
        scope: Some(Scope::TemplateWrite),
        errors: &[
            Code::BadRequest,
            Code::InvalidJson,
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::NotFound,
            Code::RequestTimeout,
            Code::TemplateChanged,
            Code::LimitReached,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::ValidationFailed,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation { id: "deleteTemplate", scope: Some(Scope::TemplateWrite), errors: REMOVE_ERRORS },
    Operation {
        id: "previewTemplate",
        scope: Some(Scope::TemplateRead),
        errors: &[
            Code::BadRequest,
            Code::InvalidJson,
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::NotFound,
            Code::RequestTimeout,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::ValidationFailed,
            Code::TemplateRenderFailed,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation { id: "listSuppressions", scope: Some(Scope::SuppressionRead), errors: QUERY_ERRORS },
    Operation {
        id: "addSuppression",
        scope: Some(Scope::SuppressionWrite),
        errors: &[
            Code::BadRequest,
            Code::InvalidJson,
            Code::Unauthorized,
            Code::InsufficientScope,
            Code::RequestTimeout,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::ValidationFailed,
            Code::RateLimited,
            Code::InternalError,
            Code::Overloaded,
            Code::Unavailable,
        ],
    },
    Operation {
        id: "removeSuppression",
        scope: Some(Scope::SuppressionWrite),
        errors: REMOVE_ERRORS,
    },
    Operation { id: "register", scope: None, errors: portal::REGISTER_ERRORS },
    Operation { id: "login", scope: None, errors: portal::LOGIN_ERRORS },
    Operation { id: "logout", scope: None, errors: portal::PORTAL_CHANGE },
    Operation { id: "getMe", scope: None, errors: portal::PORTAL_READ },
    Operation { id: "changePassword", scope: None, errors: portal::PORTAL_PASSWORD },
    Operation { id: "createApp", scope: None, errors: portal::PORTAL_MAKE },
    Operation { id: "listApps", scope: None, errors: portal::PORTAL_READ },
    Operation { id: "getApp", scope: None, errors: portal::PORTAL_COUNT_ONE },
    Operation { id: "updateApp", scope: None, errors: portal::PORTAL_UPDATE },
    Operation { id: "createApiKey", scope: None, errors: portal::PORTAL_MAKE_BELOW },
    Operation { id: "listApiKeys", scope: None, errors: portal::PORTAL_COUNT_ONE },
    Operation { id: "revokeApiKey", scope: None, errors: portal::PORTAL_CHANGE_ONE },
    Operation { id: "addDomain", scope: None, errors: portal::PORTAL_ADD },
    Operation { id: "listDomains", scope: None, errors: portal::PORTAL_READ },
    Operation { id: "getDomain", scope: None, errors: portal::PORTAL_COUNT_ONE },
    Operation { id: "getCompliance", scope: None, errors: portal::PORTAL_COUNT_ONE },
    Operation { id: "listLetters", scope: None, errors: portal::PORTAL_LETTERS },
    Operation { id: "getLetter", scope: None, errors: portal::PORTAL_LETTER },
    Operation { id: "listAlerts", scope: None, errors: portal::PORTAL_OPEN },
    Operation { id: "removeDomain", scope: None, errors: portal::PORTAL_CHANGE_ONE },
    Operation { id: "verifyDomain", scope: None, errors: portal::PORTAL_CHANGE_ONE },
    Operation { id: "rotateDkim", scope: None, errors: portal::PORTAL_ROTATE },
    Operation { id: "getDelivery", scope: None, errors: portal::PORTAL_READ },
    Operation { id: "pauseDelivery", scope: None, errors: portal::PORTAL_PAUSE },
    Operation { id: "resumeDelivery", scope: None, errors: portal::PORTAL_RESUME },
    Operation { id: "pauseDomain", scope: None, errors: portal::PORTAL_UPDATE },
    Operation { id: "resumeDomain", scope: None, errors: portal::PORTAL_RESUME_ONE },
    Operation { id: "createErasure", scope: None, errors: portal::PORTAL_MAKE },
    Operation { id: "listErasures", scope: None, errors: portal::PORTAL_QUERY },
    Operation { id: "getErasure", scope: None, errors: portal::PORTAL_OPEN_ONE },
    Operation { id: "listAuditEvents", scope: None, errors: portal::PORTAL_QUERY },
    Operation { id: "healthz", scope: None, errors: &[] },
    Operation { id: "readyz", scope: None, errors: &[Code::NotReady] },
    Operation { id: "metrics", scope: None, errors: &[] },
];

const SEND_ERRORS: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::InvalidIdempotencyKey,
    Code::Unauthorized,
    Code::InsufficientScope,
    Code::SenderDomainNotVerified,
    Code::SenderDomainNotAllowed,
    Code::RequestTimeout,
    Code::IdempotencyConflict,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::NoDefaultSender,
    Code::TemplateNotFound,
    Code::TemplateRenderFailed,
    Code::RateLimited,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

const REMOVE_ERRORS: &[Code] = &[
    Code::Unauthorized,
    Code::InsufficientScope,
    Code::NotFound,
    Code::RateLimited,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

const QUERY_ERRORS: &[Code] = &[
    Code::Unauthorized,
    Code::InsufficientScope,
    Code::ValidationFailed,
    Code::RateLimited,
    Code::InternalError,
    Code::Overloaded,
];

const FEED_ERRORS: &[Code] = &[
    Code::Unauthorized,
    Code::InsufficientScope,
    Code::EventsPruned,
    Code::ValidationFailed,
    Code::RateLimited,
    Code::InternalError,
    Code::Overloaded,
];

/// Adds to every operation its errors, headers and scope.
pub(super) fn complete_operations(document: &mut Value, descriptions: &Map<String, Value>) {
    let Some(Value::Object(paths)) = document.get_mut("paths") else { return };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations.filter_map(Value::as_object_mut) {
        let id = operation.get("operationId").and_then(Value::as_str);
        let Some(known) = OPERATIONS.iter().find(|known| Some(known.id) == id) else { continue };
        if let Some(scope) = known.scope {
            name_scope(operation, scope);
        }
        if let Some(Value::Object(responses)) = operation.get_mut("responses") {
            for code in known.errors {
                add_error(responses, *code);
            }
            for (status, response) in responses {
                if let Some(response) = response.as_object_mut() {
                    describe(response, descriptions);
                    headers::complete(response, status, known.scope.is_some());
                }
            }
        }
    }
}

fn name_scope(operation: &mut Map<String, Value>, scope: Scope) {
    operation.insert("x-required-scope".into(), scope.as_str().into());
    if let Some(Value::String(description)) = operation.get_mut("description") {
        description.extend(["\n\nNeeds the scope `", scope.as_str(), "`."]);
    }
}

/// A success that has no words of its own borrows those of what it answers.
fn describe(response: &mut Map<String, Value>, descriptions: &Map<String, Value>) {
    let words = response.get("description").and_then(Value::as_str).unwrap_or_default();
    if words.is_empty() {
        let schema = Value::Object(response.clone());
        let schema = schema.pointer("/content/application~1json/schema/$ref");
        let words = schema.and_then(Value::as_str).and_then(|name| descriptions.get(name));
        let streams = schema_of_stream(response).is_some();
        let else_words = if streams { "The events, as they come." } else { "The metrics." };
        let words = words.cloned().unwrap_or_else(|| else_words.into());
        response.insert("description".into(), words);
    }
}

fn schema_of_stream(response: &Map<String, Value>) -> Option<&Value> {
    response.get("content")?.get("text/event-stream")
}

/// Adds an error to the answer of its status, which can have several.
fn add_error(responses: &mut Map<String, Value>, code: Code) {
    let response = responses.entry(code.status().as_str().to_owned()).or_insert_with(|| {
        json!({
            "description": "",
            "content": {
                "application/json": {
                    "schema": { "$ref": "#/components/schemas/Error" },
                    "examples": {},
                },
            },
        })
    });
    if let Some(Value::String(words)) = response.get_mut("description") {
        if !words.is_empty() {
            words.push_str("\n\n");
        }
        words.extend(["`", code.as_str(), "`: ", code.words()]);
    }
    let examples = response.pointer_mut("/content/application~1json/examples");
    if let Some(Value::Object(examples)) = examples {
        let example = json!({ "summary": code.words(), "value": example(code) });
        examples.insert(code.as_str().into(), example);
    }
}

/// What the answer to an error looks like.
pub(super) fn example(code: Code) -> Value {
    let (error, message) = (code.as_str(), code.words());
    match code {
        Code::ValidationFailed => {
            let details = [json!({ "field": "to[0]", "message": "the domain has no dot" })];
            json!({ "error": error, "message": message, "details": details })
        }
        Code::TemplateRenderFailed => {
            let details = [json!({
                "field": "template.variables.user.name",
                "message": "is not given",
            })];
            json!({ "error": error, "message": message, "details": details })
        }
        Code::InternalError => {
            let id = "req_1f0c6a52d7b94e3fb2a8c6f1d3e7a905";
            json!({ "error": error, "message": message, "requestId": id })
        }
        _ => json!({ "error": error, "message": message }),
    }
}
