//! The headers of answers, each described once.

use serde_json::{Map, Value, json};

const RATE: [&str; 3] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];

/// The descriptions, for `components`.
pub(super) fn components() -> Value {
    let number = |words: &str, example: u32| {
        let schema = json!({ "type": "integer", "minimum": 0, "example": example });
        json!({ "description": words, "schema": schema })
    };
    let text = |words: &str, example: &str| {
        let schema = json!({ "type": "string", "example": example });
        json!({ "description": words, "schema": schema })
    };
    json!({
        "x-request-id": text(
            "The request, as our log knows it: your own `x-request-id` if you gave one of at most \
             128 plain characters.",
            "req_1f0c6a52d7b94e3fb2a8c6f1d3e7a905",
        ),
        "ratelimit-limit": number("Requests per minute that the key has.", 600),
        "ratelimit-remaining": number("Requests that are left to it now.", 599),
        "ratelimit-reset": number("Seconds until it has all of them again.", 1),
        "retry-after": number("Seconds to wait before another try.", 2),
        "www-authenticate": text("How a key is given.", "Bearer realm=\"lumora\""),
    })
}

/// Names the headers of an answer.
pub(super) fn complete(response: &mut Map<String, Value>, status: &str, authenticated: bool) {
    let mut headers = vec!["x-request-id"];
    if authenticated && status != "401" {
        headers.extend(RATE);
    }
    match status {
        "401" => headers.push("www-authenticate"),
        "429" => headers.push("retry-after"),
        "503" if authenticated => headers.push("retry-after"),
        _ => {}
    }
    let headers = headers
        .into_iter()
        .map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })));
    response.insert("headers".into(), Value::Object(headers.collect()));
}
