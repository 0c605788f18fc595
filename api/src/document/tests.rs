use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use super::*;
use crate::problem::Code;

fn operations(document: &Value) -> Vec<&Value> {
    let paths = document["paths"].as_object().unwrap().values();
    paths.flat_map(|path| path.as_object().unwrap().values()).collect()
}

/// Set `UPDATE_OPENAPI` to write it.
#[test]
fn the_committed_document_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text(),
        "openapi/openapi.json is old: run `UPDATE_OPENAPI=1 cargo test -p api committed_document`"
    );
}

#[test]
fn every_operation_is_in_the_table_and_described() {
    let document = document();
    let operations = operations(&document);
    let ids: BTreeSet<&str> =
        operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids, OPERATIONS.iter().map(|known| known.id).collect());
    for operation in operations {
        let id = &operation["operationId"];
        for part in ["summary", "description"] {
            let words = operation[part].as_str();
            assert!(words.is_some_and(|words| !words.is_empty()), "{id} has no {part}");
        }
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{id}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = &parameter["name"];
            let described = parameter["description"].as_str().is_some_and(|w| !w.is_empty());
            assert!(described, "{id} {name}");
            let schema = &parameter["schema"];
            assert!(
                schema.get("example").is_some() || schema.get("$ref").is_some(),
                "{id} {name} has no example"
            );
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let described = response["description"].as_str().is_some_and(|w| !w.is_empty());
            assert!(described, "{id} {status}");
            let headers = response["headers"].as_object().unwrap();
            assert!(headers.contains_key("x-request-id"), "{id} {status}");
            if status.starts_with('4') || status.starts_with('5') {
                let examples = &response["content"]["application/json"]["examples"];
                assert!(examples.as_object().is_some_and(|all| !all.is_empty()), "{id} {status}");
            }
        }
    }
}

#[test]
fn operations_with_a_key_name_both_schemes_and_the_rate_limit() {
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schemes: Vec<&str> = operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|scheme| scheme.as_object().unwrap().keys().map(String::as_str))
                .collect();
            let keyed = path.starts_with("/v1/");
            assert_eq!(schemes == ["apiKey", "bearer"], keyed, "{method} {path}: {schemes:?}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                for name in ["limit", "remaining", "reset"] {
                    let limited = response["headers"].get(format!("ratelimit-{name}")).is_some();
                    // Who has no key has no limit.
                    assert!(limited || !keyed || status == "401", "{method} {path} {status}");
                }
                let waits = response["headers"].get("retry-after").is_some();
                assert!(waits || status != "429", "{method} {path} {status}");
            }
        }
    }
}

#[test]
fn tags_are_in_reading_order() {
    let document = document();
    let tags = document["tags"].as_array().unwrap().iter();
    assert_eq!(tags.map(|tag| tag["name"].as_str().unwrap()).collect::<Vec<_>>(), TOPICS);
}

#[test]
fn every_field_is_described_and_has_an_example() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let referenced = property.get("$ref").is_some() || property.get("allOf").is_some();
            let listed = property["items"].get("$ref").is_some();
            assert!(property["description"].is_string() || referenced, "{name}.{field}");
            assert!(
                property.get("example").is_some() || referenced || listed,
                "{name}.{field} has no example"
            );
        }
    }
}

#[test]
fn a_send_body_refuses_what_it_does_not_know() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for name in CLOSED {
        assert_eq!(schemas[name]["additionalProperties"], Value::Bool(false), "{name}");
    }
    let send = &schemas["SendEmail"];
    assert_eq!(send["required"], json!(["to"]));
    assert_eq!(send["properties"]["cc"]["nullable"], Value::Bool(true));
    assert_eq!(send["properties"]["to"].get("nullable"), None);
}

#[test]
fn both_ways_to_give_a_key_are_offered() {
    let document = document();
    for operation in operations(&document) {
        let known = OPERATIONS.iter().find(|known| operation["operationId"] == known.id).unwrap();
        let expected = match known.scope {
            Some(_) => Some(json!([{ "apiKey": [] }, { "bearer": [] }])),
            None if known.errors.contains(&crate::problem::Code::NoSession) => {
                Some(json!([{ "session": [] }]))
            }
            None => None,
        };
        assert_eq!(operation.get("security"), expected.as_ref(), "{}", known.id);
    }
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["apiKey"]["name"], "x-api-key");
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
}

/// A little before the times in examples.
const NOW: model::Timestamp = model::Timestamp::from_millis(1_764_158_400_000);

#[test]
fn the_examples_of_sends_are_taken_and_name_no_author() {
    let document = document();
    let content = |path: &str| {
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"].clone()
    };
    let send = content("/v1/email/send");
    let named = send["examples"].as_object().unwrap().values().map(|named| &named["value"]);
    let schema = &document["components"]["schemas"]["SendEmail"]["example"];
    for example in named.chain([schema]) {
        assert_eq!(example.get("from"), None, "{example}");
        let sent = crate::send::read(example.to_string().as_bytes(), NOW);
        assert!(sent.is_ok(), "{example}: {:?}", sent.err());
    }
    let batch = &content("/v1/email/batch")["examples"]["two"]["value"];
    let sent = crate::send::read_batch(batch.to_string().as_bytes(), NOW);
    assert_eq!(sent.map(|sent| sent.len()).ok(), Some(2));
}

#[test]
fn every_body_has_an_example() {
    let document = document();
    let has_example = |content: &Value| {
        let schema = &content["application/json"]["schema"];
        let schema = if schema["type"] == "array" { &schema["items"] } else { schema };
        let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        name.and_then(|name| document.pointer(name))
            .is_some_and(|schema| schema.get("example").is_some())
    };
    for operation in operations(&document) {
        let id = &operation["operationId"];
        if let Some(body) = operation.get("requestBody") {
            assert!(has_example(&body["content"]), "{id}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = &response["content"];
            assert!(
                content.get("application/json").is_none() || has_example(content),
                "{id} {status}"
            );
        }
    }
}

#[test]
fn content_types_name_no_charset() {
    assert!(!text().contains("charset="));
    let send = &document()["paths"]["/v1/email/send"]["post"];
    assert!(send["requestBody"]["content"].get("application/json").is_some());
    assert_eq!(send["responses"]["202"]["headers"].as_object().unwrap().len(), 4);
    assert!(
        send["responses"]["409"]["content"]["application/json"]["examples"]
            .get(Code::IdempotencyConflict.as_str())
            .is_some()
    );
}
