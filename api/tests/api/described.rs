//! Holds answers against the document: statuses, codes, headers, every field.

use poem::http::Method;
use serde_json::Value;

use crate::world::Answer;

pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn new() -> Self {
        Self(api::document())
    }

    /// Every operation: path, method, and what stands there.
    pub(crate) fn operations(&self) -> Vec<(String, Method, Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                (path.clone(), method, operation.clone())
            })
        });
        operations.collect()
    }

    fn operation(&self, method: &Method, path: &str) -> Option<Value> {
        let fits = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template
                    .iter()
                    .zip(&path)
                    .all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
        };
        let mut found = self.operations().into_iter().filter(|(t, m, _)| m == method && fits(t));
        found.next().map(|(_, _, operation)| operation)
    }

    /// Fails when an answer is not as every answer is, or not as the document says.
    pub(crate) fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let what = format!("{method} {path}: {} {}", answer.status, answer.json);
        assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{what}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{what}");
        assert!(answer.header("content-security-policy").is_some(), "{what}");
        if answer.status >= 400 {
            assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
            self.fits(&self.0["components"]["schemas"]["Error"], &answer.json, &what);
        }
        let Some(operation) = self.operation(method, path) else { return };
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "the document lacks this status: {what}");
        for name in response["headers"].as_object().unwrap().keys() {
            assert!(answer.header(name).is_some(), "the answer lacks {name}: {what}");
        }
        let content = &response["content"]["application/json"];
        if answer.status >= 400 {
            let example = &content["examples"][answer.error()];
            assert!(example.is_object(), "the document lacks this error: {what}");
        } else if content.is_object() {
            assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
            self.fits(&content["schema"], &answer.json, &what);
        }
    }

    /// Whether a value fits a schema. Fields that the schema does not name fail: nothing is
    /// answered that is not described.
    fn fits(&self, schema: &Value, value: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            let target = self.0.pointer(name.strip_prefix('#').unwrap());
            return self.fits(target.unwrap(), value, at);
        }
        if value.is_null() {
            assert_eq!(schema["nullable"], true, "null at {at}");
            return;
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(part, value, at);
        }
        if let Some(known) = schema["enum"].as_array() {
            assert!(known.contains(value), "{value} at {at}");
        }
        match schema["type"].as_str() {
            Some("object") => self.object_fits(schema, value, at),
            Some("array") => {
                for (index, item) in value.as_array().expect(at).iter().enumerate() {
                    self.fits(&schema["items"], item, &format!("{at}[{index}]"));
                }
            }
            Some("string") => {
                let text = value.as_str().expect(at);
                if schema["format"] == "date-time" {
                    assert!(text.ends_with('Z') && text.contains('T'), "{text} at {at}");
                }
            }
            Some("integer") => assert!(value.is_u64(), "{value} at {at}"),
            Some("number") => assert!(value.is_number(), "{value} at {at}"),
            Some("boolean") => assert!(value.is_boolean(), "{value} at {at}"),
            _ => {}
        }
    }

    fn object_fits(&self, schema: &Value, value: &Value, at: &str) {
        let object = value.as_object().expect(at);
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(object.contains_key(name.as_str().unwrap()), "{name} is missing at {at}");
        }
        for (name, value) in object {
            let known = &schema["properties"][name];
            let known = if known.is_null() { &schema["additionalProperties"] } else { known };
            assert!(known.is_object(), "{name} is not described at {at}");
            self.fits(known, value, &format!("{at}.{name}"));
        }
    }
}
