//! The OpenAPI document: what poem-openapi derives, completed.
//!
//! # Why
//! The derived document is valid and says too little: one answer per status and no errors at all,
//! since they are made in one place for all operations; header names in upper case; no examples of
//! single fields; no word on which fields are refused. What is missing is added here, from tables
//! that the tests hold against what the server really answers.

mod errors;
mod examples;
mod headers;
mod links;

use poem_openapi::{
    LicenseObject, OpenApiService,
    registry::Registry,
    types::{Example as _, ToJSON as _, Type as _},
};
use serde_json::{Map, Value, json};

#[cfg(test)]
pub(crate) use self::errors::OPERATIONS;
use crate::{operations::operations, problem::ErrorBody, wire};

const ABOUT: &str = include_str!("document/about.md");

/// Sections of the document, in reading order.
const TOPICS: [&str; 12] = [
    "Sending",
    "Messages",
    "Insight",
    "Templates",
    "Suppressions",
    "Account",
    "Apps",
    "Domains",
    "Delivery",
    "Erasures",
    "Audit",
    "System",
];
/// Schemas of what is sent to us: they refuse unknown fields.
const CLOSED: [&str; 18] = [
    "NewErasure",
    "Registration",
    "Credentials",
    "PasswordChange",
    "NewAppBody",
    "AppChangeBody",
    "NewKeyBody",
    "NewDomainBody",
    "PauseBody",
    "Scopes",
    "SendEmail",
    "Sender",
    "Attachment",
    "TemplateUse",
    "NewTemplate",
    "TemplateChange",
    "TemplatePreviewRequest",
    "NewSuppression",
];

/// The whole document, OpenAPI 3.0. The same on every machine and at every time.
pub fn document() -> Value {
    let service = OpenApiService::new(operations(), "Lumora", env!("CARGO_PKG_VERSION"))
        .description(ABOUT)
        .license(LicenseObject::new("Apache-2.0"))
        .server("/");
    // Written by serde_json a moment ago: it reads.
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    order_tags(&mut document);
    plain_content_types(&mut document);
    unfold_lines(&mut document);
    if let Some(schemas) = object(&mut document, &["components", "schemas"]) {
        complete_schemas(schemas);
    }
    if let Some(components) = object(&mut document, &["components"]) {
        components.insert("headers".into(), headers::components());
    }
    examples::name_sends(&mut document);
    bound_batch(&mut document);
    describe_streams(&mut document);
    links::complete(&mut document);
    let descriptions = schema_descriptions(&document);
    errors::complete_operations(&mut document, &descriptions);
    document
}

/// The document as it is served and committed.
pub(crate) fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The object at a path of keys.
fn object<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut value = value;
    for key in path {
        value = value.get_mut(key)?;
    }
    value.as_object_mut()
}

fn order_tags(document: &mut Value) {
    let Some(tags) = document.get_mut("tags").and_then(Value::as_array_mut) else { return };
    let place = |tag: &Value| {
        let name = tag.get("name").and_then(Value::as_str);
        TOPICS.iter().position(|topic| Some(*topic) == name)
    };
    tags.sort_by_key(place);
}

/// A media type names the content; its charset says nothing about JSON.
fn plain_content_types(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for kind in ["application/json", "text/plain"] {
                if let Some(content) = fields.remove(&format!("{kind}; charset=utf-8")) {
                    fields.insert(kind.into(), content);
                }
            }
            fields.values_mut().for_each(plain_content_types);
        }
        Value::Array(values) => values.iter_mut().for_each(plain_content_types),
        _ => {}
    }
}

/// Swagger UI shows a line break where the source code has one: descriptions are unfolded, and only
/// the breaks between paragraphs stay.
fn unfold_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(words)) = fields.get_mut("description") {
                let paragraphs: Vec<String> = words
                    .split("\n\n")
                    .map(|paragraph| paragraph.trim().replace('\n', " "))
                    .collect();
                *words = paragraphs.join("\n\n");
            }
            fields.values_mut().for_each(unfold_lines);
        }
        Value::Array(values) => values.iter_mut().for_each(unfold_lines),
        _ => {}
    }
}

fn complete_schemas(schemas: &mut Map<String, Value>) {
    let mut registry = Registry::new();
    ErrorBody::register(&mut registry);
    for (name, schema) in &registry.schemas {
        let mut schema = serde_json::to_value(schema).unwrap_or_default();
        unfold_lines(&mut schema);
        schemas.insert(name.clone(), schema);
    }
    if let Some(Value::Object(error)) = schemas.get_mut("Error") {
        error.insert("example".into(), errors::example(crate::problem::Code::ValidationFailed));
    }
    let counts = wire::stats::CountsWire::example().to_json();
    for (name, schema) in schemas.iter_mut() {
        let Some(schema) = schema.as_object_mut() else { continue };
        if CLOSED.contains(&name.as_str()) {
            close(schema);
        }
        spread_examples(schema, counts.as_ref());
    }
}

/// Refuses unknown fields; takes `null` for what may be left out.
fn close(schema: &mut Map<String, Value>) {
    schema.insert("additionalProperties".into(), false.into());
    let required: Vec<Value> =
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties {
        if let Some(property) = property.as_object_mut()
            && !required.contains(&Value::from(name.as_str()))
        {
            property.insert("nullable".into(), true.into());
        }
    }
}

/// Gives every field the example that its schema has for it, and unfolds what poem-openapi merges.
fn spread_examples(schema: &mut Map<String, Value>, counts: Option<&Value>) {
    let example = schema.get("example").cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties {
        let Some(property) = property.as_object_mut() else { continue };
        // A referenced schema with a description of its own comes as both, the second repeated.
        if let Some(Value::Array(all)) = property.get_mut("allOf") {
            all.retain(|part| part.get("$ref").is_some());
        }
        if property.contains_key("$ref") || property.contains_key("allOf") {
            continue;
        }
        let value = example.get(name).filter(|value| !value.is_null());
        let value = value.or_else(|| counts?.get(name));
        let value = value.cloned().or_else(|| rare_example(name));
        if let Some(value) = value.filter(|value| !value.is_null()) {
            property.entry("example").or_insert(value);
        }
    }
}

/// Fields that the examples of whole objects leave out.
fn rare_example(name: &str) -> Option<Value> {
    Some(match name {
        "expiresAt" | "lastUsedAt" | "checkedAt" | "failingSince" | "scheduledAt"
        | "nextAttemptAt" => json!("2025-11-27T09:00:00.000Z"),
        "contentId" => json!("logo"),
        "allowedAddresses" => json!(["192.0.2.0/24"]),
        "email:send" | "email:read" | "template:read" | "template:write" | "suppression:read"
        | "suppression:write" => json!(true),
        "allowedDomains" => json!(["mail.acme.com"]),
        "reason" => json!("mailbox_full"),
        "requestId" => json!("req_1f0c6a52d7b94e3fb2a8c6f1d3e7a905"),
        "field" => json!("to[0]"),
        "line" => json!(3),
        "id" => json!(wire::templates::EXAMPLE_TEMPLATE),
        "version" => json!(1),
        "suppressionReason" => json!("manual"),
        "message" => json!("the domain has no dot"),
        "groupsLeftOut" => json!(0),
        _ => return None,
    })
}

/// A body that is a list has no schema of its own to say how long it may be.
fn bound_batch(document: &mut Value) {
    let schema = "/paths/~1v1~1email~1batch/post/requestBody/content/application~1json/schema";
    if let Some(Value::Object(schema)) = document.pointer_mut(schema) {
        schema.insert("minItems".into(), 1.into());
        schema.insert("maxItems".into(), actors::MAX_BATCH.into());
    }
}

/// A stream is one event after another (WHATWG HTML, section 9.2.6), and no list of JSON values:
/// the schema is that of each, as OpenAPI 3.2 has it in `itemSchema`.
fn describe_streams(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(stream) = fields.get_mut("text/event-stream") {
                let item = stream.pointer("/schema/items/$ref").and_then(Value::as_str);
                let name = item.and_then(|item| item.rsplit('/').next()).unwrap_or_default();
                *stream = json!({ "schema": {
                    "type": "object",
                    "required": ["id", "data"],
                    "properties": {
                        "id": { "type": "string", "description": "Its number." },
                        "data": { "type": "string", "description": format!("A `{name}` in JSON.") },
                    },
                }});
            } else {
                fields.values_mut().for_each(describe_streams);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(describe_streams),
        _ => {}
    }
}

fn schema_descriptions(document: &Value) -> Map<String, Value> {
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    let described = schemas.into_iter().flatten().filter_map(|(name, schema)| {
        Some((format!("#/components/schemas/{name}"), schema.get("description")?.clone()))
    });
    described.collect()
}

#[cfg(test)]
mod tests;
