//! Examples of requests that one alone does not show.

use serde_json::{Value, json};

/// Names the ways to send: the whole, from a template, later. Swagger UI offers them to choose
/// from, the first as it opens.
pub(super) fn name_sends(document: &mut Value) {
    let Some(whole) = document.pointer("/components/schemas/SendEmail/example").cloned() else {
        return;
    };
    let [template, scheduled] = [template(), scheduled()];
    let batch = json!([template, scheduled]);
    let one = json!({
        "whole": { "summary": "With everything", "value": whole },
        "template": { "summary": "From a template", "value": template },
        "scheduled": { "summary": "At a time", "value": scheduled },
    });
    let several = json!({ "two": { "summary": "Two emails", "value": batch } });
    for (path, examples) in [("send", one), ("batch", several)] {
        let place =
            format!("/paths/~1v1~1email~1{path}/post/requestBody/content/application~1json");
        if let Some(Value::Object(content)) = document.pointer_mut(&place) {
            content.insert("examples".into(), examples);
        }
    }
}

fn template() -> Value {
    json!({
        "to": ["Ada Lovelace <ada@example.com>"],
        "template": { "slug": "welcome", "variables": { "user": { "name": "Ada" } } },
    })
}

fn scheduled() -> Value {
    json!({
        "to": ["ada@example.com"],
        "subject": "Your appointment tomorrow",
        "text": "See you at nine.",
        "scheduledAt": "2025-11-27T09:00:00Z",
    })
}
